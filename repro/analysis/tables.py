"""Rows of the paper's tables from finished cells, with the printed numbers beside them, and their CSV files."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from repro import paths
from repro.analysis import stats
from repro.analysis.rows import (
    PRINTED,
    Group,
    generator,
    groups,
    origin,
    summary,
    table_frame,
    with_types,
)
from repro.config import printed
from repro.config.cells import Cell
from repro.config.printed import DIGITS
from repro.config.profiles import profile
from repro.config.tables import TABLES, Row, table
from repro.config.tasks import TASKS, task
from repro.data import metrics, ptp_labels
from repro.errors import InputError, MissingError, one_of
from repro.files import write_atomic

# CSV files beside the tables, and the make target that writes them
DERIVED = {"thresholds": "table1", "decisions": "decisions", "mrpc_test": "mrpc"}
DERIVED |= dict.fromkeys(("ptp_labels", "ptp_difficulty", "ptp_agreement"), "ptp")
DERIVED |= {name.replace("table", "comparisons"): name for name in TABLES if TABLES[name].pairs}
EXTRAS = ("decisions", "ledger", "ptp_labels", "ptp_difficulty")  # reported where they were made


def aggregate(cells: list[Cell]) -> pd.DataFrame:
    """Tables 2 to 5: one row per method and task, and one for their average, in the paper's order.

    cells: a whole plan (experiments.plan). Columns: rows.COLUMNS, then rows.MORE_COLUMNS; scores in percent, rounded to
    four decimals; ci_low and ci_high: the 95 % bootstrap interval over seeds and dev examples. Raises as `rows.groups`.
    """
    if not cells or cells[0].table == "table1":
        raise InputError(
            "aggregate makes tables 2 to 5 from at least one cell; table 1 is made by results.table1"
        )
    found = groups(cells)
    names = [name for name in TASKS if name in {group.task for group in found.values()}]
    rows: list[dict[str, Any]] = []
    for row in table(cells[0].table).rows:
        if row.method.kind == "printed":
            rows += _printed_rows(row, cells[0], names)
        else:
            rows += _scored_rows([_of(found, row, name) for name in names])
    return table_frame(rows)


def _of(found: dict[tuple[str, str], Group], row: Row, name: str) -> Group:
    if (row.name, name) not in found:
        raise InputError(
            f"no cell of {row.name} on {name} among those given; use the cells of one whole plan"
        )
    return found[row.name, name]


def _scored_rows(members: list[Group]) -> list[dict[str, Any]]:
    """The rows of one method: each task, then the average, whose interval averages the tasks' independent draws."""
    scores, draws = (
        np.stack([group.scores for group in members]),
        np.stack([_draws(g) for g in members]),
    )
    named = [
        _beside(
            origin([group]) | summary(score, draw) | {"task": group.task},
            *printed.column(group.task),
        )
        for group, score, draw in zip(members, scores, draws, strict=True)
    ]
    values = origin(members) | summary(scores.mean(axis=0), draws.mean(axis=0)) | {"task": "Avg"}
    return [*named, _beside(values, *printed.average([group.task for group in members]))]


def _draws(group: Group) -> np.ndarray:
    metric = metrics.METRICS[task(group.task).metric]
    return stats.bootstrap_scores(
        metric, group.labels, group.logits.argmax(axis=2), generator(group.task)
    )


def _beside(values: dict[str, Any], columns: list[str], metric: str) -> dict[str, Any]:
    """The row with the paper's number (the mean of the printed `columns`) and the difference to it."""
    value = printed.paper(values["table"], values["method"], columns)
    delta = round(values["mean"] - value, DIGITS) if "mean" in values else None
    return values | {"metric": metric, "paper": value, "delta": delta}


def _printed_rows(row: Row, cell: Cell, names: list[str]) -> list[dict[str, Any]]:
    """The rows of a method that is copied from the paper: no mean, the printed number."""
    said = {
        "table": cell.table,
        "method": row.name,
        "layers": row.layers,
        "seeds": 0,
        "profile": cell.profile,
        "parameters": printed.parameters(cell.table, row.name),
        "split": table(cell.table).paper_split,
        "backbone": PRINTED,
        "data": PRINTED,
        "recipe": PRINTED,
    }
    rows = [_beside(said | {"task": name}, *printed.column(name)) for name in names]
    return [*rows, _beside(said | {"task": "Avg"}, *printed.average(names))]


def table_path(name: str, profile_name: str, variant: str = "") -> Path:
    """results/<profile>/<name>.csv, or <name>.<variant>.csv for a run with changed settings.

    name: a table's, of what is derived beside it (see DERIVED), or "ledger", made from the other CSVs.
    """
    if name not in [*TABLES, *DERIVED, "ledger"]:
        raise one_of("table", name, [*TABLES, *DERIVED, "ledger"])
    if variant and not re.fullmatch(r"[A-Za-z0-9_=+-][A-Za-z0-9_=+.-]*", variant):
        raise InputError(
            f"a variant's name is made of letters, digits and any of _=+.-, got {variant!r}"
        )
    return paths.results(profile(profile_name).name) / (
        f"{name}.{variant}.csv" if variant else f"{name}.csv"
    )


