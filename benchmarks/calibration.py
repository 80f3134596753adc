"""Calibration of the demo: learning rates of every arm, and the scores of the baselines.

The protocol is in docs/calibration.md. Everything runs on the tasks "calibration-RTE" and so on,
which share no dev example with the tables' tasks,. Learning rates
are chosen on an inner split of the training data (decision D13), SPS and PTP included; the dev
scores are printed for the baselines alone.

Usage: python benchmarks/calibration.py DESIGN [SEEDS]. Writes results/calibration.csv below this
folder, with the rows of other designs kept.
"""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd

from repro.config.cells import Cell
from repro.config.profiles import PROFILES, override
from repro.config.recipe import TEXTBOOK
from repro.config.tables import PATIENT_KD, PEA_KD, SPS, TEACHER, Method
from repro.config.tasks import GLUE
from repro.runs import cache, results
from repro.runs.engine import run_cells
from repro.runs.stages import resolve

OUT = Path(__file__).parent / "results" / "calibration.csv"
BASELINES: dict[str, tuple[Method, tuple[int, ...]]] = {
    "fine-tuned": (Method(loss="finetune"), (1, 2, 3, 6)),
    "KD": (Method(loss="kd"), (1, 2, 3, 6)),
    "Patient KD": (PATIENT_KD, (3, 6)),
}
# Arms whose learning rates are chosen as the baselines' are, and whose dev scores are not read.
RATES_ONLY: dict[str, tuple[Method, tuple[int, ...]]] = {
    "SPS-1": (replace(SPS, sharing="paired"), (3,)),
    "SPS-2": (SPS, (3,)),
    "PeaBERT": (PEA_KD, (1, 3)),
}
TEACHER_RATES = (2e-4, 5e-4, 1e-3)


def teachers(task: str, seed: int) -> Iterator[Cell]:
    """The teacher at each learning rate."""
    for rate in TEACHER_RATES:
        setting = override(PROFILES["demo"].setting, {"teacher.learning_rate": rate})
        name = f"teacher at {rate:g}"
        yield Cell("calibration", name, task, 0, seed, "demo", TEACHER, setting, TEXTBOOK)


def students(task: str, seed: int) -> Iterator[Cell]:
    """Every arm at every depth; each searches its learning rate."""
    for name, (method, depths) in (BASELINES | RATES_ONLY).items():
        for layers in depths:
            where = ("calibration", f"{name} {layers}", task, layers, seed, "demo")
            yield Cell(*where, method, PROFILES["demo"].setting, TEXTBOOK)


def as_row(design: str, cell: Cell) -> dict:
    """What the calibration may see of a finished cell."""
    row = {"design": design, "task": cell.task, "arm": cell.row, "seed": cell.seed}
    if cell.method.kind == "student":
        search = resolve(cell).stage("search")
        meta = cache.meta(search.kind, search.key)
        assert meta is not None
        row |= {"rate": meta["learning_rate"]}
        row |= {f"inner at {rate}": score for rate, score in meta["scores"].items()}
    if cell.row.rpartition(" ")[0] not in RATES_ONLY:
        labels = results.predictions(cell)
        predicted = labels.filter(like="logit_").to_numpy().argmax(axis=1)
        row |= {"dev": results.read(cell)["metrics"]["accuracy"], "ones": predicted.mean()}
    return row


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
    baselines = frame[(frame["design"] == design) & frame["dev"].notna()]
    print(baselines.pivot_table(index="arm", columns="task", values="dev", margins=True).round(1))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1)
