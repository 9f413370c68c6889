"""What the final model says of test examples, against a loop."""

import numpy as np
import pytest
import torch
from configs import app
from decoders import language_problem
from problems import problem
from torch import nn

import fimo
from fimo.models.evaluation import all_outputs
from fimo.pipeline.predicted_classes import class_outputs, predicted_classes, predicted_tokens


def test_the_likeliest_class_and_the_label():
    examples = problem("classification", "mlp")
    sentences = predicted_classes(examples.test, all_outputs(examples.network, examples.test), "abcdefgh")
    assert list(sentences) == examples.test.index.tolist()
    for place, sentence in enumerate(sentences.values()):
        outputs = examples.network(examples.test.inputs[place : place + 1])[0].detach().double().numpy()
        shares, label = np.exp(outputs) / np.exp(outputs).sum(), int(examples.test.targets[place])
        start = f"The final model says {'abcdefgh'[shares.argmax()]} with probability {shares.max():.3g}"
        same = f"{start}, and so does the label."
        other = f"{start}; the label is {'abcdefgh'[label]}, with {shares[label]:.2g}."
        assert sentence == (same if label == shares.argmax() else other)
    assert len({sentence.endswith("does the label.") for sentence in sentences.values()}) == 2  # both kinds
    assert "says 1" in " ".join(predicted_classes(examples.test, all_outputs(examples.network, examples.test)).values())


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_targets_that_are_no_classes_have_no_sentence(precision):
    rows = torch.ones(4, 3), torch.zeros(4, 2, dtype=precision)
    examples = fimo.Problem(nn.Linear(3, 2), fimo.SquaredError(), rows, rows, [0])
    outputs = class_outputs(examples.network, examples.test)
    assert outputs is None and predicted_classes(examples.test, outputs) == {}


@pytest.mark.pictures
def test_a_ranking_evaluates_the_model_once_for_each_split(tmp_path, monkeypatch):
    """The page, ranking.md and losses.csv share the outputs."""
    splits = []

    def counted(network, rows):
        splits.append(len(rows))
        return class_outputs(network, rows)

    for module in ("rank_all", "results_page"):
        monkeypatch.setattr(f"fimo.pipeline.{module}.class_outputs", counted)
    few = ("experiment=breast_cancer", "size=smoke", "data.test_count=3", "method=random", "name=once")
    assert app(tmp_path, *few, name="rank") == 0
    assert sorted(splits) == [3, 455]
    text = (tmp_path / "results" / "once" / "ranking.md").read_text()
    page = (tmp_path / "results" / "once" / "report.html").read_text()
    (sentence, *_) = [line for line in text.splitlines() if line.startswith("The final model says")]
    assert sentence in page


def test_the_tokens_of_a_language_model():
    """Its loss, and the most probable token at each place that predicts one."""
    one, words = language_problem(), "abcdefghi"
    sentences = predicted_tokens(one.network, one.objective, one.test, words.__getitem__)
    assert list(sentences) == one.test.index.tolist()
    for row, sentence in enumerate(sentences.values()):
        inputs, targets = one.test[torch.tensor([row])]
        logits = one.network(inputs)[0].detach()
        places = [place for place in range(len(logits) - 1) if targets[0, place + 1] >= 0]
        loss = float(one.losses(one.parameters, one.test.keep(torch.tensor([row]))).detach())
        likeliest = " ".join(words[int(logits[place].argmax())] for place in places)
        assert sentence.startswith(f"The final model's loss is {loss:.3g} per token") and sentence.endswith(
            f": {likeliest}."
        )
