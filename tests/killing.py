"""A program that makes a tiny table again and again, each time killed (SIGKILL) somewhere else; see test_killed.py.

`python killing.py FOLDER SEED` makes it once in FOLDER/whole; in FOLDER/named, killed at every kind of place in turn;
in FOLDER/timed, killed after random delays. It prints where each kill fell and which stages were begun, or begun again
although they were there, as JSON. torch is imported once: every try is a fork.
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

from repro import files
from repro.analysis import tables
from repro.config import cells
from repro.runs import cache, compute, engine, stages
from repro.training import checkpoints, loop

BUDGET = {
    "train_cap": 32,
    "dev_cap": 24,
    "teacher.epochs": 1,
    "ptp.epochs": 1,
    "student.epochs": 1,
    "student.batch_size": 8,
    "teacher.batch_size": 8,
    "ptp.batch_size": 8,
}
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
CELLS = cells.plan("table5", "demo", "RTE", 1, "authors", BUDGET)
TIMED_KILLS = 10


class Watch:
    """Tells where the program is, and kills it at the n-th time that it is at the place it was told."""

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
        """Put itself into the steps of training and of writing (this is a fork: nothing has to be put back)."""
        step, fill, timed = loop._step, files._fill, compute._timed

        def watched_step(*arguments):
            self.at(self.stage, "step")
            return step(*arguments)

        def watched_timed(stage):
            self.stage = stage.kind
            self.note(
                "again" if cache.exists(stage.kind, stage.key) else "begun", stage.kind, stage.key
            )
            return timed(stage)

        def watched_fill(temporary, write, path):
            kind = (
                "table"
                if path.suffix == ".csv"
                else path.parent.name + "'s checkpoint" * (".partial" in path.name)
            )

            def watched_write(target):
                write(target)
                self.at(
                    kind, "half written", lambda: os.truncate(target, target.stat().st_size // 2)
                )
                self.at(kind, "before flush")

            flagged = Flagged(temporary)
            flagged.before = lambda: self.at(kind, "before rename")
            fill(flagged, watched_write, path)
            self.at(kind, "after rename")

        loop._step, files._fill, compute._timed = watched_step, watched_fill, watched_timed


class Flagged(type(Path())):
    """A path that calls `before` when it is renamed."""

    before: Callable[[], None]

    def replace(self, target):
        self.before()
        return Path(self).replace(target)


def make_table() -> None:
    engine.run_cells(CELLS, "serial")
    tables.write_table("table5", "demo", tables.aggregate(CELLS), CELLS, "tiny")


def fork(folder: Path, watch: Watch) -> int:
    """Make the table in a child process; returns its id."""
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
    """Kill at every kind of place, in the order in which a run comes to them; each run goes on from the last."""
    for kind, place in itertools.product(KINDS, PLACES):
        if place != "step" or kind in ("teacher", "ptp", "student"):
            once = kind in (
                "predictions",
                "cells",
                "table",
            )  # a second one would mean that a cell was finished first
            times = (
                1 if once else draw.randint(1, 2)
            )  # of an artefact's two files the tensors or the JSON
            os.waitpid(fork(folder, Watch(log, kind, place, times)), 0)


def kill_at_random(folder: Path, log: Path, draw: random.Random, longest: float) -> None:
    for _ in range(TIMED_KILLS):
        child = fork(folder, Watch(log))
        time.sleep(draw.uniform(0, longest))
        os.kill(child, signal.SIGKILL)
        if os.WIFSIGNALED(os.waitpid(child, 0)[1]):
            Watch(log).note("killed", "any", "time")


def prepare() -> None:
    """What all forks share: the data, and a checkpoint after every step."""
    torch.set_num_threads(1)
    os.environ["REPRO_CHECKPOINT_STEPS"], checkpoints._SHARE = "1", 0
    stages.load_data(CELLS[0])


def main(folder: Path, seed: int) -> None:
    prepare()
    log, draw = folder / "log", random.Random(seed)
    start = time.monotonic()
    finish(folder / "whole", Watch(log))
    taken = time.monotonic() - start
    for name, kill in (
        ("named", kill_everywhere),
        ("timed", lambda *a: kill_at_random(*a, taken / 8)),
    ):
        kill(folder / name, log, draw)
        finish(folder / name, Watch(log))
    print(json.dumps([json.loads(line) for line in log.read_text().splitlines()]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
