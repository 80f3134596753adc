"""Patient KD (Sun et al. 2019): KD plus beta times the distance of matched [CLS] states (all of equation 5)."""

from torch import Tensor

from repro.config.profiles import Setting
from repro.config.recipe import Recipe
from repro.methods import kd
from repro.models.classifier import Output
from repro.training.loop import Objective
from repro.training.losses import patience


def objective(
    labels: Tensor,
    teacher_logits: Tensor,
    teacher_states: Tensor,
    pairs: list[tuple[int, int]],
    setting: Setting,
    recipe: Recipe,
) -> Objective:
    """teacher_states: (examples, pairs, hidden), of the teacher layers in `pairs` (1-based, structure.layer_map)."""
    distil = kd.objective(labels, teacher_logits, setting, recipe)
    matched = [student - 1 for student, _ in pairs]

    def terms(output: Output, rows: Tensor) -> dict[str, Tensor]:
        states = output.cls_states[:, matched]  # (batch, pairs, hidden)
        distance = patience(states, teacher_states[rows], recipe.hidden_match)
        return distil(output, rows) | {"patience": setting.beta * distance}

    return terms
