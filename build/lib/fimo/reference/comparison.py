"""Slow, obvious twins of the comparison: cosines, ranks, reliability and claims by explicit loops."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.stats
from numpy.typing import NDArray

Array = NDArray[np.float64]


def cosine(a: Array, b: Array) -> float:
    """Cosine similarity of two vectors, the slow, obvious twin of `fimo.comparison.agreement.cosine`.

    Args:
        a: `[left_out]`.
        b: `[left_out]`.

    Returns:
        Between −1 and 1.
    """
    return (
        sum(x * y for x, y in zip(a, b, strict=True)) / np.sqrt(sum(x * x for x in a)) / np.sqrt(sum(y * y for y in b))
    )


def comparison(
    score: Array, effects: Sequence[Array], adjustment: str, group_sizes: Sequence[int]
) -> tuple[dict[str, Any], list[tuple[float, float]]]:
    """The numbers of curves.csv and seeds.csv for one method, with loops.

    Args:
        score: `[step, test, left_out]`.
        effects: of each seed, `[step, test, left_out]`, in units of the loss.
        adjustment: one of `fimo.effect.ADJUSTMENTS`.
        group_sizes: how many seeds are averaged.

    Returns:
        Curve columns by name, each `[step]`; and for each group size, mean and standard error at the best step.
    """
    steps, tests, _ = score.shape

    def against(seeds: Sequence[int], t: int, j: int, measure: Callable[[Array, Array], float]) -> float:
        mean = sum(effects[k][t, j] for k in seeds) / len(seeds)
        return measure(score[t, j], mean - mean.mean() if adjustment == "centred" else mean)

    def summary(values: Sequence[float]) -> tuple[float, float]:
        return float(np.mean(values)), scipy.stats.sem(values)

    everyone = range(len(effects))
    curve: dict[str, Any] = {}
    measures: dict[str, Callable[[Array, Array], float]] = {
        "cosine": cosine,
        "pearson": lambda a, b: scipy.stats.pearsonr(a, b).statistic,
        "spearman": lambda a, b: scipy.stats.spearmanr(a, b).statistic,
    }
    for name, measure in measures.items():
        at_steps = [summary([against(everyone, t, j, measure) for j in range(tests)]) for t in range(steps)]
        curve[f"{name}_mean"], curve[f"{name}_sem"] = zip(*at_steps, strict=True)
    best = []
    for size in group_sizes:
        groups = [range(start, start + size) for start in range(0, len(effects) - size + 1, size)]
        at_steps = [
            summary([float(np.mean([against(group, t, j, cosine) for group in groups])) for j in range(tests)])
            for t in range(steps)
        ]
        best.append(max(at_steps))
    return curve, best


def reliability(effects: Array, adjustment: str, splits: int, random: np.random.Generator) -> Array:
    """Reliability of the mean over seeds at each step, with loops, as in `fimo.comparison.reliability`.

    Args:
        effects: `[seed, step, test, left_out]`, in units of the loss.
        adjustment: one of `fimo.effect.ADJUSTMENTS`.
        splits: how many random splits into two groups of seeds.
        random: draws the splits.

    Returns:
        `[step]`, between 0 and 1.
    """
    seeds, steps, tests, _ = effects.shape
    half = seeds // 2
    drawn = [random.permutation(seeds) for _ in range(splits)]
    result = []
    for t in range(steps):
        agreement = []
        for order in drawn:
            first = effects[order[:half], t].mean(0)
            second = effects[order[half : 2 * half], t].mean(0)
            if adjustment == "centred":
                first = first - first.mean(-1, keepdims=True)
                second = second - second.mean(-1, keepdims=True)
            agreement.append(np.mean([cosine(first[j], second[j]) for j in range(tests)]))
        c, k = max(0.0, np.mean(agreement)), seeds / half
        result.append(min(1.0, max(0.0, k * c / (1 + (k - 1) * c))))
    return np.array(result)


def resampling_weights(count: int, replicates: int, shrinkage: float, random: np.random.Generator) -> list[list[float]]:
    """Equal weights, then for each replicate weights that go `shrinkage` of the way to those of a bootstrap's draw.

    Args:
        count: of test examples or seeds.
        replicates: of the bootstrap.
        shrinkage: between 0 and 1, `fimo.comparison.claims.BOOTSTRAP_SHRINKAGE`.
        random: draws the replicates.

    Returns:
        `[1 + replicate, item]`; each row sums to 1.
    """
    equal = 1 / count
    if count == 1:
        return [[1.0]] * (1 + replicates)
    drawn = random.multinomial(count - 1, [equal] * count, replicates)
    return [[equal] * count] + [[equal + shrinkage * (times / (count - 1) - equal) for times in row] for row in drawn]


def weighted_mean(values: Sequence[float], weights: Sequence[float]) -> float:
    """Mean of what is a number, by weight; NaN of nothing.

    Args:
        values: `[item]`.
        weights: `[item]`.

    Returns:
        The mean.
    """
    kept = [(value, weight) for value, weight in zip(values, weights, strict=True) if not np.isnan(value)]
    return sum(value * weight for value, weight in kept) / sum(weight for _, weight in kept) if kept else np.nan


def claim_curves(
    scores: Mapping[str, Array],
    before: Array,
    full: Array,
    left_out: Array,
    seed_weights: Sequence[float],
    test_weights: Sequence[float],
) -> dict[tuple[str, str, int], float]:
    """Mean cosines with each gold standard that claims are about, with loops.

    Args:
        scores: `[step, test, left_out]` by label.
        before: losses before further training, `[seed, test]`.
        full: losses of the full runs, `[seed, step, test]`.
        left_out: losses of the left-out runs, `[seed, step, test, left_out]`.
        seed_weights: `[seed]`.
        test_weights: `[test]`.

    Returns:
        The cosine by gold standard (`none`, `full`, `centred`, `single`), label and place of the step.
    """
    seeds, steps, tests, _ = left_out.shape
    curves = {}
    for label, score in scores.items():
        for t in range(steps):
            cosines: dict[str, list[float]] = {"none": [], "full": [], "centred": [], "single": []}
            for j in range(tests):
                changes = [left_out[s, t, j] - before[s, j] for s in range(seeds)]
                effects = [left_out[s, t, j] - full[s, t, j] for s in range(seeds)]
                mean = sum(weight * effect for weight, effect in zip(seed_weights, effects, strict=True))
                plain = sum(weight * change for weight, change in zip(seed_weights, changes, strict=True))
                single = [cosine(score[t, j], effect - effect.mean()) for effect in effects]
                cosines["none"].append(cosine(score[t, j], plain))
                cosines["full"].append(cosine(score[t, j], mean))
                cosines["centred"].append(cosine(score[t, j], mean - mean.mean()))
                cosines["single"].append(weighted_mean(single, seed_weights))
            for gold, values in cosines.items():
                curves[gold, label, t] = weighted_mean(values, test_weights)
    return curves


def claim_statistics(curves: Mapping[tuple[str, str, int], float], labels: Sequence[str], steps: int) -> list[float]:
    """The statistics of one run's claims, in the order of `fimo.comparison.claims.CLAIMS`.

    Args:
        curves: see `claim_curves`.
        labels: of the methods.
        steps: how many were evaluated.

    Returns:
        A number for each claim, above zero where it holds.
    """

    def mean(values: Sequence[float]) -> float:
        return weighted_mean(values, [1.0] * len(values))

    def gain(better: str, worse: str) -> float:
        return mean([curves[better, label, t] - curves[worse, label, t] for label in labels for t in range(steps)])

    first, influence = [], []
    for label in labels:
        curve = [curves["centred", label, t] for t in range(steps)]
        if label.split(" (")[0] in ("Grad-Dot", "Grad-Cos", "DataInf"):
            first.append(curve)
        if label.split(" (")[0] in ("CG", "LiSSA", "LiSSA-H", "EK-FAC", "TRAK"):
            influence.append(curve)
    return [
        mean([curve[0] for curve in first]) - 0.5,
        mean([curve[0] - curve[-1] for curve in first]),
        mean([max(curve) - min(curve) for curve in first]) - mean([max(curve) - min(curve) for curve in influence]),
        mean([max(curve) for curve in first]) - mean([max(curve) for curve in influence]),
        gain("full", "none"),
        gain("centred", "full"),
        gain("centred", "single"),
    ]
