"""Run many cells: in this process, or on local processes that share the cores. Stages that cells share run once.

torch is imported only if there is something to compute.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pandas as pd

from repro import cells as files
from repro import memory
from repro.errors import ReproError, one_of
from repro.experiments import Cell
from repro.profiles import PROFILES
from repro.progress import Progress, clock
from repro.workers import Processes

if TYPE_CHECKING:
    from repro.stages import Stage

ENGINES = ("processes", "serial")


def describe(cells: list[Cell]) -> pd.DataFrame:
    """The plan: one row per cell, with whether its result is there."""
    rows = [(cell.method, cell.task, cell.seed, "done" if files.done(cell) else "to do", cell.id) for cell in cells]
    return pd.DataFrame(rows, columns=["method", "task", "seed", "state", "id"])


def run_cells(cells: list[Cell], engine: str = "processes", workers: int = 0) -> None:
    """Make every cell's result. Prints the plan, then one bar. workers: 0 for one per core (one in all on a GPU).

    A failed cell does not stop the others. Raises ReproError with each failure at the end.
    """
    if engine not in ENGINES:
        raise one_of("engine", engine, ENGINES)
    todo = [cell for cell in cells if not files.done(cell)]
    print(f"{len(cells)} cells, {len(cells) - len(todo)} already there, {len(todo)} to do", flush=True)
    if todo:
        from repro import stages  # imports torch

        needed = {cell.id: stages.stages(cell) for cell in todo}
        workers = 1 if engine == "serial" else workers or _default_workers()
        _run(todo, needed, engine, workers)


@contextmanager
def making(total: float, what: str, engine: str = "processes", workers: int = 0) -> Iterator[Callable]:
    """Gives a function that makes the stages of a list, on workers that stay between its calls; one bar over all.

    total: the work of all calls together, in the unit of the stages'. The function raises ReproError with the first
    failure of a stage.
    """
    if engine not in ENGINES:
        raise one_of("engine", engine, ENGINES)
    from repro import store

    workers = 1 if engine == "serial" else workers or _default_workers()
    with Progress(total, what) as bar, _executor(engine, workers) as executor:

        def make(stages: list["Stage"]) -> None:
            graph = {stage.key: stage for stage in stages if not store.exists(stage.kind, stage.key)}
            ready = sum(stage.work for stage in stages) - sum(stage.work for stage in graph.values())
            if ready:
                bar.advance(ready, "already there")
            failures = _Grid(graph, executor, workers, bar).run()
            if failures:
                first = next(iter(failures.values()))
                raise ReproError(f"{len(failures)} of {len(graph)} stages failed; the first: {first}")

        yield make


def _default_workers() -> int:
    import torch

    return 1 if torch.cuda.is_available() else len(os.sched_getaffinity(0))


def _run(todo: list[Cell], needed: dict[str, list["Stage"]], engine: str, workers: int) -> None:
    from repro import store

    graph = {stage.key: stage for made in needed.values() for stage in made if not store.exists(stage.kind, stage.key)}
    work = sum(stage.work for stage in graph.values())
    shared = sum(len(made) for made in needed.values()) - len({s.key for made in needed.values() for s in made})
    print(f"{len(graph)} stages to compute ({shared} shared between cells) on {workers} "
          f"worker{'s' * (workers > 1)}, about {_estimate(todo[0], work, workers)}", flush=True)  # fmt: skip
    try:
        with Progress(work or 1.0, todo[0].table) as bar, _executor(engine, workers) as executor:
            failures = _Grid(graph, executor, workers, bar).run()
    except KeyboardInterrupt:
        made = sum(store.exists(stage.kind, stage.key) for stage in graph.values())
        print(f"stopped: {made} of {len(graph)} stages of this run are computed and kept; "
              "a training that had begun goes on from its last checkpoint", flush=True)  # fmt: skip
        raise
    _finish(todo, needed, failures)


def _estimate(cell: Cell, work: float, workers: int) -> str:
    return clock(work * PROFILES[cell.profile].seconds_per_work / min(workers, len(os.sched_getaffinity(0))))


class _Grid:
    """The stages still to make. Each starts when its parents are there; the one with most work first."""

    def __init__(self, graph: dict[str, "Stage"], executor: Executor, workers: int, bar: Progress) -> None:
        self.waiting, self.executor, self.workers, self.bar = dict(graph), executor, workers, bar
        self.running: dict[Future, Stage] = {}
        self.failed: dict[str, str] = {}

    def run(self) -> dict[str, str]:
        """Returns the error of each stage that failed or could not start, by key."""
        while self.waiting or self.running:
            self._start()
            finished, _ = wait(self.running, return_when=FIRST_COMPLETED)
            for future in finished:
                self._end(future, self.running.pop(future))
        return self.failed

    def _start(self) -> None:
        busy = {stage.key for stage in self.running.values()}
        for stage in sorted(self.waiting.values(), key=lambda stage: -stage.work):
            if len(self.running) >= self.workers:
                return
            if not any(parent.key in self.waiting or parent.key in busy for parent in stage.parents):
                from repro.pipeline import run_stage

                del self.waiting[stage.key]
                self.running[self.executor.submit(run_stage, stage)] = stage
                busy.add(stage.key)

    def _end(self, future: Future, stage: "Stage") -> None:
        error = future.exception()
        if error is not None:
            self._fail(stage, _told(error))
        cell = stage.cell
        self.bar.advance(stage.work, f"{stage.kind} {cell.task}{f' {cell.method}' if stage.kind != 'teacher' else ''}")

    def _fail(self, stage: "Stage", error: str) -> None:
        """Whoever needs the failed stage fails with it."""
        self.failed[stage.key] = error
        for child in [s for s in self.waiting.values() if any(parent.key == stage.key for parent in s.parents)]:
            del self.waiting[child.key]
            self._fail(child, error)


class _Inline(Executor):
    """Runs what it is given at once, in this process."""

    def submit(self, fn: Callable, /, *args: Any, **kwargs: Any) -> Future:
        future: Future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def _executor(engine: str, workers: int) -> Executor:
    if engine == "serial":
        memory.keep()
        return _Inline()
    return Processes(workers)


def _finish(todo: list[Cell], needed: dict[str, list["Stage"]], failures: dict[str, str]) -> None:
    """Write every cell's result whose stages are there; ReproError with each error, its cells and their commands."""
    failed: dict[str, list[Cell]] = {}
    for cell in todo:
        errors = [failures[stage.key] for stage in needed[cell.id] if stage.key in failures] or _written(cell)
        if errors:
            failed.setdefault(errors[0], []).append(cell)
    if failed:
        count = sum(map(len, failed.values()))
        told = [f"{', '.join(cell.id for cell in cells)}: {error} ({_again(cells)})" for error, cells in failed.items()]
        raise ReproError(f"{count} of {len(todo)} cells failed; " + "; ".join(told))


def _written(cell: Cell) -> list[str]:
    """Write the cell's result; the error if there is one."""
    from repro.finishing import finish

    try:
        files.clear(cell)
        finish(cell)
    except Exception as error:
        return [_told(error)]
    return []


def _told(error: BaseException) -> str:
    return str(error) if isinstance(error, ReproError) else f"{type(error).__name__}: {error}"


def _again(cells: list[Cell]) -> str:
    return "again: " + "; ".join(map(files.command, cells))
