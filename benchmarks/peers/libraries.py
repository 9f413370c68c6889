"""Scores of all training rows by other libraries, each called as its own documentation says.

A function takes a problem, in the dtype that is measured, and returns the work that is measured: nothing is prepared
before it but a damping, where theirs is a number. The work returns scores `[test, training row]`, up to a factor.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from benchmarks.peers.rows import BATCH, PROJECTION, Plain, dataset, loaders, one_damping
from fimo.problem import Problem

Work = Callable[[], Tensor]


def captum_grad_dot(problem: Problem) -> Work:
    """TracIn at one checkpoint, the final model, with a step size of 1."""
    from captum.influence import TracInCP

    class Summed(nn.Module):
        """The sum of the rows' losses, of which captum takes each row's own gradient."""

        reduction = "sum"

        def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
            return problem.objective.loss(outputs, targets).sum()

    def work() -> Tensor:
        train, test = loaders(problem)
        options = {"loss_fn": Summed(), "sample_wise_grads_per_batch": True, "checkpoints": [""]}
        tracin = TracInCP(Plain(problem), train, checkpoints_load_func=lambda model, path: 1.0, **options)
        return tracin.influence(next(iter(test)))

    return work


def _task(problem: Problem, rowwise: bool) -> Any:
    from dattri.task import AttributionTask

    model = Plain(problem)

    def loss(parameters: dict[str, Tensor], data: tuple[Tensor, ...]) -> Tensor:
        *inputs, targets = (part[None] for part in data) if rowwise else data  # rows come by themselves, under vmap
        return problem.objective.loss(functional_call(model, parameters, tuple(inputs)), targets).mean()

    return AttributionTask(loss_func=loss, model=model, checkpoints=model.state_dict())


def dattri_grad_dot(problem: Problem) -> Work:
    """TracIn at one checkpoint with a weight of 1."""
    from dattri.algorithm.tracin import TracInAttributor

    def work() -> Tensor:
        attributor = TracInAttributor(_task(problem, True), weight_list=torch.ones(1), normalized_grad=False)
        attributor.projector_kwargs = None  # its default projects gradients, which takes many times as long
        with torch.no_grad():
            return attributor.attribute(*loaders(problem)).T

    return work


def dattri_ekfac(problem: Problem) -> Work:
    """EK-FAC of linear layers, with the empirical Fisher matrix and one damping for all layers."""
    from dattri.algorithm.influence_function import IFAttributorEKFAC

    return _dattri(problem, lambda task, damping: IFAttributorEKFAC(task, damping=damping))


def dattri_datainf(problem: Problem) -> Work:
    """DataInf with one damping for all layers."""
    from dattri.algorithm.influence_function import IFAttributorDataInf

    return _dattri(problem, lambda task, damping: IFAttributorDataInf(task, regularization=damping))


def _dattri(problem: Problem, make: Callable[[Any, float], Any]) -> Work:
    damping = one_damping(problem)

    def work() -> Tensor:
        attributor = make(_task(problem, False), damping)
        train, test = loaders(problem)
        attributor.cache(train)
        with torch.no_grad():
            return attributor.attribute(train, test).T

    return work


def kronfluence_grad_dot(problem: Problem) -> Work:
    """Its strategy `identity`: linear and convolution layers only."""
    return _kronfluence(problem, "identity")


def kronfluence_ekfac(problem: Problem) -> Work:
    """Its strategy `ekfac`: the true Fisher matrix with one label drawn for each row."""
    return _kronfluence(problem, "ekfac")


def _kronfluence(problem: Problem, strategy: str) -> Work:
    from kronfluence.analyzer import Analyzer, prepare_model
    from kronfluence.arguments import FactorArguments, ScoreArguments
    from kronfluence.task import Task

    class OfProblem(Task):
        """Its losses, with targets drawn from the model where they are asked for."""

        def compute_train_loss(self, batch: Any, model: nn.Module, sample: bool = False) -> Tensor:
            *inputs, targets = batch
            outputs = model(*inputs)
            if sample:
                targets = torch.multinomial(outputs.detach().softmax(-1), 1).flatten()
            return problem.objective.loss(outputs, targets).sum()

        def compute_measurement(self, batch: Any, model: nn.Module) -> Tensor:
            return self.compute_train_loss(batch, model)

    def work() -> Tensor:
        model, dtype = prepare_model(Plain(problem), task := OfProblem()), problem.dtype
        with tempfile.TemporaryDirectory() as folder:
            options = {"cpu": True, "disable_tqdm": True, "log_level": logging.ERROR, "output_dir": folder}
            analyzer = Analyzer("peers", model, task, **options)
            fitted = ("activation_covariance", "gradient_covariance", "per_sample_gradient", "lambda")
            factors = FactorArguments(strategy=strategy, **{f"{kind}_dtype": dtype for kind in fitted})
            train, test = dataset(problem.train), dataset(problem.test)
            analyzer.fit_all_factors("factors", train, BATCH, factor_args=factors)
            scored = ("per_sample_gradient", "precondition", "score")
            scores = ScoreArguments(damping_factor=None, **{f"{kind}_dtype": dtype for kind in scored})
            sizes = {"per_device_query_batch_size": len(test), "per_device_train_batch_size": BATCH}
            analyzer.compute_pairwise_scores("scores", "factors", test, train, score_args=scores, **sizes)
            return analyzer.load_pairwise_scores("scores")["all_modules"]

    return work


def pydvl_ekfac(problem: Problem) -> Work:
    """EK-FAC of linear layers and cross-entropy, with corrected eigenvalues and one damping for all layers."""
    from pydvl.influence.torch import EkfacInfluence

    return _pydvl(problem, lambda model, damping: EkfacInfluence(model, True, damping))


def pydvl_datainf(problem: Problem) -> Work:
    """DataInf, its inverse harmonic mean."""
    from pydvl.influence.torch import InverseHarmonicMeanInfluence

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return problem.objective.loss(outputs, targets).mean()

    return _pydvl(problem, lambda model, damping: InverseHarmonicMeanInfluence(model, loss, damping))


def _pydvl(problem: Problem, influence: Callable[[nn.Module, float], Any]) -> Work:
    damping = one_damping(problem)

    def work() -> Tensor:
        train, test = loaders(problem)
        fitted = influence(Plain(problem), damping).fit(train)
        x, y = next(iter(test))
        factors = fitted.influence_factors(x, y)
        return torch.cat([fitted.influences_from_factors(factors, *batch) for batch in train], 1)

    return work


def trak(problem: Problem) -> Work:
    """TRAK with one projection of normal numbers."""
    from trak import TRAKer
    from trak.projectors import BasicProjector, ProjectionType

    def work() -> Tensor:
        train, test = loaders(problem)
        normal = BasicProjector(problem.size, PROJECTION, 0, ProjectionType.normal, "cpu", 100, dtype=problem.dtype)
        with tempfile.TemporaryDirectory() as folder:
            model, n = Plain(problem), len(problem.train)
            options = {"device": "cpu", "projector": normal, "proj_dim": PROJECTION, "use_half_precision": False}
            quiet = {"save_dir": folder, "logging_level": logging.ERROR}
            traker = TRAKer(model, "image_classification", n, **options, **quiet)
            traker.load_checkpoint(model.state_dict(), model_id=0)
            for batch in train:
                traker.featurize(batch, num_samples=len(batch[-1]))
            traker.finalize_features()
            traker.start_scoring_checkpoint("scores", model.state_dict(), 0, len(problem.test))
            for batch in test:
                traker.score(batch, num_samples=len(batch[-1]))
            return torch.as_tensor(traker.finalize_scores("scores")).T

    return work
