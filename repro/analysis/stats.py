"""Means, spreads, bootstrap intervals and paired tests of scores. Knows nothing of training or of tables.

One convention: the last axis is the examples, the first of `predicted` the seeds; a random generator is handed down.
SciPy and statsmodels are imported where they are used: a plan does not wait for them.
"""

from collections.abc import Callable, Iterator

import numpy as np

Metric = Callable[
    [np.ndarray, np.ndarray], np.ndarray
]  # (..., n) labels and predictions -> (...) in percent
LEAST_SEEDS = (
    3  # with fewer an interval hardly holds the chance of training: it is no verdict on a method
)
_BLOCK = 1 << 22  # examples resampled at a time, to bound memory


def mean_sd(scores: np.ndarray) -> tuple[float, float]:
    """Mean and sample standard deviation (n - 1) of scores: (seeds,). The latter is NaN for a single score.

    Raises ValueError for no score, or for one that is not finite.
    """
    scores = np.asarray(scores, float)
    if scores.ndim != 1 or not len(scores) or not np.isfinite(scores).all():
        raise ValueError(
            f"scores must be a non-empty list of finite numbers, got {scores.tolist()}"
        )
    return float(scores.mean()), float(scores.std(ddof=1)) if len(scores) > 1 else float("nan")


def bootstrap_scores(
    metric: Metric,
    labels: np.ndarray,
    predicted: np.ndarray,
    rng: np.random.Generator,
    draws: int = 1000,
) -> np.ndarray:
    """Mean score over seeds under resampled examples and resampled seeds, both with replacement.

    The examples of a draw are the same for all seeds, as the dev set is (a crossed bootstrap: Owen 2007, "The
    pigeonhole bootstrap"). Tasks are strata: call this once for each (Agarwal et al. 2021, rliable).
    metric: a function of (..., n) labels and predictions. labels: (n,); predicted: (seeds, n). Returns (draws,).
    """
    _, rows = _checked(predicted, labels)
    blocks = [
        _scores(metric, labels, predicted, rng.integers(0, rows, (count, rows)))
        for count in _counts(draws, rows)
    ]
    return _over_seeds(np.concatenate(blocks), rng)


