"""Costs of the engines: overhead per cell, efficiency of two workers, and 10,000 sleeping cells.

Run `make bench` or `python benchmarks/grid.py`. Each measurement is a process with its own folders.
"""

import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import psutil
from machine import description, stage_seconds

from repro.runs.progress import Progress

ROOT = Path(__file__).resolve().parent.parent
OUT = Path(__file__).parent / "results" / "grid.json"
CORES = os.sched_getaffinity(0)
ENGINES = ("serial", "processes", "ray")
ROUNDS = 3  # repetitions of real grids, because the machine's speed varies
SIZES = (1000, 3000, 10000)  # cells
SLEEP = 0.002  # seconds per stage
PER_TEACHER = 20  # cells that share a teacher
OVERHEAD_GOAL = 0.05  # seconds per cell
TINY = {"train_cap": 48, "dev_cap": 32, "teacher.epochs": 1, "ptp.epochs": 1, "student.epochs": 1}
LONGER = {
    "train_cap": 400,
    "dev_cap": 100,
    "teacher.epochs": 2,
    "ptp.epochs": 1,
    "student.epochs": 2,
}


# sleeping cells


@dataclass(frozen=True)
class Sleeping:
    """A stage that takes SLEEP seconds."""

    kind: str
    key: str
    parents: tuple["Sleeping", ...] = ()
    work: float = 1.0


def sleep(stage: Sleeping) -> None:
    """Take SLEEP seconds."""
    time.sleep(SLEEP)


