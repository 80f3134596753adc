"""Combinations of methods that nobody has published, on the demo with the textbook recipe.

1. PTP as the start of DistilBERT, TinyBERT, MiniLM and MiniLMv2: three-layer students that first
   learn to predict the teacher's labels, beside the same students without.
2. SPS on narrower encoders: an encoder is compressed by WID or HomoDistil on the task (seed 0) and
   exported. It is then the encoder of Table 4: its teacher and its three-layer students are trained
   like those of any other encoder.

mini-MRPC is left out, because the baselines do not tell depths apart there. An int8 PeaBERT is in
int8.py.

Usage: python benchmarks/combinations.py [SEEDS]. Finished cells are kept. Writes
results/combinations.csv below this folder: average differences in points with 95 % intervals.
"""

import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd

from repro import paths
from repro.analysis.comparisons import gains
from repro.analysis.groups import Group, groups
from repro.analysis.inference import combine
from repro.config.cells import Cell, plan
from repro.models import export
from repro.runs.distil import stock_model
from repro.runs.engine import run_cells
from repro.runs.stages import resolve

OUT = Path(__file__).parent / "results" / "combinations.csv"
TASKS = ("RTE", "SST-2", "QNLI")
STARTED = ("DistilBERT3", "TinyBERT3", "MiniLM3", "MiniLMv2-3")
NARROWED = ("WID", "HomoDistil")


def main(seeds: int) -> None:
    """Train what is missing, and write and print every difference."""
    related = plan("related", "demo", ",".join(TASKS), seeds, "textbook")
    plain = [cell for cell in related if cell.row in STARTED]
    started = [
        replace(cell, row=f"{cell.row}+PTP", method=replace(cell.method, ptp="both"))
        for cell in plain
    ]
    narrowed = [cell for cell in related if cell.row in NARROWED and cell.seed == 0]
    run_cells([*plain, *started, *narrowed])
    by_key = groups([*plain, *started])
    for source in narrowed:  # each has an encoder of its own
        cells = students_of(source, seeds)
        run_cells(cells)
        by_key |= groups(cells)
    pairs = [(f"{row}+PTP", row) for row in STARTED]
    for method in NARROWED:
        rows = [f"{row} on {method}" for row in ("BERT3", "SPS-1", "SPS-2")]
        pairs += [(rows[1], rows[0]), (rows[2], rows[1])]
    frame = pd.DataFrame([compared(by_key, *pair) for pair in pairs]).assign(seeds=seeds)
    frame.round(2).to_csv(OUT, index=False, lineterminator="\n")
    print(frame.round(2).to_string(index=False))


def students_of(source: Cell, seeds: int) -> list[Cell]:
    """The cells of Table 4 whose encoder is the compressed one of a cell."""
    folder = paths.cache() / "narrowed" / source.id
    if not (folder / "config.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        export.write(*stock_model(resolve(source)), folder)
    task = source.task.removeprefix("mini-")
    cells = plan("table4", "demo", task, seeds, "textbook", {"backbone": str(folder)})
    return [replace(cell, row=f"{cell.row} on {source.row}") for cell in cells]


def compared(by_key: dict[tuple[str, str], Group], new: str, old: str) -> dict:
    """The averages of two rows over TASKS and their difference, in points."""
    by_task = gains(by_key, new, old)
    gain = combine(list(by_task.values()))
    old_mean, new_mean = (
        sum(by_key[row, task].scores.mean() for task in by_task) / len(by_task)
        for row in (old, new)
    )
    return {
        "method": new,
        "beside": old,
        "mean": new_mean,
        "mean beside": old_mean,
        "difference": gain.estimate,
        "low": gain.low,
        "high": gain.high,
    }


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
