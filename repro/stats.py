"""Means, spreads and bootstrap intervals of scores. Pure NumPy; knows nothing of training or of tables.

One convention: the last axis is the examples, the first of `predicted` the seeds; a random generator is handed down.
"""

from collections.abc import Callable

import numpy as np

Metric = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (..., n) labels and predictions -> (...) in percent
_BLOCK = 1 << 22  # examples resampled at a time, to bound memory


def mean_sd(scores: np.ndarray) -> tuple[float, float]:
    """Mean and sample standard deviation (n - 1) of scores: (seeds,). The latter is NaN for a single score.

    Raises ValueError for no score, or for one that is not finite.
    """
    scores = np.asarray(scores, float)
    if scores.ndim != 1 or not len(scores) or not np.isfinite(scores).all():
        raise ValueError(f"scores must be a non-empty list of finite numbers, got {scores.tolist()}")
    return float(scores.mean()), float(scores.std(ddof=1)) if len(scores) > 1 else float("nan")


def bootstrap_scores(metric: Metric, labels: np.ndarray, predicted: np.ndarray, rng: np.random.Generator,
                     draws: int = 1000) -> np.ndarray:  # fmt: skip
    """Mean score over seeds under resampled examples and resampled seeds, both with replacement.

    The examples of a draw are the same for all seeds, as the dev set is (a crossed bootstrap: Owen 2007, "The
    pigeonhole bootstrap"). Tasks are strata: call this once for each (Agarwal et al. 2021, rliable).
    metric: a function of (..., n) labels and predictions. labels: (n,); predicted: (seeds, n). Returns (draws,).
    """
    _, rows = _checked(predicted, labels)
    step = max(1, _BLOCK // rows)
    blocks = [
        _scores(metric, labels, predicted, rng.integers(0, rows, (min(step, draws - start), rows)))
        for start in range(0, draws, step)
    ]
    return _over_seeds(np.concatenate(blocks), rng)


def _scores(metric: Metric, labels: np.ndarray, predicted: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Scores (draws, seeds) of the examples `chosen`: (draws, n) of row numbers."""
    gold = labels[chosen]
    return np.stack([metric(gold, one[chosen]) for one in predicted], axis=1)


def bootstrap_shares(classes: int, predicted: np.ndarray, rng: np.random.Generator, draws: int = 1000) -> np.ndarray:
    """Share of each class, mean over seeds, under the same resampling as `bootstrap_scores`.

    Examples on which all seeds agree are drawn together (one multinomial), so that a large training set costs little.
    predicted: (seeds, n) of ids 0 .. classes - 1. Returns (draws, classes) in percent.
    """
    _, rows = _checked(predicted)
    kinds, counts = np.unique(predicted, axis=1, return_counts=True)  # (seeds, kinds), (kinds,)
    weights = rng.multinomial(rows, counts / rows, size=draws)  # (draws, kinds)
    member = (kinds[..., None] == np.arange(classes)).astype(float)  # (seeds, kinds, classes)
    return _over_seeds(np.stack([100.0 * (weights @ one) / rows for one in member], axis=1), rng)


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
        raise ValueError(f"predictions must be (seeds, examples), both at least 1, got shape {predicted.shape}")
    if labels is not None and labels.shape != predicted.shape[1:]:
        raise ValueError(f"labels must be {predicted.shape[1:]}, got {labels.shape}")
    return predicted.shape[0], predicted.shape[1]
