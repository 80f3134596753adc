"""The callbacks of every training. They do not change its numbers, so no key depends on this file."""

from repro.runs import cache
from repro.runs.stages import Stage
from repro.runs.tensorboard import TensorBoard
from repro.training.checkpoints import Checkpoint
from repro.training.loop import Callback


def usual_callbacks(stage: Stage) -> list[Callback]:
    """Checkpoints and TensorBoard logs of a stage's training."""
    return [Checkpoint(cache.partial(stage.kind, stage.key)), TensorBoard(stage)]
