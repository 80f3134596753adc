"""How fast is a distillation, beside the usual ways and the machine's ceiling? And what does each means bring?

Run: make bench (MRPC and SST-2 of GLUE_DIR, else the embedded tasks). Every contender is a process of its own; ratios
are within this run. Also: a whole Table 2 beside its trainings, and the time to start.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
from contenders import CONTENDERS, MEANS
from machine import ceiling, description, stage_seconds

HERE = Path(__file__).parent
OUT = HERE / "results" / "speed.json"
TASKS = ("MRPC", "SST-2")
GOALS = {
    ("MRPC", "trainer"): 12,
    ("MRPC", "cached"): 8,
    ("SST-2", "trainer"): 30,
    ("SST-2", "cached"): 20,
}
REPEATS = {"package": 3, "package float32": 2}  # the short ones; the best counts


def contend(name: str, task: str, without: str = "", repeats: int = 1) -> dict:
    """What one contender measured of itself, the best of its runs."""
    command = [
        sys.executable,
        str(HERE / "contenders.py"),
        name,
        task,
        *([without] if without else []),
    ]
    found = []
    for _ in range(repeats):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            return {"error": done.stderr.strip().splitlines()[-1]}
        found.append(json.loads(done.stdout.strip().splitlines()[-1]))
    return max(found, key=lambda one: one["examples per second"])


def compared() -> pd.DataFrame:
    """One row per task and contender, with the share of the ceiling of its precision and the package's ratio to it."""
    rates = {precision: ceiling(precision) for precision in ("float32", "bfloat16")}
    rows = []
    for task in TASKS:
        for name in CONTENDERS:
            row = {"task": task, "contender": name} | contend(
                name, task, repeats=REPEATS.get(name, 1)
            )
            print(row, flush=True)
            rows.append(row)
    frame = pd.DataFrame(rows).dropna(subset=["examples per second"])
    frame["ceiling"] = (
        frame["examples per second"] * frame["flops per example"] / frame["precision"].map(rates)
    )
    ours = frame[frame["contender"] == "package"].set_index("task")["examples per second"]
    frame["package is faster by"] = frame["task"].map(ours) / frame["examples per second"]
    return frame


def without_each() -> dict[str, dict[str, float]]:
    """Examples a second of the package with one means taken away, over those with all: what it brings."""
    shares: dict[str, dict[str, float]] = {}
    for task in TASKS:
        whole = contend("package", task)["examples per second"]
        for name in MEANS:
            found = contend("package", task, name)
            shares.setdefault(name, {})[task] = whole / found["examples per second"]
            print(f"without {name}, {task}: {shares[name][task]:.2f} times slower", flush=True)
    return shares


def table_over_trainings() -> dict[str, float]:
    """Seconds of a whole Table 2 of mini-RTE over the sum of its stages' own seconds, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {
            f"REPRO_{n.upper()}": f"{folder}/{n}" for n in ("cache", "results", "figures")
        }
        command = [sys.executable, "-m", "repro", "table", "table2", "--tasks", "RTE", "--engine"]
        start = time.perf_counter()
        subprocess.run([*command, "serial"], env=environment, check=True, capture_output=True)
        serial = time.perf_counter() - start
        alone = sum(stage_seconds(Path(folder, "cache")))
    with tempfile.TemporaryDirectory() as folder:
        environment |= {
            f"REPRO_{n.upper()}": f"{folder}/{n}" for n in ("cache", "results", "figures")
        }
        start = time.perf_counter()
        subprocess.run([*command, "processes"], env=environment, check=True, capture_output=True)
        processes = time.perf_counter() - start
    return {
        "trainings alone": alone,
        "serial / alone": serial / alone,
        "processes / alone": processes / alone,
    }


def start_up() -> dict[str, float]:
    """Seconds of a command that needs no model, and of importing everything that one needs."""
    commands = {
        "list": ["-m", "repro", "list", "table2"],
        "pipeline": ["-c", "import repro.runs.compute, repro.backbones"],
    }
    seconds = {}
    for name, command in commands.items():
        start = time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
        seconds[name] = time.perf_counter() - start
    return seconds


NAMES = {
    "trainer": "Hugging Face Trainer, teacher beside it",
    "textbrewer": "TextBrewer, the same",
    "cached": "the authors' way: teacher's outputs stored",
    "package float32": "this package, float32",
    "package": "this package, bfloat16",
}


def markdown(report: dict) -> str:
    """The comparison as the README's table: examples a second, times slower than the package, share of the ceiling."""
    rows = {(row["task"], row["contender"]): row for row in report["rows"]}
    lines = [f"| student examples a second | {' | '.join(TASKS)} |", "|---|---|---|"]
    for name, shown in NAMES.items():
        cells = [rows.get((task, name)) for task in TASKS]
        told = [
            f"{one['examples per second']:.1f} (×{one['package is faster by']:.1f}, {one['ceiling']:.0%})"
            if one
            else "not measured"
            for one in cells
        ]
        lines.append(f"| {shown} | {' | '.join(told)} |")
    return "\n".join(lines)


def torchdistill() -> str:
    """How torchdistill and the torchvision that it wants fare beside this torch: "imports", or the error."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = ("torchdistill==1.1.5", "torchvision==0.28.0")
        pip = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
        ]
        subprocess.run([*pip, "--target", folder, *wanted], capture_output=True)
        done = subprocess.run(
            [sys.executable, "-c", "import torchdistill.core.distillation"],
            text=True,
            capture_output=True,
            env=os.environ | {"PYTHONPATH": folder},
        )
    return "imports" if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


def main() -> None:
    frame, means = compared(), without_each()
    report = {
        "machine": description(),
        "rows": frame.round(4).to_dict("records"),
        "goals": {f"{task}, {name}": goal for (task, name), goal in GOALS.items()},
        "means, times faster": means,
        "table 2": table_over_trainings(),
        "seconds to start": start_up(),
        "torchdistill": torchdistill(),
    }
    OUT.write_text(json.dumps(report, indent=1) + "\n")
    shown = [
        "task",
        "contender",
        "precision",
        "examples per second",
        "ceiling",
        "package is faster by",
        "cell seconds",
        "peak memory GiB",
        "dev",
    ]
    print(frame[shown].round(2).to_string(index=False))
    print(json.dumps({name: value for name, value in report.items() if name != "rows"}, indent=1))


if __name__ == "__main__":
    main()
