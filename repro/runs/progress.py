"""One progress bar per run: live in a terminal or notebook, a line every 30 seconds elsewhere.

Trainings run in other processes. Each reports its steps in a small file in cache/progress
(`callbacks.ReportSteps`); the bar of the run reads these files twice a second.
"""

import html
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from repro import paths
from repro.errors import one_of
from repro.files import process_space

INTERVAL = 0.5  # seconds between two reports of a training, and between two updates of the bar
_LINES_INTERVAL = 30.0  # seconds between two lines
_MODES = ("terminal", "notebook", "lines")
_TRUST = 0.05  # the initial estimate counts as if this share of the work had been measured


@dataclass(frozen=True)
class Report:
    """Progress of one training.

    Attributes:
        first: Number of steps done before this process resumed the training.
        step: Number of steps done.
        last: Total number of steps.
        learning_rate: Learning rate of the last step.
        loss: Sum of the loss terms when they were last read; None before that.
    """

    first: int
    step: int
    last: int
    learning_rate: float
    loss: float | None

    def __str__(self) -> str:
        loss = "" if self.loss is None else f", loss {self.loss:.3g}"
        return f"step {self.step} of {self.last}{loss}, learning rate {self.learning_rate:.1e}"


def report_path(key: str) -> Path:
    """Return the path of the file in which a training reports its steps."""
    return paths.below(paths.cache(), "progress", f"{key}.json")


def write_report(key: str, report: Report) -> None:
    """Write the report of a training. Errors of the disk are ignored: they must not stop training.

    Args:
        key: Key of the stage.
        report: Progress of its training.
    """
    path = report_path(key)
    temporary = path.with_suffix(f".{process_space()}.{os.getpid()}")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(asdict(report)))
        temporary.replace(path)


