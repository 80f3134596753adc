"""Scores of predictions, in percent. Pure NumPy; any leading axes are kept, the last is the examples."""

import numpy as np

from repro.errors import one_of


def accuracy(labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Share of right predictions. labels, predicted: (..., examples) of class ids. Returns (...), in percent."""
    return 100.0 * np.mean(labels == predicted, axis=-1)


def f1(labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """F1 of class 1, 2 TP / (2 TP + FP + FN), and 0 where there is no positive at all (as scikit-learn has it).

    labels, predicted: (..., examples) of 0 and 1. Returns (...), in percent.
    """
    both = np.sum((labels == 1) & (predicted == 1), axis=-1)
    either = np.sum(labels == 1, axis=-1) + np.sum(predicted == 1, axis=-1)
    return 100.0 * np.divide(
        2.0 * both, either, out=np.zeros(np.shape(either)), where=np.asarray(either) > 0
    )


METRICS = {"accuracy": accuracy, "f1": f1}


def score(metric: str, labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """The named metric; InputError for another name."""
    if metric not in METRICS:
        raise one_of("metric", metric, METRICS)
    return METRICS[metric](labels, predicted)
