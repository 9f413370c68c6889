"""Re-training from scratch: the gold standard that begins where the final model began."""

from functools import partial

import numpy as np
import pytest
import torch
import xarray as xr
from configs import app, make_run

from fimo.errors import UserError
from fimo.models.evaluation import metrics
from fimo.pipeline import addresses
from fimo.reference import further_training as reference

BASE = ("experiment=diabetes", "data.test_count=6", "data.left_out=5")


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_equals_training_the_final_model_without_each_example(tmp_path, optimizer):
    exact = ("further=retraining", f"optimizer={optimizer}", f"final.optimizer={optimizer}", "further.dtype=float64")
    more = ("final.lr=0.01", "final.weight_decay=0.1", "final.epochs=3", "seed=3")
    assert app(tmp_path, *BASE, *exact, *more) == 0
    (path,) = tmp_path.glob("outputs/diabetes/further/*/seed-*.nc")
    losses = xr.open_dataset(path)
    assert path.name == "seed-00003.nc" and losses["epoch"].values.tolist() == [1, 2, 3]

    asked = make_run("size=smoke", *BASE, *exact, *more, f"paths.output_dir={tmp_path}/outputs")
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer]
    begin, rate = asked.initial_problem.to(dtype=torch.float64), partial(kind, lr=0.01, weight_decay=0.1)
    expected = reference.gold_standard(begin, rate, 3, asked.final.batch_size, "drop", seed=3)
    for name, values in zip(("loss_before", "loss_full", "loss_left_out"), expected, strict=True):
        np.testing.assert_allclose(losses[name].values, values, rtol=1e-12, atol=1e-12, err_msg=name)

    # The run on all examples is the final model's own training.
    final = metrics(asked.problem.network, asked.problem.objective, asked.problem.test)["loss"]
    assert losses["loss_full"].values[-1].mean() == pytest.approx(final, rel=1e-5)


@pytest.mark.parametrize(
    "override, words",
    [
        ("optimizer=adam", "optimizer must be sgd, found adam"),
        ("optimizer.lr=0.5", "optimizer.lr must be 0.0"),
        ("final.keep=best", "final.keep must be last, found best"),
        ("final.schedule=cosine", "final.schedule must be constant, found cosine"),
        ("optimizer.momentum=0.9", "optimizer.momentum must be 0, found 0.9"),
        ("data.batch_size=7", "data.batch_size must be 32, found 7"),
        ("parameters=last_layer", "parameters must be all, found last_layer"),
        ("final.checkpoint=mine.pt", "final.checkpoint must be null, found mine.pt"),
    ],
)
def test_repeats_the_final_models_training_or_says_why_not(override, words):
    with pytest.raises(UserError, match="further.gold=retraining repeats the final model's own training") as told:
        make_run("size=smoke", *BASE, "further=retraining", override)
    assert words in str(told.value)


def test_its_seeds_lie_apart_from_those_of_further_training():
    usual, again = (make_run("size=smoke", *BASE, f"further={name}") for name in ("leave_one_out", "retraining"))
    assert addresses.further_training(usual).folder != addresses.further_training(again).folder
    assert addresses.final_model(usual).folder == addresses.final_model(again).folder
