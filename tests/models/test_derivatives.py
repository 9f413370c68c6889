"""Derivatives of losses in closed form are autograd's, and those of another loss are not taken for them."""

import pytest
import torch

import fimo
from fimo.models.objective import Objective
from fimo.models.predictive import Predictive


class Doubling:
    """Another loss, of which no closed form is."""

    def loss(self, outputs, targets):
        return 2 * super().loss(outputs, targets)


class DoubledError(Doubling, fimo.SquaredError):
    pass


class DoubledEntropy(fimo.CrossEntropy):
    def loss(self, outputs, targets):
        return 2 * super().loss(outputs, targets)


class DoubledTwice(DoubledError):
    def loss(self, outputs, targets):
        return 2 * super().loss(outputs, targets)


class DoubledTokens(Doubling, fimo.NextToken):
    pass


TRUE_DERIVATIVES = {
    fimo.SquaredError: (3,),
    DoubledError: (3,),
    DoubledTwice: (3,),
    fimo.CrossEntropy: (3,),
    DoubledEntropy: (3,),
    DoubledTokens: (4, 3),
}


@pytest.mark.parametrize("kind", TRUE_DERIVATIVES)
def test_derivatives_are_autograds(kind):
    """Those in closed form too, which a subclass or a class beside it with another loss has not."""
    objective, form = kind(), TRUE_DERIVATIVES[kind]
    random = torch.Generator().manual_seed(0)
    outputs = torch.randn(5, *form, dtype=torch.float64, generator=random)
    targets = torch.randint(3, (5, *form[:-1]), generator=random)
    targets = outputs.flip(0) if isinstance(objective, fimo.SquaredError) else targets
    alone = lambda output, target: objective.loss(output.unflatten(0, form)[None], target[None])[0]  # noqa: E731
    flat = outputs.flatten(1)
    gradient = torch.stack([torch.func.grad(alone)(*row) for row in zip(flat, targets, strict=True)])
    hessian = torch.stack([torch.func.hessian(alone)(*row) for row in zip(flat, targets, strict=True)])
    torch.testing.assert_close(objective.gradient(outputs, targets).flatten(1), gradient)
    torch.testing.assert_close(objective.hessian(outputs, targets), hessian)
    root = objective.curvature_root(outputs, targets).flatten(1, -2)
    torch.testing.assert_close(root @ root.mT, hessian, rtol=1e-6, atol=1e-8)
    assert (type(objective.predictive) is Predictive) == (kind.__module__ == __name__)


def test_a_class_beside_a_loss_may_know_its_derivative():
    class Knowing:
        def hessian(self, outputs, targets):
            return "known"

    class Known(Knowing, Objective):
        def loss(self, outputs, targets):
            return outputs.square().sum(-1)

    class Other(Doubling, Known):
        pass

    assert Known.hessian is Knowing.hessian and Other.hessian is Objective.hessian


@pytest.mark.parametrize("dtype, rtol", [(torch.float32, 2e-5), (torch.bfloat16, 2e-2)])
def test_a_sure_models_gradient_keeps_its_digits(dtype, rtol):
    """p − 1 of the label would have none left."""
    outputs, labels = (
        torch.randn(3, 4, 9, generator=torch.Generator().manual_seed(0)).to(dtype),
        torch.zeros(3, 4).long(),
    )
    outputs[..., 0] = 17  # the others' probability is some 1e-7
    exact = fimo.NextToken().gradient(outputs.double(), labels)
    found = fimo.NextToken().gradient(outputs, labels).double()
    torch.testing.assert_close(found, exact, rtol=rtol, atol=0)
