"""Files that were damaged after they were written, in results and beside what is dear: a second call notices."""

import json

import pytest
from configs import QUICK, app

from fimo.errors import UserError
from fimo.pipeline.artifacts import read_run

GROUPS = (*QUICK[:2], "data.left_out=[[1,2],[3,4,5],[6]]")


def halved(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("name", ["curves.csv", "table.md", "report.html"])
def test_a_damaged_file_of_results_is_written_again(name, finished, tmp_path, seeds_computed, caplog):
    caplog.set_level("INFO", "fimo")
    path = tmp_path / "results/diabetes" / name
    halved(path)
    assert app(tmp_path, *QUICK) == 0
    assert f"{name} is not as it was written in " in caplog.text and seeds_computed == []
    caplog.clear()
    assert app(tmp_path, *QUICK) == 0
    assert "comparison: found in " in caplog.text and "is not as it was written" not in caplog.text


def test_results_of_a_version_without_digests_are_found(finished, tmp_path, caplog):
    caplog.set_level("INFO", "fimo")
    path = tmp_path / "results/diabetes/run.json"
    record = read_run(path.parent)
    del record["sha256"]
    path.write_text(json.dumps(record))
    assert app(tmp_path, *QUICK) == 0
    assert "comparison: found in " in caplog.text


@pytest.mark.parametrize("damage", ["emptied", "removed", "of others"])
def test_the_list_of_runs_is_written_again(damage, finished, tmp_path):
    index = tmp_path / "results/index.md"
    written = index.read_text()
    index.write_text("# Runs\n" if damage == "of others" else "")
    if damage == "removed":
        index.unlink()
    assert app(tmp_path, *QUICK) == 0
    assert index.read_text() == written


@pytest.mark.parametrize("damage", ["halved", "removed"])
def test_groups(damage, tmp_path, seeds_computed):
    assert app(tmp_path, *GROUPS) == 0
    paths = [*tmp_path.glob("outputs/diabetes/*/*/groups.json"), tmp_path / "results/diabetes/groups.json"]
    written = [path.read_bytes() for path in paths]
    assert len(paths) == 4 and [group["rows"] for group in json.loads(written[0])] == [[1, 2], [3, 4, 5], [6]]
    for path in paths:
        if damage == "halved":
            halved(path)
        else:
            path.unlink()
    computed = list(seeds_computed)
    assert app(tmp_path, *GROUPS) == 0
    assert [path.read_bytes() for path in paths] == written and seeds_computed == computed


def test_metrics_of_the_final_model(finished, tmp_path, seeds_computed):
    (path,) = tmp_path.glob("outputs/diabetes/final/*/metrics.json")
    written = json.loads(path.read_text())
    halved(path)
    with pytest.raises(
        UserError, match=r"metrics.json is not the file that was written there .*: remove it, and it is"
    ):
        app(tmp_path, *QUICK)
    path.unlink()  # what the sentence says
    assert app(tmp_path, *QUICK) == 0 and seeds_computed == []
    again = json.loads(path.read_text())
    assert again["test"] == pytest.approx(written["test"]) and again["train"] == pytest.approx(written["train"])
