"""Vision transformers: the library's logits in the data's order, plain loops, and what is refused."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForImageClassification

import fimo
from fimo.errors import UserError
from fimo.models.image_classifier import ImageClassifier
from fimo.reference import gradients as reference

WORDS = {"id2label": {0: "Negative", 1: "neutral ", 2: "POSITIVE"}}
VIT = {
    "image_size": 4,
    "patch_size": 2,
    "hidden_size": 8,
    "intermediate_size": 12,
    **{f"num_{w}": 2 for w in ("hidden_layers", "attention_heads")},
}


class TestImages:
    def saved(self, folder, **settings):
        torch.manual_seed(0)
        config = AutoConfig.for_model("vit", num_labels=3, **{**VIT, **settings})
        model = AutoModelForImageClassification.from_config(config).eval()
        model.save_pretrained(folder)
        return model

    def test_a_pretrained_one_has_its_own_logits_in_the_datas_order(self, tmp_path):
        theirs, images = self.saved(tmp_path, **WORDS), torch.randn(5, 3, 4, 4)
        network = ImageClassifier(3, 3, str(tmp_path), classes=("positive", "negative", "neutral")).eval()
        torch.testing.assert_close(network(images), theirs(images).logits[:, [2, 0, 1]])

    def test_scores_and_effects_are_the_plain_loops(self):
        torch.manual_seed(0)
        network = ImageClassifier(1, 2, config={"model_type": "vit", **VIT})
        rows = torch.randn(9, 1, 4, 4), torch.arange(9) % 2
        problem = fimo.Problem(network, fimo.CrossEntropy(), rows, (rows[0][:3] + 1, rows[1][:3]), [0, 4])
        problem = problem.to(dtype=torch.float64)
        test, left_out = reference.gradients(problem)
        scores = fimo.attribute(problem, ["grad_dot"])["Grad-Dot"]
        torch.testing.assert_close(torch.tensor(scores.values), test @ left_out.T / 9, rtol=1e-9, atol=1e-12)

    @pytest.mark.parametrize(
        "make, sentence",
        [
            (
                lambda folder: ImageClassifier(1, 3, folder),
                "takes images of 3 channels, found 1: choose data.source.kind=rgb",
            ),
            (
                lambda folder: ImageClassifier(3, 3, folder, task="multilabel"),
                "choose data.task=classification, found mu",
            ),
            (lambda folder: ImageClassifier(3, 2, folder), "must have the 2 classes of the data, found 3"),
            (
                lambda folder: ImageClassifier(3, 3, folder)(torch.zeros(1, 3, 8, 9)),
                r"takes images of 4 × 4 pixels, found 8 × 9: .* 'data.source.size=\[4,4\]'",
            ),
            (lambda folder: ImageClassifier(3, 3, config={"model_type": "bert"}), "is no classifier of images .bert."),
            (lambda folder: ImageClassifier(3, 3), "model.config must say the model_type .vit, …. of a new one"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, make, sentence, tmp_path):
        self.saved(tmp_path, problem_type="single_label_classification")
        with pytest.raises(UserError, match=sentence):
            make(str(tmp_path))
