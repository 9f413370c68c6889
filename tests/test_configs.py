"""Every experiment × optimizer × size composes to the paper's settings, and every config file runs."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from configs import DATA, app, config, make_run

from fimo.app.config import run_of, training_of
from fimo.app.errors import CONFIG_DIR
from fimo.rows import Rows

EXPERIMENTS = sorted(path.stem for path in (CONFIG_DIR / "experiment").glob("*.yaml"))
METHODS = sorted({path.stem for path in (CONFIG_DIR / "method").glob("*.yaml")} - {"paper", "file"})  # of one method
DOWNLOADED = {"concrete", "energy", "fico", "folktables", "sst2", "cifar10"}
# What a small run's time goes into, beside: a part of CIFAR-10 that is there.
FEW = ("data.left_out_first=4", "data.test_count=4", "facts.hessian_depth.smoke=5", "facts.train_rows.smoke=24")
OTHERWISE = {"cifar10": ["data=cifar10_subset", "facts.train_rows.smoke=20"]}
LABELS = {
    "unrolled_gn": "Unrolled-GN",
    "matched_gn": "Matched-GN",
    "unrolled_gn_moved": "Unrolled-GN (moved)",
    "grad_dot": "Grad-Dot",
    "grad_cos": "Grad-Cos",
    "datainf": "DataInf",
    "cg": "CG",
    "lissa": "LiSSA",
    "lissa_h": "LiSSA-H",
    "ekfac": "EK-FAC",
    "trak": "TRAK",
    "exact_gn": "Exact-GN",
    "random": "Random",
    "embedding": "Embedding",
    "bm25": "BM25",
}
TEXTS = {"reviews", "sst2"}  # which BM25 is for
# The paper's settings: final lr, batch size and epochs, further lr by optimiser, epochs and seeds of further training.
PAPER = {
    "concrete": (0.3, 128, 1000, {"sgd": 3e-2, "adam": 1e-4}, 500, 100),
    "energy": (0.3, 128, 1000, {"sgd": 3e-2, "adam": 1e-4}, 500, 100),
}


@pytest.mark.parametrize("experiment", PAPER)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("size", ["paper", "evening", "laptop", "smoke"])
def test_the_papers_settings(experiment, optimizer, size):
    lr, batch_size, final_epochs, rates, epochs, seeds = PAPER[experiment]
    cfg = config(f"experiment={experiment}", f"optimizer={optimizer}", f"size={size}")
    assert (cfg.final.optimizer, cfg.final.lr, cfg.final.batch_size, cfg.seed) == ("sgd", lr, batch_size, 0)
    assert cfg.optimizer.lr == rates[optimizer] and cfg.optimizer.weight_decay == 0
    assert cfg.data.batch_size == 128 and cfg.data.test_size == 0.1 and cfg.data.random_state == 0
    assert list(cfg.model.hidden) == [128, 128] and len(cfg.data.left_out) == 100 and cfg.name == experiment
    assert cfg.final.epochs == (2 if size == "smoke" else final_epochs)
    assert cfg.further.epochs == {"paper": epochs, "evening": epochs, "laptop": 100, "smoke": 2}[size]
    assert cfg.further.seeds == {"paper": seeds, "evening": 3, "laptop": 3, "smoke": 2}[size]
    assert cfg.further.leave_out == ("drop" if size == "paper" else "every_step")
    assert cfg.data.train_rows == (500 if size == "smoke" else None)


def test_the_papers_settings_of_sst2():
    cfg = config("experiment=sst2", "size=paper")
    final, further = cfg.final, cfg.further
    assert cfg.model.name == "google-bert/bert-base-uncased" and cfg.data.tokenizer == cfg.model.name
    assert (final.optimizer, final.lr, final.weight_decay, final.batch_size) == ("adamw", 1e-5, 0, 64)
    assert (final.epochs, final.keep, final.clip, cfg.seed) == (30, "best", 1, 0)
    assert (cfg.optimizer._target_, cfg.optimizer.lr, cfg.optimizer.weight_decay) == ("torch.optim.AdamW", 1e-6, 0)
    assert (further.epochs, further.seeds, further.leave_out, further.clip) == (1, 100, "every_step", 1)
    assert (cfg.data.batch_size, cfg.data.test_count, cfg.data.max_length) == (64, 100, 128)
    assert len(cfg.data.left_out) == 50 and cfg.data.left_out_first is None and cfg.data.train_rows is None
    nothing = torch.zeros(67349, 0)
    rows = SimpleNamespace(train=Rows(nothing, torch.zeros(67349), torch.arange(67349)))
    assert training_of(cfg).evaluation_steps(rows) == [*range(6, 1052, 5), 1053]


@pytest.mark.parametrize("size, encoder", [("laptop", "sentence-transformers/all-MiniLM-L6-v2"), ("smoke", None)])
def test_smaller_sizes_of_sst2_keep_the_rates(size, encoder):
    cfg = config("experiment=sst2", f"size={size}")
    assert cfg.model.name == encoder and (cfg.final.lr, cfg.optimizer.lr) == (1e-5, 1e-6)
    assert cfg.data.train_rows <= 2000 and cfg.final.epochs == 2 and cfg.further.seeds == 2


@pytest.mark.parametrize("experiment", ["sst2", "reviews"])
def test_the_command_line_has_the_last_word_on_what_an_experiment_chooses(experiment):
    chosen = ("optimizer=sgd", "further.evaluate_every=[2,3]", "further.clip=null", "model.name=mine")
    cfg = config(f"experiment={experiment}", *chosen)
    assert cfg.optimizer._target_ == "torch.optim.SGD" and cfg.further.clip is None
    assert list(cfg.further.evaluate_every) == [2, 3] and cfg.data.tokenizer == "mine"


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_is_a_short_difference_that_begins_with_its_command(experiment):
    lines = (CONFIG_DIR / "experiment" / f"{experiment}.yaml").read_text().splitlines()
    assert f"python experiments/run.py experiment={experiment}" in lines[1] and len(lines) < 30
    keys = [line.partition(":")[0] for line in lines if line[:1].isalpha()]
    assert not {"optimizer", "further", "method"} & set(keys)
    # Rates depend on the optimiser, amounts on the size; neither on both.
    for choice in (("optimizer=sgd", "size=paper"), ("optimizer=adam", "size=smoke"), ("optimizer=adamw",)):
        cfg = config(f"experiment={experiment}", *choice)
        assert cfg.optimizer.lr > 0 and cfg.further.epochs >= 1 and cfg.final.lr > 0
        assert run_of(cfg).name == experiment  # nothing of it is refused


@pytest.mark.parametrize(
    "chosen, expected",
    [
        ("method=grad_dot", ["grad_dot"]),
        ("method=[grad_cos,grad_dot]", ["grad_cos", "grad_dot"]),
        ("method=paper", ["grad_dot", "grad_cos", "datainf", "cg", "lissa", "lissa_h", "ekfac", "trak"]),
        ("method=exact_gn", ["exact_gn"]),
    ],
)
def test_one_method_several_or_the_papers(chosen, expected):
    methods = make_run(chosen).methods
    assert {name: method.label for name, method in methods.items()} == {name: LABELS[name] for name in expected}


@pytest.mark.parametrize(
    "overrides, label",
    [
        (["method=cg", "method.cg.damping.scale=10"], "CG (λ = 10 λ0)"),
        (["method=cg", "method.cg.damping.scale=100"], "CG"),
        (["method=cg", "experiment=energy", "times.damping=0.1"], "CG (λ = 100 λ0)"),
        (["method=ekfac", "times.damping=3"], "EK-FAC (λ = 0.3 mean eigenvalue)"),
        (["method=cg", "experiment=energy", "method.cg.damping.scale=100"], "CG (λ = 100 λ0)"),
        (["method=cg", "method.cg.damping.scale=0.5", "method.cg.damping.unit=absolute"], "CG (λ = 0.5)"),
        (["method=paper", "method.lissa_h.depth=100", "method.lissa_h.scale=20"], "LiSSA-H (depth = 100, scale = 20)"),
        (["method=trak", "method.trak.projections=1"], "TRAK (projections = 1)"),
        (["method=cg", "method.cg.dual_bytes=0"], "CG"),
        (["method=lissa", "size=smoke"], "LiSSA"),
        (["method=cg", "method.cg.label=Mine", "method.cg.damping.scale=10"], "Mine"),
        (["method=[random,bm25]", "method.random.seed=3"], "Random (seed = 3)"),
        (["method=bm25", "method.bm25.k1=2", "method.bm25.b=0.5"], "BM25 (k1 = 2, b = 0.5)"),
        (["method=embedding", "method.embedding.label=Features"], "Features"),
    ],
)
def test_a_variant_says_what_differs(overrides, label):
    assert label in [method.label for method in make_run(*overrides).methods.values()]


def test_the_papers_settings_of_the_methods():
    for experiment, scale in {"energy": 1000, "concrete": 1000, "diabetes": 100, "breast_cancer": 100}.items():
        method = config(f"experiment={experiment}", "method=[paper,exact_gn]").method
        for name in ("cg", "lissa", "lissa_h", "exact_gn"):
            assert (method[name].damping.scale, method[name].damping.unit) == (scale, "lambda_0")
        assert method.cg.tolerance == 1e-5
        for name, curvature in {"lissa": "exact", "lissa_h": "hessian"}.items():
            node = method[name]
            assert (node.depth, node.repeat, node.curvature) == (5000, 1, curvature)
            assert list(node.scales)[:4] == [10, 20, 50, 100]
        for name in ("datainf", "ekfac"):
            assert (method[name].damping.scale, method[name].damping.unit) == (0.1, "mean_eigenvalue")
        assert method.trak.projection == "auto" and method.trak.projections == 5
    assert config("experiment=energy", "method=lissa").method.lissa.batch_size == 128


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("configs")


@pytest.fixture(scope="module")
def ran(folder):
    """Runs an experiment at smoke size once, with all methods and every stage in this process: its scores.csv."""
    tables = {}

    def run(experiment):
        if experiment in DOWNLOADED and DATA is None:
            pytest.skip("FIMO_DATA_DIR is not set")
        if experiment not in tables:
            methods = f"method=[{','.join(methods_for(experiment))}]"
            assert app(folder, f"experiment={experiment}", methods, *FEW, *OTHERWISE.get(experiment, ())) == 0
            tables[experiment] = pd.read_csv(folder / "results" / experiment / "scores.csv")
        return tables[experiment]

    return run


def methods_for(experiment):
    return [name for name in METHODS if name != "bm25" or experiment in TEXTS]


@pytest.mark.parametrize("experiment, method", [(one, name) for one in EXPERIMENTS for name in methods_for(one)])
def test_every_experiment_and_method_runs(experiment, method, ran):
    scores = ran(experiment).query("method == @LABELS[@method]")["score"]
    assert len(scores) and np.isfinite(scores).all() and scores.std() > 0


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_what_a_run_leaves(experiment, ran, folder):
    ran(experiment)
    results = folder / "results" / experiment
    assert (results / "curves.png").stat().st_size > 0
    curves = pd.read_csv(results / "curves.csv")
    assert curves["method"].nunique() == len(methods_for(experiment)) and curves["cosine_mean"].notna().all()
    pictures = experiment in {"cifar10", "digits"}
    assert (results / "influential.png").is_file() == pictures
    text = (results / "influential.md").read_text()
    assert ("(influential.png)" if pictures else "\n- **") in text and "a*, epoch" in text


# One scheme each: all fifteen pairs are held against a plain loop in tests/further_training/test_gold_standard.py.
SCHEMES = {"adam": "drop", "adamw": "mask", "sgd": "every_step"}


def test_the_optimizers_are_those_of_the_configs():
    assert sorted(path.stem for path in (CONFIG_DIR / "optimizer").glob("*.yaml")) == sorted(SCHEMES)


@pytest.mark.parametrize("optimizer, scheme", SCHEMES.items())
def test_every_optimizer_and_leave_out_scheme_runs(optimizer, scheme, folder):
    name = f"{optimizer}-{scheme}"
    settings = ("further.epochs=1", "further.clip=1", "further.dtype=float64", f"name={name}", "data.left_out=6", *FEW)
    assert app(folder, f"optimizer={optimizer}", f"further.leave_out={scheme}", *settings) == 0
    assert Path(folder, "results", name, "run.json").is_file()
