"""What is going on: notes of runs and of their workers, in the cache, where every process that shares it reads them.

Notes are for people. No number depends on one, and where none can be written nothing else fails.
"""

import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from repro import paths
from repro.runs.progress import clock

T = TypeVar("T")
_EVERY = 1.0  # seconds between two writings of a note, and between two looks at all of them


class Note(AbstractContextManager):
    """A small file about what this process does. Its lock is held meanwhile: a note whose writer was killed is void."""

    def __init__(self, kind: str, **facts: Any) -> None:
        self._path = _folder() / f"{kind}-{platform.node()}-{os.getpid()}.json"
        self._lock = FileLock(self._path.with_suffix(".lock"), mode=0o666)
        self._facts = {
            "kind": kind,
            "where": f"{platform.node()}:{os.getpid()}",
            "since": time.time(),
        } | facts
        self._next = 0.0

    def __enter__(self) -> "Note":
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(blocking=False)
        self.say()
        return self

    def say(self, **facts: Any) -> None:
        """Add or change facts, plain data; they are written at most once a second."""
        self._facts |= facts
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _EVERY
            with suppress(
                OSError
            ):  # in place: whoever reads half of it looks again, and a kill leaves no other file
                self._path.write_text(json.dumps(self._facts))

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
            Path(self._lock.lock_file).unlink(missing_ok=True)
            self._lock.release()


def _folder() -> Path:
    return paths.cache() / "notes"


def notes(kind: str) -> list[dict[str, Any]]:
    """What each living writer of that kind ("run" or "stage") says, the oldest first."""
    found = [note for path in _folder().glob(f"{kind}-*.json") for note in _read(path)]
    return sorted(found, key=lambda note: note["since"])


def _read(path: Path) -> Iterator[dict[str, Any]]:
    with suppress(OSError, ValueError):  # it may go while we look
        if _held(path.with_suffix(".lock")):
            found = json.loads(path.read_text())
            if isinstance(found, dict) and isinstance(found.get("since"), float):
                yield found
        else:
            path.unlink()  # its writer was killed


def _held(path: Path) -> bool:
    lock = FileLock(path, mode=0o666)
    try:
        lock.acquire(blocking=False)
    except OSError:  # filelock's Timeout is one
        return True
    path.unlink(missing_ok=True)
    lock.release()
    return False


def view() -> RenderableType:
    """All runs with their progress and failures, and what every worker is doing."""
    runs, stages, now = notes("run"), notes("stage"), time.time()
    if not runs and not stages:
        return Text("nothing is running")
    return Group(*_told(_run, runs, now), _workers(stages, now))


def _told(
    tell: Callable[[dict[str, Any], float], Iterable[T]], found: list[dict[str, Any]], now: float
) -> Iterator[T]:
    """What `tell` makes of each note; nothing of one that lacks what it needs, such as another version's."""
    for note in found:
        with suppress(KeyError, TypeError, ValueError):
            yield from [*tell(note, now)]


def _run(run: dict[str, Any], now: float) -> Iterator[RenderableType]:
    gone, done, total = _since(run, now), run["work_done"], run["work"]
    left = f"{clock(gone * (total - done) / done)} left" if done else "time left not known yet"
    told = [
        f"{run['ended']} of {run['stages']} stages done",
        f"{len(run['failed'])} failed",
        f"{clock(gone)} gone",
        left,
        f"{60 * run['ended'] / max(gone, 1.0):.1f} stages a minute",
    ]
    yield Text(f"{run['what']} on {run['where']} (workers: {run['workers']}): {', '.join(told)}")
    yield Padding(
        ProgressBar(total=total or 1.0, completed=done, width=60), 0
    )  # alone, a bar ends no line
    yield from (Text(f"failed: {failure}", style="red") for failure in run["failed"])


def _workers(stages: list[dict[str, Any]], now: float) -> Table:
    table = Table("running", "step", "a second", "for", "on", box=None, pad_edge=False)
    for row in _told(_worker, stages, now):
        table.add_row(*row)
    return table


def _since(note: dict[str, Any], now: float) -> float:
    """The seconds since the note was begun; none if the clock was set back since, or is behind that of its writer."""
    return max(0.0, now - note["since"])


def _worker(stage: dict[str, Any], now: float) -> Iterator[tuple[str, ...]]:
    known = "step" in stage
    yield (
        str(stage["what"]),
        f"{stage['step']} of {stage['steps']}" if known else "",
        f"{stage['rate']:.1f}" if known else "",
        clock(_since(stage, now)),
        str(stage["where"]),
    )


def show(live: bool) -> None:
    """Print the view once, or (live) until nothing runs any more."""
    if not live:
        Console().print(view())
        return
    with Live(view(), refresh_per_second=2, transient=True) as screen:
        while notes("run") or notes("stage"):
            screen.update(view())
            time.sleep(_EVERY)
    Console().print(view())
