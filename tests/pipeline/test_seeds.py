"""Seeds that are computed by several processes: how many there are, and what happens when one of them ends."""

import io
import json
import os
import pickle
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import xarray as xr
from configs import QUICK, app, make_run

from fimo import memory
from fimo.errors import UserError
from fimo.further_training.progress import Progress
from fimo.pipeline import seeds, workers
from fimo.pipeline.worker import main

BASE = (*QUICK, "further.seeds=4", "further.epochs=1", "method=grad_dot")
# Stand-ins for a worker: one that computes nothing and stays, and one that fails.
IDLE = (sys.executable, "-c", "import sys, time; sys.stdin.read(); time.sleep(600)")
FAILS = (sys.executable, "-c", "import sys; sys.stdin.read(); sys.exit(3)")


def run_below(folder, *overrides):
    paths = (f"paths.output_dir={folder}/outputs", f"paths.results_dir={folder}/results")
    return make_run("size=smoke", *BASE, *paths, *overrides)


def started_with(monkeypatch, run, parent):
    """What a worker is started with, in this process."""
    monkeypatch.setattr(sys, "argv", ["worker", str(parent)])
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(pickle.dumps((1, run.for_worker())))))


def losses(folder):
    found = {path.name: xr.load_dataset(path) for path in sorted(folder.glob("outputs/*/further/*/*.nc"))}
    assert len(found) == 4
    return found


def considered(run, left, *seconds):
    """What is decided after seeds that took so long, and the threads that the next one has."""
    pool = workers.Workers(run, left)
    pool._start = lambda processes, count: None
    return [(pool.consider(left - number, spent), torch.get_num_threads()) for number, spent in enumerate(seconds)]


@pytest.mark.parametrize(
    ("left", "threads", "room", "seconds", "expected"),
    [
        (11, 2, 8, (100, 130, 130), [(0, 1), (2, 2), (0, 2)]),  # .65 of the time in two processes
        (11, 2, 8, (100, 180, 100), [(0, 1), (0, 2), (0, 2)]),  # .9: threads do as well
        (4, 2, 8, (100, 130), [(0, 1), (0, 2)]),  # three seeds in two rounds
        (11, 2, 8, (10, 13), [(0, 2), (0, 2)]),  # not worth it
        (11, 1, 8, (100, 100), [(0, 1), (0, 1)]),
        (11, 2, 0, (100, 100), [(0, 2), (0, 2)]),  # no room for another
        (4, 16, 8, (100, 110), [(0, 4), (3, 16)]),
        (19, 16, 20, (100, 300), [(0, 1), (9, 16)]),
        (33, 16, 3, (100, 200), [(0, 4), (4, 16)]),
    ],
)
def test_how_many(left, threads, room, seconds, expected, tmp_path, monkeypatch):
    torch.set_num_threads(threads)
    own = workers.psutil.Process().memory_info().rss
    monkeypatch.setattr(workers, "available_memory", lambda: int(own * (room + 0.5)))
    assert considered(run_below(tmp_path), left, *seconds) == expected


