"""What a training says on the way: scalars for TensorBoard, and where it stands for `python -m repro status`."""

import os
import time
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

from repro import paths
from repro.runs.stages import Stage
from repro.runs.watching import Note

_PLAIN = ("learning_rate", "score", "dev")  # what is no term of a loss


def folder(stage: Stage) -> Path:
    """cache/tensorboard/<profile>/<the stage as it is said>, <key>: a folder for each training."""
    return paths.below(
        paths.cache() / "tensorboard", stage.cell.profile, f"{stage}, {stage.key[:8]}"
    )


class Scalars(AbstractContextManager):
    """A `training.Log`. No training fails because this cannot be written."""

    def __init__(self, stage: Stage, note: Note) -> None:
        self._folder, self._note = folder(stage), note
        self._writer: EventsWriter | None = None
        self._first, self._start = 0, time.monotonic()

    def __call__(self, looked: dict[int, dict[str, float]], steps: int) -> None:
        with suppress(OSError):
            for step, values in looked.items():
                self._write(step, values)
        step, gone = max(looked), time.monotonic() - self._start
        self._note.say(step=step, steps=steps, rate=(step - self._first) / gone if gone else 0.0)

    def _write(self, step: int, values: dict[str, float]) -> None:
        """In the caller's thread: the library's writer has one of its own, which a full disk would leave hanging."""
        if self._writer is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._writer = EventsWriter(os.fspath(self._folder / "events"), f".{os.getpid()}")
            self._first = step - 1
            # of a training that goes on, whatever an earlier process wrote of this step and later is dropped
            session = SessionLog(status=SessionLog.START)
            self._writer.write_event(Event(wall_time=time.time(), step=step, session_log=session))
        tags = {name if name in _PLAIN else f"loss/{name}": value for name, value in values.items()}
        summary = Summary(
            value=[Summary.Value(tag=tag, simple_value=value) for tag, value in tags.items()]
        )
        self._writer.write_event(Event(wall_time=time.time(), step=step, summary=summary))

    def __exit__(self, *error: object) -> None:
        if self._writer:
            with suppress(OSError):
                self._writer.close()
