import gc
import importlib.metadata
import logging
import os
import pkgutil
import shutil
from contextlib import contextmanager, nullcontext
from functools import cache, partial

import pytest

# Before numpy is imported: the cores are shared between test processes, and what these start.
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

import fimo  # noqa: F401  (first: see fimo/compat.py)

# As a command leaves it: pytest looks into such a logger only where it is one before the test begins.
logging.getLogger("fimo").propagate = False

# Lightning reads what all installed packages say of themselves for every trainer: a fifth of a small seed's time.
importlib.metadata.entry_points = cache(importlib.metadata.entry_points)


def pytest_collection_finish(session):
    """What is imported stays until the end: looking through it again and again took 6 % of the tests' time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)


@pytest.fixture(autouse=True)
def one_thread():
    """Small problems are faster with one thread, and two test sessions then don't fight over the cores."""
    import torch  # here: the process that hands the tests out needs none of it

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


NAMED = {kind: kind.encode() for kind in ("png", "pdf")}
PAGE = {"report.html": b"html"}, []
# What draws the figures and pages of results folders, and what stands in for it.
STAND_INS = {
    "fimo.pipeline.results_files.figures": lambda *tables: dict.fromkeys(("curves", "seeds")),
    "fimo.pipeline.results_files.figure_files": lambda figure: NAMED,
    "fimo.pipeline.results_files.report_page": lambda *tables: PAGE,
    # Rankings and verifications import what they draw with where they need it.
    "fimo.pipeline.results_page.ranking_page": lambda *tables: PAGE,
    "fimo.pipeline.results_page.removal_page": lambda *tables: PAGE,
    "fimo.report.figures.figure_files": lambda figure: NAMED,
}


@pytest.fixture(scope="session", autouse=True)
def drawing():
    """Results folders get files in place of drawn figures and pages, which take half of a small run's time.

    They are drawn in the tests of the report, of the paper's targets, where a test is marked `pictures`, and within
    `with drawing():` of a fixture.
    """
    import fimo.paper.items  # noqa: F401  (first: what it draws with is not replaced)

    functions = {path: pkgutil.resolve_name(path) for path in STAND_INS}
    with replaced(STAND_INS):
        yield partial(replaced, functions)


@contextmanager
def replaced(functions):
    with pytest.MonkeyPatch.context() as monkeypatch:
        for path, function in functions.items():
            monkeypatch.setattr(path, function)
        yield


@pytest.fixture(autouse=True)
def drawn_where_marked(request, drawing):
    with drawing() if "pictures" in request.keywords else nullcontext():
        yield


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory, drawing):
    """The outputs and results of one run of `configs.QUICK`, which is not changed: see `finished`."""
    from configs import QUICK, app

    folder = tmp_path_factory.mktemp("finished")
    assert app(folder, *QUICK) == 0
    return folder


@pytest.fixture
def finished(finished_run, tmp_path):
    """A copy of it: what a test begins with that is about what comes after a run."""
    return shutil.copytree(finished_run, tmp_path, dirs_exist_ok=True)


@pytest.fixture(scope="module")
def ranked(tmp_path_factory, drawing):
    """The outputs and results of `rank` with `configs.RANKED`, its page drawn."""
    from configs import RANKED, app

    folder = tmp_path_factory.mktemp("ranked")
    with drawing():
        assert app(folder, *RANKED, "rank.top=8", "rank.amounts=[1,2]", "name=ranks", name="rank") == 0
    return folder


@pytest.fixture
def together(monkeypatch):
    """Rows go through all networks together, and none by `vmap`."""
    for module in ("gradients.source", "preconditioners.corrected_eigenvalues"):
        monkeypatch.setattr(f"fimo.{module}.vmap_takes", lambda *them: False)


@pytest.fixture
def seeds_computed(monkeypatch):
    """The seeds that further training computes, as they come."""
    from fimo.pipeline import seeds

    computed = []
    inner = seeds.train_seeds

    def spy(*args, **kwargs):
        for result in inner(*args, **kwargs):
            computed.append(result[0])
            yield result

    monkeypatch.setattr(seeds, "train_seeds", spy)
    return computed
