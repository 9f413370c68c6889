"""The stages from Python, and what attribution is for. `import fimo` has all of it."""

from fimo.api.stages import Comparison, attribute, compare, further_train
from fimo.api.uses import Ranking, Verification, rank, verify

__all__ = ["Comparison", "Ranking", "Verification", "attribute", "compare", "further_train", "rank", "verify"]
