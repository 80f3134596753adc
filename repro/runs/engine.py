"""Run many cells: in this process, on local processes that share the cores, or on a Ray cluster.

Stages that cells share run once. torch is imported only if there is something to compute, Ray only for its engine.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pandas as pd

from repro import paths
from repro.config.cells import Cell
from repro.config.profiles import PROFILES
from repro.errors import FullError, ReproError, one_of
from repro.runs import memory, results, scheduling, watching
from repro.runs.progress import Progress, clock
from repro.runs.ray import Cluster
from repro.runs.workers import Processes

if TYPE_CHECKING:
    from repro.runs.stages import Stage

ENGINES = ("processes", "serial", "ray")
Ended = Iterator[
    tuple["Stage", BaseException | None]
]  # a stage, and the error that it or one before it raised


def describe(cells: list[Cell]) -> pd.DataFrame:
    """The plan: one row per cell, with whether its result is there."""
    rows = [
        (cell.row, cell.task, cell.seed, "done" if results.done(cell) else "to do", cell.id)
        for cell in cells
    ]
    return pd.DataFrame(rows, columns=["method", "task", "seed", "state", "id"])


def run_cells(cells: list[Cell], engine: str = "processes", workers: int = 0) -> None:
    """Make every cell's result. Prints the plan, then one bar. workers: 0 for one per core (one in all on a GPU).

    The engine ray has the workers of the cluster at RAY_ADDRESS, if that is set. A failed cell does not stop the
    others. Raises ReproError with each failure at the end; FullError at once.
    """
    if engine not in ENGINES:
        raise one_of("engine", engine, ENGINES)
    results.fetch(cells)
    todo = [cell for cell in cells if not results.done(cell)]
    print(
        f"{len(cells)} cells, {len(cells) - len(todo)} already there, {len(todo)} to do", flush=True
    )
    if todo:
        from repro.runs import stages  # imports torch

        _run(todo, [stages.stages(cell) for cell in todo], engine, _workers(engine, workers))


@contextmanager
def making(
    total: float, what: str, engine: str = "processes", workers: int = 0
) -> Iterator[Callable]:
    """Gives a function that makes the stages of a list, on workers that stay between its calls; one bar over all.

    total: the work of all calls together, in the unit of the stages'. The function raises ReproError with the first
    failure of a stage.
    """
    if engine not in ENGINES:
        raise one_of("engine", engine, ENGINES)
    workers = _workers(engine, workers)
    with Progress(total, what) as bar, _executor(engine, workers) as executor:

        def make(stages: list["Stage"]) -> None:
            graph = _graph([stages])
            ready = sum(stage.work for stage in stages) - sum(
                stage.work for stage in graph.values()
            )
            if ready:
                bar.advance(ready, "already there")
            failures = [
                (stage, error) for stage, error in _made(graph, executor, bar) if error is not None
            ]
            if failures:
                stage, error = failures[0]
                raise ReproError(
                    f"{len(failures)} of {len(graph)} stages failed; the first is the {stage}: "
                    f"{_told(error)}; what is finished is kept"
                )

        yield make


def _workers(engine: str, workers: int) -> int:
    import torch

    if engine == "serial":
        return 1
    return workers or (
        1 if engine == "processes" and torch.cuda.is_available() else len(os.sched_getaffinity(0))
    )


def _run(todo: list[Cell], needed: list[list["Stage"]], engine: str, workers: int) -> None:
    graph = _graph(needed)
    try:
        with _executor(engine if graph else "serial", workers) as executor:
            _announce(todo[0], needed, graph, executor.slots)
            with Progress(sum(stage.work for stage in graph.values()) or 1.0, todo[0].table) as bar:
                waits_for = [{stage.key for stage in made} & graph.keys() for made in needed]
                failed = _finish(todo, waits_for, _made(graph, executor, bar))
    except KeyboardInterrupt:
        print(
            f"stopped: {len(graph) - len(_graph(needed))} of {len(graph)} stages of this run are computed and kept; "
            "a training that had begun goes on from its last checkpoint",
            flush=True,
        )
        raise
    if failed:
        count = sum(map(len, failed.values()))
        told = [
            f"{', '.join(cell.id for cell in cells)}: {error} ({_again(cells)})"
            for error, cells in failed.items()
        ]
        raise ReproError(f"{count} of {len(todo)} cells failed; " + "; ".join(told))


def _graph(needed: list[list["Stage"]]) -> dict[str, "Stage"]:
    """The stages still to make, by key: not made yet, or damaged since. A worker makes both, with its threads."""
    from repro.runs import cache

    made = {
        kind: cache.finished(kind) for kind in {stage.kind for each in needed for stage in each}
    }
    return {
        stage.key: stage
        for each in needed
        for stage in each
        if stage.key not in made[stage.kind] or cache.damaged(stage.kind, stage.key)
    }


def _announce(
    cell: Cell, needed: list[list["Stage"]], graph: dict[str, "Stage"], workers: int
) -> None:
    """Say what will run, on how many workers, and about how long."""
    shared = sum(map(len, needed)) - len({stage.key for made in needed for stage in made})
    seconds = sum(stage.work for stage in graph.values()) * PROFILES[cell.profile].seconds_per_work
    print(
        f"{len(graph)} stages to compute ({shared} shared between cells) on {workers} "
        f"worker{'s' * (workers > 1)}, about {clock(seconds / workers)}",
        flush=True,
    )


def _made(graph: dict[str, "Stage"], executor: "Workers", bar: Progress) -> Ended:
    """Make the graph's stages; each as it ends, when the bar has counted it. Raises FullError: no other would fare
    better."""
    if not graph:
        return
    from repro.runs.compute import run_stage

    with _note(graph, executor.slots) as note:
        work, failed = 0.0, list[str]()
        ends = scheduling.run(
            graph, lambda stage: executor.submit(run_stage, stage), executor.limit
        )
        for ended, (stage, error) in enumerate(ends, start=1):
            work += stage.work
            if error is not None:
                failed.append(f"{stage}: {_told(error)}")
            note.say(ended=ended, work_done=work, failed=failed)
            bar.advance(
                stage.work,
                f"{ended} of {len(graph)} stages, {len(failed)} failed, the last: {stage}",
            )
            if isinstance(error, FullError):
                raise error
            yield stage, error


def _note(graph: dict[str, "Stage"], workers: int) -> watching.Note:
    """What `python -m repro status` shows of this run."""
    cell = next(iter(graph.values())).cell
    return watching.Note(
        "run",
        what=f"{cell.table}, profile {cell.profile}",
        workers=workers,
        stages=len(graph),
        work=sum(stage.work for stage in graph.values()),
        ended=0,
        work_done=0.0,
        failed=[],
    )


class _Inline(Executor):
    """Runs what it is given at once, in this process."""

    slots = limit = 1

    def submit(self, fn: Callable, /, *args: Any, **kwargs: Any) -> Future:
        future: Future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


Workers = (
    _Inline | Processes | Cluster
)  # `slots`: stages computed at once; `limit`: stages in its hands at once


def _executor(engine: str, workers: int) -> Workers:
    paths.check()
    if engine == "serial":
        memory.keep()
        return _Inline()
    return Cluster(workers) if engine == "ray" else Processes(workers)


def _finish(todo: list[Cell], waits_for: list[set[str]], ended: Ended) -> dict[str, list[Cell]]:
    """Write each cell's result as soon as the last of its stages has ended; the cells that failed, by their error.

    waits_for: the keys of the stages that each cell of `todo` still needs; emptied on the way.
    """
    users: dict[str, list[int]] = {}
    for place, keys in enumerate(waits_for):
        for key in keys:
            users.setdefault(key, []).append(place)
    errors = {place: _written(todo[place]) for place, keys in enumerate(waits_for) if not keys}
    for stage, error in ended:
        for place in users[stage.key]:
            waits_for[place].discard(stage.key)
            if error is not None:
                errors.setdefault(place, _told(error))
            elif not waits_for[place] and place not in errors:
                errors[place] = _written(todo[place])
    failed: dict[str, list[Cell]] = {}
    for place in sorted(place for place, error in errors.items() if error):
        failed.setdefault(errors[place], []).append(todo[place])
    return failed


def _written(cell: Cell) -> str:
    """Write the cell's result; the error, or "" if there is none."""
    from repro.runs.finishing import finish

    try:
        results.clear(cell)
        finish(cell)
    except FullError:
        raise
    except Exception as error:
        return _told(error)
    return ""


def _told(error: BaseException) -> str:
    return str(error) if isinstance(error, ReproError) else f"{type(error).__name__}: {error}"


def _again(cells: list[Cell]) -> str:
    return "again: " + "; ".join(map(results.command, cells))
