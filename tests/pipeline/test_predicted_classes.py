"""What the final model says of test examples, against a loop."""

import numpy as np
import pytest
import torch
from problems import problem
from torch import nn

import fimo
from fimo.pipeline.predicted_classes import predicted_classes


def test_the_likeliest_class_and_the_label():
    examples = problem("classification", "mlp")
    sentences = predicted_classes(examples, "abcdefgh")
    assert list(sentences) == examples.test.index.tolist()
    for place, sentence in enumerate(sentences.values()):
        outputs = examples.network(examples.test.inputs[place : place + 1])[0].detach().double().numpy()
        shares, label = np.exp(outputs) / np.exp(outputs).sum(), int(examples.test.targets[place])
        start = f"The final model says {'abcdefgh'[shares.argmax()]} with probability {shares.max():.3g}"
        same = f"{start}, and so does the label."
        other = f"{start}; the label is {'abcdefgh'[label]}, with {shares[label]:.2g}."
        assert sentence == (same if label == shares.argmax() else other)
    assert len({sentence.endswith("does the label.") for sentence in sentences.values()}) == 2  # both kinds
    assert "says 1" in " ".join(predicted_classes(examples).values())


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_targets_that_are_no_classes_have_no_sentence(precision):
    rows = torch.ones(4, 3), torch.zeros(4, 2, dtype=precision)
    assert predicted_classes(fimo.Problem(nn.Linear(3, 2), fimo.SquaredError(), rows, rows, [0])) == {}
