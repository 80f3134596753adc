"""What does each method minimise, and from what start? One module per method.

A method is a module with a function `resolve(setting, recipe, pairs)`. It returns a frozen
dataclass, the loss with every open choice replaced by a value, whose `objective` gives the weighted
loss terms of a batch. Pea-KD is a combination: an SPS student (`models.sps`) that starts from PTP
(`ptp`) and is distilled with Patient KD (`patient_kd`).
"""

import importlib
import pkgutil
from typing import Protocol

from torch import Tensor

from repro.config.profiles import Setting
from repro.config.recipe import Recipe
from repro.errors import one_of
from repro.training.loop import Objective

Pairs = tuple[tuple[int, int], ...]  # matched (student layer, teacher layer), counted from 1


class Loss(Protocol):
    """A resolved loss: a frozen dataclass of plain values, which are part of the stage's key."""

    def objective(self, labels: Tensor, teacher: dict[str, Tensor]) -> Objective:
        """Build the objective of a training.

        Args:
            labels: Gold labels (examples,) of the training split.
            teacher: The teacher's "train.logits" (examples, classes) and "train.cls" (examples,
                layers, hidden).

        Returns:
            A function of (model output, row indices) that gives the weighted loss terms.
        """
        ...


def resolve(name: str, setting: Setting, recipe: Recipe, pairs: Pairs) -> Loss:
    """The loss of a method with all its choices made.

    Args:
        name: A module of this package, such as "patient_kd".
        setting: Weights and temperature.
        recipe: The reading of the paper.
        pairs: Matched layers of student and teacher.

    Raises:
        InputError: If there is no such method.
    """
    names = [module.name for module in pkgutil.iter_modules(__path__) if module.name != "ptp"]
    if name not in names:
        raise one_of("method", name, names)
    return importlib.import_module(f"{__name__}.{name}").resolve(setting, recipe, pairs)
