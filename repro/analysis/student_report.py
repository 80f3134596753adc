"""The scores of one teacher and its student on the same examples, with intervals. No torch."""

from typing import Any

import numpy as np

from repro.analysis.example_scores import example_scores
from repro.analysis.inference import Estimate, difference, mean_score

METRICS = {"accuracy": "accuracy", "macro_f1": "macro F1"}  # with the names that reports show


def scores(labels: np.ndarray, teacher: np.ndarray, student: np.ndarray) -> dict[str, Any]:
    """Accuracy and macro F1 with 95 % intervals over examples.

    There is one training of each model, so the intervals do not cover the variation between seeds.

    Args:
        labels: Gold class ids (examples,).
        teacher: The teacher's class ids (examples,).
        student: The student's class ids (examples,).

    Returns:
        Per model ("teacher", "student") and for "difference", student minus teacher: per metric
        "score", "low" and "high", in percent or points; and "most_frequent", the accuracy of the
        most frequent class.
    """
    counts = np.unique_counts(labels).counts
    found: dict[str, Any] = {"most_frequent": 100.0 * float(counts.max()) / len(labels)}
    for metric in METRICS:
        first, second = (
            example_scores(metric, labels, predicted[None]) for predicted in (teacher, student)
        )
        for name, estimate in (
            ("teacher", mean_score(first)),
            ("student", mean_score(second)),
            ("difference", difference(first, second)),
        ):
            found.setdefault(name, {})[metric] = _plain(estimate)
    return found


def _plain(estimate: Estimate) -> dict[str, float]:
    return {"score": estimate.estimate, "low": estimate.low, "high": estimate.high}