def write_table(name: str, profile_name: str, frame: pd.DataFrame, variant: str = "") -> Path:
    """Write the CSV whole and atomically; return where. Changed settings need a variant: the plain table stays."""
    target = table_path(name, profile_name, variant)
    settings = {*frame.get("settings", pd.Series(dtype="str"))} - {""}
    if settings and not variant:
        raise InputError(
            f"{name} was run with changed settings ({settings.pop()}): give it a variant name, "
            f"so that {target} is not overwritten"
        )
    write_atomic(
        target, lambda temporary: frame.to_csv(temporary, index=False, lineterminator="\n")
    )
    return target


def read_table(name: str, profile_name: str, variant: str = "") -> pd.DataFrame:
    """The table as it was written; MissingError, with the command that makes it, if there is none."""
    path = table_path(name, profile_name, variant)
    if not path.is_file():
        target = DERIVED.get(name, name)
        raise MissingError(
            f"no {name}{variant and f' ({variant})'} for profile {profile_name}: {path} is not there; "
            f"run: make {target} PROFILE={profile_name}"
        )
    return with_types(pd.read_csv(path, keep_default_na=False, na_values=[""]))


def read_all(profile_name: str, tables: str = "1,2,3,4,5") -> dict[str, pd.DataFrame]:
    """The named tables by name ("table2"), what is derived beside them; EXTRAS where they were made.

    tables: comma-separated numbers or names. MissingError names all that are not there.
    """
    parts = [part.strip() for part in tables.split(",") if part.strip()]
    names = [table(part if part.startswith("table") else f"table{part}").name for part in parts]
    names += [name for name, target in DERIVED.items() if target in names]
    absent = [name for name in names if not table_path(name, profile_name).is_file()]
    if absent:
        raise MissingError(
            f"no {', '.join(absent)} for profile {profile_name} in {paths.results(profile_name)}; "
            f"run: make tables PROFILE={profile_name}"
        )
    names += [name for name in EXTRAS if table_path(name, profile_name).is_file()]
    return {name: read_table(name, profile_name) for name in names}


# Table 1


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
            shares = _shares(predicted[:, chosen]), _label_draws(predicted[:, chosen], group.task)
            rows += _label_rows([group], group.task, gold, *shares, int(np.count_nonzero(chosen)))
            totals += [shares] if gold == "all" else []
    scores, draws = (np.mean(values, axis=0) for values in zip(*totals, strict=True))
    size = float(np.mean([len(group.labels) for group in members]))
    return table_frame(
        rows + _label_rows(members, "Avg", "all", scores, draws, size), ("gold", "count")
    )


def assigned(group: Group, rule: str) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """PTP labels (seeds, n) of a group of Table 1's cells under a rule of D1, and each seed's own (t1, t2)."""
    cuts = [
        ptp_labels.thresholds(rule, task(group.task), logits, group.labels)
        for logits in group.logits
    ]
    predicted = [
        ptp_labels.labels(one, group.labels, cut)
        for one, cut in zip(group.logits, cuts, strict=True)
    ]
    return np.stack(predicted), cuts


def gold_classes(group: Group) -> dict[str, np.ndarray]:
    """Which examples (n,) belong to each gold class; to "all", every one. A class without examples is left out."""
    named = {name: group.labels == k for k, name in enumerate(task(group.task).labels)}
    return {"all": np.ones(len(group.labels), bool)} | {
        name: mask for name, mask in named.items() if mask.any()
    }


def _shares(predicted: np.ndarray) -> np.ndarray:
    """Shares (seeds, labels) in percent of PTP labels (seeds, n)."""
    return 100.0 * (predicted[..., None] == np.arange(len(ptp_labels.LABELS))).mean(axis=1)


def _label_draws(predicted: np.ndarray, name: str) -> np.ndarray:
    return stats.bootstrap_shares(
        len(ptp_labels.LABELS), predicted, generator(name)
    )  # (draws, labels)


def _label_rows(
    members: list[Group], name: str, gold: str, scores: np.ndarray, draws: np.ndarray, size: float
) -> list[dict[str, Any]]:
    """One row per PTP label. scores: (seeds, labels), draws: (draws, labels), both in percent; size: examples."""
    said = origin(members) | {"task": name, "metric": "share", "gold": gold}
    return [
        said
        | {"method": label, "count": round(scores[:, k].mean() * size / 100, DIGITS)}
        | summary(scores[:, k], draws[:, k])
        for k, label in enumerate(ptp_labels.LABELS)
    ]


def threshold_sweep(cells: list[Cell]) -> pd.DataFrame:
    """Share of each PTP label in the training data for one threshold t of 0.51 .. 0.99, mean over seeds.

    Columns task, t, label, share (percent): written as results/<profile>/thresholds.csv.
    """
    rows = [
        {"task": name, "t": cut, "label": label, "share": round(share, DIGITS)}
        for (_, name), group in groups(cells).items()
        for cut, shares in zip(GRID.tolist(), _sweep(group), strict=True)
        for label, share in zip(ptp_labels.LABELS, shares.tolist(), strict=True)
    ]
    return with_types(pd.DataFrame(rows))


def _sweep(group: Group) -> np.ndarray:
    """Shares (thresholds, labels) in percent, mean over seeds, by counting the confidences above each threshold."""
    shares = np.zeros((len(GRID), len(ptp_labels.LABELS)))
    for logits in group.logits:
        sure, right = ptp_labels.confidence(logits), logits.argmax(axis=1) == group.labels
        for first, mask in ((0, right), (2, ~right)):
            above = mask.sum() - np.searchsorted(np.sort(sure[mask]), GRID, side="right")
            shares[:, first] += above
            shares[:, first + 1] += mask.sum() - above
    return 100.0 * shares / (len(group.labels) * len(group.logits))
