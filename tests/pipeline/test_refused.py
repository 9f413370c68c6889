"""Files of an older layout, of another question, or changed since, are refused in one sentence, and never used."""

import hashlib
import json
import shutil

import pytest
import xarray as xr
from configs import QUICK, app, make_run

from fimo.app.errors import CONFIG_DIR
from fimo.errors import UserError
from fimo.pipeline import addresses
from fimo.pipeline.artifacts import Artifact
from fimo.pipeline.formats import from_dataset, open_dataset

BASE = (*QUICK, "method=grad_dot", "further.epochs=1", "facts.train_rows.smoke=60")


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """What one run left."""
    folder = tmp_path_factory.mktemp("outputs")
    assert app(folder, *BASE) == 0
    return folder / "outputs"


@pytest.fixture
def run(outputs, tmp_path):
    """Run again, on a copy of the outputs."""
    shutil.copytree(outputs, tmp_path / "outputs")
    return lambda *overrides: app(tmp_path, *BASE, *overrides)


def older(path):
    path.write_text(path.read_text().replace('"layout": 1', '"layout": 0'))


def no_entries(path):
    path.write_text('{"layout": 1, "files": {}}')


def another(path):
    path.write_text(path.read_text().replace("test_size: 0.2", "test_size: 0.3"))


def another_layout(path):
    """As if a version with another layout had kept the address."""
    path.write_text(path.read_text() + "layout: 0\n")


def truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def remove(path):
    path.unlink()


@pytest.mark.parametrize(
    "file, damage, text",
    [
        (
            "final/*/manifest.json",
            older,
            "manifest.json must be of layout 1, found layout 0 of another version: remove",
        ),
        (
            "further/*/manifest.json",
            older,
            "manifest.json must be of layout 1, found layout 0 of another version: remo",
        ),
        ("scores/*/manifest.json", truncated, "manifest.json can't be read .*: remove "),
        (
            "scores/*/manifest.json",
            no_entries,
            r"is not the file that was written there \(its SHA-256 .*: remove it, a",
        ),
        (
            "further/*/manifest.json",
            no_entries,
            r"is not the file that was written there \(its SHA-256 .*: remove it, ",
        ),
        (
            "scores/*/config.yaml",
            another,
            "config.yaml must be the config that gave the folder its name, found one wit",
        ),
        (
            "further/*/config.yaml",
            another,
            "config.yaml must be the config that gave the folder its name, found one wi",
        ),
        ("further/*/config.yaml", another_layout, "config.yaml must be the config that gave the folder its name, foun"),
        (
            "final/*/config.yaml",
            remove,
            "must be the config .* found none that can be read: remove the folder, and wha",
        ),
    ],
)
def test_a_folder_that_is_not_what_it_should_be(file, damage, text, run, tmp_path, seeds_computed):
    (path,) = tmp_path.glob(f"outputs/diabetes/{file}")
    damage(path)
    with pytest.raises(UserError, match=text):
        run("further.seeds=3")
    assert not (tmp_path / "results/diabetes/run.json").exists()
    assert seeds_computed == [] or damage is no_entries  # it is told before anything is computed
    shutil.rmtree(path.parent)  # what the sentence says
    assert run("further.seeds=3") == 0


def test_a_folder_under_anothers_name(run, tmp_path):
    """Another learning rate's seeds, moved to where those of this one are looked for."""
    assert run("optimizer.lr=0.01") == 0
    chosen = [make_run("size=smoke", *BASE, *rate) for rate in ((), ("optimizer.lr=0.01",))]
    seeds = tmp_path / "outputs/diabetes/further"
    here, there = (seeds / addresses.further_training(run).folder.name for run in chosen)
    shutil.rmtree(here)
    there.rename(here)
    with pytest.raises(UserError, match=f"found one with the hash {there.name[-8:]}: remove the folder"):
        run("name=again")


@pytest.mark.parametrize(
    "file, axis, change",
    [
        ("further/*/seed-00001.nc", "step", "shifted"),
        ("further/*/seed-00001.nc", "test", "shifted"),
        ("further/*/seed-00001.nc", "left_out", "shorter"),
        ("scores/*/scores.nc", "test", "shorter"),
        ("scores/*/scores.nc", "left_out", "shifted"),
    ],
)
def test_other_examples_than_those_asked_for(file, axis, change, run, tmp_path):
    (path,) = tmp_path.glob(f"outputs/diabetes/{file}")
    with open_dataset(path) as dataset:
        found = dataset.load()
    other = found.isel({axis: slice(1, None)}) if change == "shorter" else found.assign_coords({axis: found[axis] + 1})
    rewrite(path, other)
    with pytest.raises(UserError, match=f"{path.name} must have the axis {axis} with .*: remove the file, and it is"):
        run()
    path.unlink()
    assert run() == 0


def rewrite(path, dataset: xr.Dataset):
    """A file with its entry in the manifest, as a version with another idea of the data would have written it."""
    content = from_dataset(dataset.drop_encoding())
    path.write_bytes(content)
    manifest = path.with_name("manifest.json")
    told = json.loads(manifest.read_text())
    told["files"][path.name]["sha256"] = hashlib.sha256(content).hexdigest()
    manifest.write_text(json.dumps(told))


def test_every_config_is_read_as_it_was_written(tmp_path):
    """Else a folder would be refused that nothing happened to."""
    for experiment in sorted(path.stem for path in (CONFIG_DIR / "experiment").glob("*.yaml")):
        run = make_run("size=smoke", f"experiment={experiment}", "method=cg", f"paths.output_dir={tmp_path}")
        for artifact in (addresses.final_model(run), addresses.scores(run, "cg")):
            artifact.write("file", b"content")
            assert artifact.has("file")
    odd = {"tiny": 1e-7, "huge": 1e300, "text": "1e-5", "no": "no", "tab": "\t", "name": "λ: é #", "none": None}
    artifact = Artifact(tmp_path, "data", "final", "odd", odd | {"deep": {"list": [(1, 2.5), [True]]}})
    artifact.write("file", b"content")
    assert artifact.has("file")
