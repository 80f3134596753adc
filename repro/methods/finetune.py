"""Fine-tuning: cross-entropy with the gold labels (paper, equation 3)."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from repro.config.profiles import Setting
from repro.config.recipe import Recipe
from repro.training.loop import Objective
from repro.training.losses import cross_entropy


@dataclass(frozen=True)
class FineTuning:
    """CE(student, labels)."""

    def objective(self, labels: Tensor, teacher: dict[str, Tensor]) -> Objective:
        """See `methods.Loss`; the teacher is not used."""

        def terms(output: Any, rows: Tensor) -> dict[str, Tensor]:
            return {"ce": cross_entropy(output.logits, labels[rows])}

        return terms


def resolve(setting: Setting, recipe: Recipe, pairs: object) -> FineTuning:
    """See `methods.resolve`."""
    return FineTuning()
