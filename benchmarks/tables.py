"""The costs in the README: seconds of table 2, of all tables, of a second run and of the paper.

Also measures peak memory. Run `make bench`, or `python benchmarks/tables.py FOLDER` to keep the
results. The first run starts from an empty cache, in its own folders; installation is not counted.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
OUT = Path(__file__).parent / "results" / "tables.json"
GOALS = {
    "table2, empty cache": 480,
    "table2, again": 15,
    "all five tables, empty cache": 1500,
    "paper": 30,
    "list": 1,
}
SHOWN = {
    "table2, empty cache": ("make table2", ", from nothing"),
    "table2, again": ("make table2", ", again"),
    "all five tables, empty cache": ("make tables", ", from nothing"),
    "paper": ("make paper", ""),
    "list": ("python -m repro list table2", ""),
}
TABLES = [["make", f"table{n}"] for n in range(1, 6)]


def measure(commands: list[list[str]], environment: dict[str, str]) -> tuple[float, float]:
    """Wall seconds of the commands, and the peak of their proportional memory in GiB."""
    start, peak = time.perf_counter(), 0.0
    for command in commands:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        sampler = MemorySampler(process.pid)
        if process.wait() != 0:
            sys.exit(f"{' '.join(command)} failed with exit code {process.returncode}")
        peak = max(peak, sampler.stop())
    return time.perf_counter() - start, peak


class MemorySampler(threading.Thread):
    """Samples the proportional memory of a process and its children once per second."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.root, self.peak, self.stopped = psutil.Process(pid), 0.0, threading.Event()
        self.start()

    def run(self) -> None:
        while not self.stopped.wait(1.0):
            self.peak = max(self.peak, self._now())

    def _now(self) -> float:
        total = 0
        try:
            for process in [self.root, *self.root.children(recursive=True)]:
                total += process.memory_full_info().pss
        except psutil.Error:
            return 0.0
        return total / 2**30

    def stop(self) -> float:
        self.stopped.set()
        self.join()
        return self.peak


def markdown(report: dict) -> str:
    """The README's table of costs."""
    seconds = {
        name: f"{value:.0f} s" if value >= 10 else f"{value:.1f} s"
        for name, value in report["seconds"].items()
    }
    rows = [
        f"| `{command}`{when} | {seconds[name]} | {GOALS[name]} s |"
        for name, (command, when) in SHOWN.items()
    ]
    return "\n".join(["| | measured | goal |", "|---|---|---|", *rows])


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = sys.argv[1] if len(sys.argv) > 1 else scratch
        environment = {
            f"REPRO_{name.upper()}": f"{folder}/{name}" for name in ("cache", "results", "figures")
        }
        listing = [sys.executable, "-m", "repro", "list", "table2"]
        runs = {
            "list": [listing],
            "table2, empty cache": TABLES[1:2],
            "table2, again": TABLES[1:2],
            "other tables": TABLES,
            "paper": [["make", "paper"]],
        }
        measured = {}
        for name, commands in runs.items():
            measured[name] = measure(commands, environment)
            print(f"{name}: {measured[name][0]:.1f} s, {measured[name][1]:.2f} GiB", flush=True)
    seconds = {name: round(value, 1) for name, (value, _) in measured.items()}
    seconds["all five tables, empty cache"] = round(
        seconds["table2, empty cache"] + seconds.pop("other tables"), 1
    )
    shares = {name: round(seconds[name] / goal, 2) for name, goal in GOALS.items()}
    report = {
        "seconds": seconds,
        "share of goal": shares,
        "peak memory GiB": round(max(memory for _, memory in measured.values()), 2),
        "machine": f"{len(os.sched_getaffinity(0))} cores, {platform.machine()}",
    }
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
