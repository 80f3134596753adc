"""Speed of a distillation: other libraries, the machine's ceiling, gains of each optimisation.

Run `make bench`; it uses MRPC and SST-2 of GLUE_DIR, or the embedded tasks. Every contender is a
process of its own, and ratios are within one run. Also measures a whole Table 2 compared with its
trainings, and the time to start.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
from contenders import CONTENDERS
from machine import ceiling, description, stage_seconds
from optimisations import OPTIMISATIONS

HERE = Path(__file__).parent
OUT = HERE / "results" / "speed.json"
TASKS = ("MRPC", "SST-2")
GOALS = {
    ("MRPC", "trainer"): 12,
    ("MRPC", "cached"): 8,
    ("SST-2", "trainer"): 30,
    ("SST-2", "cached"): 20,
}
REPEATS = {"package": 3, "package float32": 2}  # short runs are repeated; the best counts


def contend(name: str, task: str, without: str = "", repeats: int = 1) -> dict:
    """The measurements of a contender, from the fastest of its runs."""
    command = [
        sys.executable,
        str(HERE / "contenders.py"),
        name,
        task,
        *([without] if without else []),
    ]
    measurements = []
    for _ in range(repeats):
        process = subprocess.run(command, capture_output=True, text=True)
        if process.returncode:
            return {"error": process.stderr.strip().splitlines()[-1]}
        measurements.append(json.loads(process.stdout.strip().splitlines()[-1]))
    return max(measurements, key=lambda row: row["examples per second"])


def compared() -> pd.DataFrame:
    """One row per task and contender, with its share of the ceiling and the package's speed-up."""
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
    """How many times slower the package is without each optimisation, by task."""
    slower: dict[str, dict[str, float]] = {}
    for task in TASKS:
        whole = contend("package", task)["examples per second"]
        for name in OPTIMISATIONS:
            without = contend("package", task, name)
            slower.setdefault(name, {})[task] = whole / without["examples per second"]
            print(f"without {name}, {task}: {slower[name][task]:.2f} times slower", flush=True)
    return slower


def table_over_trainings() -> dict[str, float]:
    """Seconds of Table 2 on mini-RTE, compared with the sum of the seconds of its stages."""
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
    """Seconds of a command that needs no model, and of the imports of one that does."""
    commands = {
        "list": ["-m", "repro", "list", "table2"],
        "pipeline": ["-c", "import repro.runs.compute"],
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
    """The README's table: examples per second, speed-up of the package, share of the ceiling."""
    rows = {(row["task"], row["contender"]): row for row in report["rows"]}
    lines = [f"| student examples a second | {' | '.join(TASKS)} |", "|---|---|---|"]
    for name, shown in NAMES.items():
        texts = ["not measured"] * len(TASKS)
        for column, task in enumerate(TASKS):
            if row := rows.get((task, name)):
                rate, faster = row["examples per second"], row["package is faster by"]
                texts[column] = f"{rate:.1f} (×{faster:.1f}, {row['ceiling']:.0%})"
        lines.append(f"| {shown} | {' | '.join(texts)} |")
    return "\n".join(lines)


def torchdistill() -> str:
    """Whether torchdistill can be imported with this torch: "imports", or the error."""
    with tempfile.TemporaryDirectory() as folder:
        packages = ("torchdistill==1.1.5", "torchvision==0.28.0")
        pip = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
        ]
        subprocess.run([*pip, "--target", folder, *packages], capture_output=True)
        process = subprocess.run(
            [sys.executable, "-c", "import torchdistill.core.distillation"],
            text=True,
            capture_output=True,
            env=os.environ | {"PYTHONPATH": folder},
        )
    return "imports" if process.returncode == 0 else process.stderr.strip().splitlines()[-1]


def main() -> None:
    frame, slower = compared(), without_each()
    report = {
        "machine": description(),
        "rows": frame.round(4).to_dict("records"),
        "goals": {f"{task}, {name}": goal for (task, name), goal in GOALS.items()},
        "means, times faster": slower,
        "table 2": table_over_trainings(),
        "seconds to start": start_up(),
        "torchdistill": torchdistill(),
    }
    OUT.write_text(json.dumps(report, indent=1) + "\n")
    columns = [
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
    print(frame[columns].round(2).to_string(index=False))
    print(json.dumps({name: value for name, value in report.items() if name != "rows"}, indent=1))


if __name__ == "__main__":
    main()
