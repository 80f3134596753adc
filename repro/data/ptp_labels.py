"""PTP labels: is the teacher correct, and is it confident? (section 3.3, Table 1) NumPy only.

In all functions, `logits` are the teacher's (examples, classes), and `gold` the gold labels
(examples,).
"""

import numpy as np

from repro.config.tasks import Task
from repro.errors import InputError, one_of

LABELS = (
    "confidently correct",
    "unconfidently correct",
    "confidently wrong",
    "unconfidently wrong",
)
RULES = ("two", "one", "median")  # of the thresholds (decision D1)


def confidence(logits: np.ndarray) -> np.ndarray:
    """The largest softmax probability of each example (examples,), at temperature 1."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return 1.0 / shifted.sum(axis=1)  # the largest logit is shifted to 0


def medians(logits: np.ndarray, gold: np.ndarray) -> tuple[float, float]:
    """The median confidence of correct and of wrong predictions.

    An empty group has 0.75, the middle of the allowed range; as a threshold it has no effect.
    """
    confidences, correct = confidence(logits), logits.argmax(axis=1) == gold
    of_correct, of_wrong = (
        float(np.median(group)) if len(group) else 0.75
        for group in (confidences[correct], confidences[~correct])
    )
    return of_correct, of_wrong


def thresholds(
    option: str, task: Task, logits: np.ndarray, gold: np.ndarray
) -> tuple[float, float]:
    """The thresholds of decision D1.

    Args:
        option: "two", the authors' (t1, t2); "one", (t1, t1); or "median", those of `medians`.
        task: Gives the authors' thresholds.
        logits: Logits on the training split.
        gold: Gold labels of the training split.

    Returns:
        The threshold for correct and the threshold for wrong predictions.

    Raises:
        InputError: If there is no such option.
    """
    t1, t2 = task.thresholds
    if option == "two":
        return t1, t2
    if option == "one":
        return t1, t1
    if option != "median":
        raise one_of("ptp_thresholds", option, RULES)
    return medians(logits, gold)


def labels(logits: np.ndarray, gold: np.ndarray, cuts: tuple[float, float]) -> np.ndarray:
    """The PTP label of each example: its place in LABELS.

    A prediction is confident if its confidence is strictly above its threshold, as in Table 1.

    Args:
        logits: Logits of the examples.
        gold: Their gold labels.
        cuts: Thresholds for correct and wrong predictions, each in (1 / classes, 1), the range of
            the confidence.

    Returns:
        (examples,) int64, in 0 .. 3.

    Raises:
        InputError: If a threshold is outside that range.
    """
    lowest = 1 / logits.shape[1]
    for cut in cuts:
        if not lowest < cut < 1.0:
            raise InputError(
                f"a PTP threshold must lie in ({lowest:.3g}, 1), got {cut}; "
                "decision D1 lists the readings"
            )
    correct = logits.argmax(axis=1) == gold
    confident = confidence(logits) > np.where(correct, *cuts)
    return np.where(correct, 0, 2) + np.where(confident, 0, 1)
