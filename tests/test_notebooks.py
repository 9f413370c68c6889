"""Every notebook runs from top to bottom in an empty folder, and is fit to be read as it is stored."""

import json
import os
import re
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest
from hydra.core.global_hydra import GlobalHydra
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
# A kernel of its own imports for seconds: quick is what the first one computes, in this process.
QUICK = "quickstart"


def run(notebook, folder):
    """Execute it in a kernel of its own, at smoke size where it looks at FIMO_SIZE."""
    client = NotebookClient(
        nbformat.read(notebook, as_version=4),
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    )
    return client.execute(env=os.environ | {"OMP_NUM_THREADS": "1", "FIMO_SIZE": "smoke"})


def check_results(notebook, folder):
    (table, *_) = [*folder.rglob("results/**/curves.csv"), *folder.rglob("results/**/ranking.csv")]
    assert len(table.read_text().splitlines()) > 10
    size = json.loads(table.with_name("run.json").read_text())["config"]["facts"]["size"]
    assert size == ("smoke" if "FIMO_SIZE" in notebook.read_text() else "laptop")


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_from_an_empty_folder(notebook, tmp_path):
    run(notebook, tmp_path)
    check_results(notebook, tmp_path)


@pytest.mark.pictures
@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive")
def test_its_cells_run_from_an_empty_folder(tmp_path, monkeypatch):
    (notebook,) = [path for path in NOTEBOOKS if path.stem == QUICK]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FIMO_SIZE", "smoke")
    monkeypatch.setattr(GlobalHydra.instance(), "hydra", None)
    plt.switch_backend("agg")
    names = {"__name__": "__main__"}
    for cell in nbformat.read(notebook, as_version=4).cells:
        if cell.cell_type == "code":
            exec(cell.source, names)
    plt.close("all")
    check_results(notebook, tmp_path)


def test_a_cell_that_raises_is_noticed(tmp_path):
    cells = [nbformat.v4.new_code_cell(source) for source in ("kept = 1", "assert kept == 2")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "bad.ipynb")
    with pytest.raises(CellExecutionError, match="AssertionError"):
        run(tmp_path / "bad.ipynb", tmp_path)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_can_be_read_as_it_is_stored(notebook):
    text = notebook.read_text()
    cells = json.loads(text)["cells"]
    assert len(text) < 300_000
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))  # run once, in order
    for before, cell in zip(cells, cells[1:], strict=False):
        assert cell["cell_type"] == "markdown" or before["cell_type"] == "markdown"  # each is introduced
    outputs = [output for cell in code for output in cell["outputs"]]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    told = [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"]
    assert not told, told
    assert not re.search(r"/(home|Users|root|tmp|work)/", json.dumps([*outputs, *cells]))  # no machine's paths


@pytest.mark.parametrize("name", ["quickstart", "paper_figures"])
def test_it_keeps_no_output_that_another_run_would_not_give(name):
    """No seconds, no addresses (which change with the code), nothing of the size that the tests run it in."""
    (notebook,) = [notebook for notebook in NOTEBOOKS if notebook.stem == name]
    outputs = [cell["outputs"] for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"]
    pictures = re.compile(r'"image/png": "[^"]*"')
    text = pictures.sub("", json.dumps(outputs))
    assert not re.search(r"\d s\)|seconds|-[0-9a-f]{8}\b| at 0x", text)
    assert re.search(r"\b100(\.0)? ", text)  # epochs, of size=laptop
