"""A program that computes a tiny table while it is killed (SIGKILL) again and again.

`python killing.py FOLDER SEED` computes the table without a kill in FOLDER/whole, with a kill at
every kind of place in FOLDER/named, and with kills after random delays in FOLDER/timed. It prints
as JSON where each kill was, and which stages were started, or started again although they were
finished. Every attempt is a fork, so that torch is imported once. See test_killed.py.
"""

import itertools
import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import torch
from tiny_cells import BUDGET as TINY

from repro import files
from repro.analysis import tables
from repro.config import cells
from repro.runs import cache, compute, engine, stages
from repro.training import checkpoints, optim

PLACES = ("step", "half written", "before flush", "before rename", "after rename")
KINDS = (
    "teacher's checkpoint",
    "teacher",
    "outputs",
    "ptp",
    "student's checkpoint",
    "student",
    "predictions",
    "cells",
    "table",
)
BUDGET = TINY | {
    "train_cap": 32,
    "dev_cap": 24,
    **{f"{s}.batch_size": 8 for s in ("teacher", "ptp", "student")},
}
CELLS = cells.plan("table5", "demo", "RTE", 1, "authors", BUDGET)
TIMED_KILLS = 10


class Watch:
    """Kills the process when it reaches a given place for the n-th time; logs kills and stages."""

    def __init__(self, log: Path, kind: str = "", place: str = "", times: int = 1) -> None:
        self.log, self.target, self.left, self.stage = log, (kind, place), times, ""

    def at(self, kind: str, place: str, before: Callable[[], None] = lambda: None) -> None:
        if (kind, place) == self.target:
            self.left -= 1
            if self.left == 0:
                before()
                self.note("killed", kind, place)
                os.kill(os.getpid(), signal.SIGKILL)

    def note(self, *words: str) -> None:
        with self.log.open("a") as file:
            file.write(json.dumps(words) + "\n")

    def install(self) -> None:
        """Hook into training and writing. This is a fork, so the hooks are never removed."""
        build, fill, compute_stage = optim.build, files._fill, compute._compute

        def watched_build(*arguments):
            optimizer = build(*arguments)
            step = optimizer.step

            def watched_step():
                self.at(self.stage, "step")
                step()

            optimizer.step = watched_step
            return optimizer

        def watched_compute(stage):
            self.stage = stage.kind
            finished = cache.exists(stage.kind, stage.key)
            self.note("again" if finished else "started", stage.kind, stage.key)
            return compute_stage(stage)

        def watched_fill(temporary, write, path):
            kind = path.parent.name + "'s checkpoint" * (".partial" in path.name)
            kind = "table" if path.suffix == ".csv" else kind

            def watched_write(target):
                write(target)
                half = target.stat().st_size // 2
                self.at(kind, "half written", lambda: os.truncate(target, half))
                self.at(kind, "before flush")

            watched_path = WatchedPath(temporary)
            watched_path.before = lambda: self.at(kind, "before rename")
            fill(watched_path, watched_write, path)
            self.at(kind, "after rename")

        optim.build, files._fill, compute._compute = watched_build, watched_fill, watched_compute


class WatchedPath(type(Path())):
    """A path that calls `before` when it is renamed."""

    before: Callable[[], None]

    def replace(self, target):
        self.before()
        return Path(self).replace(target)


def make_table() -> None:
    engine.run_cells(CELLS, "serial")
    tables.write_table("table5", "demo", tables.aggregate(CELLS), CELLS, "tiny")


def fork(folder: Path, watch: Watch) -> int:
    """Compute the table in a child process; returns its id."""
    child = os.fork()
    if child:
        return child
    try:
        for name in ("cache", "results"):
            os.environ[f"REPRO_{name.upper()}"] = str(folder / name)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        watch.install()
        make_table()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def finish(folder: Path, watch: Watch) -> None:
    if os.waitpid(fork(folder, watch), 0)[1] != 0:
        raise SystemExit(f"the table in {folder} was not finished")


def kill_everywhere(folder: Path, log: Path, draw: random.Random) -> None:
    """Kill at every kind of place, in the order of a run; each attempt resumes the one before."""
    for kind, place in itertools.product(KINDS, PLACES):
        if place != "step" or kind in ("teacher", "ptp", "student"):
            # An artefact has two files, tensors and JSON. Before a second file of results is
            # written, a first cell is finished.
            times = 1 if kind in ("predictions", "cells", "table") else draw.randint(1, 2)
            os.waitpid(fork(folder, Watch(log, kind, place, times)), 0)


def kill_at_random(folder: Path, log: Path, draw: random.Random, longest: float) -> None:
    for _ in range(TIMED_KILLS):
        child = fork(folder, Watch(log))
        time.sleep(draw.uniform(0, longest))
        os.kill(child, signal.SIGKILL)
        if os.WIFSIGNALED(os.waitpid(child, 0)[1]):
            Watch(log).note("killed", "any", "time")


def prepare() -> None:
    """Set up what all forks share: the data, and a checkpoint after every step."""
    torch.set_num_threads(1)
    os.environ["REPRO_CHECKPOINT_STEPS"], checkpoints._SHARE = "1", 0
    compute.load_data(stages.resolve(CELLS[0]).trained.spec.inputs)


def main(folder: Path, seed: int) -> None:
    prepare()
    log, draw = folder / "log", random.Random(seed)
    start = time.monotonic()
    finish(folder / "whole", Watch(log))
    seconds = time.monotonic() - start
    for name, kill in (
        ("named", kill_everywhere),
        ("timed", lambda *arguments: kill_at_random(*arguments, seconds / 8)),
    ):
        kill(folder / name, log, draw)
        finish(folder / name, Watch(log))
    print(json.dumps([json.loads(line) for line in log.read_text().splitlines()]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
