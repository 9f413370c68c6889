"""Functions of rows, as a user writes them in a file of their own."""

import numpy as np
import torch
from torch.utils.data import TensorDataset

RANDOM = np.random.default_rng(0)
INPUTS = RANDOM.normal(size=(30, 4))
CLASSES, NUMBERS, LABELS = RANDOM.integers(0, 3, 30), RANDOM.normal(size=30), RANDOM.integers(0, 2, (30, 2))


def halves(*arrays):
    return tuple(tuple(array[part] for array in arrays) for part in (slice(0, 20), slice(20, 30)))


def classification(scale=1.0):
    return halves(INPUTS * scale, CLASSES)


def regression():
    return halves(INPUTS, NUMBERS)


def multilabel():
    return halves(INPUTS, LABELS)


def datasets():
    return tuple(TensorDataset(torch.tensor(i).float(), torch.tensor(t)) for i, t in classification())


def mappings():
    train, test = classification()
    names = [f"person {number}" for number in range(20)]
    weights = np.arange(20) % 3
    return {"inputs": train[0], "targets": train[1], "names": names, "weights": weights}, dict(
        inputs=test[0], targets=test[1]
    )


def tokens():
    numbers = RANDOM.integers(0, 50, (30, 5))
    return halves({"input_ids": torch.tensor(numbers)}["input_ids"], CLASSES)


def images():
    return halves(RANDOM.normal(size=(30, 3, 4, 4)), CLASSES)


def nothing():
    return None


def three():
    return (*classification(), ())


def unknown_key():
    train, test = classification()
    return {"inputs": train[0], "targets": train[1], "id": 1}, test


def few_names():
    train, test = classification()
    return {"inputs": train[0], "targets": train[1], "names": ["a"]}, test


def other_widths():
    train, test = regression()
    return train, (test[0], np.stack([test[1], test[1]], 1))
