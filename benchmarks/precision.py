"""Does bfloat16 change a score? The same cells in both precisions, over seeds: differences with intervals.

Run: make bench (or python benchmarks/precision.py SEEDS). The embedded MRPC and SST-2; float32 cells are those of
`make table2`. bfloat16 where the hardware has it, else emulated: slow, the same numbers.
"""

import json
import sys
from pathlib import Path

import numpy as np

from repro.analysis import stats
from repro.config.cells import Cell, plan
from repro.config.tasks import task
from repro.data import metrics
from repro.runs import engine, results

OUT = Path(__file__).parent / "results" / "precision.json"
TASKS, METHODS = ("mini-MRPC", "mini-SST-2"), ("BERT-base", "BERT3-PatientKD", "PeaBERT3")


def predicted(made: list[Cell], method: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Labels (examples,) and predicted classes (seeds, examples)."""
    frames = [results.predictions(cell) for cell in made if (cell.row, cell.task) == (method, name)]
    classes = [frame.filter(like="logit_").to_numpy().argmax(1) for frame in frames]
    return frames[0]["label"].to_numpy(), np.stack(classes)


def main(seeds: int) -> None:
    made = {}
    for precision in ("float32", "bfloat16"):
        cells_ = plan(
            "table2", tasks=",".join(TASKS), seeds=seeds, overrides={"precision": precision}
        )
        made[precision] = [cell for cell in cells_ if cell.row in METHODS]
        engine.run_cells(made[precision])
    rng, rows = np.random.default_rng(0), []
    for method in METHODS:
        for name in TASKS:
            labels, first = predicted(made["float32"], method, name)
            _, second = predicted(made["bfloat16"], method, name)
            metric = metrics.METRICS[task(name).metric]
            draws, _ = stats.bootstrap_pairs(metric, labels, first, second, rng)
            difference = np.mean(
                [metric(labels, b) - metric(labels, a) for a, b in zip(first, second, strict=True)]
            )
            low, high = np.quantile(draws, (0.025, 0.975))
            rows.append(
                {
                    "method": method,
                    "task": name,
                    "bfloat16 - float32": float(difference),
                    "low": float(low),
                    "high": float(high),
                    "same answer": float((first == second).mean()),
                }
            )
            print(
                {
                    key: round(value, 3) if isinstance(value, float) else value
                    for key, value in rows[-1].items()
                }
            )
    OUT.write_text(json.dumps({"seeds": seeds, "points": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