def read_report(key: str) -> Report | None:
    """Read the latest report of a training; None if there is none."""
    try:
        return Report(**json.loads(report_path(key).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def remove_report(key: str) -> None:
    """Remove the report of a training."""
    with suppress(OSError):
        report_path(key).unlink(missing_ok=True)


@dataclass(frozen=True)
class Snapshot:
    """Content of a progress bar at one moment.

    Attributes:
        title: Name of the run, e.g. "table4".
        share: Finished share of the work, in 0 .. 1.
        times: Elapsed and remaining time.
        count: Number of finished parts, as text.
        running: One line for each running part.
    """

    title: str
    share: float
    times: str
    count: str
    running: list[str]

    def line(self) -> str:
        """Format everything as one line."""
        return " | ".join([f"{self.title} {self.share:.0%}", self.times, self.count, *self.running])


class Progress(AbstractContextManager):
    """A progress bar that advances with training steps.

    Args:
        title: Name of the run.
        work: Work of all parts, in any unit.
        count: Number of parts.
        seconds: Estimated time, which measurements gradually replace; 0 for no estimate.
        slots: Number of parts that run at once.
        unit: What the parts are called.

    Raises:
        InputError: If REPRO_PROGRESS is not one of "terminal", "notebook" and "lines". If it is not
            set, the mode depends on where the output goes.
    """

    def __init__(
        self,
        title: str,
        work: float,
        count: int,
        seconds: float = 0.0,
        slots: int = 1,
        unit: str = "stages",
    ) -> None:
        self._show = _displays()[mode()]
        self._title, self._work, self._count, self._unit = title, work or 1.0, count, unit
        self._expected, self._slots = seconds, slots
        self._running: dict[str, tuple[str, float]] = {}  # key -> name, work
        self._done, self._resumed, self._ended, self._failed = 0.0, 0.0, 0, 0
        self._begin = time.monotonic()
        self._first: tuple[float, float] | None = None  # time and work of the first measurement
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)
        self._thread.start()

    def start(self, key: str, name: str, work: float) -> None:
        """Record that a part was handed to a worker.

        Args:
            key: Key of its stage.
            name: Name to show.
            work: Its work, in the unit of the whole.
        """
        remove_report(key)  # a killed process may have left one
        with self._lock:
            self._running[key] = (name, work)

    def finish(self, key: str, work: float, failed: bool = False) -> None:
        """Record that a part has ended.

        Args:
            key: Key of its stage.
            work: Its work, in the unit of the whole.
            failed: Whether it ended with an error.
        """
        report = read_report(key)
        remove_report(key)
        with self._lock:
            self._running.pop(key, None)
            self._done += work
            self._resumed += work * report.first / report.last if report else 0.0
            self._ended, self._failed = self._ended + 1, self._failed + failed

    def snapshot(self) -> Snapshot:
        """Return what to show now."""
        elapsed = time.monotonic() - self._begin
        with self._lock:
            reports = {key: read_report(key) for key in self._running}
            done, resumed, lines = self._done, self._resumed, []
            for key, (name, work) in self._running.items():
                report = reports[key]
                if report is not None:
                    done += work * report.step / report.last
                    resumed += work * report.first / report.last
                    lines.append(f"{name}: {report}")
            silent = [name for key, (name, _) in self._running.items() if reports[key] is None]
            lines += silent[: max(0, self._slots - len(lines))]
            count = f"{self._ended} of {self._count} {self._unit}"
            count += f", {self._failed} failed" if self._failed else ""
        times, left = f"{clock(elapsed)} elapsed", self._left(done, done - resumed)
        times += f", about {clock(left)} left" if left is not None else ""
        return Snapshot(self._title, min(done / self._work, 1.0), times, count, lines)

    def _left(self, done: float, measured: float) -> float | None:
        """Seconds left; the speed is at first the estimate, then more and more the measured one.

        Args:
            done: Finished work, including that of earlier processes.
            measured: Work that was done since the start.
        """
        if measured and self._first is None:  # imports before the first step do not count
            self._first = time.monotonic(), measured
        begin, before = self._first or (time.monotonic(), measured)
        trusted = _TRUST if self._expected else 0.0
        work = trusted * self._work + measured - before
        if work <= 0:
            return None
        seconds = trusted * self._expected + time.monotonic() - begin
        return max(0.0, self._work - done) * seconds / work

    def _tick(self) -> None:
        with self._show() as show:
            while not self._stop.wait(INTERVAL):
                show(self.snapshot(), False)
            show(self.snapshot(), True)

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()


def mode() -> str:
    """Return "terminal", "notebook" or "lines": REPRO_PROGRESS, or what suits the output.

    Raises:
        InputError: If REPRO_PROGRESS is something else.
    """
    if chosen := os.environ.get("REPRO_PROGRESS"):
        if chosen not in _MODES:
            raise one_of("REPRO_PROGRESS", chosen, _MODES)
        return chosen
    if _kernel():
        return "notebook"
    console = Console(file=sys.__stderr__, force_jupyter=False)
    return "terminal" if console.is_terminal and not console.is_dumb_terminal else "lines"


def _kernel() -> bool:
    """Check whether this process is the kernel of a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


def clock(seconds: float) -> str:
    """Format seconds as 1:05 or 2:03:04."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
    return f"{minutes}:{rest:02}"


# Displays: context managers that return a function of a snapshot and whether it is the last one

_Show = Callable[[Snapshot, bool], None]


def _displays() -> dict[str, Callable[[], AbstractContextManager[_Show]]]:
    return {"terminal": _Terminal, "notebook": _Notebook, "lines": _Lines}


class _Terminal(AbstractContextManager[_Show]):
    """A live bar.

    If a command runs a notebook, the kernel draws on the command's terminal, which it inherits:
    what it writes to `sys.stderr` would be stored in the notebook.
    """

    def __enter__(self) -> _Show:
        in_kernel = _kernel()
        console = Console(file=sys.__stderr__, force_terminal=True, force_jupyter=False)
        self._live = Live(
            console=console,
            auto_refresh=False,
            redirect_stdout=not in_kernel,
            redirect_stderr=not in_kernel,
        )
        return self._draw

    def _draw(self, now: Snapshot, last: bool) -> None:
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            Text(f"{now.title} {now.share:4.0%}"),
            ProgressBar(1.0, now.share, width=24),
            Text(f"{now.times} · {now.count}"),
        )
        lines = [
            Text(f"  {line}", "dim", no_wrap=True, overflow="ellipsis") for line in now.running
        ]
        self._live.start()  # not earlier, so that what was printed before is on the terminal
        self._live.update(Group(bar, *([] if last else lines)), refresh=True)

    def __exit__(self, *error: object) -> None:
        self._live.stop()


class _Notebook(AbstractContextManager[_Show]):
    """An HTML bar in the cell's output; needs no widgets and stays visible in a saved notebook."""

    def __enter__(self) -> _Show:
        from IPython.display import HTML, display

        self._html: Any = HTML
        self._handle = display(HTML("starting"), display_id=True)
        return self._draw

    def _draw(self, now: Snapshot, last: bool) -> None:
        lines = [html.escape(line) for line in ([] if last else now.running)]
        self._handle.update(
            self._html(
                f"<div class='repro-progress'>{html.escape(now.title)} {now.share:.0%} "
                f"<progress value='{now.share:.4f}' style='width: 16em'></progress> "
                f"{now.times} · {now.count}"
                f"<div style='opacity: 0.7'>{'<br>'.join(lines)}</div></div>"
            )
        )

    def __exit__(self, *error: object) -> None:
        pass


class _Lines(AbstractContextManager[_Show]):
    """A plain line every 30 seconds, for logs."""

    def __enter__(self) -> _Show:
        self._next = time.monotonic() + _LINES_INTERVAL
        return self._draw

    def _draw(self, now: Snapshot, last: bool) -> None:
        if last or time.monotonic() >= self._next:
            self._next = time.monotonic() + _LINES_INTERVAL
            print(now.line(), file=sys.stderr, flush=True)

    def __exit__(self, *error: object) -> None:
        pass
