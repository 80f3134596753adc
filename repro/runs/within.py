"""Compute what fits into a number of minutes, for a GPU that is lent for a short time."""

import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from repro import paths
from repro.config.cells import Cell, plan
from repro.config.profiles import profile
from repro.errors import InputError, on_disk
from repro.runs import results
from repro.runs.engine import run_cells

TABLES = ("table2", "table4", "table5", "baselines")
# Tasks and seeds in the order in which they are wanted
STEPS = (("RTE,MRPC", 5), ("RTE,MRPC", 10), ("QNLI,SST-2", 5), ("QNLI,SST-2", 10))
LONGEST = 7 * 24 * 60  # minutes
RESERVE = 0.05  # share of the minutes that is kept for packing


class TimeUp(KeyboardInterrupt):
    """The minutes are over. Ends a run as Ctrl-C does: finished stages are kept."""


@dataclass(frozen=True)
class Step:
    """Part of the work: all of TABLES for some tasks and seeds.

    Attributes:
        tasks: Comma-separated names.
        seeds: How many.
        cells: Its cells.
    """

    tasks: str
    seeds: int
    cells: list[Cell]

    @property
    def finished(self) -> int:
        """How many of its cells are finished."""
        return sum(map(results.done, self.cells))


def steps(
    profile_name: str, recipe: str = "authors", tasks: str = "", seeds: int = 0
) -> list[Step]:
    """The work in the order in which it is wanted.

    Args:
        profile_name: The profile.
        recipe: The recipe.
        tasks: Comma-separated names, which replace STEPS by one step; "" for STEPS.
        seeds: How many, for `tasks`; 0 for 5.

    Raises:
        InputError: If seeds are given without tasks, or a name is unknown.
    """
    if seeds and not tasks:
        raise InputError(f"--seeds {seeds} needs --tasks, e.g. --tasks RTE,MRPC --seeds {seeds}")
    wanted = ((tasks, seeds or 5),) if tasks else STEPS
    return [
        Step(
            names,
            count,
            [cell for name in TABLES for cell in plan(name, profile_name, names, count, recipe)],
        )
        for names, count in wanted
    ]


def run_within(minutes: float, work: list[Step], workers: int) -> bool:
    """Run the steps one after the other until the time is over.

    Args:
        minutes: For the trainings and for packing.
        work: The output of `steps`.
        workers: Processes at once; on a GPU about one per core, since one alone leaves it idle.

    Returns:
        Whether everything was computed.

    Raises:
        InputError: If the number of minutes is not above 0 and at most LONGEST.
        ReproError: If a cell fails.
    """
    if not 0 < minutes <= LONGEST:
        raise InputError(f"minutes must be above 0 and at most {LONGEST}, got {minutes:g}")
    try:
        with _alarm(60 * minutes * (1 - RESERVE)):
            for step in work:
                run_cells(step.cells, "processes", workers)
    except TimeUp:
        return False
    return True


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raise TimeUp in the main thread when the seconds are over."""

    def ring(number: int, frame: object) -> None:
        raise TimeUp

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def pack(profile_name: str) -> Path:
    """Put the finished cells of a profile, with their predictions, into results/<profile>.zip.

    Each cell's file has the commit, the versions and the checksums of its predictions, so the
    receiver of the file can check it: a cell that does not match is computed again.

    Raises:
        DiskError: If the file cannot be written.
    """
    folder = paths.results(profile(profile_name).name)
    with on_disk(folder):
        # the archive holds <profile>/cells/..., to be unpacked in results/
        packed = shutil.make_archive(str(folder), "zip", folder.parent, folder.name)
    return Path(packed)
