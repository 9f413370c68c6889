"""Real processes, killed, starved of disk and run side by side: nothing is lost, computed twice or half-written."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from configs import app

from fimo.artifacts import Artifact

RUN = Path(__file__).parents[2] / "experiments" / "run.py"
# A seed takes about a second: long enough to be killed in, short enough to be repeated.
BASE = ("experiment=diabetes", "method=[grad_dot,cg]", "final.epochs=200", "further.epochs=40", "further.seeds=4")
BASE += ("threads=1", "name=fault")
SEEDS = [f"seed-{seed:05d}.nc" for seed in range(4)]


def start(folder, *overrides, output_dir=None):
    paths = (f"paths.output_dir={output_dir or folder / 'outputs'}", f"paths.results_dir={folder}/results")
    command = [sys.executable, str(RUN), "size=smoke", *BASE, *paths, *overrides]
    # Where these tests run in the background of a shell they inherit an ignored SIGINT: a user's process does not.
    default = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=default)


def finish(process):
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def there(outputs):
    return {path.name: path for path in outputs.glob("diabetes/further/*/seed-*.nc")}


def wait_for(process, condition):
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def computed(out):
    """The seeds that a process says it computed."""
    lines = [line for line in out.splitlines() if line.startswith("further training: computed seeds ")]
    return [seed for line in lines for seed in json.loads(line.rpartition(" seeds ")[2])]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The results of a run that nothing happened to."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    code, _, err = finish(start(folder))
    assert code == 0, err
    return {name: (folder / "results/fault" / name).read_bytes() for name in ("curves.csv", "scores.csv", "seeds.csv")}


def assert_same_results(folder, uninterrupted):
    for name, content in uninterrupted.items():
        assert (folder / "results/fault" / name).read_bytes() == content, name


@pytest.mark.parametrize("moment", ["final", "scores", "seed-00000.nc", "seed-00001.nc"])
def test_killed_and_run_again(moment, tmp_path, uninterrupted):
    process = start(tmp_path)
    wait_for(process, lambda: any(tmp_path.glob(f"outputs/diabetes/{moment}")) or moment in there(tmp_path / "outputs"))
    time.sleep(0.3)  # into whatever comes next
    os.kill(process.pid, signal.SIGKILL)
    finish(process)
    assert not (tmp_path / "results/fault/run.json").exists()
    before = {name: path.stat().st_mtime_ns for name, path in there(tmp_path / "outputs").items()}
    code, out, err = finish(start(tmp_path))
    assert code == 0, err
    after = there(tmp_path / "outputs")
    assert sorted(after) == SEEDS and computed(out) == [int(name[5:10]) for name in SEEDS if name not in before]
    assert {name: after[name].stat().st_mtime_ns for name in before} == before
    assert_same_results(tmp_path, uninterrupted)
    assert [path for path in tmp_path.rglob("*.tmp")] == []


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_or_asked_to_end(signal_number, tmp_path):
    process = start(tmp_path)
    wait_for(process, lambda: SEEDS[0] in there(tmp_path / "outputs"))
    process.send_signal(signal_number)
    code, _, err = finish(process)
    assert code == 130 and err.strip().splitlines()[-1].startswith("interrupted: what is finished is kept")
    assert "Traceback" not in err and SEEDS[0] in there(tmp_path / "outputs")


def test_two_processes_share_the_seeds(tmp_path, uninterrupted):
    processes = [start(tmp_path), start(tmp_path)]
    ends = [finish(process) for process in processes]
    assert [code for code, *_ in ends] == [0, 0], ends
    shares = [computed(out) for _, out, _ in ends]
    assert sorted(shares[0] + shares[1]) == [0, 1, 2, 3]
    (manifest,) = tmp_path.glob("outputs/diabetes/further/*/manifest.json")
    files = json.loads(manifest.read_text())["files"]
    for process, share in zip(processes, shares, strict=True):
        assert share == [seed for seed, name in enumerate(SEEDS) if files[name]["process"] == process.pid]
    assert_same_results(tmp_path, uninterrupted)
    for stage in ("final", "scores"):
        for manifest in tmp_path.glob(f"outputs/diabetes/{stage}/*/manifest.json"):
            assert len({entry["process"] for entry in json.loads(manifest.read_text())["files"].values()}) == 1


def test_a_waiting_process_takes_over_from_one_that_was_killed(tmp_path, uninterrupted):
    first = start(tmp_path)
    wait_for(first, lambda: SEEDS[2] in there(tmp_path / "outputs"))
    os.kill(first.pid, signal.SIGSTOP)  # it holds the last seed, and its lock, and does nothing
    second = start(tmp_path)
    for line in second.stdout:
        if "waiting for seeds that another process computes: [3]" in line:
            break
    assert second.poll() is None
    os.kill(first.pid, signal.SIGKILL)
    code, out, err = finish(second)
    assert code == 0 and computed(out) == [3], (out, err)
    finish(first)
    assert_same_results(tmp_path, uninterrupted)


def mount(folder, *options):
    return subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", str(folder)], capture_output=True).returncode


def test_a_full_disk(tmp_path, uninterrupted):
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    if os.geteuid() != 0 or mount(outputs, "-o", "size=1m") != 0:
        pytest.skip("only root can mount a file system of 1 MB")
    try:
        code, _, err = finish(start(tmp_path))
        assert code == 2, err
        last = err.strip().splitlines()[-1]
        assert last.startswith("error: No space is left on the disk (") and "run the same command again" in last
        assert "Traceback" not in err
        before = {name: path.stat().st_mtime_ns for name, path in there(outputs).items()}
        assert 0 < len(before) < 4  # the first seeds fit
        assert mount(outputs, "-o", "remount,size=64m") == 0
        code, out, err = finish(start(tmp_path))
        assert code == 0, err
        assert computed(out) == [seed for seed, name in enumerate(SEEDS) if name not in before]
        assert {name: path.stat().st_mtime_ns for name, path in there(outputs).items() if name in before} == before
        assert_same_results(tmp_path, uninterrupted)
    finally:
        subprocess.run(["umount", str(outputs)], check=True)


def test_a_claimed_file_is_nobody_elses_until_it_is_there(tmp_path):
    artifact = Artifact(tmp_path, "data", "further", "sgd", {})
    code = (
        "import sys; from pathlib import Path; from fimo.artifacts import Artifact;"
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


def test_in_this_process_it_is_the_same(tmp_path, uninterrupted):
    assert app(tmp_path, *BASE) == 0
    assert_same_results(tmp_path, uninterrupted)
