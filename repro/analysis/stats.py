"""Means, standard deviations, bootstrap intervals and paired tests of scores.

Conventions: the last axis is the examples, the first axis of predictions the seeds; random
generators are passed in. SciPy and statsmodels are slow to import, so functions import them.
"""

from collections.abc import Callable, Iterator

import numpy as np

# (..., n) labels and predictions -> (...), in percent
Metric = Callable[[np.ndarray, np.ndarray], np.ndarray]
LEAST_SEEDS = 3  # with fewer, an interval hardly covers the variation between trainings
_BLOCK = 1 << 22  # examples resampled at a time, to bound memory


def mean_sd(scores: np.ndarray) -> tuple[float, float]:
    """The mean and the sample standard deviation (n - 1) of scores: (seeds,).

    The standard deviation of a single score is NaN.

    Raises:
        ValueError: There is no score, or one is not finite.
    """
    scores = np.asarray(scores, float)
    if scores.ndim != 1 or not len(scores) or not np.isfinite(scores).all():
        raise ValueError(
            f"scores must be a non-empty list of finite numbers, got {scores.tolist()}"
        )
    return float(scores.mean()), float(scores.std(ddof=1)) if len(scores) > 1 else float("nan")


def interval(draws: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The central percentile interval of bootstrap draws: (draws,). level: in (0, 1)."""
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie in (0, 1), got {level}")
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_scores(
    metric: Metric,
    labels: np.ndarray,
    predicted: np.ndarray,
    rng: np.random.Generator,
    draws: int = 1000,
) -> np.ndarray:
    """The mean score over seeds under resampled examples and seeds, both with replacement.

    A draw has the same examples for all seeds, as they share the dev set: a crossed bootstrap (Owen
    2007, "The pigeonhole bootstrap"). Tasks are strata: call this once for each (Agarwal et al.
    2021, rliable).

    Args:
        metric: A function of (..., n) labels and predictions.
        labels: (n,).
        predicted: (seeds, n).
        rng: The random generator.
        draws: The number of draws.

    Returns:
        (draws,).
    """
    _, rows = _checked(predicted, labels)
    blocks = [
        _scores(metric, labels, predicted, rng.integers(0, rows, (count, rows)))
        for count in _counts(draws, rows)
    ]
    return _over_seeds(np.concatenate(blocks), rng)


def _counts(draws: int, rows: int) -> Iterator[int]:
    """Split `draws` into blocks that fit into memory."""
    step = max(1, _BLOCK // rows)
    return (min(step, draws - start) for start in range(0, draws, step))


def _scores(
    metric: Metric, labels: np.ndarray, predicted: np.ndarray, chosen: np.ndarray
) -> np.ndarray:
    """The scores (draws, seeds) of resampled examples. chosen: (draws, n), row numbers."""
    gold = labels[chosen]
    return np.stack([metric(gold, of_seed[chosen]) for of_seed in predicted], axis=1)


def bootstrap_shares(
    classes: int, predicted: np.ndarray, rng: np.random.Generator, draws: int = 1000
) -> np.ndarray:
    """The share of each class, mean over seeds, resampled as in `bootstrap_scores`.

    Examples with the same predictions in all seeds are drawn together, by one multinomial, so the
    cost does not grow with the training set.

    Args:
        classes: The number of classes.
        predicted: (seeds, n), ids 0 .. classes - 1.
        rng: The random generator.
        draws: The number of draws.

    Returns:
        (draws, classes), in percent.
    """
    _, rows = _checked(predicted)
    kinds, counts = np.unique(predicted, axis=1, return_counts=True)  # (seeds, kinds), (kinds,)
    weights = rng.multinomial(rows, counts / rows, size=draws)  # (draws, kinds)
    member = (kinds[..., None] == np.arange(classes)).astype(float)  # (seeds, kinds, classes)
    shares = [100.0 * (weights @ of_seed) / rows for of_seed in member]
    return _over_seeds(np.stack(shares, axis=1), rng)


def bootstrap_pairs(
    metric: Metric,
    labels: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    rng: np.random.Generator,
    draws: int = 1000,
) -> tuple[np.ndarray, np.ndarray]:
    """Compare two methods under the same resampled examples and seeds.

    Args:
        metric: A function of (..., n) labels and predictions.
        labels: (n,).
        first, second: (seeds, n), predictions of the same seeds on the same examples.
        rng: The random generator.
        draws: The number of draws.

    Returns:
        The difference of the mean scores, second minus first, and the probability of improvement
        (see `improvement`; Agarwal et al. 2021, rliable). Both (draws,).
    """
    seeds, rows = _checked_pair(labels, first, second)
    differences, improved = [], []
    for count in _counts(draws, rows):
        chosen, drawn = rng.integers(0, rows, (count, rows)), rng.integers(0, seeds, (count, seeds))
        first_scores, second_scores = (
            np.take_along_axis(_scores(metric, labels, predicted, chosen), drawn, axis=1)
            for predicted in (first, second)
        )
        differences.append((second_scores - first_scores).mean(axis=1))
        improved.append(improvement(first_scores, second_scores))
    return np.concatenate(differences), np.concatenate(improved)


def improvement(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The share of pairs of seeds in which the second scores higher; ties count half.

    Args:
        first, second: (..., seeds), scores.

    Returns:
        (...), in 0 .. 1.
    """
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
    """The null distribution of the difference: a paired permutation test over examples.

    In each draw, the predictions of the two methods are exchanged, or not, for each example; in all
    seeds together, since seeds share the examples. Arguments as `bootstrap_pairs`.

    Returns:
        (draws,), differences of the mean scores; see `p_value`.
    """
    _, rows = _checked_pair(labels, first, second)
    differences = []
    for count in _counts(draws, rows):
        swap = rng.integers(0, 2, (count, rows)).astype(bool)
        by_seed = [
            metric(labels, np.where(swap, a, b)) - metric(labels, np.where(swap, b, a))
            for a, b in zip(first, second, strict=True)
        ]
        differences.append(np.mean(by_seed, axis=0))
    return np.concatenate(differences)


def p_value(observed: float, null: np.ndarray) -> float:
    """The two-sided p value; the observed value counts as a draw (Phipson and Smyth 2010)."""
    return float((1 + np.sum(np.abs(null) >= abs(observed) - 1e-9)) / (1 + len(null)))


def sign_flip_p(differences: np.ndarray) -> float:
    """The two-sided p value of a mean difference over seeds, by exact sign flips.

    Tests the methods, not only the trained models; at least 2 / 2 ** seeds.

    Args:
        differences: (seeds,) or (tasks, seeds); each is one unit.

    Returns:
        p; NaN for one unit.
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
    """The exact McNemar test of the two models of each seed: do they make as many errors?

    Args:
        labels: (n,).
        first, second: (seeds, n), predictions.

    Returns:
        (seeds,), p values.
    """
    from statsmodels.stats.contingency_tables import mcnemar

    _checked_pair(labels, first, second)
    correct = [(np.asarray(predicted) == labels).astype(int) for predicted in (first, second)]
    tables = [
        np.bincount(2 * a + b, minlength=4).reshape(2, 2) for a, b in zip(*correct, strict=True)
    ]
    return np.array([mcnemar(table, exact=True).pvalue for table in tables])


def holm(values: np.ndarray) -> np.ndarray:
    """p values: (tests,), adjusted for the number of tests (Holm 1979). Returns (tests,)."""
    from statsmodels.stats.multitest import multipletests

    return multipletests(values, method="holm")[1]


def detectable(draws: np.ndarray, power: float = 0.8, alpha: float = 0.05) -> float:
    """The minimum detectable difference of a two-sided test, from the spread of a bootstrap.

    Args:
        draws: (draws,), bootstrap draws of a difference.
        power, alpha: Of the test.

    Returns:
        (z_{1 - alpha / 2} + z_power) standard errors, in the unit of the draws.
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
    """The gain in accuracy among the member examples, under resampled examples and seeds.

    There may be as few as three members, and a plain bootstrap of three that agree has width 0.
    So four examples of weight 1/2 are added, one for each outcome of a pair (Agresti and Min 2005).
    They widen the interval of three examples and hardly change that of a hundred.

    Args:
        before, after: (seeds, n), whether each method is correct.
        member: (seeds, n), which examples count under each seed.
        rng: The random generator.
        draws: The number of draws.

    Returns:
        (draws,), in points, without the draws that have no member.

    Raises:
        ValueError: There is no member.
    """
    _checked(member)
    if not member.any():
        raise ValueError("no example to resample: member is False everywhere")
    chosen = member.any(axis=0)
    seeds, rows = len(member), int(chosen.sum())
    gain = (after[:, chosen].astype(int) - before[:, chosen]) * member[:, chosen]  # -1, 0 or 1
    gain = np.hstack([gain, np.tile([1, -1, 0], (seeds, 1))])  # (seeds, rows + 3)
    counted = np.hstack([member[:, chosen], np.ones((seeds, 3))])
    odds = np.array([1.0] * rows + [0.5, 0.5, 1.0]) / (rows + 2)
    drawn = rng.multinomial(rows, odds, size=draws)  # (draws, rows + 3)
    weight = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws)  # (draws, seeds)
    total = (weight * (drawn @ counted.T)).sum(axis=1)
    return 100.0 * (weight * (drawn @ gain.T)).sum(axis=1)[total > 0] / total[total > 0]


def _over_seeds(scores: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The mean over seeds drawn with replacement. scores: (draws, seeds, ...) -> (draws, ...)."""
    draws, seeds = scores.shape[:2]
    chosen = rng.integers(0, seeds, (draws, seeds))
    return scores[np.arange(draws)[:, None], chosen].mean(axis=1)


def _checked(predicted: np.ndarray, labels: np.ndarray | None = None) -> tuple[int, int]:
    """(seeds, n) of the predictions; ValueError if it is empty or the labels are not (n,)."""
    if predicted.ndim != 2 or not predicted.size:
        raise ValueError(
            f"predictions must be (seeds, examples), both at least 1, got shape {predicted.shape}"
        )
    if labels is not None and labels.shape != predicted.shape[1:]:
        raise ValueError(f"labels must be {predicted.shape[1:]}, got {labels.shape}")
    return predicted.shape[0], predicted.shape[1]


def _checked_pair(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[int, int]:
    """As `_checked`, for two methods of the same seeds and examples."""
    if first.shape != second.shape:
        raise ValueError(
            "both methods need the same seeds and examples, "
            f"got shapes {first.shape} and {second.shape}"
        )
    return _checked(first, labels)
