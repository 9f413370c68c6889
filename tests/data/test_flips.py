"""Training labels that are made wrong: data.flip."""

import re

import numpy as np
import own_rows
import pandas as pd
import pytest
import torch
import yaml
from configs import app, make_run, needs_data
from own_tables import CLASSES, TABLE, TARGET, TRAIN, text

from fimo.data.flips import flip_labels
from fimo.descriptions import TableRow
from fimo.errors import UserError
from fimo.pipeline import addresses
from fimo.pipeline.flipped_file import flipped_file
from fimo.rows import Rows

EXPERIMENTS = ["breast_cancer", "digits", "reviews"]
EXPERIMENTS += [pytest.param(name, marks=needs_data) for name in ("fico", "folktables", "cifar10", "sst2")]
FEW = ("size=smoke", "data.train_rows=60", "data.left_out=6", "data.test_count=3")


def word(seed, stream, position):
    """One random word, from the block of the generator that it stands in."""
    key = np.array([seed, stream], dtype=np.uint64)
    return int(np.random.Philox(key=key, counter=position // 4).random_raw(4)[position % 4])


def expected_flips(positions, labels, classes, share, seed):
    """The rows with the smallest words, each moved on by so many classes as another word says."""
    count = max(1, round(share * len(positions)))
    chosen = sorted(sorted(positions, key=lambda row: word(seed, 0, row))[:count])
    return {row: (labels[row] + 1 + word(seed, 1, row) % (classes - 1)) % classes for row in chosen}


def rows(count=40, classes=3, weights=None):
    labels = torch.arange(count) % classes
    made = Rows(torch.zeros(count, 2), labels, torch.arange(count)).weighted_by(weights)
    return made, dict(enumerate(labels.tolist()))


def label_of(description):
    """What people read as the label: of a row of a table its first target."""
    return description.targets[0][1] if isinstance(description, TableRow) else description.label


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_classification_experiment(experiment):
    chosen = [f"experiment={experiment}", *(["data=cifar10_subset"] if experiment == "cifar10" else []), *FEW]
    plain, data = make_run(*chosen).dataset, make_run(*chosen, "data.flip=0.1").dataset
    before, now = (dict(zip(d.train.index.tolist(), d.train.targets.tolist(), strict=True)) for d in (plain, data))
    flips = expected_flips(sorted(before), before, plain.outputs, 0.1, 0)
    assert plain.flipped is None and len(flips) == 6
    assert data.flipped.tolist() == sorted(flips) and now == before | flips
    assert data.flips.labels.tolist() == [before[row] for row in sorted(flips)]
    assert torch.equal(data.test_all.targets, plain.test_all.targets)
    assert torch.equal(data.left_out.rows, plain.left_out.rows)
    for row in before:
        names = [data.classes[number] for number in (now[row], before[row])]
        expected = f"{names[0]}, flipped from {names[1]}" if row in flips else names[0]
        assert label_of(data.description("train", row)) == expected
        old, new = plain.display("train", row), data.display("train", row)
        if row not in flips or isinstance(old, np.ndarray):  # a picture shows no label
            assert np.array_equal(old, new) if isinstance(old, np.ndarray) else old == new
            continue
        assert f"{names[0]}, flipped from {names[1]}" in new and new.replace(f"{names[0]}, flipped from ", "") == old
    assert np.array_equal(data.display("test", 0), plain.display("test", 0))


def test_rows_of_ones_own():
    run = make_run("data=own", "data._target_=own_rows.mappings", "data.task=classification", "data.flip=0.2")
    data, targets = run.dataset, own_rows.classification()[0][1]
    before = dict(enumerate(np.asarray(targets).tolist()))
    flips = expected_flips(range(20), before, 3, 0.2, 0)
    assert data.train.plain.targets.tolist() == [*(before | flips).values()]
    assert data.train.weights.tolist() == [float(row % 3) for row in range(20)]
    row = min(flips)
    assert data.display("train", row).endswith(f"; targets {flips[row]}, flipped from {before[row]}")


def test_classes_are_uniform_among_the_others_and_larger_shares_flip_more():
    kept, labels = rows(4000, 5)
    flipped, flips = flip_labels(kept, 5, 0.5, 3, "classification")
    steps = (flips.flipped_to - flips.labels) % 5
    counts = torch.bincount(steps, minlength=5)
    assert counts[0] == 0 and counts.sum() == 2000 and (counts[1:] - 500).abs().max() < 5 * 500**0.5
    assert flips.rows.tolist() == [*expected_flips(range(4000), labels, 5, 0.5, 3)]
    assert torch.equal(flipped.targets != kept.targets, torch.isin(kept.index, flips.rows))
    fewer = flip_labels(kept, 5, 0.1, 3, "classification")[1]
    assert set(fewer.rows.tolist()) < set(flips.rows.tolist())
    places = torch.searchsorted(flips.rows, fewer.rows)
    assert torch.equal(fewer.flipped_to, flips.flipped_to[places])
    other = flip_labels(kept, 5, 0.5, 4, "classification")[1]
    assert 900 < len(set(other.rows.tolist()) & set(flips.rows.tolist())) < 1100


def test_at_least_one_row_and_the_weights_stay():
    weights = torch.arange(40.0)
    kept, labels = rows(weights=weights)
    flipped, flips = flip_labels(kept, 3, 0.001, 0, "classification")
    assert flips.rows.tolist() == [*expected_flips(range(40), labels, 3, 0.001, 0)] and len(flips.rows) == 1
    assert torch.equal(flipped.weights, weights.to(flipped.weights.dtype))
    assert int((flipped.plain.targets != kept.plain.targets).sum()) == 1
    part = kept.keep(torch.arange(1, 40, 3))
    assert flip_labels(part, 3, 0.25, 0, "classification")[1].rows.tolist() == [
        *expected_flips(range(1, 40, 3), labels, 3, 0.25, 0)
    ]


@pytest.mark.parametrize("value", ["0", "1", "2", "-0.1", "x", "1.0", "0.0", "true", "nan"])
def test_what_is_no_share(value):
    with pytest.raises(UserError, match="data.flip must be a share of the training rows between 0 and 1, or null, fou"):
        make_run("experiment=breast_cancer", f"data.flip={value}")


@pytest.mark.parametrize(
    "overrides, message",
    [
        (("experiment=diabetes", "data.flip=0.1"), "needs data.task=classification, found regression: leave it out"),
        (
            ("data=own", "data._target_=own_rows.multilabel", "data.task=multilabel", "data.flip=0.1"),
            "needs data.task=classification, found multilabel: leave it out",
        ),
        (("experiment=digits", "data.flip_seed=-1"), "data.flip_seed must be a whole number of at least 0, found -1"),
    ],
)
def test_what_can_not_be_flipped(overrides, message):
    with pytest.raises(UserError, match=message):
        assert make_run(*overrides).dataset
    kept, _ = rows(classes=1)
    with pytest.raises(UserError, match="needs two classes or more, found one"):
        flip_labels(kept, 1, 0.1, 0, "classification")


def hashes(*overrides):
    run = make_run("experiment=breast_cancer", "method=grad_dot", *overrides)
    return [artifact.hash for artifact in (addresses.final_model(run), addresses.further_training(run),
                                           addresses.scores(run, "grad_dot"))]  # fmt: skip


def test_addresses_know_of_flips_where_there_are_some():
    plain = hashes()
    assert plain == hashes("data.flip_seed=3") == hashes("data.flip=null")
    flipped = [hashes("data.flip=0.1", *more) for more in ((), ("data.flip_seed=3",))] + [hashes("data.flip=0.2")]
    for kind in zip(plain, *flipped, strict=True):
        assert len(set(kind)) == 4
    config = addresses.final_model(make_run("experiment=breast_cancer")).config
    assert not re.search("flip", yaml.safe_dump(config))


def test_a_run_says_which_labels_were_wrong(tmp_path):
    (tmp_path / "table.csv").write_text(text())
    source = ("data=csv", f"data.source.file={tmp_path / 'table.csv'}", TARGET, CLASSES)
    assert app(tmp_path, *source, "data.flip=0.2", "data.left_out=5", "data.test_count=3", "name=flips") == 0
    results = tmp_path / "results/flips"
    flipped = pd.read_csv(results / "flipped.csv")
    assert list(flipped) == ["train", "name", "label", "flipped_to"] and len(flipped) == round(0.2 * len(TRAIN))
    known = TABLE.iloc[TRAIN[flipped["train"]]]
    assert flipped["label"].tolist() == known["label"].tolist()
    assert (flipped["flipped_to"] == known["label"].map({"no": "yes", "yes": "no"}).tolist()).all()
    assert flipped["name"].tolist() == [f"line {row + 2}" for row in known.index]
    assert "The labels of 6 of 32 training rows were made wrong (flipped.csv)." in (results / "table.md").read_text()
    assert flipped_file(make_run("experiment=breast_cancer").dataset) == {}


@pytest.mark.parametrize("name, table", [("run", "table.md"), ("rank", "ranking.md")])
def test_a_model_that_has_not_learnt_the_wrong_labels(name, table, tmp_path):
    """One that nothing trains, and one of a file, beside one that is trained here."""
    few = ("experiment=breast_cancer", "data.flip=0.1", "data.left_out=5", "data.test_count=3", "method=grad_dot")
    assert app(tmp_path, *few, "name=trained", name=name) == 0
    (weights,) = tmp_path.glob("outputs/breast_cancer/final/*/model.safetensors")
    assert app(tmp_path, *few, "final.epochs=0", "name=none", name=name) == 0
    assert app(tmp_path, *few, f"final.checkpoint={weights}", "name=file", name=name) == 0
    noted = "The final model was taken as it is: unless it was trained elsewhere on the labels that were made wrong"
    texts = [(tmp_path / "results" / model / table).read_text() for model in ("trained", "none", "file")]
    assert [noted in text for text in texts] == [False, True, True]
