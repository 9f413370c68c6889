"""Real processes, killed, starved of disk and run side by side: nothing is lost, computed twice or half-written."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial

import pytest
from commands_here import command_here
from configs import app

from benchmarks import soak
from benchmarks.diff_runs import check
from benchmarks.soak import computed, finish
from fimo.errors import UserError
from fimo.further_training.ensemble import Ensemble
from fimo.pipeline.artifacts import Artifact

# A seed takes half a second: long enough to be killed in, short enough to be repeated.
BASE = ("experiment=diabetes", "method=[grad_dot,cg]", "final.epochs=50", "further.epochs=10", "further.seeds=4")
BASE += ("facts.train_rows.smoke=150", "threads=1", "size=smoke")
SEEDS = [f"seed-{seed:05d}.nc" for seed in range(4)]


def start(folder, *overrides):
    # Where these tests run in the background of a shell they inherit an ignored SIGINT: a user's process does not.
    default = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    return soak.start(folder, (*BASE, *overrides), preexec_fn=default)


def there(outputs):
    return {path.name: path for path in sorted(outputs.glob("diabetes/further/*/seed-*.nc"))}


def wait_for(process, condition):
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, drawing):
    """Where a run is to which nothing happened, in this process: what comes of others is held against it."""
    folder = tmp_path_factory.mktemp("whole")
    with drawing():
        assert app(folder, *BASE, "name=soak") == 0
    return folder


@pytest.fixture(scope="module")
def uninterrupted(whole):
    """Its results."""
    folder = whole / "results/soak"
    return {name: (folder / name).read_bytes() for name in ("curves.csv", "scores.csv", "seeds.csv")}


def assert_same_results(folder, uninterrupted):
    for name, content in uninterrupted.items():
        assert (folder / "results/soak" / name).read_bytes() == content, name


@pytest.mark.pictures
def test_killed_in_the_middle_of_further_training(whole, tmp_path, uninterrupted):
    process = start(tmp_path)
    wait_for(process, lambda: SEEDS[0] in there(tmp_path / "outputs"))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    before = {name: path.stat().st_mtime_ns for name, path in there(tmp_path / "outputs").items()}
    assert 0 < len(before) < 4 and check(tmp_path, whole)["lost"] == []
    assert app(tmp_path, *BASE, "name=soak") == 0
    after = {name: path.stat().st_mtime_ns for name, path in there(tmp_path / "outputs").items()}
    assert list(after) == SEEDS and before.items() <= after.items()
    told = check(tmp_path, whole, ended=True)
    assert told["lost"] == [] and told["worst_difference"] == 0
    assert_same_results(tmp_path, uninterrupted)


@pytest.mark.slow
def test_two_runs_side_by_side_share_the_work(whole, tmp_path):
    told = soak.side_by_side(tmp_path, whole, BASE)
    assert told["lost"] == [] and sum(told["seeds"]) == 4 and told["files_checked"] > 20


@pytest.mark.slow
def test_runs_are_killed_in_every_stage_and_nothing_is_lost(tmp_path):
    arguments = ["--rounds", "4", "--folder", f"{tmp_path}/runs", "--results", f"{tmp_path}/results"]
    assert soak.main([*arguments, *BASE]) == 0
    told = json.loads((tmp_path / "results/soak.json").read_text())
    assert told["lost"] == [] and told["worst_difference"] == 0 and told["options"] == list(BASE)
    assert [done["stage"] for done in told["rounds"]] == list(soak.STAGES) == list(told["uninterrupted_seconds"])
    before = [done["seeds_before"] for done in told["rounds"]]
    assert before[:2] == [0, 0] and before[2] < 4 and before[3] == 4
    for done in told["rounds"]:
        assert done["seeds_after"] == 4 and done["killed_after_seconds"] > 0
        # All files of the finished run, and before it those that were there at the kill.
        assert done["files_checked"] >= told["side_by_side"]["files_checked"] > 20
    assert sum(told["side_by_side"]["seeds"]) == 4
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {
        "uninterrupted",
        "side-by-side",
        *(f"round-{number:02d}" for number in range(1, 5)),
    }


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_or_asked_to_end(signal_number, tmp_path, capsys, monkeypatch):
    """In this process, by a real signal in the middle of the second seed."""
    inner = Ensemble.step

    def step(*args):
        if there(tmp_path / "outputs"):
            signal.raise_signal(signal_number)
        inner(*args)

    monkeypatch.setattr(Ensemble, "step", step)
    done = command_here(capsys, tmp_path, *BASE)
    assert done.returncode == 130
    assert done.stderr.strip().splitlines()[-1].startswith("interrupted: what is finished is kept")
    assert "Traceback" not in done.stderr and list(there(tmp_path / "outputs")) == SEEDS[:1]


@pytest.mark.slow
def test_a_process_that_is_interrupted_from_outside(tmp_path):
    process = start(tmp_path)
    wait_for(process, lambda: SEEDS[0] in there(tmp_path / "outputs"))
    process.send_signal(signal.SIGINT)
    err = process.communicate()[1]
    assert process.returncode == 130
    assert err.strip().splitlines()[-1].startswith("interrupted: what is finished is kept")
    assert "Traceback" not in err and SEEDS[0] in there(tmp_path / "outputs")


CLAIMS = """
import sys, time
from pathlib import Path
from fimo.pipeline.artifacts import stored
(artifact,) = [one for one in stored(Path(sys.argv[1])) if one.kind == "further"]
lock = artifact.claim(sys.argv[2])
print("claimed" if lock else "refused", flush=True)
time.sleep(600)
"""


@pytest.mark.slow
def test_a_waiting_process_takes_over_from_one_that_was_killed(whole, tmp_path, uninterrupted):
    outputs = shutil.copytree(whole / "outputs", tmp_path / "outputs")
    there(outputs)[SEEDS[3]].unlink()
    # It holds the last seed, and its lock, and does nothing.
    first = subprocess.Popen([sys.executable, "-c", CLAIMS, outputs, SEEDS[3]], stdout=subprocess.PIPE, text=True)
    assert first.stdout.readline() == "claimed\n"
    second = start(tmp_path)
    assert any("waiting for seeds that another process computes: [3]" in line for line in second.stdout)
    first.kill()
    assert computed(finish(second)) == [SEEDS[3]]
    first.communicate()
    assert_same_results(tmp_path, uninterrupted)


def mount(folder, *options):
    return subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", str(folder)], capture_output=True).returncode


@pytest.mark.slow
def test_a_full_disk(tmp_path, uninterrupted):
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    if os.geteuid() != 0 or mount(outputs, "-o", "size=640k") != 0:
        pytest.skip("only root can mount a file system of 640 kB")
    try:
        process = start(tmp_path)
        err = process.communicate()[1]
        assert process.returncode == 2, err
        last = err.strip().splitlines()[-1]
        assert last.startswith("error: No space is left on the disk") and "run the same command again" in last
        assert "Traceback" not in err
        before = {name: path.stat().st_mtime_ns for name, path in there(outputs).items()}
        assert 0 < len(before) < 4  # the first seeds fit
        assert mount(outputs, "-o", "remount,size=64m") == 0
        assert computed(finish(start(tmp_path))) == [name for name in SEEDS if name not in before]
        assert {name: path.stat().st_mtime_ns for name, path in there(outputs).items() if name in before} == before
        assert_same_results(tmp_path, uninterrupted)
    finally:
        subprocess.run(["umount", str(outputs)], check=True)


def test_a_claimed_file_is_nobody_elses_until_it_is_there(tmp_path):
    artifact = Artifact(tmp_path, "data", "further", "sgd", {})
    code = (
        "import sys; from pathlib import Path; from fimo.pipeline.artifacts import Artifact;"
        "print(Artifact(Path(sys.argv[1]), 'data', 'further', 'sgd', {}).claim('file') is not None)"
    )

    def other_process_gets_it():
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
        return done.stdout.strip() == "True"

    lock = artifact.claim("file")
    assert lock is not None and not other_process_gets_it()
    lock.release()
    assert other_process_gets_it()
    artifact.write("file", b"content")
    assert artifact.claim("file") is None and not other_process_gets_it()
    # What a killed writer left behind is removed by the next.
    (artifact.folder / ".other.123.tmp").write_bytes(b"half")
    artifact.write("other", b"whole")
    assert sorted(path.name for path in artifact.folder.glob("*")) == [
        "config.yaml",
        "file",
        "manifest.json",
        "other",
    ]


def test_a_soak_test_of_a_run_that_fails_says_why(tmp_path, capsys):
    with pytest.raises(UserError, match=r"run.py must end with 0, found 2 and at its end: error: optimizer=nope is"):
        soak.main(["--folder", f"{tmp_path}/runs", "--results", str(tmp_path), "optimizer=nope"])
    (tmp_path / "runs").mkdir(exist_ok=True)
    (tmp_path / "runs/mine").write_text("a file")
    with pytest.raises(SystemExit):
        soak.main(["--folder", f"{tmp_path}/runs", "--results", str(tmp_path)])
    assert "--folder must be new or empty, found files in" in capsys.readouterr().err
    assert not (tmp_path / "soak.json").exists()
