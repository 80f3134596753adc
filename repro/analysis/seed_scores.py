"""Inference from one score per seed: where a new run is expected, given published seeds.

Examples are fixed here; only seeds vary. `inference.py` has the intervals over both.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from repro.analysis.inference import LEVEL, Part, pooled


@dataclass(frozen=True)
class Prediction:
    """Interval that holds the mean score of `new_seeds` further runs with probability `level`."""

    estimate: float
    low: float
    high: float
    standard_error: float
    df: float
    new_seeds: int
    level: float = LEVEL

    def agrees(self, score: float) -> bool:
        """Whether a new mean score lies in the interval."""
        return self.low <= score <= self.high


def prediction(
    published: Sequence[np.ndarray],
    examples: Sequence[int],
    new_seeds: int = 1,
    level: float = LEVEL,
) -> Prediction:
    """Where the mean score of new runs on the same examples is expected, given published seeds.

    Published and new runs are scored on the same examples, so that only seeds vary: on one task
    mean +- t(S - 1) sd sqrt(1 / S + 1 / k) for S published and k new seeds. Over several tasks the
    mean of the tasks, with Satterthwaite's degrees of freedom. The sd counts as at least 100 / n,
    one changed answer.

    Args:
        published: For each task (seeds,) scores in percent.
        examples: Number of examples n of each task.
        new_seeds: Seeds k that the new score averages.
        level: Of the interval, in (0, 1).

    Raises:
        ValueError: If a task has fewer than two published seeds, or `new_seeds` is below 1.
    """
    scores = [np.asarray(task, float) for task in published]
    if not scores or min(len(task) for task in scores) < 2 or new_seeds < 1:
        raise ValueError(
            f"a prediction needs two published seeds and one new seed, "
            f"got {[len(task) for task in scores]} and {new_seeds}"
        )
    parts = []
    for task, count in zip(scores, examples, strict=True):
        sd = max(float(task.std(ddof=1)), 100.0 / count)
        variance = sd**2 * (1 / len(task) + 1 / new_seeds) / len(scores) ** 2
        parts.append(Part(variance, len(task) - 1))
    variance, df = pooled(parts)
    mean, error = float(np.mean([task.mean() for task in scores])), math.sqrt(variance)
    half_width = -float(stdtrit(df, (1 - level) / 2)) * error
    low, high = max(mean - half_width, 0.0), min(mean + half_width, 100.0)
    return Prediction(mean, low, high, error, df, new_seeds, level)
