"""Scores of predictions, in percent. NumPy only.

The last axis is the examples; any axes before it are kept.
"""

import numpy as np

from repro.errors import one_of


def accuracy(labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """The share of correct predictions.

    Args:
        labels: Class ids (..., examples).
        predicted: Class ids (..., examples).

    Returns:
        (...), in percent.
    """
    return 100.0 * np.mean(labels == predicted, axis=-1)


def f1(labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """F1 of class 1: 2 TP / (2 TP + FP + FN).

    As in scikit-learn, it is 0 if class 1 occurs neither in the labels nor in the predictions.

    Args:
        labels: 0 or 1, (..., examples).
        predicted: 0 or 1, (..., examples).

    Returns:
        (...), in percent.
    """
    true_positives = np.sum((labels == 1) & (predicted == 1), axis=-1)
    positives = np.sum(labels == 1, axis=-1) + np.sum(predicted == 1, axis=-1)
    zeros = np.zeros(np.shape(positives))
    return 100.0 * np.divide(
        2.0 * true_positives, positives, out=zeros, where=np.asarray(positives) > 0
    )


METRICS = {"accuracy": accuracy, "f1": f1}


def score(metric: str, labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """The score by the metric of that name.

    Args:
        metric: "accuracy" or "f1".
        labels: Class ids (..., examples).
        predicted: Class ids (..., examples).

    Returns:
        (...), in percent.

    Raises:
        InputError: If there is no such metric.
    """
    if metric not in METRICS:
        raise one_of("metric", metric, METRICS)
    return METRICS[metric](labels, predicted)
