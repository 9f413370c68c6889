"""The paper's figures and tables at smoke size: every target makes its files, whatever is missing."""

import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import yaml
from configs import composed, needs_data, without_hydra

from fimo.app.errors import CONFIG_DIR
from fimo.app.paper import make_items
from fimo.comparison.claims import ADAM, CLAIMS
from fimo.comparison.own_claims import OWN_CLAIMS
from fimo.errors import UserError
from fimo.paper import making
from fimo.paper.captions import title_with_gradient

ROOT = Path(__file__).parents[2]
ITEMS = yaml.safe_load((CONFIG_DIR / "paper.yaml").read_text())
FEW = ("size=smoke", "method=[grad_dot,grad_cos,cg]", "data.left_out=6", "data.test_count=5")
FEW += ("facts.train_rows.smoke=100",)


def run(folder, *arguments):
    make_items([*arguments, *FEW, f"paths.output_dir={folder}/outputs", f"paths.results_dir={folder}/results"])
    return folder / "results/paper"


@pytest.fixture(autouse=True)
def composed_once(monkeypatch):
    """Panels ask for the same few choices of groups again and again."""
    monkeypatch.setattr("fimo.app.config.compose_config", lambda overrides: without_hydra(composed(overrides)))


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Runs are shared by all targets."""
    return tmp_path_factory.mktemp("paper")


# One for each function that shows something, and the tables; the notebook draws all of the paper's.
SHOWN = {item["shows"]: name for name, item in reversed(ITEMS.items())}
TARGETS = [name for name in ITEMS if name in SHOWN.values() or not name.startswith("figure")]
# With two panels that are there; the others with one.
SEVERAL = ("figure-2", "figure-3", "table-2", "table-methods")


@pytest.mark.parametrize("target", TARGETS)
def test_each_target_makes_its_files(shared, tmp_path, target, capsys):
    # fico's file is not there: its place says so, and the target succeeds.
    made = ["diabetes", "breast_cancer"] if target in SEVERAL else ["diabetes"]
    made = ["breast_cancer"] if target == "table-mislabelled" else made  # labels, not numbers
    folder = run(shared, target, f"datasets={','.join(made)},fico", f"paths.data_dir={tmp_path}")
    told = capsys.readouterr().out
    endings = ("png", "pdf") if target.startswith("figure") else ("md", "csv", "tex")
    for ending in endings:
        assert (folder / f"{target}-smoke.{ending}").stat().st_size > 0
    assert "fico stays empty" in told
    if not target.startswith("figure"):
        assert "fico: " in (folder / f"{target}-smoke.md").read_text()
        data = set(pd.read_csv(folder / f"{target}-smoke.csv")["data set"])
        assert data == (set() if target == "table-published" else set(made))


def test_the_frontier_has_every_estimate_with_its_cost(shared):
    folder = run(shared, "figure-frontier", "datasets=diabetes", "method=[grad_dot,unrolled_gn]")
    table = pd.read_csv(folder / "figure-frontier-smoke.csv").set_index("method")
    estimates = {"Grad-Dot", "Unrolled-GN", "Unrolled-GN (path)", "further training, 1 seed", "tangents, 1 seed"}
    assert estimates <= set(table.index)
    assert table["processor_seconds"].gt(0).all() and table["share_mean"].notna().all()
    assert table.loc["tangents, 1 seed", "share_mean"] > 0.8  # what they are a derivative of


def test_the_frontier_says_what_it_lacks(shared):
    folder = run(shared, "figure-frontier", "datasets=diabetes", "optimizer=adam")
    text = (folder / "figure-frontier-smoke.md").read_text()
    assert "diabetes, tangents: " in text


@pytest.mark.parametrize("target", [*SHOWN.values(), "figure-annealed"])
def test_a_target_succeeds_where_no_data_can_be_had(target, tmp_path):
    assert any(run(tmp_path, target, "datasets=fico", f"paths.data_dir={tmp_path}").glob(f"{target}-smoke.*"))


def test_what_the_user_can_put_right_is_an_error_and_no_empty_panel(tmp_path):
    with pytest.raises(UserError, match="further.seeds must be a whole number"):
        run(tmp_path, "figure-2", "datasets=diabetes", "further.seeds=0")


def test_a_figures_own_choice_has_the_last_word(shared):
    folder = run(shared, "figure-4", "datasets=diabetes", "optimizer=sgd")
    assert (folder / "figure-4-smoke.png").stat().st_size > 0
    assert "diabetes-adam-smoke" in {path.name for path in (shared / "results/paper/runs").iterdir()}


def test_runs_are_found_again_and_shared_by_targets(shared, capsys, seeds_computed):
    run(shared, "figure-2", "figure-6", "datasets=diabetes")
    seeds_computed.clear()  # none where another test of this folder has been first
    capsys.readouterr()
    run(shared, "figure-5", "datasets=diabetes")
    assert "comparison: found" in capsys.readouterr().out and seeds_computed == []


def test_a_size_says_which_panels_there_are(shared, capsys):
    own = "facts.panels=[diabetes,breast_cancer]"
    table = pd.read_csv(run(shared, "table-methods", own) / "table-methods-smoke.csv")
    assert set(table["data set"]) == {"diabetes", "breast_cancer"}
    run(shared, "table-published", own)
    assert "table-published has no panel among diabetes, breast_cancer, those of this size." in capsys.readouterr().out


def test_a_panel_has_options_of_its_own(shared):
    folder = run(shared, "table-methods", "datasets=diabetes:further.epochs=1,breast_cancer")
    table = pd.read_csv(folder / "table-methods-smoke.csv").groupby("data set")["last epoch"].max()
    assert table.to_dict() == {"diabetes": 1, "breast_cancer": 2}


def test_one_data_set_twice_with_options_is_two_panels(shared):
    folder = run(shared, "table-methods", "datasets=diabetes,diabetes:optimizer=adam")
    assert set(pd.read_csv(folder / "table-methods-smoke.csv")["data set"]) == {"diabetes", "diabetes, optimizer=adam"}
    told = (folder / "table-methods-smoke.md").read_text()
    assert (
        "Measured: diabetes: SGD, 2 seeds (size=smoke); diabetes, optimizer=adam: Adam, 2 seeds (size=smoke)." in told
    )


def test_our_claims_are_those_of_the_runs_that_have_the_methods(shared):
    folder = run(shared, "claims", "datasets=diabetes")
    rows = pd.read_csv(folder / "claims-smoke.csv")
    assert rows["claim"].tolist() == [*(claim.name for claim in (*CLAIMS, ADAM)), *OWN_CLAIMS]
    assert (rows["verdict"].iloc[-2:] != "not measured").all()
    # The panel's own run has none of the methods.
    alone = pd.read_csv(shared / "results/paper/runs/diabetes-sgd-smoke/claims.csv")
    assert alone["note"].tolist()[-2:] == ["no Unrolled-GN", "no Unrolled-GN (moved)"]


def test_each_variant_is_a_panel(tmp_path, monkeypatch):
    class Panels:
        folder, size = tmp_path, "laptop"

        def get(self, *asked, use, methods=None):
            return " ".join(asked)  # as if there were none, for this reason

    seen, item = {}, ITEMS["figure-annealed"]
    monkeypatch.setitem(making.ITEMS, "curves", lambda panels, **more: seen.update(panels, more=more) or {"png": b""})
    (methods,) = item["overrides"]
    making.make("figure-annealed", item, Panels(), item["panels"])
    assert seen.pop("more") == {"gradients": True} and seen == {
        "energy, final model as usual": f"energy {methods}",
        "energy, final model annealed": f"energy {methods} final.schedule=cosine",
    }
    seen.clear()
    making.make("figure-annealed", item, Panels(), ["diabetes:seed=1"])
    assert seen["diabetes, final model annealed"] == f"diabetes seed=1 {methods} final.schedule=cosine"


@pytest.mark.parametrize("facts, told", [({"mean_gradient_norm": 0.04512}, "‖∇R‖ = 0.045; "), ({}, "")])
def test_a_title_says_how_stationary_the_final_model_is(facts, told):
    record = {"methods": {"Grad-Dot": {}, "moved": facts}}
    run = SimpleNamespace(data_name="energy")
    panel = SimpleNamespace(run=run, measured="SGD, 3 seeds", record=record)
    found = title_with_gradient("energy, annealed", panel).replace("\N{NO-BREAK SPACE}", " ")
    assert found == f"energy, annealed: {told}SGD, 3 seeds"


def test_what_a_data_set_cannot_have_is_said_in_its_place(shared, capsys):
    folder = run(shared, "figure-11", "datasets=diabetes,digits")
    assert (folder / "figure-11-smoke.png").stat().st_size > 0
    assert (
        "digits stays empty: further.gold=retraining repeats the final model's own training" in capsys.readouterr().out
    )


def test_a_table_without_rows_is_its_notes(tmp_path):
    folder = run(tmp_path, "table-cost", "datasets=fico", f"paths.data_dir={tmp_path}")
    assert (folder / "table-cost-smoke.md").read_text().startswith("Of computing a method's scores")
    assert all(line.startswith("%") for line in (folder / "table-cost-smoke.tex").read_text().splitlines())


@needs_data
def test_published_numbers_stand_beside_ours(tmp_path):
    folder = run(tmp_path, "table-published", "datasets=folktables", "data.left_out=6")
    table = pd.read_csv(folder / "table-published-smoke.csv").query("method == 'Grad-Dot' and measure == 'cosine'")
    assert table["paper"].tolist() == [0.949302, 0.911669] and table["amount"].tolist() == [1, 2]  # two epochs of smoke
    told = (folder / "table-published-smoke.md").read_text()
    assert "folktables: other than in the paper, so that no difference is given: " in told
    assert "training rows 100 (theirs 30085)" in told and table["difference"].isna().all()


def test_published_curves_are_as_long_as_their_amounts():
    for path in (CONFIG_DIR / "published").glob("*.yaml"):
        theirs = yaml.safe_load(path.read_text())
        for curves in (theirs["cosine"], theirs["spearman"]):
            assert all(len(values) == len(theirs["amounts"]) for values in curves.values())
        assert all(len(values) == len(theirs["seeds"]["counts"]) for values in theirs["seeds"]["cosine"].values())
        assert all(isinstance(sentence, str) for sentence in theirs["departures"])


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["figure-2", "figure-1"], "figure-1 is none of all"),
        (["figure-2", "datasets=enrgy"], "enrgy is none of breast_cancer"),
        (["size=smoke"], "name a figure or table: all, figure-2"),
        (["figure-2", "datasets="], "data sets are named by datasets=…"),
        (["figure-2", "experiment=energy"], "data sets are named by datasets=…"),
    ],
)
def test_what_is_unknown_is_said(arguments, words, capsys):
    with pytest.raises(SystemExit, match="2"):
        make_items(arguments)
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("given", ["DATASET=diabetes", "size=smoke"])
def test_make_takes_no_misspelt_variable(given):
    asked = subprocess.run(["make", "-C", ROOT, "known-variables", given], capture_output=True, text=True)
    assert asked.returncode == 2 and f"error: {given.partition('=')[0]} is no variable of figures" in asked.stdout


def test_make_has_a_target_for_each():
    makefile = (ROOT / "Makefile").read_text()
    figures = {f"figure-{n}" for n in re.search(r"^FIGURES := .*,(.*)\)", makefile, re.M)[1].split()}
    tables = set(re.search(r"^TABLES := (.*)", makefile, re.M)[1].split())
    assert figures | tables == {name for name in ITEMS if name != "claims"}
