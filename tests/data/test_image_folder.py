"""Folders of image files: classes by subfolder, given splits, sizes, kinds; and what is refused."""

import numpy as np
import pytest
import torch
from configs import data_module, make_run
from PIL import Image

from fimo.errors import UserError
from fimo.pipeline import addresses

CLASSES = ("cat", "dog")


def save(root, classes=CLASSES, count=6, size=(9, 8), mode="RGB", ending="png", seed=0):
    """Random images `count` of each class, height and width `size`."""
    random = np.random.default_rng(seed)
    for number, name in enumerate(classes):
        (root / name).mkdir(parents=True, exist_ok=True)
        for place in range(count):
            image = Image.fromarray(random.integers(0, 256, (*size, 3), np.uint8)).convert(mode)
            image.save(root / name / f"{number}{place}.{ending}")


def load(folder, *overrides, **changes):
    options = (f"data.source.folder={folder}", "data.left_out=2", *overrides)
    return data_module("image_folder", folder, "experiment=cifar10", *options, **changes).load()


def test_a_subfolder_for_each_class(tmp_path):
    save(tmp_path)
    data = load(tmp_path, "data.test_size=0.25", "data.standardise=false")
    assert (len(data.train), len(data.test_all), data.inputs, data.outputs) == (9, 3, 3, 2)
    assert data.classes == CLASSES and data.train.inputs.shape[1:] == (3, 9, 8)
    for row in range(9):
        name = data.names.of("train", row)
        pixels = np.asarray(Image.open(tmp_path / name))
        np.testing.assert_array_equal(data.display("train", row), pixels)
        np.testing.assert_allclose(data.train.inputs[row].permute(1, 2, 0), pixels / 255, atol=1e-6)
        assert CLASSES[data.train.targets[row]] == name.split("/")[0]


@pytest.mark.parametrize("test", ["test", "val"])
def test_folders_train_and_test(test, tmp_path):
    save(tmp_path / "train", count=4)
    save(tmp_path / test, classes=("dog",) if test == "val" else CLASSES[::-1], count=2, seed=1)
    save(tmp_path / "unused", count=1)
    data = load(tmp_path)
    assert len(data.train) == 8 and data.names.of("train", 7) == "dog/13.png" and data.classes == CLASSES
    assert [data.names.of("test", row).split("/")[0] for row in range(len(data.test))] == [
        CLASSES[label] for label in data.test.targets
    ]


def test_a_network_sees_mixed_sizes_and_kinds_as_configured(tmp_path):
    save(tmp_path, mode="L", count=3)
    save(tmp_path, size=(12, 16), count=1, seed=1)
    with pytest.raises(UserError, match=r"one size, found .* 'data.source.size=\[\d+,\d+\]', height and width"):
        load(tmp_path)
    data = load(tmp_path, "data.source.size=[6,5]")
    assert data.train.inputs.shape[1:] == (3, 6, 5)
    assert load(tmp_path, "data.source.size=[6,5]", "data.source.kind=grey").inputs == 1


@pytest.mark.parametrize(
    "mode, ending, channels",
    [("L", "png", 1), ("1", "png", 1), ("P", "png", 3), ("RGBA", "png", 3), ("CMYK", "jpg", 3)],
)
def test_kinds_of_images(mode, ending, channels, tmp_path):
    save(tmp_path, mode=mode, ending=ending)
    assert load(tmp_path).inputs == channels


def test_results_know_names_and_contents(tmp_path):
    def address():
        options = ("experiment=cifar10", "data=image_folder", f"data.source.folder={tmp_path}", "size=smoke")
        return addresses.final_model(make_run(*options)).hash

    save(tmp_path)
    first = address()
    assert address() == first
    (tmp_path / "cat/00.png").rename(tmp_path / "dog/00.png")
    second = address()
    Image.new("RGB", (8, 9)).save(tmp_path / "dog/00.png")
    assert len({first, second, address()}) == 3


def spoil(tmp_path, what):
    save(tmp_path, count=2)
    if what == "one class":
        (tmp_path / "dog").rename(tmp_path.parent / "elsewhere")
    elif what == "nothing":
        return tmp_path / "nowhere"
    elif what == "an empty class":
        (tmp_path / "owl").mkdir()
    elif what == "text":
        (tmp_path / "cat/00.png").write_text("no image")
    elif what == "truncated":
        content = (tmp_path / "cat/00.png").read_bytes()
        (tmp_path / "cat/00.png").write_bytes(content[:100])
    elif what == "16 bits":
        Image.fromarray(np.zeros((9, 8), np.uint16)).save(tmp_path / "cat/00.png")
    elif what == "another class in the test":
        save(tmp_path / "train")
        save(tmp_path / "test", classes=("owl", "cat"))
    return tmp_path


@pytest.mark.parametrize(
    "what, overrides, text",
    [
        ("one class", (), "a subfolder for each of two or more classes, found 'cat' only"),
        ("nothing", (), "nowhere must be a folder with a subfolder of images for each class"),
        ("an empty class", (), "a subfolder of images for each class, found none .*owl"),
        ("text", (), "00.png is not an image that can be read"),
        ("truncated", (), "00.png is not an image that can be read"),
        ("16 bits", (), "00.png must have at most eight bits a channel, found Pillow's mode 'I;16'"),
        ("another class in the test", (), "test has the class 'owl', which .*train lacks: "),
        ("", ("data.source.kind=colour",), "data.source.kind must be grey or rgb or null, found 'colour'"),
        ("", ("data.source.size=[32]",), r"must be height and width in pixels, as in \[32,32\], found \[32\]"),
        ("", ("data.task=regression",), "data.task must be classification for images"),
        ("", ("data.test_size=1.5",), "data.test_size=1.5 of 4 rows leaves none"),
    ],
)
def test_bad_folders(what, overrides, text, tmp_path):
    with pytest.raises(UserError, match=text) as error:
        load(spoil(tmp_path / "images", what), *overrides)
    assert "\n" not in str(error.value)


def test_both_splits_have_every_class_in_the_same_share(tmp_path):
    save(tmp_path, count=8)
    data = load(tmp_path, "data.stratify=true", "data.test_size=0.25")
    assert torch.bincount(data.test_all.targets).tolist() == [2, 2]
