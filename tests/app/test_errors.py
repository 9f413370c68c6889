"""Bad input, one clear sentence each: by the real commands where Hydra is in between."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from commands_here import command_here
from configs import app, make_run
from hydra.errors import ConfigCompositionException, HydraException

from fimo.app.errors import sentence
from fimo.app.main import options
from fimo.errors import UserError
from fimo.models.mlp import MLP

RUN = Path(__file__).parents[2] / "experiments" / "run.py"


def command(tmp_path, *overrides, app=RUN, **environment):
    paths = (f"paths.output_dir={tmp_path}/outputs", f"paths.results_dir={tmp_path}/results")
    return subprocess.run(
        [sys.executable, str(app), *overrides, "size=smoke", *paths],
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )


@pytest.mark.parametrize(
    "override, text",
    [
        pytest.param(
            "experiment=nope",
            "experiment=nope is not a choice: expected one of breast_cancer, cifar10, concrete, ",
            marks=pytest.mark.slow,
        ),
        (
            "method=[grad_dot,nope]",
            "method=nope is not a choice: expected one of bm25, cg, datainf, ekfac, e",
        ),
        (
            "further.epoch=3",
            "further.epoch is not a config key or group: `--cfg job` prints all keys, `--help` all groups. Did you "
            "mean further.epochs?",
        ),
        pytest.param(
            "+sweep=damping", "+sweep=… needs -m in front of it: a single run sweeps nothing.", marks=pytest.mark.slow
        ),
        pytest.param(
            "hydra/launcher=joblb",
            "hydra/launcher=joblb is not a choice: expected one of basic, joblib, ray, slurm",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "further.seeds=1,2",
            "further.seeds=1,2 gives several values: with -m there is one job for each (run.py and",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_real_command_says_it_in_one_line(tmp_path, override, text):
    done = command(tmp_path, *override.split(" "), PYTHONPATH=str(RUN.parents[1] / "tests"))
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(f"error: {text}")


def test_options_are_no_flags(capsys):
    with pytest.raises(SystemExit, match="2"):
        options(["--experiment=energy"])
    told = "error: Options are written without dashes: experiment=energy, found --experiment=energy.\n"
    assert capsys.readouterr().err == told


def test_flags_may_come_last():
    assert options(["experiment=energy", "-m", "optimizer=sgd,adam"]) == [
        "-m",
        "experiment=energy",
        "optimizer=sgd,adam",
    ]
    assert options(["--cfg=job", "--config-name=other"]) == ["--cfg=job", "--config-name=other"]


def test_tracebacks_when_they_are_wanted(tmp_path):
    done = command(tmp_path, "further.epochs=0", HYDRA_FULL_ERROR="1")
    assert done.returncode == 1 and "Traceback" in done.stderr and "UserError: further.epochs" in done.stderr


def test_a_sweep_goes_on_past_a_bad_job_and_names_its_results(tmp_path, capsys):
    few = ("data.left_out=3", "data.test_count=3", "method=grad_dot", "size=smoke")
    done = command_here(capsys, tmp_path, "-m", "name=mine", "further.epochs=0,1", *few)
    assert done.returncode == 2 and "error: further.epochs must be a whole number of at least 1" in done.stderr
    assert [path.parent.name for path in (tmp_path / "results").glob("*/run.json")] == ["mine-further.epochs=1"]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "override, text",
    [
        ("data.left_out=[0,9999]", "data.left_out must name training rows from 0 to 352, found 9999"),
        (
            "method=trak method.trak.projection=400",
            "The kernel of TRAK is singular with projection size 400, n = 353 training rows and ridge 0: choose a sma",
        ),
        (
            "method=exact_gn method.exact_gn.dual_bytes=1000",
            "Exact-GN needs 0.000928 GiB for the dual of 353 training rows, more than dual_bytes allows",
        ),
        (
            "model._target_=problems.NoLayers ~model.hidden method=ekfac",
            r"EK-FAC needs weights of linear or two-dimensional convolution layers, and θ of the network NoLayers",
        ),
        (
            "method=unrolled_gn optimizer.lr=10",
            r"Unrolled-GN needs further training that is stable, .* η = 10 and .* \(below 2 without momentum\): choose",
        ),
    ],
)
def test_what_shows_only_when_scores_are_computed(override, text, tmp_path):
    with pytest.raises(UserError, match=text):
        app(tmp_path, *override.split(" "))


@pytest.mark.parametrize(
    "override, text",
    [
        ("method=cg method.cg.damping.scale=-1", "damping.scale must be a number above 0, found -1"),
        ("method=lissa method.lissa.depth=0", "depth of LiSSA must be a whole number of at least 1, found 0"),
        ("method=trak method.trak.projection=0", "projection of TRAK must be a whole number of at least"),
        ("method=cg method.cg.damping=10", "damping of CG must be a Damping with scale and unit, found 10."),
        (
            "method=unrolled_gn optimizer=adam optimizer.weight_decay=0.1",
            "AdamW, or Adam without weight decay, fo",
        ),
        (
            "method=cg method.cg.moved=both optimizer=adam optimizer._target_=torch.optim.Adagrad",
            "SGD, Adam or AdamW, found Adagrad.",
        ),
        ("method=unrolled_gn method.unrolled_gn.path=1", "path must be true or false, and true only for Unrolled"),
        (
            "method=unrolled_gn method.unrolled_gn.path=true method.unrolled_gn.moved=train",
            "found path=True and moved=train",
        ),
        ("method=matched_gn +method.matched_gn.path=true", "only for Unrolled-GN with moved=none"),
        ("method=unrolled_gn method.unrolled_gn.segments=4", "segments must be 1 without path=true, found 4: segments"),
        (
            "method=unrolled_gn method.unrolled_gn.path=true method.unrolled_gn.segments=0",
            "method.unrolled_gn.segments must be a whole number of at least 1, found 0",
        ),
        (
            "method=unrolled_gn method.unrolled_gn.path=true further.batch_norm=updated further.leave_out=drop",
            "further.batch_norm not updated, found leave_one_out and updated",
        ),
        ("method=unrolled_gn optimizer=adam +optimizer.amsgrad=true", "needs optimizer.amsgrad=false, found true"),
        (
            "method=matched_gn method.matched_gn.moved=test",
            "moved must be one of none, train, both, found 'tes",
        ),
        ("further.processes=0", "further.processes must be a whole number of at least 1, or auto, found 0"),
        ("further.epochs=0", "further.epochs must be a whole number of at least 1, found 0"),
        ("further.epochs=-1", "found -1"),
        ("further.epochs=1.5", "found 1.5"),
        ("further.epochs=many", "found 'many'"),
        ("further.seeds=0", "further.seeds must be a whole number of at least 1, found 0"),
        ("further.seeds=-2", "found -2"),
        ("further.first_seed=-1", "further.first_seed must be a whole number of at least 0"),
        ("further.jobs=0", "further.jobs must be a whole number of at least 1, found 0"),
        ("further.job=2 further.jobs=2", "further.job must be below further.jobs=2, found 2"),
        ("times.lr=0", "times.lr must be a number above 0, found 0"),
        ("times.damping=twice", "times.damping must be a number above 0, found 'twice'"),
        ("further.runs_at_once=0", "further.runs_at_once must be a whole number"),
        ("+further.leaveout=drop", "further has no setting 'leaveout'; it has autocast, batch_norm, "),
        ("+final.learning_rate=1", "final has no setting 'learning_rate'; it has augment, "),
        ("further.leave_out=skip", "further.leave_out must be one of drop, mask, every_step, found 'skip'"),
        ("further.gold=tangents", "further.gold must be one of leave_one_out, retraining, tangent, ta"),
        ("further.dtype=half", "further.dtype must be one of float32, float64, found 'half'"),
        ("further.evaluate_every=0", "evaluate_every must be a whole number above 0, a list of them, or {first: "),
        ("further.evaluate_every=[1,x]", "evaluate_every must be a whole number above 0, a list of them, or {first: "),
        ("further.evaluate_every=often", "evaluate_every must be a whole number above 0, a list of them, or {first: "),
        ("further.clip=0", "further.clip must be a number above 0, or null, found 0"),
        ("optimizer.lr=0", "optimizer.lr must be a number above 0, found 0"),
        ("optimizer.lr=-0.1", "found -0.1"),
        ("optimizer.lr=inf", "found inf"),
        ("optimizer.lr=nan", "found nan"),
        ("optimizer.momentum=-1", "optimizer.momentum must be a number of at least 0, found -1"),
        ("final.lr=0", "final.lr must be a number above 0, found 0"),
        ("final.epochs=-1", "final.epochs must be a whole number of at least 0, found -1"),
        ("final.optimizer=lion", "final.optimizer must be one of sgd, adam, adamw, found 'lion'"),
        ("data.batch_size=0", "data.batch_size must be a whole number of at least 1, found 0"),
        ("threads=0", "threads must be a whole number of at least 1, or null, found 0"),
        ("device=tpu", "device must be one of auto, cpu, cuda, found 'tpu'"),
        ("name=null", "name must be the name of a folder, .* found None"),
        ("name=a/b", "found 'a/b'"),
        ("name=../x", "found '../x'"),
        ("data.test_size=2", "data.test_size must be a share of the rows between 0 and 1, found 2"),
        ("data.random_state=-1", "data.random_state must be a whole number of at least 0, found -1"),
        ("further.epochs=auto", "further.epochs must be a whole number of at least 1, found 'auto'"),
        ("further.seeds=null", "further.seeds must be a whole number of at least 1, found None"),
        ("seed=null", "seed must be a whole number of at least 0, found None"),
        ("threads=auto", "threads must be a whole number of at least 1, or null, found 'auto'"),
        ("final.lr=null", "final.lr must be a number above 0, found None"),
        (
            "+optimizer.nesterov=true",
            "The optimizer SGD does not take these settings, .*nesterov=True: Nesterov momentum requires a momentum",
        ),
        (
            "+optimizer.speed=1",
            "The optimizer SGD does not take these settings, .* unexpected keyword argument 'speed'",
        ),
        ("method=[]", "method must name at least one method"),
        ("method.grad_cos.label=Grad-Dot", "method labels must differ from each other, found Grad-Dot, Grad-Dot"),
    ],
)
def test_values_that_no_run_can_have(override, text):
    with pytest.raises((UserError, HydraException)) as raised:
        make_run(*override.split(" "))
    assert re.search(text, sentence(raised.value))


def test_a_gpu_that_is_not_there(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match="device=cuda needs a GPU that torch can use, found none"):
        make_run("device=cuda")
    assert str(make_run().execution.device) == "cpu"
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    devices = [str(make_run(*options).execution.device) for options in ((), ("device=cpu",))]
    assert devices == ["cuda", "cpu"]


def test_a_hidden_layer_without_width():
    with pytest.raises(UserError, match=r"model.hidden must list whole numbers of at least 1, found \[8, 0\]"):
        MLP(3, 1, [8, 0])
    assert sum(p.numel() for p in MLP(3, 1, []).parameters()) == 4


def test_a_file_where_a_folder_is_needed(tmp_path):
    (tmp_path / "outputs").write_text("a file")
    done = command(tmp_path)
    assert done.returncode == 2 and "error: A file is where a folder is needed" in done.stderr
    assert "Traceback" not in done.stderr


def test_sentences():
    assert sentence(ConfigCompositionException("one\n  two")) == "one two"
    assert sentence(OSError(28, "full", "/x/y")).startswith("No space is left on the disk (/x/y): what is")
    assert sentence(FileNotFoundError(2, "gone", "/x")) is None  # a bug: it keeps its traceback
