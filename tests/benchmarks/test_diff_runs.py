"""The soak test's judge sees what is damaged, missing or different."""

import shutil

import numpy as np
import pandas as pd
import pytest
from configs import app
from safetensors.torch import load_file, save_file

from benchmarks.diff_runs import check, difference
from fimo.pipeline.formats import from_dataset, open_dataset

OUTPUTS, RESULTS = "outputs/diabetes", "results/diabetes"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What one run left."""
    folder = tmp_path_factory.mktemp("whole")
    assert app(folder, "experiment=diabetes", "data.test_count=6", "data.left_out=8", "method=grad_dot") == 0
    return folder


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "copy")


def one(folder, pattern):
    (path,) = folder.glob(pattern)
    return path


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def edit(path):
    path.write_text(path.read_text().replace("loss", "lose"))


def leave(path):
    path.with_name(f".{path.name}.1f.tmp").write_bytes(b"half")


def duplicate(path):
    shutil.copy(path, path.with_name("seed-00007.nc"))


def remove(path):
    path.unlink()


@pytest.mark.parametrize(
    "pattern, damage, texts",
    [
        (f"{OUTPUTS}/further/*/seed-00001.nc", truncate, ["is not the file that was written there"]),
        (f"{OUTPUTS}/further/*/seed-00001.nc", remove, ["seed-00001.nc is missing"]),
        (
            f"{OUTPUTS}/further/*/seed-00001.nc",
            duplicate,
            ["seed-00007.nc is not a file of the uninterrupted run", "is not the file that was written there"],
        ),
        (f"{OUTPUTS}/final/*/model.safetensors", truncate, ["can't be read", "is not the file that was written the"]),
        (f"{OUTPUTS}/final/*/model.safetensors", leave, ["tmp was left behind"]),
        (f"{OUTPUTS}/final/*/metrics.json", edit, ["metrics.json differs by inf", "is not the file that was written"]),
        (f"{OUTPUTS}/scores/*/manifest.json", remove, ["manifest.json is missing", "is not the file that was written"]),
        (f"{RESULTS}/curves.csv", truncate, []),  # a missing newline at the end of a table is no difference
        (f"{RESULTS}/curves.png", truncate, ["curves.png differs by inf"]),
        (f"{RESULTS}/curves.png", remove, ["curves.png is missing", "curves.png is missing"]),
        (f"{RESULTS}/run.json", remove, ["run.json is missing"]),
    ],
)
def test_damage_is_seen(pattern, damage, texts, copy, whole):
    damage(one(copy, pattern))
    lost = check(copy, whole, ended=True)["lost"]
    assert len(lost) >= len(texts) and (texts or not lost)
    assert all(any(text in sentence for sentence in lost) for text in texts), lost


def test_a_whole_run_is_whole(copy, whole):
    told = check(copy, whole, ended=True)
    assert told["lost"] == [] and told["worst_difference"] == 0 and told["files_checked"] > 20


def test_what_is_not_there_yet_is_no_damage_in_a_run_that_was_killed(copy, whole):
    for pattern in (f"{OUTPUTS}/further/*/seed-00001.nc", f"{RESULTS}/run.json", f"{RESULTS}/curves.pdf"):
        one(copy, pattern).unlink()
    leave(one(copy, f"{OUTPUTS}/further/*/seed-00000.nc"))
    told = check(copy, whole)
    assert told["lost"] == [] and told["files_checked"] == check(whole, whole)["files_checked"] - 3
    assert len(check(copy, whole, ended=True)["lost"]) == 4


def test_the_worst_difference(copy, whole):
    curves = copy / RESULTS / "curves.csv"
    table = pd.read_csv(curves)
    table.loc[3, "cosine_mean"] += 0.25
    table.to_csv(curves, index=False)
    told = check(copy, whole)
    assert told["worst_difference"] == pytest.approx(0.25) and "curves.csv differs by 0.2" in told["lost"][0]

    seed = one(copy, f"{OUTPUTS}/further/*/seed-00000.nc")
    twin = one(whole, f"{OUTPUTS}/further/*/seed-00000.nc")
    with open_dataset(twin) as dataset:
        losses = dataset.load().drop_encoding()
    losses["loss_full"][0, 0] = np.nan
    twins = [seed, seed.with_name("twin.nc")]
    for path, changed in zip(twins, (losses, losses + 2.0), strict=True):
        path.write_bytes(from_dataset(changed))
    assert difference(seed, seed) == 0 and difference(seed, twin) == np.inf  # NaN is what NaN is, and nothing else
    assert difference(*twins) == 2 and difference(seed.with_name("twin.nc"), seed) == 2

    model = one(copy, f"{OUTPUTS}/final/*/model.safetensors")
    weights = load_file(model)
    first = next(iter(weights))
    save_file({**weights, first: weights[first] + 1}, model)
    assert difference(model, one(whole, f"{OUTPUTS}/final/*/model.safetensors")) == pytest.approx(1)
    save_file({first: weights[first]}, model)
    assert difference(model, one(whole, f"{OUTPUTS}/final/*/model.safetensors")) == np.inf
