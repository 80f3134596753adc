"""Methods that change the student's network while it is trained, and what they have in common."""

import math
from typing import Any

from torch import Tensor

from repro.models.classifier import Classifier
from repro.training.loop import Callback, Training


class Reshaping:
    """A loss that also changes the student's network; by default it changes nothing.

    Attributes:
        from_teacher: Whether the student starts from the fine-tuned teacher's parameters.
        rate: Its learning rate; 0 for that of the profile's student.
        work: Operations of a training step, relative to fine-tuning the encoder.
    """

    from_teacher = False
    rate = 0.0
    work = 1.0

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
