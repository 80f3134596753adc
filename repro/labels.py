"""Table 1 with counts: how the teacher's predictions on the training data fall into the four PTP labels."""

from typing import Any

import numpy as np
import pandas as pd

from repro import ptp, stats
from repro.experiments import Cell
from repro.rows import DIGITS, Group, generator, groups, origin, summary, table_frame, with_types
from repro.tasks import task

GRID = np.arange(51, 100) / 100  # thresholds of the sweep


def table1(cells: list[Cell]) -> pd.DataFrame:
    """One row per task, gold class ("all" for every example) and PTP label, then `Avg` rows over the tasks.

    The columns of a table (`rows.COLUMNS`; mean, sd and interval are of the label's share among the examples of that
    gold class, in percent) and `gold`, `count` (examples, mean over seeds). The paper prints no counts to compare with.
    """
    members = list(groups(cells).values())
    labels = [assigned(group, group.cells[0].recipe.ptp_thresholds)[0] for group in members]
    rows, totals = [], []
    for group, predicted in zip(members, labels, strict=True):
        for gold, chosen in gold_classes(group).items():
            shares = _shares(predicted[:, chosen]), _draws(predicted[:, chosen], group.task)
            rows += _rows([group], group.task, gold, *shares, int(np.count_nonzero(chosen)))
            totals += [shares] if gold == "all" else []
    scores, draws = (np.mean(values, axis=0) for values in zip(*totals, strict=True))
    size = float(np.mean([len(group.labels) for group in members]))
    return table_frame(rows + _rows(members, "Avg", "all", scores, draws, size), ("gold", "count"))


def assigned(group: Group, rule: str) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """PTP labels (seeds, n) of a group of Table 1's cells under a rule of D1, and each seed's own (t1, t2)."""
    cuts = [ptp.thresholds(rule, task(group.task), logits, group.labels) for logits in group.logits]
    predicted = [ptp.labels(one, group.labels, cut) for one, cut in zip(group.logits, cuts, strict=True)]
    return np.stack(predicted), cuts


def gold_classes(group: Group) -> dict[str, np.ndarray]:
    """Which examples (n,) belong to each gold class; to "all", every one. A class without examples is left out."""
    named = {name: group.labels == k for k, name in enumerate(task(group.task).labels)}
    return {"all": np.ones(len(group.labels), bool)} | {name: mask for name, mask in named.items() if mask.any()}


def _shares(predicted: np.ndarray) -> np.ndarray:
    """Shares (seeds, labels) in percent of PTP labels (seeds, n)."""
    return 100.0 * (predicted[..., None] == np.arange(len(ptp.LABELS))).mean(axis=1)


def _draws(predicted: np.ndarray, name: str) -> np.ndarray:
    return stats.bootstrap_shares(len(ptp.LABELS), predicted, generator(name))  # (draws, labels)


def _rows(members: list[Group], name: str, gold: str, scores: np.ndarray, draws: np.ndarray,
          size: float) -> list[dict[str, Any]]:  # fmt: skip
    """One row per PTP label. scores: (seeds, labels), draws: (draws, labels), both in percent; size: examples."""
    said = origin(members) | {"task": name, "metric": "share", "gold": gold}
    return [
        said | {"method": label, "count": round(scores[:, k].mean() * size / 100, DIGITS)}
        | summary(scores[:, k], draws[:, k])
        for k, label in enumerate(ptp.LABELS)
    ]  # fmt: skip


def threshold_sweep(cells: list[Cell]) -> pd.DataFrame:
    """Share of each PTP label in the training data for one threshold t of 0.51 .. 0.99, mean over seeds.

    Columns task, t, label, share (percent): written as results/<profile>/thresholds.csv.
    """
    rows = [
        {"task": name, "t": cut, "label": label, "share": round(share, DIGITS)}
        for (_, name), group in groups(cells).items()
        for cut, shares in zip(GRID.tolist(), _sweep(group), strict=True)
        for label, share in zip(ptp.LABELS, shares.tolist(), strict=True)
    ]
    return with_types(pd.DataFrame(rows))


def _sweep(group: Group) -> np.ndarray:
    """Shares (thresholds, labels) in percent, mean over seeds, by counting the confidences above each threshold."""
    shares = np.zeros((len(GRID), len(ptp.LABELS)))
    for logits in group.logits:
        sure, right = ptp.confidence(logits), logits.argmax(axis=1) == group.labels
        for first, mask in ((0, right), (2, ~right)):
            above = mask.sum() - np.searchsorted(np.sort(sure[mask]), GRID, side="right")
            shares[:, first] += above
            shares[:, first + 1] += mask.sum() - above
    return 100.0 * shares / (len(group.labels) * len(group.logits))
