"""Slow, obvious twins of the comparison: cosines, ranks, reliability and claims by explicit loops."""

import numpy as np
import scipy.stats


def cosine(a, b):
    return (
        sum(x * y for x, y in zip(a, b, strict=True)) / np.sqrt(sum(x * x for x in a)) / np.sqrt(sum(y * y for y in b))
    )


def comparison(score, effects, adjustment, group_sizes):
    """What curves.csv and seeds.csv say of one score [step, test, left_out] and each seed's effects, with loops.

    Returns curve columns by name, [step], and a pair (mean, standard error) for each group size.
    """
    steps, tests, _ = score.shape

    def against(seeds, t, j, measure):
        mean = sum(effects[k][t, j] for k in seeds) / len(seeds)
        return measure(score[t, j], mean - mean.mean() if adjustment == "centred" else mean)

    def summary(values):
        return np.mean(values), scipy.stats.sem(values)

    everyone, curve = range(len(effects)), {}
    measures = {
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
            summary([np.mean([against(group, t, j, cosine) for group in groups]) for j in range(tests)])
            for t in range(steps)
        ]
        best.append(max(at_steps))
    return curve, best


def reliability(effects, adjustment, splits, random):
    """[step] from effects [seed, step, test, left_out], with explicit loops."""
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


def resampling_weights(count, replicates, nudge, random):
    """Equal weights, then for each replicate weights that go `nudge` of the way to those of a bootstrap's draw."""
    equal = 1 / count
    if count == 1:
        return [[1.0]] * (1 + replicates)
    drawn = random.multinomial(count - 1, [equal] * count, replicates)
    return [[equal] * count] + [[equal + nudge * (times / (count - 1) - equal) for times in row] for row in drawn]


def weighted_mean(values, weights):
    kept = [(value, weight) for value, weight in zip(values, weights, strict=True) if not np.isnan(value)]
    return sum(value * weight for value, weight in kept) / sum(weight for _, weight in kept) if kept else np.nan


def claim_curves(scores, before, full, left_out, seed_weights, test_weights):
    """{(gold, method, step): mean cosine} of scores `[step, test, left_out]` by label, losses with an axis of seeds."""
    seeds, steps, tests, _ = left_out.shape
    curves = {}
    for label, score in scores.items():
        for t in range(steps):
            cosines = {"none": [], "full": [], "centred": [], "single": []}
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


def claim_statistics(curves, labels, steps):
    """The statistics of one run's claims, in the order of the table."""

    def mean(values):
        return weighted_mean(values, [1.0] * len(values))

    def gain(better, worse):
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
