"""Are the embedded tasks suitable? Scores, PTP labels and gains of PeaBERT over Patient KD.

Scores should be in the order majority class < 3 layers < teacher, and every PTP label should occur.
Run `make bench` or `python benchmarks/embedded.py SEEDS`. Uses the cells of `make tables SEEDS=3`,
and computes missing ones.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from repro.config.cells import plan
from repro.config.tasks import task
from repro.data import metrics, ptp_labels
from repro.runs import engine, results

OUT = Path(__file__).parent / "results" / "embedded.json"
COMPARED = (
    "BERT-base",
    "BERT1-PatientKD",
    "PeaBERT1",
    "BERT2-PatientKD",
    "PeaBERT2",
    "BERT3-PatientKD",
    "PeaBERT3",
)


def majority(name: str, labels: np.ndarray) -> float:
    """The score of always predicting the most frequent class (for F1: class 1)."""
    label = 1 if task(name).metric == "f1" else np.bincount(labels).argmax()
    return float(metrics.score(task(name).metric, labels, np.full_like(labels, label)))


def scores(seeds: int) -> pd.DataFrame:
    """Mean scores over the seeds: one row per method, one column per task."""
    cells = [cell for cell in plan("table2", seeds=seeds) if cell.row in COMPARED]
    engine.run_cells(cells)
    rows = [
        (cell.row, cell.task, results.read(cell)["metrics"][task(cell.task).metric])
        for cell in cells
    ]
    frame = pd.DataFrame(rows, columns=["method", "task", "score"])
    table = frame.pivot_table(index="method", columns="task", values="score").loc[list(COMPARED)]
    gold = {cell.task: results.predictions(cell)["label"].to_numpy() for cell in cells}
    table.loc["majority"] = {name: majority(name, labels) for name, labels in gold.items()}
    return table.assign(Avg=table.mean(axis=1))


def label_counts(seeds: int) -> dict[str, list[float]]:
    """Mean number of training examples per PTP label, per task."""
    cells = plan("table1", seeds=seeds)
    engine.run_cells(cells)
    counts: dict[str, list[np.ndarray]] = {}
    for cell in cells:
        frame = results.predictions(cell)
        logits, gold = frame.filter(like="logit_").to_numpy(), frame["label"].to_numpy()
        cuts = ptp_labels.thresholds("two", task(cell.task), logits, gold)
        labels = ptp_labels.labels(logits, gold, cuts)
        counts.setdefault(cell.task, []).append(np.bincount(labels, minlength=4))
    return {name: np.mean(rows, axis=0).tolist() for name, rows in counts.items()}


def main(seeds: int) -> None:
    table, labels = scores(seeds), label_counts(seeds)
    print(table.round(1).to_string(), "\n\nPTP labels:", sep="\n")
    for name, counts in labels.items():
        print(f"{name}: {counts}")
    tasks = [column for column in table if column != "Avg"]
    ordered = all(
        table.at["BERT-base", t] > table.at["BERT3-PatientKD", t] > table.at["majority", t]
        for t in tasks
    )
    gains = {
        n: float(table.at[f"PeaBERT{n}", "Avg"] - table.at[f"BERT{n}-PatientKD", "Avg"])
        for n in (1, 2, 3)
    }
    print(f"\nteacher > 3 layers > majority on every task: {ordered}")
    print(f"all four PTP labels on every task: {all(min(row) > 0 for row in labels.values())}")
    print("PeaBERT - Patient KD, average:", {n: round(gain, 2) for n, gain in gains.items()})
    report = {
        "seeds": seeds,
        "scores": table.round(3).to_dict("index"),
        "ptp_labels": labels,
        "gain_of_peabert": gains,
    }
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
