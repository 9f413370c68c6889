"""What the README and the pages of docs/ say is so: their form, their code, their configs."""

import re
import runpy
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from configs import config
from omegaconf import OmegaConf
from pages import DOCS, PAGES, ROOT, code, paragraphs
from problems import problem

from fimo.app.errors import CONFIG_DIR
from fimo.attribution import attribute
from fimo.preconditioners.damping import Damping
from fimo.reference import gradients as reference

README = (ROOT / "README.md").read_text()
EXTENDING = ROOT / "docs/extending.md"
OWN_DATA = ROOT / "docs/own_data_and_model.md"
NAV = re.findall(r"- (?:\w+: )?(\w+\.md)", (ROOT / "mkdocs.yml").read_text())
MOST_LINES, MOST_WORDS, MOST_WORDS_OF_A_PARAGRAPH = 160, 1600, 90
(DIAGONAL,) = [block.code for block in code("python", EXTENDING) if block.code.startswith("# src/")]
YAML = [block.code for block in code("yaml")]
SCRIPTS = [block for block in code("python") if not block.code.startswith("# src/")]
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)(?:#[^)]*)?\)")


def test_the_readme_is_two_screens():
    assert len(README.splitlines()) <= MOST_LINES
    assert len(README.split()) <= MOST_WORDS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paragraphs_are_short(page):
    long = [text for text in paragraphs(page) if len(text.split()) > MOST_WORDS_OF_A_PARAGRAPH]
    assert not long, f"{page.name} has a paragraph of {len(long[0].split())} words: {long[0][:80]} …"


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_a_page_says_first_what_it_is_for(page):
    title, blank, first = page.read_text().splitlines()[:3]
    assert title.startswith("# ") and not blank
    assert first.startswith("This page ") or page.name == "index.md", f"{page.name} begins with {first!r}"


def test_every_page_is_in_the_navigation():
    assert sorted(NAV) == sorted(page.name for page in DOCS)


@pytest.mark.parametrize("choice", ["csv", "text_file", "image_folder", "cifar10_subset", "own"])
def test_the_page_on_own_data_names_every_option_that_a_refusal_names(choice):
    """All keys of these data but those that every experiment has, so that a sentence's option can be looked up."""
    everywhere = {"_target_", "name", "data_dir", "batch_size", "train_rows", "at_most", "left_out_first", "sha256"}
    data, page = yaml.safe_load((CONFIG_DIR / f"data/{choice}.yaml").read_text()), OWN_DATA.read_text()
    keys = [*(f"data.{key}" for key in data), *(f"data.source.{key}" for key in data.get("source", {}))]
    named = [key for key in keys if key != "data.source" and key.rpartition(".")[2] not in everywhere]
    assert not [key for key in named if not re.search(rf"{re.escape(key)}\b", page)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_links_to_are_there(page):
    for path in LINK.findall(page.read_text()):
        assert (page.parent / path).exists(), f"{page.name} links to {path}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_measured_numbers_say_where_they_come_from(page):
    """A table with a column of numbers is followed by its command, commit, machine and date."""
    parts = re.split(r"\n\s*\n", page.read_text())
    for table, following in zip(parts, [*parts[1:], ""], strict=True):
        if re.match(r"\|.*\n\|[-:| ]*--:", table):
            for word in ("Command:", "commit", "machine", " 2026"):
                assert word in following.replace("\n", " "), f"{page.name}: what follows {table[:60]!r} lacks {word!r}"


@pytest.mark.parametrize("text", YAML, ids=lambda text: text.splitlines()[0])
def test_the_yaml_on_a_page_can_be_read(text):
    assert text.startswith("# @package ")  # Hydra looks at the first line only
    assert yaml.safe_load(text)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda block: f"{block.page}: {block.code.splitlines()[-1][:40]}")
def test_the_python_on_a_page_runs(script, tmp_path, monkeypatch):
    (tmp_path / "script.py").write_text(script.code)
    if re.search("import (pytorch_lightning|torchvision|transformers)", script.code):  # fimo has to come before them
        done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
    else:
        monkeypatch.chdir(tmp_path)
        runpy.run_path("script.py", run_name="__main__")
    if "savefig" in script.code:
        assert (tmp_path / "curves.png").stat().st_size > 1000


@pytest.mark.parametrize("task, network", [("regression", "mlp"), ("classification", "convolutional")])
def test_the_example_of_a_method_equals_the_explicit_matrix(task, network):
    names: dict = {}
    exec(DIAGONAL, names)
    case = problem(task, network)
    gradients = [reference.gradient(case, *case.train[torch.tensor(i)]) for i in range(len(case.train))]
    matrix = torch.diag(1 / (torch.stack(gradients).square().mean(0) + 0.01))
    scores = attribute(case, names["Diagonal"]("Diagonal", Damping(0.01)))
    np.testing.assert_allclose(scores, reference.scores(case, matrix), rtol=1e-9, atol=1e-14)


def test_python_on_pages_passes_the_linter(tmp_path):
    (tmp_path / "diagonal.py").write_text(DIAGONAL)
    for number, script in enumerate(SCRIPTS):
        (tmp_path / f"script{number}.py").write_text(f'"""A script."""\n\n{script.code}')
    ruff = [sys.executable, "-m", "ruff"]
    for arguments in (["check", "--ignore=I001"], ["format", "--check"]):  # a script imports fimo first
        command = [*ruff, *arguments, "--config", str(ROOT / "pyproject.toml"), str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_config_of_an_experiment_is_one(tmp_path):
    (text,) = [text for text in YAML if "package _global_" in text]
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/mine.yaml").write_text(text)
    for optimizer, rate in (("sgd", 1e-2), ("adam", 1e-4)):
        cfg = config("experiment=mine", f"optimizer={optimizer}", f"hydra.searchpath=[file://{tmp_path}]")
        assert (cfg.name, cfg.data.source.file, cfg.optimizer.lr, cfg.further.epochs) == ("mine", "my.csv", rate, 100)


def test_tables_name_every_experiment_and_method():
    running, methods = ((ROOT / "docs" / name).read_text() for name in ("running.md", "methods.md"))
    for path in [*(CONFIG_DIR / "experiment").glob("*.yaml"), *(CONFIG_DIR / "optimizer").glob("*.yaml")]:
        assert f"`{path.stem}`" in README, f"README.md needs a word on {path.stem}"
        assert f"`{path.stem}`" in running, f"docs/running.md needs a word on {path.stem}"
    for path in (CONFIG_DIR / "method").glob("*.yaml"):
        for page, text in (("README.md", README), ("docs/methods.md", methods)):
            assert f"`method={path.stem}`" in text, f"{page}'s table of methods needs a row for method={path.stem}"


def test_the_configuration_page_is_what_the_configs_say():
    generated = runpy.run_path(str(ROOT / "docs/configuration.py"))["page"]()
    assert (ROOT / "docs/configuration.md").read_text() == generated, "run `python docs/configuration.py`"


def test_the_configuration_page_has_every_key():
    page = (ROOT / "docs/configuration.md").read_text()
    rows = dict(re.findall(r"^\| `([^`]+)` \| (.*?) \|", page, re.MULTILINE))

    def keys(node, prefix=""):
        for key, value in node.items():
            name = f"{prefix}{key}"
            if name not in rows:  # a mapping that is written in one line stands for the keys in it
                assert isinstance(value, dict) and value, f"docs/configuration.md lacks {name}"
            if isinstance(value, dict) and "{" not in rows.get(name, ""):
                keys(value, f"{name}.")

    keys(OmegaConf.to_container(config("experiment=diabetes"), resolve=False))


def test_the_architecture_page_names_every_room():
    page = (ROOT / "docs/architecture.md").read_text()
    rooms = [path.parent.name for path in (ROOT / "src/fimo").glob("*/__init__.py")]
    assert not [room for room in rooms if f"`src/fimo/{room}/`" not in page]


def test_every_key_has_a_meaning():
    """In the page, a key without one is a name that explains itself: a class, or an experiment's own choice."""
    page = (ROOT / "docs/configuration.md").read_text().split("## experiment\n")[0]
    bare = [line for line in page.splitlines() if line.startswith("| `") and line.endswith("|  |")]
    assert not [line for line in bare if "_target_" not in line and not re.search("facts.(en|de)coder", line)]


def test_the_site_builds_without_a_broken_link(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "site/api.html").read_text()
    assert "ConjugateGradients" in page and "left_out" in page  # made from docstrings
    for name in ("index", "methods"):  # nothing is fetched from the network
        assert not re.search(
            r'<(script|link)[^>]*(src|href)="?(https?:)?//', (tmp_path / f"site/{name}.html").read_text()
        )
