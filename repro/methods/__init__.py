"""What does each method minimise, and from what start? One module per method.

A method is a module with a function `resolve(setting, recipe, pairs)`. It returns a frozen
dataclass, the loss with every open choice replaced by a value, whose `objective` gives the weighted
loss terms of a batch. Pea-KD is a combination: an SPS student (`models.sps`) that starts from PTP
(`ptp`) and is distilled with Patient KD (`patient_kd`).

A method whose network is not a plain encoder, or not at every step, also derives from `Reshaping`.
"""

import importlib
import math
import pkgutil
from typing import Any, Protocol

from torch import Tensor

from repro.config.profiles import Setting
from repro.config.recipe import Recipe
from repro.errors import one_of
from repro.models.classifier import Classifier
from repro.training.loop import Callback, Objective, Training

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


class Reshaping:
    """A loss that also changes the student's network; by default it changes nothing.

    Attributes:
        from_teacher: Whether the student starts from the fine-tuned teacher's parameters.
        rate: Its learning rate; 0 for that of the profile's student.
    """

    from_teacher = False
    rate = 0.0

    def begin(self, plain: Classifier) -> Any:
        """Build the network to train.

        Args:
            plain: The whole encoder with a classifier; it may be changed in place.

        Returns:
            A `Classifier`, or a module with `only_words` whose outputs include those of a
            `Classifier`. What a resumed training needs is among its parameters; masks and
            statistics have `requires_grad` False.
        """
        return plain

    def callbacks(self) -> list[Callback]:
        """What happens between the steps; called before the evaluation of a step."""
        return []

    def finish(self, model: Any) -> Classifier:
        """Build the network that is scored and kept.

        Args:
            model: The output of `begin`, trained or not; the result's shapes are the same.
        """
        return model


class BeforeUpdate(Callback):
    """A callback with one more hook: `on_gradients`, between backward pass and update."""

    def on_start(self, training: Training) -> None:
        """Let the optimiser call `on_gradients` before each of its steps."""
        update = training.optimizer.step

        def step() -> None:
            self.on_gradients(training)
            update()

        training.optimizer.step = step  # type: ignore[method-assign,assignment]

    def on_gradients(self, training: Training) -> None:
        """Called when the parameters have their gradients and are not yet updated."""


def remove(training: Training, parameter: Tensor, mask: Tensor) -> None:
    """Set entries of a parameter, and their moments in the optimiser, to 0.

    Args:
        training: The training whose optimiser has the moments.
        parameter: What is changed in place.
        mask: 0 where an entry is removed, else 1; of a shape that can be multiplied with it.
    """
    state = training.optimizer.state[parameter]
    moments = [state[name] for name in ("exp_avg", "exp_avg_sq") if name in state]
    for tensor in (parameter, *moments):
        tensor.mul_(mask)


def forget_best(training: Training) -> None:
    """Let the best evaluation be one of those to come, since the model is another one now."""
    training.progress.best_step, training.progress.best_score = 0, math.nan
    training.best_state = {}


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
    names = [module.name for module in pkgutil.iter_modules(__path__) if module.name != "ptp"]
    module, _, variant = name.partition(":")
    if module not in names:
        raise one_of("method", name, names)
    variants = (variant,) if variant else ()
    return importlib.import_module(f"{__name__}.{module}").resolve(
        setting, recipe, pairs, *variants
    )
