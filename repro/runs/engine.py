"""Run cells in this process, on worker processes or on a Ray cluster.

Stages that several cells share are computed once. torch is imported only when there is something to
compute, Ray only for its own engine.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from graphlib import TopologicalSorter
from heapq import heappop, heappush
from queue import SimpleQueue
from typing import TYPE_CHECKING

import pandas as pd

from repro import paths
from repro.config.cells import Cell
from repro.config.profiles import PROFILES
from repro.errors import FullError, InputError, ReproError, one_of
from repro.runs import machine, results
from repro.runs.progress import Progress, clock, mode
from repro.runs.workers import Cluster, Inline, Processes

if TYPE_CHECKING:
    from repro.runs.stages import Plan, Stage

ENGINES = ("processes", "serial", "ray")
# `slots`: calls that run at once; `limit`: calls that may be submitted before one has ended
Workers = Inline | Processes | Cluster
Ended = Iterator[tuple["Stage", BaseException | None]]


def check_engine(engine: str, workers: int = 0) -> None:
    """Check the engine and the number of workers.

    Args:
        engine: One of ENGINES.
        workers: At least 1, or 0 for one per core.

    Raises:
        InputError: If either is something else.
    """
    if engine not in ENGINES:
        raise one_of("engine", engine, ENGINES)
    if workers < 0:
        raise InputError(f"workers must be a whole number, 0 for one per core, got {workers}")


def describe(cells: list[Cell]) -> pd.DataFrame:
    """List cells, one row each, with the state of their result: "done" or "to do"."""
    rows = [
        (cell.row, cell.task, cell.seed, "done" if results.done(cell) else "to do", cell.id)
        for cell in cells
    ]
    return pd.DataFrame(rows, columns=["method", "task", "seed", "state", "id"])


def run_cells(cells: list[Cell], engine: str = "processes", workers: int = 0) -> None:
    """Compute the results of all cells that have none, or an outdated one.

    Prints the plan, then shows a progress bar. A failed cell does not stop the others.

    Args:
        cells: The cells.
        engine: One of ENGINES.
        workers: Number of workers; 0 for one per core, or a single one on a GPU. Ray uses the CPUs
            of its cluster.

    Raises:
        ReproError: At the end, with all failures, if a cell failed.
        FullError: At once, if the disk is full.
    """
    check_engine(engine, workers)
    results.fetch(cells)
    plans = _plans_to_run(cells)
    if not plans:
        return
    from repro.runs import cache

    missing = missing_stages(stage for plan in plans for stage in plan.stages)
    if missing:
        cache.check()
    try:
        with open_workers(engine if missing else "serial", workers) as pool:
            seconds = _announce(plans, missing, pool.slots)
            work, count = sum(stage.work for stage in missing), len(missing)
            title = plans[0].cell.table
            with Progress(title, work, count, seconds, pool.slots) as bar:
                failed = _write_results(plans, missing, run_stages(missing, pool, bar))
    except KeyboardInterrupt as interrupt:
        _report_interrupt(interrupt, missing)
        raise
    if failed:
        failures = [
            f"{', '.join(cell.id for cell in group)}: {error} "
            f"(again: {'; '.join(map(results.command, group))})"
            for error, group in failed.items()
        ]
        count = sum(map(len, failed.values()))
        raise ReproError(f"{count} of {len(plans)} cells failed; {'; '.join(failures)}")


def _plans_to_run(cells: list[Cell]) -> list["Plan"]:
    """Resolve the cells that have no current result; prints how many there are, and why."""
    from repro.runs import stages  # imports torch
    from repro.runs.finish import outdated

    resolved = [stages.resolve(cell) for cell in cells]
    changes = [outdated(plan) if results.done(plan.cell) else "missing" for plan in resolved]
    plans = [plan for plan, change in zip(resolved, changes, strict=True) if change]
    current, plural = len(cells) - len(plans), "s" * (len(cells) != 1)
    print(f"{len(cells)} cell{plural}, {current} already there, {len(plans)} to do")
    for change, count in Counter(changes).items():
        if change not in ("", "missing"):
            print(f"{count} of them again, since the {change} changed", flush=True)
    return plans


def _report_interrupt(interrupt: KeyboardInterrupt, missing: list["Stage"]) -> None:
    """Say how many of the stages are computed: printed, or in a notebook as the traceback."""
    done = len(missing) - len(missing_stages(missing))
    line = (
        f"stopped: {done} of {len(missing)} stages of this run are computed and kept; "
        "an interrupted training resumes from its last checkpoint"
    )
    if mode() == "notebook":  # IPython shows this line instead of a traceback
        interrupt._render_traceback_ = lambda: [line]  # type: ignore[attr-defined]
    else:
        print(line, flush=True)


def open_workers(engine: str, workers: int = 0) -> Workers:
    """Start the workers of an engine; if their context exits with an error, they end at once.

    Args:
        engine: One of ENGINES.
        workers: Number of workers; 0 for one per core, or a single one on a GPU.

    Returns:
        A context manager with `submit`, `slots` and `limit`.

    Raises:
        InputError: If the engine is unknown or an environment variable cannot be used.
        DiskError: If the cache or the results cannot be written.
    """
    check_engine(engine, workers)
    paths.check()
    if engine == "serial":
        return Inline()
    import torch

    cores = machine.cores()
    if engine == "ray":
        return Cluster(workers or cores)
    return Processes(workers or (1 if torch.cuda.is_available() else cores))


def missing_stages(stages: Iterable["Stage"]) -> list["Stage"]:
    """Return the distinct stages whose artefacts are missing or damaged, in the order given."""
    from repro.runs import cache

    distinct = {stage.key: stage for stage in stages}
    finished = {kind: cache.finished(kind) for kind in {stage.kind for stage in distinct.values()}}
    return [
        stage
        for key, stage in distinct.items()
        if key not in finished[stage.kind] or cache.damaged(stage.kind, key)
    ]


def run_stages(stages: list["Stage"], pool: Workers, bar: Progress | None = None) -> Ended:
    """Compute stages, each after its parents; of those that are ready, the longest first.

    Args:
        stages: The stages. A parent that is not among them must have an artefact already.
        pool: The output of `open_workers`.
        bar: Shows the steps of each stage.

    Yields:
        Each stage as it ends, with None or the error that it or an ancestor raised.

    Raises:
        FullError: If the disk is full, since the other stages would fail too.
    """
    from repro.runs.compute import run_stage

    graph = {stage.key: stage for stage in stages}
    sorter = _sorter(graph)
    # most work first; of equal work the first named
    priorities = {key: (-graph[key].work, place, key) for place, key in enumerate(graph)}
    ready: list[tuple[float, int, str]] = []  # a heap
    ended: SimpleQueue[tuple[Stage, BaseException | None]] = SimpleQueue()
    errors: dict[str, BaseException] = {}
    running = 0
    while sorter.is_active():
        for key in sorter.get_ready():
            stage = graph[key]
            inherited = next((errors[p.key] for p in stage.parents if p.key in errors), None)
            if inherited is None:
                heappush(ready, priorities[key])
            else:
                ended.put((stage, inherited))
                running += 1
        while ready and running < pool.limit:
            stage = graph[heappop(ready)[-1]]
            if bar is not None:
                bar.start(stage.key, str(stage), stage.work)
            future = pool.submit(run_stage, stage)
            running += 1
            future.add_done_callback(
                lambda done, stage=stage: ended.put((stage, done.exception()))  # type: ignore[misc]
            )
        stage, error = ended.get()
        running -= 1
        sorter.done(stage.key)
        if error is not None:
            errors[stage.key] = error
        if bar is not None:
            bar.finish(stage.key, stage.work, failed=error is not None)
        if isinstance(error, FullError):
            raise error
        yield stage, error


def _sorter(graph: dict[str, "Stage"]) -> TopologicalSorter[str]:
    """Sort the keys of stages so that each comes after those of its parents."""
    parents = {
        key: [parent.key for parent in stage.parents if parent.key in graph]
        for key, stage in graph.items()
    }
    sorter = TopologicalSorter(parents)
    sorter.prepare()
    return sorter


def _announce(plans: list["Plan"], missing: list["Stage"], workers: int) -> float:
    """Print what will run and on how many workers; returns the estimated time in seconds."""
    keys = [stage.key for plan in plans for stage in plan.stages]
    per_work = _measured(plans, missing) or PROFILES[plans[0].cell.profile].seconds_per_work
    seconds = sum(stage.work for stage in missing) * per_work / workers
    count, shared = len(missing), len(keys) - len(set(keys))
    print(
        f"{count} stage{'s' * (count != 1)} to compute ({shared} shared between cells) "
        f"on {workers} worker{'s' * (workers > 1)}, about {clock(seconds)}",
        flush=True,
    )
    return seconds


def _measured(plans: list["Plan"], missing: list["Stage"]) -> float:
    """Seconds per unit of work, from the finished stages of these cells; 0 if there are none."""
    from repro.runs import cache

    missing_keys = {stage.key for stage in missing}
    distinct = {stage.key: stage for plan in plans for stage in plan.stages if stage.work}
    seconds = work = 0.0
    for key, stage in distinct.items():
        if key not in missing_keys and (meta := cache.meta(stage.kind, key)):
            seconds, work = seconds + meta["seconds"], work + stage.work
    return seconds / work if work else 0.0


def _write_results(
    plans: list["Plan"], missing: list["Stage"], ended: Ended
) -> dict[str, list[Cell]]:
    """Write each result as soon as its last stage has ended; returns the failed cells by error."""
    missing_keys = {stage.key for stage in missing}
    waits_for = [{stage.key for stage in plan.stages} & missing_keys for plan in plans]
    needed_by: dict[str, list[int]] = {}
    for number, keys in enumerate(waits_for):
        for key in keys:
            needed_by.setdefault(key, []).append(number)
    errors = {n: _write_result(plans[n]) for n, keys in enumerate(waits_for) if not keys}
    for stage, error in ended:
        for number in needed_by[stage.key]:
            waits_for[number].discard(stage.key)
            if error is not None:
                errors.setdefault(number, _one_line(error))
            elif not waits_for[number] and number not in errors:
                errors[number] = _write_result(plans[number])
    failed: dict[str, list[Cell]] = {}
    for number in sorted(number for number, error in errors.items() if error):
        failed.setdefault(errors[number], []).append(plans[number].cell)
    return failed


def _write_result(plan: "Plan") -> str:
    """Write a cell's result; returns the error, or "" if there is none."""
    from repro.runs.finish import finish

    try:
        results.clear(plan.cell)
        finish(plan)
    except FullError:
        raise
    except Exception as error:
        return _one_line(error)
    return ""


def _one_line(error: BaseException) -> str:
    return str(error) if isinstance(error, ReproError) else f"{type(error).__name__}: {error}"
