"""Calibration of the demo: teachers at three learning rates, and the scores of the baselines.

The protocol is in docs/calibration.md. Everything runs on the tasks "calibration-RTE" and so on,
which share no dev example with the tables' tasks. Each student's learning rate is chosen on an
inner split of the training data (decision D13), as in the tables. No student with SPS or PTP is
trained.

Usage: python benchmarks/calibration.py DESIGN [SEEDS]. Writes results/calibration.csv below this
folder, with the rows of other designs kept.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from repro.config.cells import Cell
from repro.config.profiles import PROFILES, override
from repro.config.recipe import TEXTBOOK
from repro.config.tables import PATIENT_KD, TEACHER, Method
from repro.config.tasks import GLUE
from repro.runs import cache, results
from repro.runs.engine import run_cells
from repro.runs.stages import resolve

OUT = Path(__file__).parent / "results" / "calibration.csv"
BASELINES: dict[str, tuple[Method, tuple[int, ...]]] = {
    "fine-tuned": (Method(loss="finetune"), (1, 2, 3, 6)),
    "KD": (Method(loss="kd"), (1, 2, 3, 6)),
    "Patient KD": (PATIENT_KD, (3,)),
}
TEACHER_RATES = (2e-4, 5e-4, 1e-3)


def teachers(task: str, seed: int) -> Iterator[Cell]:
    """The teacher at each learning rate."""
    for rate in TEACHER_RATES:
        setting = override(PROFILES["demo"].setting, {"teacher.learning_rate": rate})
        name = f"teacher at {rate:g}"
        yield Cell("calibration", name, task, 0, seed, "demo", TEACHER, setting, TEXTBOOK)


def students(task: str, seed: int) -> Iterator[Cell]:
    """Every baseline at every depth; each searches its learning rate."""
    for name, (method, depths) in BASELINES.items():
        for layers in depths:
            where = ("calibration", f"{name} {layers}", task, layers, seed, "demo")
            yield Cell(*where, method, PROFILES["demo"].setting, TEXTBOOK)


def as_row(design: str, cell: Cell) -> dict:
    """The scores of a finished cell: on dev, and of each rate on the inner split."""
    row = {"design": design, "task": cell.task, "arm": cell.row, "seed": cell.seed}
    if cell.method.kind == "student":
        search = resolve(cell).stage("search")
        meta = cache.meta(search.kind, search.key)
        assert meta is not None
        row |= {"rate": meta["learning_rate"]}
        row |= {f"inner at {rate}": score for rate, score in meta["scores"].items()}
    predicted = results.predictions(cell).filter(like="logit_").to_numpy().argmax(axis=1)
    return row | {"dev": results.read(cell)["metrics"]["accuracy"], "ones": predicted.mean()}


def main(design: str, seeds: int) -> None:
    """Run a design and write its rows."""
    tasks = [f"calibration-{task.name}" for task in GLUE]
    seen = range(seeds)
    cells = [cell for seed in seen for task in tasks for cell in teachers(task, seed)]
    cells += [cell for seed in seen for task in tasks for cell in students(task, seed)]
    run_cells(cells, "processes", 0)
    frame = pd.DataFrame([as_row(design, cell) for cell in cells])
    if OUT.is_file():
        earlier = pd.read_csv(OUT, dtype={"design": str})
        frame = pd.concat([earlier[earlier["design"] != design], frame])
    frame.round(4).to_csv(OUT, index=False, lineterminator="\n")
    now = frame[frame["design"] == design]
    print(now.pivot_table(index="arm", columns="task", values="dev", margins=True).round(1))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1)
