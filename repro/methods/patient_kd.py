"""Patient KD (Sun et al. 2019): KD plus the distance of matched [CLS] states (equation 5)."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from repro.config.profiles import Setting
from repro.config.recipe import Recipe
from repro.methods import kd
from repro.training.loop import Objective, device
from repro.training.losses import patience


@dataclass(frozen=True)
class PatientKD:
    """KD + beta * mean squared distance of matched [CLS] states.

    Attributes:
        kd: The first two terms.
        beta: Weight of the distance.
        match: How states are normalised and averaged (decision D4).
        pairs: Matched (student layer, teacher layer), counted from 1 (decisions D5 and D18).
    """

    kd: kd.KD
    beta: float
    match: str
    pairs: tuple[tuple[int, int], ...]

    def objective(self, labels: Tensor, teacher: dict[str, Tensor]) -> Objective:
        """See `methods.Loss`."""
        distil = self.kd.objective(labels, teacher)
        student_layers = [student - 1 for student, _ in self.pairs]
        teacher_layers = [layer - 1 for _, layer in self.pairs]
        # (examples, pairs, hidden)
        teacher_states = teacher["train.cls"][:, teacher_layers].to(device())

        def terms(output: Any, rows: Tensor) -> dict[str, Tensor]:
            states = output.cls_states[:, student_layers]  # (batch, pairs, hidden)
            distance = patience(states, teacher_states[rows], self.match)
            return distil(output, rows) | {"patience": self.beta * distance}

        return terms


def resolve(
    setting: Setting, recipe: Recipe, pairs: tuple[tuple[int, int], ...]
) -> PatientKD | kd.KD:
    """See `methods.resolve`; without a matched pair this is plain KD."""
    distil = kd.resolve(setting, recipe, pairs)
    return PatientKD(distil, setting.beta, recipe.hidden_match, pairs) if pairs else distil
