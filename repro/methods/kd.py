"""Knowledge distillation (Hinton et al. 2015): the first two terms of the paper's equation 5."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from repro.config.profiles import Setting
from repro.config.recipe import Recipe
from repro.training.loop import Objective, device
from repro.training.losses import cross_entropy, soft_cross_entropy


@dataclass(frozen=True)
class KD:
    """(1 - alpha) CE(student, labels) + alpha KL(teacher || student) at temperature T.

    Attributes:
        alpha: Weight of the KL term.
        temperature: T.
        reduction: How the KL term is averaged (decision D3).
        reading: Which logits are divided by T, and the factor T^2 (decision D2).
    """

    alpha: float
    temperature: float
    reduction: str
    reading: str

    def objective(self, labels: Tensor, teacher: dict[str, Tensor]) -> Objective:
        """See `methods.Loss`."""
        teacher_logits = teacher["train.logits"].to(device())  # (examples, classes)

        def terms(output: Any, rows: Tensor) -> dict[str, Tensor]:
            hard = cross_entropy(output.logits, labels[rows])
            soft = soft_cross_entropy(
                output.logits, teacher_logits[rows], self.temperature, self.reduction, self.reading
            )
            return {"ce": (1 - self.alpha) * hard, "kl": self.alpha * soft}

        return terms


def resolve(setting: Setting, recipe: Recipe, pairs: object) -> KD:
    """See `methods.resolve`."""
    return KD(setting.alpha, setting.temperature, recipe.kl_reduction, recipe.temperature)