def test_a_gpu_has_no_workers(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert considered(run_below(tmp_path), 10, 100, 100) == [(0, 1), (0, 1)]
    with pytest.raises(UserError, match="further.processes must be 1 on a GPU, found 3: it runs seeds together"):
        app(tmp_path, *BASE, "further.processes=3")


def test_a_worker_says_in_one_sentence_what_it_can_t_do(tmp_path, monkeypatch, capsys):
    started_with(monkeypatch, run_below(tmp_path, "data.left_out=[9999]"), os.getppid())
    with pytest.raises(SystemExit, match="2"):
        main()
    assert capsys.readouterr().err.startswith("error: data.left_out must name training rows from 0 to 352, found 9999")


def test_a_worker_whose_run_is_gone_computes_nothing(tmp_path, monkeypatch, capsys):
    started_with(monkeypatch, run_below(tmp_path), parent=-1)
    main()
    assert capsys.readouterr().out.endswith("further training: computed seeds []\n")


def test_nothing_more_is_computed_for_a_process_that_is_gone(tmp_path, seeds_computed):
    taken = iter([True, False, False, False])
    seeds.work(run_below(tmp_path), lambda: next(taken))
    assert seeds_computed == [0]


@pytest.mark.slow
def test_a_run_with_a_worker(tmp_path, monkeypatch, capfd):
    """All seeds are there, each from one of the two, and what the run alone would have."""
    assert app(tmp_path / "alone", *BASE) == 0
    capfd.readouterr()
    inner = seeds.train_seeds

    def slow(*args):
        for number, result in enumerate(inner(*args)):
            yield result
            until = time.monotonic() + 120
            while number == 0 and not (others := list(tmp_path.glob("helped/outputs/*/further/*/seed-*[1-3].nc"))):
                assert time.monotonic() < until
                time.sleep(0.05)
            assert others or number

    monkeypatch.setattr(seeds, "train_seeds", slow)
    assert app(tmp_path / "helped", *BASE, "further.processes=2") == 0
    out, err = capfd.readouterr()
    lines = [line for line in out.splitlines() if "computed seeds" in line]
    shares = [json.loads(line.partition("seeds ")[2]) for line in lines]
    assert len(shares) == 2 and sorted(sum(shares, [])) == [0, 1, 2, 3] and all(shares)
    assert torch.get_num_threads() == 1 and "Traceback" not in err and "error" not in err
    helped = losses(tmp_path / "helped")
    for name, expected in losses(tmp_path / "alone").items():
        xr.testing.assert_equal(helped[name], expected)


@pytest.mark.parametrize("moment", ["computing", "waiting"])
def test_workers_end_with_the_run_that_is_interrupted(moment, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "WORKER", IDLE)
    started, popen = [], subprocess.Popen

    class Started(popen):
        def wait(self, *args):
            if moment == "waiting" and len(waited) < 1:
                waited.append(self)
                raise KeyboardInterrupt
            return super().wait(*args)

    def spy(*args, **kwargs):
        started.append(Started(*args, **kwargs))
        return started[-1]

    def interrupted(*args):
        raise KeyboardInterrupt

    waited = []
    monkeypatch.setattr(subprocess, "Popen", spy)
    if moment == "computing":
        monkeypatch.setattr(seeds, "train_seeds", interrupted)
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        app(tmp_path, *BASE, "further.processes=3")
    assert len(started) == 2 and all(process.returncode < 0 for process in started)
    assert time.monotonic() - begun < 100  # they would have stayed for 600 seconds


def test_what_a_failing_worker_leaves_is_computed_all_the_same(tmp_path, monkeypatch, seeds_computed, capsys):
    monkeypatch.setattr(workers, "WORKER", FAILS)
    assert app(tmp_path, *BASE, "further.processes=2") == 0
    assert seeds_computed == [0, 1, 2, 3]
    assert "a worker process ended with 3; its seeds are computed here" in capsys.readouterr().out


def test_the_bar_counts_this_process_s_share():
    progress = Progress(10, log_interval=30)
    module, trainer = SimpleNamespace(seeds=[0]), SimpleNamespace(num_training_batches=5, max_epochs=2)
    with progress:
        progress.share(10, 1)
        progress.on_train_start(trainer, module)
        assert progress.bar.total == 100
        for _ in range(10):
            progress.on_train_batch_end(trainer, module, {}, None, 0)
        progress.share(8, 2)
        assert progress.bar.total == 10 + 40
    assert np.isclose(progress.bar.n, 10)
    with Progress(10, log_interval=30) as two:
        two.share(10, 2)  # before the bar is there
        two.on_train_start(trainer, module)
        assert two.bar.total == 50


def test_seeds_that_train_together_have_no_time_of_their_own(tmp_path):
    pool = workers.Workers(run_below(tmp_path), 10, together=2)
    assert pool.consider(9, 100.0) == pool.consider(8, 100.0) == 0


def test_the_memory_of_a_job_with_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "GROUP", tmp_path)
    free = memory.available_memory()
    for limit, expected in (("max", None), ("3000", 2000), ("500", 0)):
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        (tmp_path / "memory.current").write_text("1000\n")
        found = memory.available_memory()
        assert found == expected if expected is not None else abs(found - free) < 2**30
