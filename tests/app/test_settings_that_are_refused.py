"""Settings that would end in a traceback, or be taken for something else."""

import re
import signal
import subprocess
import sys
import time
from functools import partial
from unittest import mock

import pytest
from configs import make_run
from hydra.errors import HydraException

from fimo.app import cli
from fimo.app.errors import sentence
from fimo.app.main import guarded
from fimo.errors import UserError


@pytest.mark.parametrize(
    "override, text",
    [
        (
            "seed=18446744073709551616",
            "seed must be a whole number of at least 0 and at most 9223372036854775807, found",
        ),
        ("further.first_seed=9223372036854775808", "further.first_seed must be .* at most 9223372036854775807"),
        ("threads=100000", "threads must be a whole number of at least 1 and at most 4096, or null, found 100000"),
        ("final.lr=1e300", r"final.lr must be a number above 0, at most 3.4e\+38, found 1e\+300"),
        ("further.clip=1e300", r"further.clip must be a number above 0, at most 3.4e\+38, or null, found"),
        ("optimizer.weight_decay=1e300", r"optimizer.weight_decay must be a number of at least 0, at most 3.4e\+38"),
        ("verify.shares=[inf]", "verify.shares must be a list of numbers above 0"),
        ("rank.amounts=[.inf]", "rank.amounts must be a list of numbers above 0"),
        ("name=3", """found 3: as text it is written 'name="3"'"""),
        ("data.left_out=true", "data.left_out must hold integers, found True"),
        ("data.left_out=[[1,2],[]]", "data.left_out must hold one row or more in each group, found an empty group"),
        ("data.left_out={a:[1,2],b:[]}", "data.left_out must hold one row or more in each group, found an empty group"),
        (
            "data.random_state=99999999999",
            "data.random_state must be a whole number from 0 to 4294967295, found 999999",
        ),
        ("data.left_out={random:5,share:.nan}", "needs a share above 0 and below 1"),
        ("data.left_out={random:5,share:.inf}", "needs a share above 0 and below 1"),
        (
            "data.tested=3",
            r"data.tested must be positions in the test split, as in \[7,12\], or misclassified, found 3",
        ),
        ("method.grad_dot.label=null", "label must be text, without | and line breaks, found 'None'"),
        ("method.grad_dot.label='a|b'", "label must be text, without | and line breaks, found 'a|b'"),
    ],
)
def test_settings_that_no_run_can_have(override, text):
    with pytest.raises(UserError) as raised:
        make_run("data.test_count=3", *override.split()).dataset  # noqa: B018  (rows are read when they are needed)
    assert re.search(text.replace("|", r"\|"), sentence(raised.value))


def test_a_setting_that_a_method_has_not():
    with pytest.raises(HydraException) as refused:
        make_run("method=trak", "+method.trak.curvature=sampled")
    assert sentence(refused.value) == (
        "method.trak: fimo.preconditioners.random_projection.RandomProjection can't be made with these settings: it "
        "has no curvature but label, projection, ridge, projections, seed, phi; leave curvature out."
    )


@pytest.mark.parametrize(
    "overrides, text",
    [
        ("+foo=1", "The config has no setting 'foo'; it has data, device, facts, final, further, "),
        ("+sead=1", r"The config has no setting 'sead'; .*\. Did you mean seed\?$"),
        ("+folder=here +fold=1 name=${folder}", "The config has no setting 'fold'; "),
        (
            "data.tested=[7,12] data.test_count=5",
            "data.test_count must not be given beside the list data.tested, whose examples are all evaluated, found 5: "
            "leave one of them out.",
        ),
        (
            f"final.checkpoint={__file__} final.epochs=7",
            "final.epochs must not be given beside final.checkpoint, whose model is taken as it is and not trained, "
            "found 7: leave one of them out.",
        ),
    ],
)
def test_settings_that_nothing_reads(overrides, text):
    with pytest.raises(UserError) as refused:
        make_run(*overrides.split())
    assert re.match(text, str(refused.value))


@pytest.mark.parametrize(
    "overrides",
    ["+folder=here name=${folder}", "+here.name=x name=a-${here.name}", "data.tested=[7,12] data.test_count=null"],
)
def test_settings_that_are_read(overrides):
    """What another setting is made of, and what says nothing else."""
    assert make_run(*overrides.split())


def test_a_group_without_a_choice():
    done = subprocess.run([sys.executable, "-m", "fimo", "train", "data=null"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("error: A group of the config needs the name of a choice")


@pytest.mark.parametrize("seconds", [0.2, 0.6])
def test_an_interruption_while_a_command_is_imported(seconds, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "fimo", "train"],
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # which a shell's background ignores
    )
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert "Error" not in errors
    assert process.returncode in (130, -signal.SIGINT)  # the latter before Python itself has started


def while_imported(function):
    """What the command `fimo train` does where its module ends like this."""
    with (
        mock.patch("sys.argv", ["fimo", "train"]),
        mock.patch("fimo.app.cli.import_module", side_effect=lambda name: function()),
    ):
        cli.main()


@pytest.mark.parametrize("call", [guarded, while_imported])
def test_an_error_that_came_of_an_interruption(call, capsys):
    def imported():
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as reason:
            raise UserError("") from reason

    with pytest.raises(SystemExit) as ended:
        call(imported)
    assert ended.value.code == 130 and "interrupted: what is finished is kept" in capsys.readouterr().err


def test_each_job_of_a_multirun_that_failed_says_why(tmp_path):
    options = ["train", "-m", "size=smoke", "data.test_count=3", "optimizer.lr=0,-1", f"paths.output_dir={tmp_path}"]
    done = subprocess.run([sys.executable, "-m", "fimo", *options], capture_output=True, text=True)
    assert done.returncode == 2
    for job, rate in enumerate((0, -1)):
        expected = f"job {job} of the multirun failed: optimizer.lr must be a number above 0, found {rate}."
        assert expected in done.stdout
