"""The gates of the demo: whether its baselines show depth and distillation.

The gates are declared in docs/calibration.md, before any result. This script trains the teachers
and the fine-tuned and KD students of the table "baselines" with the textbook recipe, and compares
them. Finished cells are kept, and `make baselines RECIPE=textbook` uses them.

Usage: python benchmarks/gates.py [SEEDS]. Writes results/gates.csv and results/gates_scores.csv
below this folder.
"""

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from repro.analysis.comparisons import gains
from repro.analysis.groups import Group, groups, one_class
from repro.analysis.inference import combine, detectable
from repro.config.cells import plan
from repro.runs import results
from repro.runs.engine import run_cells

OUT = Path(__file__).parent / "results" / "gates.csv"
SCORES = OUT.with_name("gates_scores.csv")  # accuracy of each cell, in percent
ARMS, DEPTHS = ("FineTuned", "KD"), (1, 2, 3, 6)
LEAST_GAIN, LEAST_SPREAD = 8.0, 3.0  # points, from 1 to 6 layers on average; of depths on a task
MOST_COLLAPSED, MOST_DETECTABLE = 0.02, 2.2  # share of runs; points


def main(seeds: int) -> None:
    """Train what is missing, and write and print each gate."""
    ladder = {arm: [*(f"BERT{n}-{arm}" for n in DEPTHS), "BERT-base"] for arm in ARMS}
    needed = {row for rows in ladder.values() for row in rows}
    cells = [c for c in plan("baselines", "demo", "", seeds, "textbook") if c.row in needed]
    run_cells(cells, "processes", 0)
    by_key = groups(cells)
    rows = []
    for arm, names in ladder.items():
        rows += [compare(by_key, new, old, 0.0) for old, new in pairwise(names)]
        rows.append(compare(by_key, f"BERT6-{arm}", f"BERT1-{arm}", LEAST_GAIN))
        rows += spreads(by_key, arm)
    rows.append(compare(by_key, "BERT3-KD", "BERT3-FineTuned", 0.0))
    smallest = max(row["detectable"] for row in rows if "detectable" in row)
    name = "largest minimum detectable difference of an average"
    rows.append({"gate": name, "value": smallest, "needed": MOST_DETECTABLE})
    rows[-1]["passed"] = smallest <= MOST_DETECTABLE
    collapsed = sum(map(one_class, by_key.values())) / len(cells)
    rows.append({"gate": "share of runs that predict one class", "value": collapsed})
    rows[-1] |= {"needed": MOST_COLLAPSED, "passed": collapsed <= MOST_COLLAPSED}
    scores = [
        {"row": cell.row, "task": cell.task, "layers": cell.layers, "seed": cell.seed}
        | {"accuracy": results.read(cell)["metrics"]["accuracy"]}
        for cell in cells
    ]
    pd.DataFrame(scores).round(2).to_csv(SCORES, index=False, lineterminator="\n")
    frame = pd.DataFrame(rows).assign(seeds=seeds).round(4)
    frame.to_csv(OUT, index=False, lineterminator="\n")
    print(frame.to_string(index=False))


def compare(by_key: dict[tuple[str, str], Group], new: str, old: str, least: float) -> dict:
    """The average difference of two rows: its interval must lie above 0, and it at `least`."""
    gain = combine(list(gains(by_key, new, old).values()))
    return {
        "gate": f"{new} above {old}",
        "value": gain.estimate,
        "low": gain.low,
        "high": gain.high,
        "detectable": detectable(gain),
        "needed": least,
        "passed": gain.low > 0 and gain.estimate >= least,
    }


def spreads(by_key: dict[tuple[str, str], Group], arm: str) -> list[dict]:
    """On each task, how far the scores of the depths lie apart."""
    rows = []
    for task in dict.fromkeys(task for _, task in by_key):
        scores = [by_key[f"BERT{n}-{arm}", task].scores.mean() for n in DEPTHS]
        spread = float(np.ptp(scores))
        rows.append({"gate": f"{arm}: range over depths on {task}", "value": spread})
        rows[-1] |= {"needed": LEAST_SPREAD, "passed": spread > LEAST_SPREAD}
    return rows


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 6)
