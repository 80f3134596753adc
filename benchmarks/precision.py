"""Does bfloat16 change a teacher's score on real data? The profile `cpu` uses it where it can.

Trains the teacher of profile `cpu` on MRPC in float32 and in bfloat16, textbook recipe, and
compares accuracy on dev, with an interval over seeds and examples. The bound was set before the
run: if the interval of the difference does not lie within BOUND, bfloat16 is not good enough.

Usage: GLUE_DIR=... python benchmarks/precision.py [SEEDS]. 20 seeds take two hours of two cores
with bfloat16 in hardware; where it is emulated, it takes longer than float32. Writes
results/precision.json below this folder.
"""

import json
import sys
from pathlib import Path

import numpy as np

from repro.analysis.example_scores import example_scores
from repro.analysis.groups import groups
from repro.analysis.inference import difference
from repro.config.cells import Cell, plan
from repro.runs import engine

OUT = Path(__file__).parent / "results" / "precision.json"
BOUND = 1.5  # points of accuracy
PRECISIONS = ("float32", "bfloat16")


def teachers(precision: str, seeds: int) -> list[Cell]:
    """The teachers of Table 2 on MRPC."""
    table = plan("table2", "cpu", "MRPC", seeds, "textbook", {"precision": precision})
    return [cell for cell in table if cell.row == "BERT-base"]


def main(seeds: int) -> None:
    """Train, compare and write the numbers."""
    cells = {precision: teachers(precision, seeds) for precision in PRECISIONS}
    engine.run_cells([cell for group in cells.values() for cell in group])
    by_precision = {precision: groups(group).popitem()[1] for precision, group in cells.items()}
    answers = {precision: group.predicted for precision, group in by_precision.items()}
    labels = by_precision["float32"].labels
    gain = difference(*(example_scores("accuracy", labels, answers[p]) for p in PRECISIONS))
    report = {"seeds": seeds, "bfloat16 - float32": gain.estimate}
    report |= {"low": gain.low, "high": gain.high, "bound": BOUND}
    report["within the bound"] = bool(gain.low > -BOUND and gain.high < BOUND)
    report["same answer"] = float((answers["float32"] == answers["bfloat16"]).mean())
    for precision, group in by_precision.items():
        scores = {
            metric: [result["metrics"][metric] for result in group.results]
            for metric in ("accuracy", "f1")
        }
        report[precision] = {
            metric: {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1))}
            for metric, values in scores.items()
        }
    OUT.write_text(json.dumps(report, indent=1) + "\n")
    print(OUT.read_text())


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
