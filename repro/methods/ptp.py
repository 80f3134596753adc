"""PTP: pretraining with the teacher's predictions (paper, section 3.3, equation 4).

The student first learns whether the teacher is right about each example and whether it is
confident; distillation starts from that student. The labels are defined in `data.ptp_labels`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from repro.config.recipe import Recipe
from repro.config.tasks import Task
from repro.data import ptp_labels
from repro.errors import one_of
from repro.training.loop import Objective, device
from repro.training.losses import balanced_weights, cross_entropy
from repro.training.states import load_state

VARIANTS = ("both", "correct", "confident")  # PTP, PTP-1, PTP-2 (section 4.4)
_MEDIANS = ("median of correct", "median of wrong")


@dataclass(frozen=True)
class PTP:
    """The pretraining of one student.

    Attributes:
        variant: "both" (four labels), "correct" (PTP-1) or "confident" (PTP-2).
        thresholds: (t1, t2), the confidence above which a correct and a wrong prediction count as
            confident; an entry may name a median of the teacher's confidences instead. Empty if
            confidence does not matter (decisions D1 and D12).
        class_weights: "none" or "balanced" (decision D11).
    """

    variant: str
    thresholds: tuple[float | str, ...]
    class_weights: str

    @property
    def classes(self) -> int:
        """The number of labels."""
        return 4 if self.variant == "both" else 2

    def cuts(self, logits: np.ndarray, gold: np.ndarray) -> tuple[float, ...]:
        """The thresholds as numbers.

        Args:
            logits: The teacher's logits (examples, classes) on the training split.
            gold: Gold labels (examples,) of the training split.

        Returns:
            (t1, t2), or () if confidence does not matter.
        """
        medians = dict(zip(_MEDIANS, ptp_labels.medians(logits, gold), strict=True))
        return tuple(
            medians[cut] if isinstance(cut, str) else float(cut) for cut in self.thresholds
        )

    def labels(self, logits: np.ndarray, gold: np.ndarray, cuts: tuple[float, ...]) -> np.ndarray:
        """The pretraining targets (examples,) of a split, in 0 .. classes - 1.

        Args:
            logits: The teacher's logits (examples, classes) on the split.
            gold: Gold labels (examples,) of the split.
            cuts: The output of `cuts` for the training split.
        """
        if self.variant == "correct":
            return np.where(logits.argmax(axis=1) == gold, 0, 1)
        four = ptp_labels.labels(logits, gold, (cuts[0], cuts[1]))
        return four if self.variant == "both" else four % 2

    def objective(self, labels: np.ndarray) -> Objective:
        """Cross-entropy with the targets (examples,) of the training split (equation 4)."""
        targets = torch.from_numpy(labels).to(device())
        balanced = self.class_weights == "balanced"
        weight = balanced_weights(targets, self.classes) if balanced else None

        def terms(output: Any, rows: Tensor) -> dict[str, Tensor]:
            return {"ptp": cross_entropy(output.logits, targets[rows], weight)}

        return terms


def resolve(variant: str, task: Task, recipe: Recipe) -> PTP:
    """The pretraining of a variant with its thresholds as values.

    Args:
        variant: One of VARIANTS.
        task: Gives the authors' thresholds.
        recipe: The reading of the paper.

    Raises:
        InputError: If there is no such variant.
    """
    if variant not in VARIANTS:
        raise one_of("PTP variant", variant, VARIANTS)
    cuts: tuple[float | str, ...] = task.thresholds
    if recipe.ptp_thresholds == "median":
        cuts = _MEDIANS
    one_threshold = variant == "confident" and recipe.ptp2_threshold == "t1"
    if recipe.ptp_thresholds == "one" or one_threshold:
        cuts = (cuts[0], cuts[0])
    return PTP(variant, () if variant == "correct" else cuts, recipe.ptp_class_weights)


def initialise(model: nn.Module, state: dict[str, Tensor], pooler: str) -> None:
    """Start a student from its PTP-pretrained state.

    Args:
        model: The student, with a fresh classifier, which is kept.
        state: Parameters after pretraining.
        pooler: "kept", or "reset" to keep the model's own pooler (decision D10).
    """
    load_state(model, state, ("classifier",) if pooler == "kept" else ("classifier", "pooler"))
