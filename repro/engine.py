"""Run many cells: in this process, on local processes that share the cores, or on a Ray cluster.

Stages that cells share run once. torch is imported only if there is something to compute, Ray only for its engine.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from typing import TYPE_CHECKING, Any

import pandas as pd

from repro import cells as files
from repro import scheduling
from repro.clusters import IN_FLIGHT, Cluster
from repro.errors import ReproError, one_of
from repro.experiments import Cell
from repro.profiles import PROFILES
from repro.progress import Progress, clock

if TYPE_CHECKING:
    from repro.stages import Stage

ENGINES = ("processes", "serial", "ray")


def describe(cells: list[Cell]) -> pd.DataFrame:
    """The plan: one row per cell, with whether its result is there."""
    rows = [(cell.method, cell.task, cell.seed, "done" if files.done(cell) else "to do", cell.id) for cell in cells]
    return pd.DataFrame(rows, columns=["method", "task", "seed", "state", "id"])


def run_cells(cells: list[Cell], engine: str = "processes", workers: int = 0) -> None:
    """Make every cell's result. Prints the plan, then one bar. workers: 0 for one per core (one in all on a GPU).

    The engine ray has the workers of the cluster at RAY_ADDRESS, if that is set. A failed cell does not stop the
    others. Raises ReproError with each failure at the end.
    """
    if engine not in ENGINES:
        raise one_of("engine", engine, ENGINES)
    files.fetch(cells)
    todo = [cell for cell in cells if not files.done(cell)]
    print(f"{len(cells)} cells, {len(cells) - len(todo)} already there, {len(todo)} to do", flush=True)
    if todo:
        from repro import stages  # imports torch

        needed = [stages.stages(cell) for cell in todo]
        _run(todo, needed, engine, 1 if engine == "serial" else workers or _default_workers(engine))


def _default_workers(engine: str) -> int:
    import torch

    return 1 if engine == "processes" and torch.cuda.is_available() else len(os.sched_getaffinity(0))


def _run(todo: list[Cell], needed: list[list["Stage"]], engine: str, workers: int) -> None:
    from repro.pipeline import run_stage

    graph = _graph(needed)
    work = sum(stage.work for stage in graph.values())
    shared = sum(map(len, needed)) - len({stage.key for made in needed for stage in made})
    with _executor(engine if graph else "serial", workers) as executor:
        workers = executor.slots if isinstance(executor, Cluster) else workers
        print(f"{len(graph)} stages to compute ({shared} shared between cells) on {workers} "
              f"worker{'s' * (workers > 1)}, about {_estimate(todo[0], work, workers)}", flush=True)  # fmt: skip
        with Progress(work or 1.0, todo[0].table) as bar:
            ended = scheduling.run(graph, lambda stage: executor.submit(run_stage, stage), _limit(executor, workers))
            failed = _finish(todo, [{stage.key for stage in made} & graph.keys() for made in needed], ended, bar)
    if failed:
        raise ReproError(f"{len(failed)} of {len(todo)} cells failed; " + "; ".join(failed))


def _graph(needed: list[list["Stage"]]) -> dict[str, "Stage"]:
    """The stages still to make, by key."""
    from repro import store

    made = {kind: store.finished(kind) for kind in {stage.kind for each in needed for stage in each}}
    return {stage.key: stage for each in needed for stage in each if stage.key not in made[stage.kind]}


def _limit(executor: Executor, workers: int) -> int:
    """How many stages to hand out at once: one more than workers, or they would wait while a cell is written."""
    if isinstance(executor, Cluster):
        return IN_FLIGHT
    return 1 if isinstance(executor, _Inline) else workers + 1


def _estimate(cell: Cell, work: float, workers: int) -> str:
    return clock(work * PROFILES[cell.profile].seconds_per_work / workers)


def _finish(todo: list[Cell], waits_for: list[set[str]], ended: Iterator[tuple["Stage", BaseException | None]],
            bar: Progress) -> list[str]:  # fmt: skip
    """Write each cell's result as soon as the last of its stages has ended; return a line for each cell that failed.

    waits_for: the keys of the stages that each cell of `todo` still needs; emptied on the way.
    """
    from repro.pipeline import finish

    users: dict[str, list[int]] = {}
    for place, keys in enumerate(waits_for):
        for key in keys:
            users.setdefault(key, []).append(place)
        if not keys:
            finish(todo[place])
    errors: dict[int, str] = {}
    for stage, error in ended:
        bar.advance(stage.work, _named(stage))
        for place in users[stage.key]:
            if error is not None:
                errors.setdefault(place, _said(error))
            waits_for[place].discard(stage.key)
            if not waits_for[place] and place not in errors:
                finish(todo[place])
    return [f"{todo[n].id}: {error} (again: {files.command(todo[n])})" for n, error in sorted(errors.items())]


def _named(stage: "Stage") -> str:
    return f"{stage.kind} {stage.cell.task}{f' {stage.cell.method}' if stage.kind != 'teacher' else ''}"


def _said(error: BaseException) -> str:
    return str(error) if isinstance(error, ReproError) else f"{type(error).__name__}: {error}"


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
        return _Inline()
    if engine == "ray":
        return Cluster(workers)
    spawn = multiprocessing.get_context("spawn")  # a forked torch would share its parent's thread pool
    return ProcessPoolExecutor(workers, mp_context=spawn, initializer=_start_worker, initargs=(workers,))


def _start_worker(workers: int) -> None:
    """The cores' threads are divided between the workers; Ctrl-C is the parent's to handle."""
    import torch

    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // workers))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
