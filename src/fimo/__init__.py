"""Final-model-only training data attribution: gradient-based methods held against further training."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fimo import compat as compat  # first: it mends what torchvision lacks

if TYPE_CHECKING:
    from fimo.api import Comparison, Ranking, Verification, attribute, compare, further_train, rank, verify
    from fimo.errors import MethodFailed, UserError
    from fimo.further_training.settings import FurtherTraining
    from fimo.models.causal_lm import CausalLM
    from fimo.models.losses import AbsoluteError, BinaryCrossEntropy, CrossEntropy, Huber, NextToken, SquaredError
    from fimo.models.measurements import logit, margin, probability
    from fimo.models.token_measurements import completion, contrast
    from fimo.pipeline.methods import Method
    from fimo.pipeline.scorers import Scorer
    from fimo.preconditioners.base import Preconditioner
    from fimo.problem import Problem
    from fimo.rows import Rows

# Imported when they are first used: `import fimo` takes milliseconds.
_HOMES = {
    "Comparison": "fimo.api",
    "AbsoluteError": "fimo.models.losses",
    "BinaryCrossEntropy": "fimo.models.losses",
    "CausalLM": "fimo.models.causal_lm",
    "CrossEntropy": "fimo.models.losses",
    "Huber": "fimo.models.losses",
    "FurtherTraining": "fimo.further_training.settings",
    "Method": "fimo.pipeline.methods",
    "MethodFailed": "fimo.errors",
    "NextToken": "fimo.models.losses",
    "Preconditioner": "fimo.preconditioners.base",
    "Problem": "fimo.problem",
    "Ranking": "fimo.api",
    "Rows": "fimo.rows",
    "Scorer": "fimo.pipeline.scorers",
    "SquaredError": "fimo.models.losses",
    "UserError": "fimo.errors",
    "Verification": "fimo.api",
    "attribute": "fimo.api",
    "compare": "fimo.api",
    "completion": "fimo.models.token_measurements",
    "contrast": "fimo.models.token_measurements",
    "further_train": "fimo.api",
    "logit": "fimo.models.measurements",
    "margin": "fimo.models.measurements",
    "probability": "fimo.models.measurements",
    "rank": "fimo.api",
    "verify": "fimo.api",
}

__all__ = [
    "AbsoluteError",
    "BinaryCrossEntropy",
    "CausalLM",
    "Comparison",
    "CrossEntropy",
    "FurtherTraining",
    "Huber",
    "Method",
    "MethodFailed",
    "NextToken",
    "Preconditioner",
    "Problem",
    "Ranking",
    "Rows",
    "Scorer",
    "SquaredError",
    "UserError",
    "Verification",
    "attribute",
    "compare",
    "completion",
    "contrast",
    "further_train",
    "logit",
    "margin",
    "probability",
    "rank",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("fimo")
    if name not in _HOMES:
        raise AttributeError(f"module 'fimo' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
