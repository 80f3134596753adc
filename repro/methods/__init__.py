"""What does each method minimise, and from what start? One module per method.

A method is a module with a function `resolve(setting, recipe, pairs)`. It returns a frozen
dataclass, the loss with every open choice replaced by a value, whose `objective` gives the weighted
loss terms of a batch. Pea-KD is a combination: an SPS student (`models.sps`) that starts from PTP
(`ptp`) and is distilled with Patient KD (`patient_kd`).

A method that trains more than once, or beside its running teacher, has a function `phases` instead.
It returns a `Phase` for each of its trainings. A method that changes the student's network has a
loss that also derives from `training.reshaping.Reshaping`.
"""

import importlib
import pkgutil
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Protocol

from torch import Tensor

from repro.config.profiles import Budget, Setting
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


@dataclass(frozen=True)
class Phase:
    """One training of a method that has several, or whose teacher runs beside the student.

    Attributes:
        loss: What is minimised. Without a teacher beside it, the model output is a
            `models.classifier.Output`, else a `models.pair.Both`.
        budget: How long and how fast.
        teacher: The teacher that runs beside the student: "" for none, "encoder" (not fine-tuned)
            or "fine-tuned".
        layers: The layers of the encoder, counted from 0, from which the student starts; () for the
            lowest. Later phases start where the one before ended, with a fresh classifier.
        masked: Whether both read masked text and predict its words.
        project: Whether the student's states pass through a learned projection.
        copies: Augmented copies of each training example beside itself.
    """

    loss: Loss
    budget: Budget
    teacher: str = ""
    layers: tuple[int, ...] = ()
    masked: bool = False
    project: bool = False
    copies: int = 0


def half(budget: Budget) -> Budget:
    """Half the epochs, for a phase beside the teacher.

    A step beside a teacher of 12 layers takes about four times as long as Patient KD's with 3. So
    half the epochs, followed by fine-tuning, take about three times as long as Patient KD.
    """
    return replace(budget, epochs=max(1, budget.run_epochs // 2), stop_epoch=0)


def resolve(name: str, setting: Setting, recipe: Recipe, pairs: Pairs) -> Loss:
    """The loss of a method with all its choices made.

    Args:
        name: A module of this package, such as "patient_kd"; with one of its variants if it has
            any, such as "homodistil:platon".
        setting: Weights and temperature.
        recipe: The reading of the paper.
        pairs: Matched layers of student and teacher.

    Raises:
        InputError: If there is no such method.
    """
    variant = name.partition(":")[2]
    variants = (variant,) if variant else ()
    return _module(name).resolve(setting, recipe, pairs, *variants)


def phases(name: str, setting: Setting, layers: int, teacher_layers: int) -> tuple[Phase, ...]:
    """The trainings of a method in order; () for a method that has a single loss.

    Args:
        name: A module of this package, such as "tinybert".
        setting: The hyperparameters.
        layers: Stored layers of the student.
        teacher_layers: Layers of the teacher.

    Raises:
        InputError: If there is no such method.
    """
    module = _module(name)
    return module.phases(setting, layers, teacher_layers) if hasattr(module, "phases") else ()


def _module(name: str) -> ModuleType:
    names = [module.name for module in pkgutil.iter_modules(__path__) if module.name != "ptp"]
    module = name.partition(":")[0]
    if module not in names:
        raise one_of("method", name, names)
    return importlib.import_module(f"{__name__}.{module}")
