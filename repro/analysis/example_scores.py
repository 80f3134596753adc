"""Scores of single examples whose mean is the metric, as `inference.py` analyses them.

Accuracy is a mean over examples already. F1 and other ratios become jackknife pseudo-values
(Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 11).
"""

import numpy as np

from repro.errors import one_of


def example_scores(metric: str, labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Per-example scores whose mean over examples is the metric of each seed.

    Args:
        metric: "accuracy", "f1" of class 1, or "macro_f1", the mean of the F1 of all classes that
            occur in the labels or the predictions of any seed.
        labels: (examples,) class ids.
        predicted: (seeds, examples) class ids.

    Returns:
        (seeds, examples) in percent.

    Raises:
        InputError: If the metric is unknown.
        ValueError: If the shapes do not match.
    """
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    if predicted.ndim != 2 or labels.shape != predicted.shape[1:]:
        raise ValueError(
            f"labels must be (examples,) and predictions (seeds, examples), "
            f"got shapes {labels.shape} and {predicted.shape}"
        )
    if metric == "accuracy":
        return 100.0 * (predicted == labels)
    if metric in ("f1", "macro_f1"):
        classes = np.union1d(labels, predicted) if metric == "macro_f1" else [1]
        of_classes = [
            ratio_scores(
                2.0 * ((labels == k) & (predicted == k)), (labels == k) + 1.0 * (predicted == k)
            )
            for k in classes
        ]
        return np.mean(of_classes, axis=0)
    raise one_of("metric", metric, ("accuracy", "f1", "macro_f1"))


def ratio_scores(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Jackknife pseudo-values of the ratio of two sums over examples, one ratio per seed.

    With N and D the sums over the n examples, the ratio is r = N / D and the pseudo-value of
    example i is n r - (n - 1) (N - N_i) / (D - D_i). The pseudo-values are shifted by their mean's
    distance from r (the jackknife's bias correction, of order 1 / n), so that their mean is the
    ratio that the tables print. F1 is the ratio with N_i = 2 [y = 1, p = 1] and
    D_i = [y = 1] + [p = 1]. A ratio of 0 / 0 counts as 0, as in scikit-learn.

    Args:
        numerator, denominator: (seeds, examples).

    Returns:
        (seeds, examples) in percent.
    """
    numerator, denominator = np.asarray(numerator, float), np.asarray(denominator, float)
    count = numerator.shape[-1]
    top, bottom = (part.sum(axis=-1, keepdims=True) for part in (numerator, denominator))
    ratio = _divide(top, bottom)
    left_out = _divide(top - numerator, bottom - denominator)
    pseudo = count * ratio - (count - 1) * left_out
    return 100.0 * (pseudo - pseudo.mean(axis=-1, keepdims=True) + ratio)


def pooled_ratio_scores(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Linearised values of one ratio of sums over all seeds and examples together.

    For parts of the data that differ between seeds, such as the gain among the examples that a
    seed's teacher got wrong: numerator = gain x member, denominator = member. The value of a
    member is r + (N_si - r D_si) / mean(D); examples that are in no seed's part are dropped.

    Args:
        numerator, denominator: (seeds, examples).

    Returns:
        (seeds, examples in any part) in percent, with mean 100 r.

    Raises:
        ValueError: If the denominator is 0 everywhere.
    """
    numerator, denominator = np.asarray(numerator, float), np.asarray(denominator, float)
    used = (denominator != 0).any(axis=0)
    if not used.any():
        raise ValueError("no example to average over: the denominator is 0 everywhere")
    numerator, denominator = numerator[:, used], denominator[:, used]
    ratio = numerator.sum() / denominator.sum()
    return 100.0 * (ratio + (numerator - ratio * denominator) / denominator.mean())


def _divide(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """top / bottom, and 0 where bottom is 0."""
    return np.divide(
        top, bottom, out=np.zeros(np.broadcast_shapes(top.shape, bottom.shape)), where=bottom != 0
    )
