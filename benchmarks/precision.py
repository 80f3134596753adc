"""Does bfloat16 change a score? Differences between both precisions, with intervals over seeds.

Run `make bench` or `python benchmarks/precision.py SEEDS`. Uses the embedded MRPC and SST-2; the
float32 cells are those of `make table2`. Without hardware support bfloat16 is emulated: slower, but
with the same numbers.
"""

import json
import sys
from pathlib import Path

import numpy as np

from repro.analysis.example_scores import example_scores
from repro.analysis.inference import difference
from repro.config.cells import Cell, plan
from repro.config.tasks import task
from repro.runs import engine, results

OUT = Path(__file__).parent / "results" / "precision.json"
TASKS, METHODS = ("mini-MRPC", "mini-SST-2"), ("BERT-base", "BERT3-PatientKD", "PeaBERT3")


def predicted(cells: list[Cell], row: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Labels (examples,) and predicted classes (seeds, examples)."""
    frames = [results.predictions(cell) for cell in cells if (cell.row, cell.task) == (row, name)]
    classes = [frame.filter(like="logit_").to_numpy().argmax(1) for frame in frames]
    return frames[0]["label"].to_numpy(), np.stack(classes)


def main(seeds: int) -> None:
    cells: dict[str, list[Cell]] = {}
    for precision in ("float32", "bfloat16"):
        overrides = {"precision": precision}
        table = plan("table2", tasks=",".join(TASKS), seeds=seeds, overrides=overrides)
        cells[precision] = [cell for cell in table if cell.row in METHODS]
        engine.run_cells(cells[precision])
    rows = []
    for method in METHODS:
        for name in TASKS:
            labels, first = predicted(cells["float32"], method, name)
            _, second = predicted(cells["bfloat16"], method, name)
            scores = (example_scores(task(name).metric, labels, one) for one in (first, second))
            gain = difference(*scores)
            rows.append(
                {
                    "method": method,
                    "task": name,
                    "bfloat16 - float32": gain.estimate,
                    "low": gain.low,
                    "high": gain.high,
                    "same answer": float((first == second).mean()),
                }
            )
            print(json.dumps(rows[-1]))
    OUT.write_text(json.dumps({"seeds": seeds, "points": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
