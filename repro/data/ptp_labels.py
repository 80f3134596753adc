"""PTP labels: whether the teacher is right, and whether it is confident (paper, section 3.3, table 1). Pure NumPy."""

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
VARIANTS = ("both", "correct", "confident")  # PTP, PTP-1, PTP-2 (section 4.4)


def confidence(logits: np.ndarray) -> np.ndarray:
    """The largest softmax probability at temperature 1. logits: (examples, classes). Returns (examples,)."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return 1.0 / shifted.sum(axis=1)  # the largest shifted logit is 0, its exponential 1


def thresholds(
    option: str, task: Task, logits: np.ndarray, gold: np.ndarray
) -> tuple[float, float]:
    """(t1 for correct, t2 for wrong predictions) as decision D1 says: "two", "one" or "median".

    logits: (examples, classes) of the teacher on the training data; gold: (examples,).
    """
    t1, t2 = task.thresholds
    if option == "two":
        return t1, t2
    if option == "one":
        return t1, t1
    if option != "median":
        raise one_of("ptp_thresholds", option, RULES)
    return medians(logits, gold)


def medians(logits: np.ndarray, gold: np.ndarray) -> tuple[float, float]:
    """Median confidences of the correct and of the wrong predictions; see `thresholds`."""
    certain, right = confidence(logits), logits.argmax(axis=1) == gold
    return _median(certain[right]), _median(certain[~right])


def _median(values: np.ndarray) -> float:
    """The median, or 0.75 (the middle of the allowed range) for an empty group, where it labels nothing."""
    return float(np.median(values)) if len(values) else 0.75


def labels(logits: np.ndarray, gold: np.ndarray, cuts: tuple[float, float]) -> np.ndarray:
    """PTP labels 0 .. 3 in the order of LABELS. Confident means strictly above the cut, as in Table 1.

    logits: (examples, classes); gold: (examples,); cuts: (t1, t2), each in (0.5, 1). Returns (examples,) int64.
    """
    for cut in cuts:
        if not 0.5 < cut < 1.0:
            raise InputError(
                f"a PTP threshold must lie in (0.5, 1), got {cut}; decision D1 lists the readings"
            )
    right = logits.argmax(axis=1) == gold
    sure = confidence(logits) > np.where(right, *cuts)
    return np.where(right, 0, 2) + np.where(sure, 0, 1)


def variant_labels(
    variant: str,
    logits: np.ndarray,
    gold: np.ndarray,
    cuts: tuple[float, float],
    ptp2_threshold: str = "t1",
) -> np.ndarray:
    """The pretraining targets of PTP ("both", 4 classes), PTP-1 ("correct", 2) or PTP-2 ("confident", 2)."""
    if variant not in VARIANTS:
        raise one_of("PTP variant", variant, VARIANTS)
    if variant == "confident" and ptp2_threshold == "t1":
        cuts = (cuts[0], cuts[0])  # decision D12
    four = labels(logits, gold, cuts)
    return {"both": four, "correct": four // 2, "confident": four % 2}[variant]
