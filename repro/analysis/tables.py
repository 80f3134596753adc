"""Tables 1 to 5 from finished cells, beside the paper's numbers, and all CSV files."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from repro import paths
from repro.analysis import sidecar
from repro.analysis.groups import Group, groups, make_options, origin
from repro.analysis.inference import Estimate, combine, mean_score
from repro.config import printed
from repro.config.cells import Cell
from repro.config.printed import DIGITS
from repro.config.profiles import profile
from repro.config.tables import TABLES, Row, table
from repro.config.tasks import TASKS, task
from repro.data import ptp_labels
from repro.errors import InputError, MissingError, one_of
from repro.files import write_atomic

COLUMNS = tuple(
    "table method layers parameters task metric split mean sd seeds ci_low ci_high paper delta "
    "backbone data recipe".split()
)
MORE_COLUMNS = tuple(
    "last one_class parameters_full effective_layers precision checkpoint profile settings "
    "computed".split()
)
_WHOLE_NUMBERS = set(
    "layers seed seeds pairs examples parameters parameters_full effective_layers one_class "
    "trained training_flops".split()
)
_NUMBERS = set(
    "mean sd ci_low ci_high paper delta count t share difference p p_holm last detectable "
    "change change_low change_high "
    "printed recomputed ours t1 t2 before after agreement agreement_low agreement_high chance "
    "kappa constant training_seconds megabytes latency_ms throughput".split()
)
OF_THE_PAPER = [name for name in TABLES if name.removeprefix("table").isdigit()]
PRINTED = "as printed"  # the backbone, data and recipe of a row that is copied from the paper

# CSV files beside the tables, and the make target that writes each
DERIVED = {"thresholds": "table1", "decisions": "decisions", "mrpc_test": "mrpc"}
DERIVED |= dict.fromkeys(("ptp_labels", "ptp_difficulty", "ptp_agreement"), "ptp")
DERIVED |= {entry.comparisons: name for name, entry in TABLES.items() if entry.pairs}
DERIVED |= {entry.costs: name for name, entry in TABLES.items() if entry.costs}
LEDGER = "ledger"  # made from the cells of several tables
TARGETS = DERIVED | {LEDGER: "claims"}
EXTRAS = ("decisions", LEDGER, "ptp_labels", "ptp_difficulty")  # reported if they are there

THRESHOLDS = np.arange(51, 100) / 100  # of `threshold_sweep`


def table_frame(rows: list[dict[str, Any]], extra: tuple[str, ...] = ()) -> pd.DataFrame:
    """A frame with COLUMNS, MORE_COLUMNS and the extra columns, in order and with their types."""
    return with_types(pd.DataFrame(rows, columns=[*COLUMNS, *MORE_COLUMNS, *extra]))


def with_types(frame: pd.DataFrame) -> pd.DataFrame:
    """The same values with the types of the columns: whole numbers, numbers, text."""
    types = {
        name: "Int64" if name in _WHOLE_NUMBERS else "float64" if name in _NUMBERS else "str"
        for name in frame
    }
    text = [name for name in types if types[name] == "str"]
    return frame.astype(dict.fromkeys(text, object)).fillna(dict.fromkeys(text, "")).astype(types)


def summary(scores: np.ndarray, estimate: Estimate) -> dict[str, Any]:
    """The columns mean, sd, ci_low, ci_high and seeds, rounded as they are stored.

    Args:
        scores: (seeds,), in percent; sd is their sample standard deviation, NaN for one seed.
        estimate: Of the mean score, with its interval.
    """
    sd = float(scores.std(ddof=1)) if len(scores) > 1 else float("nan")
    values = {"mean": float(scores.mean()), "sd": sd}
    values |= {"ci_low": estimate.low, "ci_high": estimate.high}
    return {name: round(value, DIGITS) for name, value in values.items()} | {"seeds": len(scores)}


# Tables 2 to 5


def aggregate(cells: list[Cell]) -> pd.DataFrame:
    """Tables 2 to 5: one row per method and task, and their average, in the order of the paper.

    Args:
        cells: A whole plan (`config.cells.plan`).

    Returns:
        COLUMNS, then MORE_COLUMNS. Scores in percent, rounded to four decimals; ci_low and ci_high
        are the 95 % interval of `inference`, over seeds and dev examples.

    Raises:
        InputError: The cells are of Table 1, or of no whole plan.
        MissingError: As `groups.groups`.
    """
    if not cells or cells[0].table == "table1":
        raise InputError(
            "aggregate needs at least one cell of tables 2 to 5; table 1 is made by tables.table1"
        )
    by_key = groups(cells)
    tasks = [name for name in TASKS if name in {group.task for group in by_key.values()}]
    rows: list[dict[str, Any]] = []
    for row in table(cells[0].table).rows:
        if row.method.kind == "printed":
            rows += _printed_rows(row, cells[0], tasks)
            continue
        missing = [name for name in tasks if (row.name, name) not in by_key]
        if missing:
            raise InputError(
                f"no cell of {row.name} on {', '.join(missing)} among those given; "
                "use the cells of one whole plan"
            )
        rows += _scored_rows([by_key[row.name, name] for name in tasks])
    return table_frame(rows)


def _scored_rows(members: list[Group]) -> list[dict[str, Any]]:
    """The rows of one method: each task, then the average over tasks."""
    estimates = [mean_score(group.example_scores) for group in members]
    rows = [
        _beside_paper(
            origin([group]) | summary(group.scores, estimate) | {"task": group.task},
            *printed.column(group.task),
        )
        for group, estimate in zip(members, estimates, strict=True)
    ]
    scores = np.mean([group.scores for group in members], axis=0)  # (seeds,)
    average = origin(members) | summary(scores, combine(estimates)) | {"task": "Avg"}
    return [*rows, _beside_paper(average, *printed.average([group.task for group in members]))]


def _printed_rows(row: Row, cell: Cell, tasks: list[str]) -> list[dict[str, Any]]:
    """The rows of a method that the paper copies from elsewhere: its printed number, no mean."""
    common = {
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
    rows = [_beside_paper(common | {"task": name}, *printed.column(name)) for name in tasks]
    return [*rows, _beside_paper(common | {"task": "Avg"}, *printed.average(tasks))]


def _beside_paper(row: dict[str, Any], columns: list[str], metric: str) -> dict[str, Any]:
    """The row with the mean of these printed columns, and the difference to it."""
    value = printed.paper(row["table"], row["method"], columns)
    delta = round(row["mean"] - value, DIGITS) if "mean" in row else None
    return row | {"metric": metric, "paper": value, "delta": delta}


# Table 1


def table1(cells: list[Cell]) -> pd.DataFrame:
    """Table 1: one row per task, gold class ("all": every example) and PTP label, then the average.

    Args:
        cells: A whole plan of Table 1.

    Returns:
        The columns of `aggregate`, and `gold` and `count` (examples, mean over seeds). Mean, sd and
        interval are of the label's share among the examples of the gold class, in percent. The
        paper prints no counts to compare with.
    """
    members = list(groups(cells).values())
    rows: list[dict[str, Any]] = []
    for group in members:
        labels, _ = assigned(group, group.cells[0].recipe.ptp_thresholds)
        for gold, mask in gold_classes(group).items():
            common = origin([group]) | {"task": group.task, "gold": gold, "metric": "share"}
            for k, label in enumerate(ptp_labels.LABELS):
                has_label = 100.0 * (labels[:, mask] == k)  # (seeds, examples of the class)
                rows.append(common | _share([has_label]) | {"method": label})
    # ... and the average over tasks, of the rows "all"
    of_tasks = [assigned(group, group.cells[0].recipe.ptp_thresholds)[0] for group in members]
    common = origin(members) | {"task": "Avg", "gold": "all", "metric": "share"}
    for k, label in enumerate(ptp_labels.LABELS):
        has_label_by_task = [100.0 * (labels == k) for labels in of_tasks]
        rows.append(common | _share(has_label_by_task) | {"method": label})
    return table_frame(rows, ("gold", "count"))


def _share(has_label: list[np.ndarray]) -> dict[str, Any]:
    """The columns of one PTP label. has_label: of each task, (seeds, examples), 0 or 100."""
    shares = np.mean([part.mean(axis=1) for part in has_label], axis=0)  # (seeds,)
    counts = [part.sum(axis=1).mean() / 100 for part in has_label]  # tasks differ in size
    count = round(float(np.mean(counts)), DIGITS)
    return summary(shares, combine([mean_score(part) for part in has_label])) | {"count": count}


def assigned(group: Group, rule: str) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """The PTP labels of a group of Table 1 under a threshold rule (decision D1).

    Returns:
        The labels (seeds, n), and the thresholds (t1, t2) of each seed.
    """
    cuts = [
        ptp_labels.thresholds(rule, task(group.task), logits, group.labels)
        for logits in group.logits
    ]
    labels = [
        ptp_labels.labels(logits, group.labels, cut)
        for logits, cut in zip(group.logits, cuts, strict=True)
    ]
    return np.stack(labels), cuts


def gold_classes(group: Group) -> dict[str, np.ndarray]:
    """The mask (n,) of the examples of each gold class that has any, and of "all" examples."""
    masks = {name: group.labels == k for k, name in enumerate(task(group.task).labels)}
    return {"all": np.ones(len(group.labels), bool)} | {
        name: mask for name, mask in masks.items() if mask.any()
    }


def threshold_sweep(cells: list[Cell]) -> pd.DataFrame:
    """The share of each PTP label in the training data if t1 = t2 = t, for t = 0.51 .. 0.99.

    Args:
        cells: A whole plan of Table 1.

    Returns:
        Columns task, t, label, share (percent, mean over seeds).
    """
    rows = []
    for group in groups(cells).values():
        counts = np.zeros((len(THRESHOLDS), len(ptp_labels.LABELS)))
        for logits in group.logits:
            confidence = ptp_labels.confidence(logits)
            correct = logits.argmax(axis=1) == group.labels
            for first, mask in ((0, correct), (2, ~correct)):  # labels: confident, unconfident
                below = np.searchsorted(np.sort(confidence[mask]), THRESHOLDS, side="right")
                counts[:, first] += mask.sum() - below
                counts[:, first + 1] += below
        shares = 100.0 * counts / (len(group.labels) * len(group.logits))
        rows += [
            {"task": group.task, "t": cut, "label": label, "share": round(share, DIGITS)}
            for cut, of_labels in zip(THRESHOLDS.tolist(), shares.tolist(), strict=True)
            for label, share in zip(ptp_labels.LABELS, of_labels, strict=True)
        ]
    return with_types(pd.DataFrame(rows))


# Files


def table_path(name: str, profile_name: str, variant: str = "") -> Path:
    """results/<profile>/<name>.csv, or <name>.<variant>.csv for a run with changed settings.

    Args:
        name: A table, a file of DERIVED, or LEDGER.
        profile_name: A profile.
        variant: See `config.cells.variant`.
    """
    if name not in (known := [*TABLES, *DERIVED, LEDGER]):
        raise one_of("table", name, known)
    if variant and not re.fullmatch(r"[A-Za-z0-9_=+-][A-Za-z0-9_=+.-]*", variant):
        raise InputError(f"a variant has letters, digits and any of _=+.- only, got {variant!r}")
    file_name = f"{name}.{variant}.csv" if variant else f"{name}.csv"
    return paths.results(profile(profile_name).name) / file_name


def write_table(
    name: str,
    profile_name: str,
    frame: pd.DataFrame,
    cells: list[Cell] | None = None,
    variant: str = "",
) -> Path:
    """Write a CSV and, beside it, the .run.json that says what it was made from; both atomically.

    Args:
        name: See `table_path`.
        profile_name: The profile of the cells.
        frame: The content.
        cells: The whole plan that `frame` was made from; none for LEDGER.
        variant: Required for another recipe than the authors' and for changed settings, so that
            the plain table is not overwritten.

    Returns:
        The path of the CSV.
    """
    target = table_path(name, profile_name, variant)
    if name != LEDGER:
        if not cells:
            raise InputError(f"{name} needs the cells that it was made from, got none")
        target = sidecar.target(target, cells)  # a table with more seeds or tasks is kept
        sidecar.write(target, cells)  # first, so that every CSV has one
    write_atomic(
        target, lambda temporary: frame.to_csv(temporary, index=False, lineterminator="\n")
    )
    return target


def read_table(name: str, profile_name: str, variant: str = "") -> pd.DataFrame:
    """Read a CSV; MissingError, with the command that makes it, if it is missing."""
    path = table_path(name, profile_name, variant)
    if not path.is_file():
        raise MissingError(
            f"no {name}{variant and f' ({variant})'} for profile {profile_name}: "
            f"{path} is missing; run: make {TARGETS.get(name, name)} "
            f"{make_options(profile_name, variant)}"
        )
    return with_types(pd.read_csv(path, keep_default_na=False, na_values=[""]))


def read_all(
    profile_name: str, tables: str = "1,2,3,4,5", variant: str = ""
) -> dict[str, pd.DataFrame]:
    """Read the CSVs of a report, by name: tables, the files of DERIVED made with them, EXTRAS.

    Args:
        profile_name: A profile.
        tables: Comma-separated numbers or names of the paper's tables.
        variant: Of all of them; "textbook" for those of the textbook recipe.

    Raises:
        InputError: If one is no table of the paper.
        MissingError: A table or a file made with it is missing; the message names all of them.
    """
    parts = [part.strip() for part in tables.split(",") if part.strip()]
    names = list(dict.fromkeys(f"table{part}" if part.isdigit() else part for part in parts))
    for name in names:
        if name not in OF_THE_PAPER:
            raise one_of("table of the report", name, OF_THE_PAPER)
    names += [name for name, target in DERIVED.items() if target in names]
    missing = [name for name in names if not table_path(name, profile_name, variant).is_file()]
    if missing:
        targets = " ".join(dict.fromkeys(TARGETS.get(name, name) for name in missing))
        raise MissingError(
            f"no {', '.join(missing)} for profile {profile_name} in {paths.results(profile_name)}; "
            f"run: make {targets} {make_options(profile_name, variant)}"
        )
    names += [name for name in EXTRAS if table_path(name, profile_name, variant).is_file()]
    return {name: read_table(name, profile_name, variant) for name in names}
