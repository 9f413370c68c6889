"""Folders of adapters as PEFT saves them; what needs the package itself is skipped where it is not installed."""

import importlib.util
import json

import pytest
import torch
from decoders import CONFIGS, language_problem
from encoders import saved

import fimo
from fimo import hub
from fimo.errors import UserError
from fimo.models.causal_lm import CausalLM
from fimo.models.encoder import Encoder, SequenceClassifier
from fimo.reference import gradients as reference

needs_peft = pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="peft is not installed (extra peft)")
INPUTS = {
    "input_ids": torch.tensor([[2, 5, 6, 3], [2, 7, 3, 0]]),
    "attention_mask": torch.tensor([[1] * 4, [1, 1, 1, 0]]),
}


def folder(tmp_path, **config):
    path = tmp_path / "adapters"
    path.mkdir()
    (path / "adapter_config.json").write_text(json.dumps(config))
    (path / "adapter_model.safetensors").write_bytes(b"")
    return str(path)


@pytest.mark.skipif(importlib.util.find_spec("peft") is not None, reason="peft is installed")
def test_without_the_package_the_extra_is_named(tmp_path):
    with pytest.raises(UserError, match=r"is a folder of adapters, which the package peft reads: .*-e '.\[peft\]'"):
        Encoder(12, 2, name=folder(tmp_path, base_model_name_or_path="somewhere"))


def test_adapters_of_nobody_are_refused(tmp_path):
    name = folder(tmp_path)
    with pytest.raises(UserError, match="must name the model that the adapters are for"):
        Encoder(12, 2, name=name)
    (tmp_path / "adapters/adapter_config.json").write_text("{")
    with pytest.raises(UserError, match="must name the model that the adapters are for"):
        Encoder(12, 2, name=name)


def test_pickled_adapters_are_never_read(tmp_path):
    name = folder(tmp_path, base_model_name_or_path="somewhere")
    (tmp_path / "adapters/adapter_model.safetensors").rename(tmp_path / "adapters/adapter_model.bin")
    with pytest.raises(
        UserError, match="has adapters without adapter_model.safetensors .pickled weights are never read"
    ):
        Encoder(12, 2, name=name)


def test_their_digest_is_that_of_their_model_too(tmp_path):
    saved(tmp_path / "base")
    name = folder(tmp_path, base_model_name_or_path=str(tmp_path / "base"))
    before = hub.digest(name)
    assert hub.digest(name) == before
    saved(tmp_path / "base", initializer_range=0.1)
    assert hub.digest(name) != before


@pytest.fixture
def adapted(tmp_path):
    """A classifier with adapters and a head of its own, as its maker leaves it, and where it lies."""
    import peft
    from transformers import AutoModelForSequenceClassification

    saved(tmp_path / "base", auto=__import__("transformers").AutoModel)
    base = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base", num_labels=3)
    config = peft.LoraConfig(r=2, task_type="SEQ_CLS", target_modules=["query", "value"], init_lora_weights=False)
    model = peft.get_peft_model(base, config)
    model.save_pretrained(tmp_path / "adapters")
    return model.eval(), str(tmp_path / "adapters")


@needs_peft
def test_logits_and_scores_of_the_adapters_alone(adapted):
    theirs, name = adapted
    network = SequenceClassifier(12, 3, name).eval()
    torch.testing.assert_close(network(INPUTS), theirs(**INPUTS).logits, rtol=1e-5, atol=1e-6)
    rows = (INPUTS, torch.tensor([0, 2]))
    problem = fimo.Problem(network, fimo.CrossEntropy(), rows, rows, [0, 1], parameters="adapters").to(
        dtype=torch.float64
    )
    assert all("lora_" in name or "modules_to_save" in name for name in problem.theta)
    test, left_out = reference.gradients(problem)
    scores = fimo.attribute(problem, ["grad_dot"])["Grad-Dot"]
    torch.testing.assert_close(torch.tensor(scores.values), test @ left_out.T / 2, rtol=1e-9, atol=1e-12)


@needs_peft
def test_adapters_of_another_model_are_refused(adapted, tmp_path):
    saved(tmp_path / "base", "distilbert")
    with pytest.raises(UserError, match="The adapters in .* don't fit their model"):
        SequenceClassifier(12, 3, adapted[1])


class TestNewAdapters:
    LORA = {"r": 2, "lora_alpha": 4, "target_modules": "all-linear", "init_lora_weights": False}

    @pytest.mark.skipif(importlib.util.find_spec("peft") is not None, reason="peft is installed")
    def test_without_the_package(self):
        with pytest.raises(UserError, match=r"model.adapters asks for new adapters, which the package peft makes"):
            CausalLM(9, config=CONFIGS["llama"], adapters=self.LORA)

    @needs_peft
    @pytest.mark.parametrize("kind", ["llama", "gpt2"])
    @pytest.mark.parametrize("layers", ["all-linear", "attention"])
    def test_of_a_causal_model(self, kind, layers):
        attention = {"llama": ["q_proj", "v_proj"], "gpt2": ["c_attn"]}[kind]
        chosen = {**self.LORA, **({} if layers == "all-linear" else {"target_modules": attention})}
        torch.manual_seed(0)
        network = CausalLM(9, config=CONFIGS[kind], adapters=chosen)
        one = language_problem(network, parameters="adapters")
        assert 0 < one.size < sum(p.numel() for p in network.parameters())
        assert all("lora_" in name for name in one.parameters)
        torch.testing.assert_close(
            torch.tensor(fimo.attribute(one, ["grad_dot"])["Grad-Dot"].values),
            torch.tensor(reference.scores(one, None)),
            rtol=1e-10,
            atol=1e-14,
        )
        training = fimo.FurtherTraining(torch.optim.AdamW, lr=1e-3, epochs=1, batch_size=3)
        assert fimo.further_train(one, training, seeds=1)["loss_full"].notnull().all()

    @needs_peft
    def test_settings_that_make_none(self):
        with pytest.raises(UserError, match="model.adapters does not make adapters"):
            CausalLM(9, config=CONFIGS["llama"], adapters={**self.LORA, "target_modules": ["nowhere"]})
