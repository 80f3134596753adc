"""The callbacks of every training: checkpoints, TensorBoard logs and progress reports.

They do not change its numbers, so no stage's key depends on this file.
"""

import os
import time
from contextlib import suppress

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

from repro import paths
from repro.runs import cache, progress
from repro.runs.stages import Stage
from repro.training.checkpoints import Checkpoint
from repro.training.loop import Callback, Training

_PLAIN = ("learning_rate", "score")  # all other values are terms of the loss


class TensorBoard(Callback):
    """Writes to cache/tensorboard/<profile>/<stage>, <key>.

    A log that cannot be written never fails or blocks a training. `tensorboardX.SummaryWriter`
    does: when its thread dies on a full disk, `add_scalar` and `close` wait for it forever.
    """

    def __init__(self, stage: Stage) -> None:
        name = f"{stage}, {stage.key[:8]}"
        self.folder = paths.below(paths.cache() / "tensorboard", stage.profile, name)
        self._writer: EventsWriter | None = None

    def on_log(self, training: Training, logged: dict[int, dict[str, float]]) -> None:
        """Write one event per step."""
        with suppress(OSError):
            for step, values in logged.items():
                tags = {name if name in _PLAIN else f"loss/{name}": values[name] for name in values}
                scalars = [Summary.Value(tag=tag, simple_value=tags[tag]) for tag in tags]
                event = Event(wall_time=time.time(), step=step, summary=Summary(value=scalars))
                self._open(step).write_event(event)

    def _open(self, step: int) -> EventsWriter:
        """The file. TensorBoard discards what an interrupted process logged of this step on."""
        if self._writer is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._writer = EventsWriter(os.fspath(self.folder / "events"), f".{os.getpid()}")
            start = SessionLog(status=SessionLog.START)
            self._writer.write_event(Event(wall_time=time.time(), step=step, session_log=start))
        return self._writer

    def on_end(self, training: Training) -> None:
        """Close the file."""
        if self._writer:
            with suppress(OSError):
                self._writer.close()
            self._writer = None


class ReportSteps(Callback):
    """Reports the step, the learning rate and the loss, at most twice a second.

    The loss is the one that the training loop has read last: reading it here would make a GPU wait.
    """

    def __init__(self, stage: Stage) -> None:
        self._key, self._first, self._next = stage.key, 0, 0.0

    def on_start(self, training: Training) -> None:
        """Note where a resumed training starts; checkpoints are loaded by an earlier callback."""
        self._first = training.progress.step

    def on_step(self, training: Training) -> None:
        """Write the report if it is due."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + progress.INTERVAL
        step = training.progress.step
        terms = [value for name, value in training.latest.items() if name != "learning_rate"]
        loss, rate = sum(terms) if terms else None, training.learning_rate(step)
        report = progress.Report(self._first, step, training.last_step, rate, loss)
        progress.write_report(self._key, report)


def usual_callbacks(stage: Stage) -> list[Callback]:
    """The callbacks of a stage's training."""
    checkpoint = Checkpoint(cache.partial(stage.kind, stage.key))
    return [checkpoint, TensorBoard(stage), ReportSteps(stage)]
