"""Images: real ones, their splits and statistics, and the errors for bad archives."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets
import torch
from configs import DATA, data_module, needs_data
from sklearn.model_selection import train_test_split

from fimo.errors import Unavailable, UserError

SUBSET = "cifar10/cifar10_subset.npz"


def whole(name, data_dir, *overrides, **changes):
    settings = {"train_rows": None, "test_count": None, "left_out_first": None, "left_out": 30}
    return data_module(name, data_dir, *overrides, **{**settings, **changes}).load()


def assert_normalised(data):
    mean, deviation = (getattr(data.train.inputs.double(), of)((0, 2, 3)) for of in ("mean", "std"))
    np.testing.assert_allclose(mean, 0, atol=1e-4)
    np.testing.assert_allclose(deviation, 1, atol=1e-4)


def test_digits_are_scikit_learns(tmp_path):
    data, bunch = whole("digits", tmp_path), sklearn.datasets.load_digits()
    train, test = train_test_split(np.arange(1797), test_size=0.2, random_state=0)
    assert (len(data.train), len(data.test_all), data.inputs, data.outputs) == (1437, 360, 1, 10)
    assert data.train.targets.tolist() == bunch.target[train].tolist()
    assert_normalised(data)
    raw = bunch.images[train]
    for inputs, images in ((data.train.inputs, raw), (data.test.inputs, bunch.images[test])):
        assert inputs.shape[1:] == (1, 8, 8)
        np.testing.assert_allclose(inputs[:, 0], (images - raw.mean()) / raw.std(), atol=1e-5)
    shown = data.display("test", 3)
    assert shown.dtype == np.uint8 and shown.shape == (8, 8, 1)
    np.testing.assert_allclose(shown[..., 0], bunch.images[test[3]] * 255 / 16, atol=0.5)


@needs_data
class TestCifar:
    def test_the_subset(self):
        data, arrays = whole("cifar10_subset", DATA), np.load(Path(DATA) / SUBSET)
        assert (len(data.train), len(data.test_all), data.inputs, data.outputs) == (5170, 1017, 3, 10)
        assert data.train.inputs.shape[1:] == (3, 32, 32) and str(data.train.inputs.dtype) == "torch.float32"
        assert data.train.targets[:8].tolist() == arrays["train_labels"][:8].tolist()
        assert np.bincount(data.train.targets).min() > 450  # roughly balanced
        assert data.classes[3] == "cat" and data.description("test", 0).label == data.classes[data.test.targets[0]]
        assert_normalised(data)
        mean, std = (getattr(arrays["train_images"].astype(float), of)((0, 1, 2)) for of in ("mean", "std"))
        np.testing.assert_allclose(mean / 255, [0.49, 0.48, 0.45], atol=0.01)  # as is known of CIFAR-10
        expected = (arrays["test_images"][5] - mean) / std
        np.testing.assert_allclose(data.test.inputs[5].permute(1, 2, 0), expected, atol=1e-5)
        for split in ("train", "test"):
            np.testing.assert_array_equal(data.display(split, 7), arrays[f"{split}_images"][7])

    def test_fewer_rows_keep_their_positions_and_the_whole_splits_statistics(self):
        every = whole("cifar10_subset", DATA, left_out=[3, 5000])
        some = whole("cifar10_subset", DATA, left_out=[3, 5000], train_rows=50, test_count=4)
        assert len(some.train) == 50 and some.train.index[some.left_out.rows].tolist() == [3, 5000]
        np.testing.assert_array_equal(some.train.inputs, every.train.inputs[some.train.index])
        np.testing.assert_array_equal(some.test.inputs, every.test.inputs[:4])
        assert len(some.test_all) == 1017

    def test_a_subset_in_place_of_what_is_missing(self, tmp_path):
        (tmp_path / "cifar10").mkdir()
        shutil.copy(Path(DATA) / SUBSET, tmp_path / SUBSET)
        with pytest.raises(Unavailable, match="or choose data=cifar10_subset, which is there"):
            data_module("cifar10", tmp_path, "data.source.url=http://127.0.0.1:9/nobody").load()


def good():
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (12, 8, 8, 3), np.uint8)
    labels = np.arange(12) % 3
    return {"train_images": images, "train_labels": labels, "test_images": images[:5], "test_labels": labels[:5]}


def archive(tmp_path, *overrides, **changes):
    """Load an archive of good arrays with changes; None leaves one out."""
    (tmp_path / "cifar10").mkdir(exist_ok=True)
    arrays = {name: array for name, array in {**good(), **changes}.items() if array is not None}
    np.savez(tmp_path / SUBSET, **arrays)
    return whole("cifar10_subset", tmp_path, *overrides, left_out=3)


def test_an_archive_of_ones_own(tmp_path):
    data = archive(tmp_path, train_index=np.arange(12) + 100)
    assert (len(data.train), len(data.test), data.outputs) == (12, 5, 3)
    assert data.train.index.tolist() == list(range(12))  # the row in this file, whatever it was elsewhere
    one_value = archive(
        tmp_path, train_images=np.full((12, 8, 8, 1), 7, np.uint8), test_images=good()["test_images"][..., :1]
    )
    assert one_value.train.inputs.abs().max() == 0  # no division by zero


IMAGES, LABELS = good()["train_images"], good()["train_labels"]
WORDS = np.array(["cat", "dog", "owl"])


def both(images, labels=None):
    """Training and test arrays that were changed alike."""
    arrays = {"train_images": images, "test_images": images[:5]}
    return arrays if labels is None else {**arrays, "train_labels": labels, "test_labels": labels[:5]}


@pytest.mark.parametrize(
    "changes, channels",
    [
        (both(IMAGES.transpose(0, 3, 1, 2)), 3),
        (both(IMAGES[..., 0]), 1),
        (both(IMAGES / 255), 3),
        (both((IMAGES / 255).astype("float32")), 3),
        (both(IMAGES.astype(">i4")), 3),
        (both(IMAGES.astype(float)), 3),
        (both(IMAGES, LABELS + 1), 3),
        (both(IMAGES, LABELS * 2 - 1), 3),
        (both(IMAGES, LABELS * 1.0), 3),
        (both(IMAGES, np.eye(3)[LABELS]), 3),
        (both(IMAGES, LABELS[:, None]), 3),
        (both(IMAGES, WORDS[LABELS]), 3),
        (both(IMAGES, WORDS[LABELS].astype("S")), 3),
    ],
    ids=["first", "grey", "float64", "float32", "byte order", "whole floats", "from 1", "odd", "floats", "one-hot",
         "column", "words", "bytes"],
)  # fmt: skip
def test_arrays_as_people_have_them(changes, channels, tmp_path):
    data, expected = archive(tmp_path, **changes), archive(tmp_path)
    assert torch.equal(data.train.inputs, expected.train.inputs[:, :channels])
    assert data.train.targets.tolist() == LABELS.tolist() and data.test.targets.tolist() == LABELS[:5].tolist()
    assert len(data.classes) == 3


def test_names_of_classes_that_an_archive_has(tmp_path):
    data = archive(tmp_path, **both(IMAGES, LABELS), class_names=WORDS)
    assert data.classes == ("cat", "dog", "owl") and data.train.targets.tolist() == LABELS.tolist()
    assert data.description("test", 1).label == WORDS[LABELS[1]] and archive(tmp_path).classes == ("0", "1", "2")


def test_values_that_are_no_bytes_stay_what_they_are(tmp_path):
    random = np.random.default_rng(0)
    images = random.normal(size=(12, 8, 8, 2))
    data = archive(tmp_path, **both(images))
    mean, deviation = images.mean((0, 1, 2)), images.std((0, 1, 2))
    np.testing.assert_allclose(data.train.inputs.permute(0, 2, 3, 1), (images - mean) / deviation, atol=1e-5)
    shown = data.display("train", 3)
    assert shown.dtype == np.uint8 and shown.shape == (8, 8, 2)
    plain = archive(tmp_path, "data.standardise=false", **both(images))
    np.testing.assert_array_equal(plain.train.inputs.permute(0, 2, 3, 1), images.astype("float32"))


@pytest.mark.parametrize("layout, channels", [("channels_first", 3), ("channels_last", 4)])
def test_a_layout_that_the_shape_does_not_tell(layout, channels, tmp_path):
    small = IMAGES[:, :3, :4, :].repeat(2, -1)[..., :4]
    with pytest.raises(UserError, match=r"shape \[12, 3, 4, 4\] may have their channels first or last: add data.so"):
        archive(tmp_path, **both(small))
    data = archive(tmp_path, f"data.source.layout={layout}", **both(small))
    assert data.inputs == channels == data.train.inputs.shape[1]


@pytest.mark.parametrize(
    "changes, text",
    [
        ({"train_labels": None}, r"lacks the arrays \['train_labels'\]: expected \['train_images'.*found \["),
        (
            {"train_images": IMAGES[..., 0]},
            r"as a training image, \[8, 8, 1\] of uint8, found \[8, 8, 3\]",
        ),
        ({"train_images": IMAGES - 0.5}, r"as a training image, \[8, 8, 3\] of float32, found \[8, 8, 3\] of uint8"),
        ({"train_images": IMAGES[0]}, r"as a training image, \[8, 3, 1\] of uint8"),
        ({"train_images": IMAGES[0, 0]}, r"train_images .* must be numbers .*, found uint8 of shape \[8, 3\]"),
        ({"train_images": IMAGES.repeat(2, -1)}, r"at most 4 channels, found shape \[12, 8, 8, 6\]"),
        ({"train_images": IMAGES * np.nan}, "train_images .* must be finite numbers, found nan"),
        (both(IMAGES, LABELS * 0), "The labels in .* must have two or more classes, found '0' only"),
        ({"train_images": IMAGES[:0], "train_labels": LABELS[:0]}, r"found uint8 of shape \[0, 8, 8, 3\]"),
        ({"test_images": IMAGES[:5, :5]}, r"as a training image, \[8, 8, 3\] of uint8, found \[5, 8, 3\] of uint8"),
        ({"train_labels": LABELS[:7]}, r"a word for each of the 12 images, .*, found int64 of shape \[7\]"),
        ({"train_labels": LABELS + 0.5}, "The labels in .* must have classes, found the number 0.5"),
        ({"train_labels": LABELS * 2}, "must have every class in a training row, found '1' in test rows only"),
        ({"class_names": WORDS[:2]}, r"class_names in .* found 2 names \(cat, dog\) for the labels 0, 1, 2: leave"),
        ({"class_names": WORDS[[0, 0, 1]]}, "must name each class once"),
        (both(IMAGES, WORDS[LABELS]) | {"class_names": WORDS}, "3 names .* for the labels cat, dog, owl"),
        ({"train_labels": LABELS.astype(object)}, "not an .npz archive of plain arrays"),
    ],
)
def test_bad_arrays(changes, text, tmp_path):
    with pytest.raises(UserError, match=text) as error:
        archive(tmp_path, **changes)
    assert "\n" not in str(error.value)


def test_no_archive(tmp_path):
    with pytest.raises(Unavailable, match=r"cifar10_subset.npz is not there: put an .npz file .* FIMO_DATA_DIR"):
        whole("cifar10_subset", tmp_path)


@pytest.mark.parametrize("spoilt", ["truncated", "flipped", "text", "one array", "folder"])
def test_not_an_archive(spoilt, tmp_path):
    archive(tmp_path)
    path = tmp_path / SUBSET
    content = path.read_bytes()
    if spoilt == "folder":
        path.unlink()
        path.mkdir()
    elif spoilt == "one array":
        with path.open("wb") as file:
            np.save(file, IMAGES)
    else:
        flipped = bytearray(content)
        flipped[500] ^= 255
        path.write_bytes({"truncated": content[:1000], "flipped": flipped, "text": b"<html>not found</html>"}[spoilt])
    expected = "is not there" if spoilt == "folder" else "is not an .npz archive of plain arrays that can be read"
    with pytest.raises(UserError, match=expected) as error:
        whole("cifar10_subset", tmp_path)
    assert "\n" not in str(error.value)


def test_images_are_classified(tmp_path):
    with pytest.raises(UserError, match="data.task must be classification for images, found 'regression'"):
        data_module("digits", tmp_path, task="regression").load()