def _counts(draws: int, rows: int) -> Iterator[int]:
    """`draws` in blocks of as many as fit into memory at a time."""
    step = max(1, _BLOCK // rows)
    return (min(step, draws - start) for start in range(0, draws, step))


def _scores(
    metric: Metric, labels: np.ndarray, predicted: np.ndarray, chosen: np.ndarray
) -> np.ndarray:
    """Scores (draws, seeds) of the examples `chosen`: (draws, n) of row numbers."""
    gold = labels[chosen]
    return np.stack([metric(gold, one[chosen]) for one in predicted], axis=1)


def bootstrap_shares(
    classes: int, predicted: np.ndarray, rng: np.random.Generator, draws: int = 1000
) -> np.ndarray:
    """Share of each class, mean over seeds, under the same resampling as `bootstrap_scores`.

    Examples on which all seeds agree are drawn together (one multinomial), so that a large training set costs little.
    predicted: (seeds, n) of ids 0 .. classes - 1. Returns (draws, classes) in percent.
    """
    _, rows = _checked(predicted)
    kinds, counts = np.unique(predicted, axis=1, return_counts=True)  # (seeds, kinds), (kinds,)
    weights = rng.multinomial(rows, counts / rows, size=draws)  # (draws, kinds)
    member = (kinds[..., None] == np.arange(classes)).astype(float)  # (seeds, kinds, classes)
    return _over_seeds(np.stack([100.0 * (weights @ one) / rows for one in member], axis=1), rng)


def bootstrap_pairs(
    metric: Metric,
    labels: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    rng: np.random.Generator,
    draws: int = 1000,
) -> tuple[np.ndarray, np.ndarray]:
    """Two methods under the same resampled examples and the same resampled seeds.

    labels: (n,); first, second: (seeds, n), of the same seeds on the same examples. Returns the difference of the mean
    scores, second minus first, and the probability of improvement: the share of pairs of seeds in which the second is
    better, half for ties (Agarwal et al. 2021, rliable). Both (draws,).
    """
    seeds, rows = _checked_pair(labels, first, second)
    both, improved = [], []
    for count in _counts(draws, rows):
        chosen, drawn = rng.integers(0, rows, (count, rows)), rng.integers(0, seeds, (count, seeds))
        one, other = (
            np.take_along_axis(_scores(metric, labels, made, chosen), drawn, axis=1)
            for made in (first, second)
        )
        both.append((other - one).mean(axis=1))
        improved.append(improvement(one, other))
    return np.concatenate(both), np.concatenate(improved)


def improvement(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Share of pairs of seeds in which the second scores higher, half for ties. Both: (..., seeds). Returns (...)."""
    gap = second[..., :, None] - first[..., None, :]
    return (np.sign(gap) + 1).mean(axis=(-2, -1)) / 2


def permuted_pairs(
    metric: Metric,
    labels: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    rng: np.random.Generator,
    draws: int = 2000,
) -> np.ndarray:
    """The differences of the mean scores if the two methods did not differ, by a paired permutation over examples.

    In each draw every example's predictions change sides, or not, in all seeds together: the example is the unit, as
    seeds share it. Arguments as `bootstrap_pairs`. Returns (draws,), to be compared by `p_value`.
    """
    _, rows = _checked_pair(labels, first, second)
    made = []
    for count in _counts(draws, rows):
        swap = rng.integers(0, 2, (count, rows)).astype(bool)
        gap = [
            metric(labels, np.where(swap, a, b)) - metric(labels, np.where(swap, b, a))
            for a, b in zip(first, second, strict=True)
        ]
        made.append(np.mean(gap, axis=0))
    return np.concatenate(made)


def p_value(observed: float, null: np.ndarray) -> float:
    """Two-sided, the observed value counted among the draws, so that it is never 0 (Phipson and Smyth 2010)."""
    return float((1 + np.sum(np.abs(null) >= abs(observed) - 1e-9)) / (1 + len(null)))


def sign_flip_p(differences: np.ndarray) -> float:
    """Two-sided p of a mean difference over seeds, by exact sign flips; NaN for one seed. At least 2 / 2 ** seeds.

    differences: (seeds,) or, for several tasks at once, (tasks, seeds): each is one unit. The authority on whether the
    methods, not only these trained models, differ.
    """
    from scipy.stats import permutation_test

    units = np.ravel(differences)
    if len(units) < 2:
        return float("nan")
    test = permutation_test(
        (units, -units),
        lambda a, b, axis: (a - b).mean(axis=axis),
        permutation_type="samples",
        n_resamples=1 << 14,
        vectorized=True,
        rng=np.random.default_rng(0),
    )
    return float(test.pvalue)


def mcnemar_p(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Exact McNemar test of each seed's two models: do they err equally often? Returns p (seeds,)."""
    from statsmodels.stats.contingency_tables import mcnemar

    _checked_pair(labels, first, second)
    right = [(np.asarray(made) == labels).astype(int) for made in (first, second)]
    tables = [
        np.bincount(2 * a + b, minlength=4).reshape(2, 2) for a, b in zip(*right, strict=True)
    ]
    return np.array([mcnemar(table, exact=True).pvalue for table in tables])


def holm(values: np.ndarray) -> np.ndarray:
    """p values adjusted for as many tests (Holm 1979). values: (tests,). Returns (tests,)."""
    from statsmodels.stats.multitest import multipletests

    return multipletests(values, method="holm")[1]


def detectable(draws: np.ndarray, power: float = 0.8, alpha: float = 0.05) -> float:
    """The smallest true difference that a two-sided test would find with this power, from a bootstrap's spread.

    draws: (draws,) of differences. Returns (z_{1 - alpha / 2} + z_power) standard errors, in the draws' unit.
    """
    from scipy.stats import norm

    return float((norm.ppf(1 - alpha / 2) + norm.ppf(power)) * np.std(draws, ddof=1))


def bootstrap_within(
    before: np.ndarray,
    after: np.ndarray,
    member: np.ndarray,
    rng: np.random.Generator,
    draws: int = 1000,
) -> np.ndarray:
    """Gain in accuracy among the member examples, under resampled examples and resampled seeds, in points.

    A part of the data may have three examples, on which a plain bootstrap has width 0 if they agree. So four examples
    of weight 1/2 are drawn from as well, one of each outcome of a pair (Agresti and Min 2005): as many as change
    nothing for a hundred examples, and enough for an honestly wide interval for three.
    before, after: (seeds, n), whether two methods are right; member: (seeds, n), which examples count under each seed;
    all boolean. Returns (draws,), less those in which no member was drawn. Raises ValueError if there is no member.
    """
    _checked(member)
    if not member.any():
        raise ValueError("no example to resample: member is False everywhere")
    chosen = member.any(axis=0)
    seeds, rows = len(member), int(chosen.sum())
    gain = (after[:, chosen].astype(int) - before[:, chosen]) * member[
        :, chosen
    ]  # (seeds, rows) of -1, 0, 1
    gain = np.hstack([gain, np.tile([1, -1, 0], (seeds, 1))])
    counted = np.hstack([member[:, chosen], np.ones((seeds, 3))])
    odds = np.array([1.0] * rows + [0.5, 0.5, 1.0]) / (rows + 2)
    drawn = rng.multinomial(rows, odds, size=draws)  # (draws, rows + 3)
    weight = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws)  # (draws, seeds)
    total = (weight * (drawn @ counted.T)).sum(axis=1)
    return 100.0 * (weight * (drawn @ gain.T)).sum(axis=1)[total > 0] / total[total > 0]


def expected_best(scores: np.ndarray) -> np.ndarray:
    """The expected maximum of 1, 2 .. B scores drawn with replacement from B (Dodge et al. 2019, "Show Your Work":
    expected validation performance): the k-th smallest is the maximum with probability (k / B)^n - ((k - 1) / B)^n.

    Exact for these scores; for the distribution that they come from it is biased low (Tang et al. 2020).

    scores: (B,), of trials whose order means nothing. Returns (B,). Raises ValueError as `mean_sd`.
    """
    mean_sd(scores)
    ordered, count = np.sort(np.asarray(scores, float)), len(scores)
    below = np.arange(count + 1) / count  # P(a draw <= the k-th smallest)
    return np.array([np.diff(below**n) @ ordered for n in range(1, count + 1)])


def interval(draws: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The central percentile interval of bootstrap draws: (draws,). level: in (0, 1)."""
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie in (0, 1), got {level}")
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _over_seeds(scores: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mean over seeds drawn with replacement. scores: (draws, seeds, ...). Returns (draws, ...)."""
    draws, seeds = scores.shape[:2]
    chosen = rng.integers(0, seeds, (draws, seeds))
    return scores[np.arange(draws)[:, None], chosen].mean(axis=1)


def _checked(predicted: np.ndarray, labels: np.ndarray | None = None) -> tuple[int, int]:
    """(seeds, n) of the predictions; ValueError unless both are positive and the labels are (n,)."""
    if predicted.ndim != 2 or not predicted.size:
        raise ValueError(
            f"predictions must be (seeds, examples), both at least 1, got shape {predicted.shape}"
        )
    if labels is not None and labels.shape != predicted.shape[1:]:
        raise ValueError(f"labels must be {predicted.shape[1:]}, got {labels.shape}")
    return predicted.shape[0], predicted.shape[1]


def _checked_pair(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[int, int]:
    """As `_checked` for two methods; ValueError also if they are not of the same seeds and examples."""
    if first.shape != second.shape:
        raise ValueError(
            f"both methods need the same seeds and examples, got shapes {first.shape} and {second.shape}"
        )
    return _checked(first, labels)
