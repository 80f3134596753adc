"""Training curves for TensorBoard, in cache/tensorboard."""

import os
import time
from contextlib import suppress

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

from repro import paths
from repro.runs.stages import Stage
from repro.training.loop import Callback, Training

_PLAIN = ("learning_rate", "score")  # values that are not terms of a loss


class TensorBoard(Callback):
    """Writes learning rate, loss terms and scores. A log that cannot be written is no error.

    Events are written in the caller's thread: tensorboardX's SummaryWriter uses a thread of its
    own, and a full disk would leave the training waiting for it.
    """

    def __init__(self, stage: Stage) -> None:
        name = f"{stage}, {stage.key[:8]}"
        self._folder = paths.below(paths.cache() / "tensorboard", stage.profile, name)
        self._writer: EventsWriter | None = None

    def on_log(self, training: Training, logged: dict[int, dict[str, float]]) -> None:
        """Write values by step and name."""
        with suppress(OSError):
            for step, values in logged.items():
                if self._writer is None:
                    self._folder.mkdir(parents=True, exist_ok=True)
                    self._writer = EventsWriter(
                        os.fspath(self._folder / "events"), f".{os.getpid()}"
                    )
                    # TensorBoard drops what an interrupted process wrote of this and later steps.
                    started = SessionLog(status=SessionLog.START)
                    self._write(step, session_log=started)
                tags = {k if k in _PLAIN else f"loss/{k}": value for k, value in values.items()}
                entries = [Summary.Value(tag=tag, simple_value=v) for tag, v in tags.items()]
                self._write(step, summary=Summary(value=entries))

    def _write(self, step: int, **content: object) -> None:
        assert self._writer is not None
        self._writer.write_event(Event(wall_time=time.time(), step=step, **content))

    def on_end(self, training: Training) -> None:
        """Close the file."""
        if self._writer:
            with suppress(OSError):
                self._writer.close()