def sleepers(cells: int) -> list[Sleeping]:
    """A student per cell, and a teacher for every PER_TEACHER of them."""
    teachers = [Sleeping("teacher", f"t{n}", work=4.0) for n in range(cells // PER_TEACHER)]
    students = [Sleeping("student", f"s{n}", (teachers[n // PER_TEACHER],)) for n in range(cells)]
    return [*teachers, *students]


def grid(engine: str, cells: int) -> dict[str, float]:
    """Seconds, stages per second and growth of the scheduling process, without start-up."""
    from repro.runs import compute
    from repro.runs import engine as engines

    compute.run_stage = sleep  # type: ignore[assignment]
    workers = len(os.sched_getaffinity(0))
    with engines.open_workers(engine, workers) as pool:
        # Workers start, and import torch.
        wait([pool.submit(sleep, Sleeping("student", "")) for _ in range(50 * workers)])
        before, start = resident(), time.perf_counter()
        stages, peak = sleepers(cells), 0.0
        for count, (_, error) in enumerate(engines.run_stages(stages, pool)):
            assert error is None, error
            peak = max(peak, resident()) if count % 100 == 0 else peak
        seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "stages per second": len(stages) / seconds,
        "MiB": max(peak - before, 0.0),
        "overhead ms per stage": 1000 * (seconds * workers / len(stages) - SLEEP),
    }


def resident() -> float:
    """Resident memory of this process, MiB."""
    return psutil.Process().memory_info().rss / 2**20


# real cells


class Clock(Progress):
    """A progress bar that stores when each stage ended and when the last cell was written."""

    ends: ClassVar[list[float]] = []
    written = 0.0

    def advance(self, work: float, name: str) -> None:
        self.ends.append(time.perf_counter())
        os.sched_setaffinity(0, CORES)  # undo the limit of `overhead`: a worker has started
        super().advance(work, name)

    def __exit__(self, *error: object) -> None:
        Clock.written = time.perf_counter()
        super().__exit__(*error)


def timed(cells: list, engine: str, workers: int) -> tuple[float, float]:
    """Run cells; seconds from the first stage's end to the last cell, and all other seconds."""
    from repro.runs import engine as engines

    engines.Progress = Clock  # type: ignore[misc]
    start = time.perf_counter()
    engines.run_cells(cells, engine, workers)
    seconds = Clock.written - Clock.ends[0]
    return seconds, time.perf_counter() - start - seconds


def overhead(engine: str, seeds: int = 8) -> dict[str, float]:
    """Seconds per cell in which one worker does not train, and seconds once per run."""
    from repro import paths
    from repro.config.cells import plan

    if engine == "processes":
        # A worker has a thread for each core that its parent may use when it starts: one here.
        os.sched_setaffinity(0, {max(CORES)})
    cells = plan("table5", "demo", "RTE", seeds, overrides=TINY)
    seconds, once = timed(cells, engine, 1)
    first, *trained = stage_seconds(paths.cache())
    return {
        "cells": len(cells),
        "training": sum(trained) / len(cells),
        "overhead": (seconds - sum(trained)) / len(cells) + planning(),
        "once a run": once - first,
    }


def planning(cells: int = 2000) -> float:
    """Seconds per cell to find out which cells and stages are missing."""
    from repro.config.cells import plan
    from repro.runs import engine as engines
    from repro.runs import results, stages

    todo = plan("table5", "demo", "RTE", 100, overrides=TINY)[:cells]
    stages.resolve(todo[0])  # loads the data
    start = time.perf_counter()
    missing = [cell for cell in todo if not results.done(cell)]
    engines.missing_stages(stage for cell in missing for stage in stages.resolve(cell).stages)
    return (time.perf_counter() - start) / len(todo)


def efficiency() -> dict[str, Any]:
    """Efficiency of two workers by engine: the median of several rounds with all engines."""
    rounds = [
        {
            engine: apart("scaling", engine, "1" if engine == "serial" else "2")["seconds"]
            for engine in ENGINES
        }
        for _ in range(ROUNDS)
    ]
    shares = {
        engine: [seconds["serial"] / (2 * seconds[engine]) for seconds in rounds]
        for engine in ENGINES[1:]
    }
    return {
        "efficiency of two workers": {
            engine: statistics.median(values) for engine, values in shares.items()
        },
        "seconds of one worker, and of two": rounds,
    }


def scaling(engine: str, workers: int) -> dict[str, float]:
    """Seconds for cells with real trainings, one thread each, from the start of the first stage."""
    import torch

    from repro import paths
    from repro.config.cells import plan

    torch.set_num_threads(1)
    seconds, _ = timed(plan("table2", "demo", "RTE,MRPC", 2, overrides=LONGER), engine, workers)
    trained = stage_seconds(paths.cache())
    return {"seconds": seconds + trained[0], "training": sum(trained)}


def storing(others: int, times: int = 50) -> dict[str, float]:
    """Milliseconds to lock, write and check a small artefact in a folder with many others."""
    import torch

    from repro import paths
    from repro.runs import cache

    artefact = cache.Artefact({"a": torch.zeros(64, 64)}, {})
    folder = paths.cache() / "student"
    folder.mkdir(parents=True)
    for number, ending in itertools.product(range(others), (".json", ".lock", ".safetensors")):
        (folder / f"{number}{ending}").touch()
    start = time.perf_counter()
    for number in range(times):
        cache.get("student", f"new-{number}", lambda: artefact)
    return {"ms": 1000 * (time.perf_counter() - start) / times}


# report


def apart(*words: str) -> Any:
    """The result of one measurement in a new process with an empty cache."""
    with tempfile.TemporaryDirectory() as folder:
        folders = {
            f"REPRO_{name.upper()}": f"{folder}/{name}" for name in ("cache", "results", "figures")
        }
        settings = {"REPRO_PROGRESS": "lines", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        process = subprocess.run(
            [sys.executable, __file__, *words],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=os.environ | folders | settings,
        )
    if process.returncode != 0:
        sys.exit(f"{' '.join(words)} failed:\n{process.stderr[-3000:]}")
    measured = json.loads(process.stdout.splitlines()[-1])
    print(*words, {name: round(value, 4) for name, value in measured.items()}, flush=True)
    return measured


def rounded(value: Any) -> Any:
    """Round all numbers to three digits."""
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return float(f"{value:.3g}") if isinstance(value, float) else value


def markdown(report: dict) -> str:
    """The table in docs/cluster.md, and the cost of writing an artefact."""
    cost, shares, asleep = (
        report["overhead per cell"],
        report["efficiency of two workers"],
        report["sleeping grid"],
    )
    small, large = str(SIZES[0]), str(SIZES[-1])
    rows = [
        (
            f"per cell, beside its training (goal: {1000 * OVERHEAD_GOAL:.0f} ms)",
            cost,
            lambda seconds: f"{1000 * seconds['overhead']:.0f} ms",
        ),
        ("once a run: start and end", cost, lambda seconds: f"{seconds['once a run']:.0f} s"),
        ("two workers beside one", shares, lambda share: f"{2 * share:.1f} times"),
        (
            f"stages a second, where they only sleep, {SIZES[-1]:,} cells",
            asleep,
            lambda sizes: f"{sizes[large]['stages per second']:.0f}",
        ),
        (
            f"{SIZES[-1] // SIZES[0]} times the cells take",
            asleep,
            lambda sizes: f"{sizes[large]['seconds'] / sizes[small]['seconds']:.1f} times",
        ),
        ("the scheduler's memory for them", asleep, lambda sizes: f"{sizes[large]['MiB']:.0f} MiB"),
    ]
    lines = [
        "| | " + " | ".join(f"`{engine}`" for engine in ENGINES) + " |",
        "|---" * (1 + len(ENGINES)) + "|",
    ]
    for name, values, form in rows:
        texts = [form(values[engine]) if engine in values else "" for engine in ENGINES]
        lines.append(f"| {name} | {' | '.join(texts)} |")
    beside = ", ".join(
        f"{ms:.1f} ms beside {int(n):,}"
        for n, ms in report["ms per artefact beside so many"].items()
    )
    return "\n".join([*lines, "", f"To write an artefact, beside others in its folder: {beside}."])


def main() -> None:
    machine = description() | {"load before": os.getloadavg()[0]}
    per_cell = {engine: apart("overhead", engine) for engine in ENGINES}
    scaled = efficiency()
    stored = {str(size): apart("storing", str(size))["ms"] for size in (0, *SIZES)}
    asleep = {
        engine: {str(size): apart("grid", engine, str(size)) for size in SIZES}
        for engine in ENGINES[1:]
    }
    report = rounded(
        {
            "overhead per cell": per_cell,
            **scaled,
            "ms per artefact beside so many": stored,
            "sleeping grid": asleep,
            "machine": machine,
        }
    )
    print(markdown(report))
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    measurements = {"overhead": overhead, "scaling": scaling, "storing": storing, "grid": grid}
    if len(sys.argv) == 1:
        main()
    else:
        arguments = [int(word) if word.isdigit() else word for word in sys.argv[2:]]
        print(json.dumps(measurements[sys.argv[1]](*arguments)))
