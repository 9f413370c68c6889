"""Networks for images, and the changes at random that their final training may make."""

from itertools import product

import pytest
import torch
from torch import nn

from fimo.errors import UserError
from fimo.models.augmentation import FlipAndCrop
from fimo.models.convolutional import SmallConvolutional
from fimo.models.resnet import ResNet9


@pytest.mark.parametrize("width, parameters", [(64, 6_573_130), (4, 26_350)])
def test_resnet_9_layer_by_layer(width, parameters):
    network = ResNet9(3, 10, width)
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    w = width
    pairs = [
        (3, w),
        (w, 2 * w),
        (2 * w, 2 * w),
        (2 * w, 2 * w),
        (2 * w, 4 * w),
        (4 * w, 8 * w),
        (8 * w, 8 * w),
        (8 * w, 8 * w),
    ]
    assert [(layer.in_channels, layer.out_channels) for layer in convolutions] == pairs
    assert sum(isinstance(module, nn.BatchNorm2d) for module in network.modules()) == 8
    expected = sum(9 * a * b + 2 * b for a, b in pairs) + 8 * w * 10 + 10
    assert sum(p.numel() for p in network.parameters()) == expected == parameters


def test_resnet_9_is_what_its_description_says():
    torch.manual_seed(0)
    network, images = ResNet9(3, 10, 4).eval(), torch.randn(2, 3, 32, 32)
    layers = iter([module for module in network.modules() if isinstance(module, (nn.Conv2d, nn.BatchNorm2d))])

    def convolution(x):
        convolved = next(layers)(x)
        return torch.relu(next(layers)(convolved))

    x = nn.functional.max_pool2d(convolution(convolution(images)), 2)
    x = x + convolution(convolution(x))
    x = nn.functional.max_pool2d(convolution(x), 2)
    x = nn.functional.max_pool2d(convolution(x), 2)
    x = x + convolution(convolution(x))
    assert x.shape == (2, 32, 4, 4)
    torch.testing.assert_close(network(images), network.head(x.flatten(2).max(2).values))


@pytest.mark.parametrize("height, width, channels", [(8, 8, 1), (28, 28, 1), (33, 40, 3), (64, 64, 4)])
@pytest.mark.parametrize(
    "make", [lambda channels: ResNet9(channels, 7, 2), lambda channels: SmallConvolutional(channels, 7)]
)
def test_images_of_any_size(make, height, width, channels):
    network = make(channels).eval()
    images = torch.randn(3, channels, height, width)
    outputs = network(images)
    assert outputs.shape == (3, 7)
    torch.testing.assert_close(network(images[1:2]), outputs[1:2])  # each row by itself


def test_the_small_network_has_a_few_thousand_parameters_and_no_statistics():
    network = SmallConvolutional(1, 10, [8, 16])
    assert sum(p.numel() for p in network.parameters()) == (9 * 8 + 8) + (9 * 8 * 16 + 16) + (16 * 10 + 10)
    assert not list(network.buffers())


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: ResNet9(3, 10, 0), "model.width must be a whole number of at least 1, found 0"),
        (lambda: ResNet9(3, 10, 2.5), "model.width must be a whole number of at least 1, found 2.5"),
        (lambda: ResNet9(1, 10, 2)(torch.zeros(2, 1, 7, 9)), r"images of at least 8 × 8 pixels, found \[7, 9\]"),
        (lambda: SmallConvolutional(1, 10, [8, 0]), r"model.channels must list .*, found \[8, 0\]"),
        (lambda: SmallConvolutional(1, 10, []), r"model.channels must list .*, found \[\]"),
        (lambda: FlipAndCrop(-1), "final.augment.padding must be a whole number of at least 0, found -1"),
    ],
)
def test_bad_settings(make, text):
    with pytest.raises(UserError, match=text):
        make()


def shifted(image, down, right, padding):
    """The image moved, with zeros where nothing was."""
    padded = nn.functional.pad(image, (padding,) * 4)
    height, width = image.shape[-2:]
    return padded[:, padding + down : padding + down + height, padding + right : padding + right + width]


@pytest.mark.parametrize("padding", [0, 1, 2])
def test_flip_and_crop_gives_every_moved_and_mirrored_image_equally_often(padding):
    image = torch.arange(1.0, 37.0).reshape(2, 3, 6)
    moves = list(product(range(-padding, padding + 1), repeat=2))
    expected = torch.stack([shifted(side, *move, padding) for side in (image, image.flip(-1)) for move in moves])
    torch.manual_seed(0)
    rows = 400 * len(expected)
    found = FlipAndCrop(padding)(image.expand(rows, -1, -1, -1))
    same = (found[:, None] == expected).flatten(2).all(2)
    assert (same.sum(1) == 1).all()
    assert (same.sum(0) > 300).all()  # 400 each, standard deviation 20: every image is drawn for itself


def test_flip_and_crop_draws_from_torchs_global_generator_alone():
    images = torch.randn(5, 3, 8, 8)
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(FlipAndCrop(4)(images))
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
