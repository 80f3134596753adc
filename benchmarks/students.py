"""Which learning rates should the search offer the students of profile `cpu`, and for how long?

Trains students of one and three layers with Patient KD (textbook recipe, seed 0) on nine tenths of
the training data and scores them on the last tenth, as the search of the learning rate does
(decision D13). Dev is not looked at, and no student with SPS or PTP is trained. The grid of the
profile should hold the best rate inside it, not at its edge.

Usage: GLUE_DIR=... python benchmarks/students.py. Finished trainings are kept, and the search uses
them. Writes results/students.csv below this folder: the best and the last held-out score.
"""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from repro.config.cells import plan
from repro.config.profiles import PROFILES
from repro.runs import cache, engine
from repro.runs.stages import resolve

OUT = Path(__file__).parent / "results" / "students.csv"
TASKS = ("SST-2",)
RATES = (5e-5, 1e-4, 2e-4, 4e-4)
SHALLOW, DEEP = "BERT1-PatientKD", "BERT3-PatientKD"


def candidates(
    task: str, rows: tuple[str, ...], epochs: int, rates: tuple[float, ...]
) -> list[tuple[dict, list]]:
    """What is trained: a description, and the stages, the student last."""
    PROFILES["cpu"] = replace(PROFILES["cpu"], search_rates=rates)
    changed = {"student.epochs": epochs}
    runs = []
    for cell in plan("table2", "cpu", task, 1, "textbook", changed):
        if cell.row in rows:
            resolved = resolve(cell)
            students = resolved.stage("search").parents
            before = [s for s in resolved.own if s.kind in ("teacher", "outputs")]
            for rate, student in zip(rates, students, strict=True):
                about = {"task": task, "method": cell.row, "epochs": epochs, "rate": rate}
                runs.append((about, [*before, student]))
    return runs


def main() -> None:
    """Train every candidate, and write its scores."""
    runs = []
    for task in TASKS:
        of_task = candidates(task, (SHALLOW, DEEP), 4, RATES)
        of_task += candidates(task, (DEEP,), 8, RATES[2:])
        missing = engine.missing_stages(stage for _, stages in of_task for stage in stages)
        with engine.open_workers("processes") as pool:
            for stage, error in engine.run_stages(missing, pool):
                print(stage.name, stage.spec.training.learning_rate, error or "done", flush=True)
        runs += of_task
    rows = []
    for about, stages in runs:
        meta = cache.meta(stages[-1].kind, stages[-1].key)
        scores = [step["score"] for step in meta["history"]]
        rows.append(about | {"best": max(scores), "last": scores[-1]})
    frame = pd.DataFrame(rows).round({"best": 2, "last": 2})
    frame.to_csv(OUT, index=False, lineterminator="\n")
    print(frame.to_string(index=False))


if __name__ == "__main__":
    main()
