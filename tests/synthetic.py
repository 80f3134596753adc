"""Synthetic results in a temporary results folder: known predictions, no training."""

from collections.abc import Callable

import numpy as np

from repro.config.cells import Cell, plan
from repro.config.tasks import task
from repro.data import metrics
from repro.models import layers as structure
from repro.runs import results

Predict = Callable[[Cell, np.ndarray], np.ndarray]  # a cell and gold labels (n,) -> logits (n, 2)


def result(cell: Cell, labels: np.ndarray, logits: np.ndarray) -> dict:
    """A result as the pipeline writes it."""
    predicted = logits.argmax(axis=1)
    rule = (
        cell.recipe.checkpoint if cell.method.kind == "student" else cell.recipe.teacher_checkpoint
    )
    layers, order = cell.layers or 4, cell.recipe.sps6_order
    depth = (
        len(structure.effective_layers(layers, cell.method.sharing, order))
        if cell.layers
        else layers
    )
    ptp = cell.recipe.ptp_thresholds if cell.method.ptp != "none" else ""
    train_rows = len(labels) if cell.method.kind == "labels" else 4
    score = float(metrics.score(task(cell.task).metric, labels, logits.argmax(axis=1)))
    last = (
        {"last_score": score - 2.0} if cell.method.kind == "student" and rule == "best_dev" else {}
    )
    return {
        "metrics": {
            name: float(metrics.score(name, labels, predicted)) for name in metrics.METRICS
        },
        "seconds": {"teacher": 1.0},
        "device": "cpu",
        "precision": "float32",
        "threads": 1,
        "commit": "",
        "versions": {"python": "3.11"},
        "data": {
            "train": "a" * 8,
            "dev": "b" * 8,
            "source": "synthetic",
            "train_rows": train_rows,
            "dev_rows": len(labels),
        },
        "backbone": {"name": cell.setting.backbone, "sha256": "c" * 8, "fingerprint": "d" * 8},
        "selection": {"rule": rule, "best_score": score} | last,
        "stages": {"student": f"{cell.recipe.kl_reduction} {ptp}"},
        "parameters": {
            "layers": 100_000 * layers,
            "with_embeddings": 100_000 * layers + 500_000,
            "total": 100_000 * layers + 500_100,
        },
        "effective_layers": depth,
    }


def noisy(cell: Cell, labels: np.ndarray) -> np.ndarray:
    """About four in five correct, more for later rows of a table; seeded by the cell's id."""
    rng = np.random.default_rng([*cell.id.encode()])
    skill = (
        1.2
        + 0.25 * cell.layers
        + 0.4 * (cell.method.sharing == "shuffled")
        + 0.3 * (cell.method.ptp == "both")
    )
    margin = rng.normal(skill if cell.layers else 2.5, 2.2, len(labels))  # of the gold class
    return np.stack([np.where(labels == 0, margin, 0), np.where(labels == 1, margin, 0)], axis=1)


def right(**counts: int) -> Predict:
    """The first `counts[row]` examples are correct, for a row without its - and +; else 60."""

    def predict(cell: Cell, labels: np.ndarray) -> np.ndarray:
        count = counts.get(cell.row.replace("-", "").replace("+", ""), 60)
        return np.eye(2)[np.where(np.arange(len(labels)) < count, labels, 1 - labels)] * 4.0

    return predict


def gold(name: str, rows: int) -> np.ndarray:
    """Gold labels (rows,) of a task, nearly balanced."""
    return (np.random.default_rng([*task(name).name.encode()]).random(rows) < 0.55).astype(int)


def finish(cells: list[Cell], predict: Predict = noisy, rows: int = 100) -> list[Cell]:
    """Write a result for every cell; returns the cells."""
    for cell in cells:
        labels = gold(cell.task, rows)
        logits = predict(cell, labels)
        results.write(cell, result(cell, labels, logits), labels, logits)
    return cells


def finished(table: str, tasks: str = "", seeds: int = 1, rows: int = 100, **options) -> list[Cell]:
    """The finished cells of a plan."""
    return finish(plan(table, "demo", tasks, seeds, **options), rows=rows)
