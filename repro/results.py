"""Rows of the paper's tables from finished cells, with the printed numbers beside them, and their CSV files."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from repro import metrics, paths, printed, stats
from repro.errors import InputError, MissingError, one_of
from repro.experiments import TABLES, Cell, Row, table
from repro.files import write_atomic
from repro.labels import table1, threshold_sweep
from repro.printed import DIGITS
from repro.profiles import profile
from repro.rows import PRINTED, Group, generator, groups, origin, summary, table_frame, with_types
from repro.tasks import TASKS, task
from repro.views import beside_paper, to_text

__all__ = ["aggregate", "beside_paper", "read_all", "read_table", "table1", "table_path", "threshold_sweep",
           "to_text", "write_table"]  # fmt: skip

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
        raise InputError("aggregate makes tables 2 to 5 from at least one cell; table 1 is made by results.table1")
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
        raise InputError(f"no cell of {row.name} on {name} among those given; use the cells of one whole plan")
    return found[row.name, name]


def _scored_rows(members: list[Group]) -> list[dict[str, Any]]:
    """The rows of one method: each task, then the average, whose interval averages the tasks' independent draws."""
    scores, draws = np.stack([group.scores for group in members]), np.stack([_draws(g) for g in members])
    named = [
        _beside(origin([group]) | summary(score, draw) | {"task": group.task}, *printed.column(group.task))
        for group, score, draw in zip(members, scores, draws, strict=True)
    ]
    values = origin(members) | summary(scores.mean(axis=0), draws.mean(axis=0)) | {"task": "Avg"}
    return [*named, _beside(values, *printed.average([group.task for group in members]))]


def _draws(group: Group) -> np.ndarray:
    metric = metrics.METRICS[task(group.task).metric]
    return stats.bootstrap_scores(metric, group.labels, group.logits.argmax(axis=2), generator(group.task))


def _beside(values: dict[str, Any], columns: list[str], metric: str) -> dict[str, Any]:
    """The row with the paper's number (the mean of the printed `columns`) and the difference to it."""
    value = printed.paper(values["table"], values["method"], columns)
    delta = round(values["mean"] - value, DIGITS) if "mean" in values else None
    return values | {"metric": metric, "paper": value, "delta": delta}


def _printed_rows(row: Row, cell: Cell, names: list[str]) -> list[dict[str, Any]]:
    """The rows of a method that is copied from the paper: no mean, the printed number."""
    said = {"table": cell.table, "method": row.name, "layers": row.layers, "seeds": 0, "profile": cell.profile,
            "parameters": printed.parameters(cell.table, row.name), "split": table(cell.table).paper_split,
            "backbone": PRINTED, "data": PRINTED, "recipe": PRINTED}  # fmt: skip
    rows = [_beside(said | {"task": name}, *printed.column(name)) for name in names]
    return [*rows, _beside(said | {"task": "Avg"}, *printed.average(names))]


def table_path(name: str, profile_name: str, variant: str = "") -> Path:
    """results/<profile>/<name>.csv, or <name>.<variant>.csv for a run with changed settings.

    name: a table's, of what is derived beside it (see DERIVED), or "ledger", made from the other CSVs.
    """
    if name not in [*TABLES, *DERIVED, "ledger"]:
        raise one_of("table", name, [*TABLES, *DERIVED, "ledger"])
    if variant and not re.fullmatch(r"[A-Za-z0-9_=+-][A-Za-z0-9_=+.-]*", variant):
        raise InputError(f"a variant's name is made of letters, digits and any of _=+.-, got {variant!r}")
    return paths.results(profile(profile_name).name) / (f"{name}.{variant}.csv" if variant else f"{name}.csv")


def write_table(name: str, profile_name: str, frame: pd.DataFrame, variant: str = "") -> Path:
    """Write the CSV whole and atomically; return where. Changed settings need a variant: the plain table stays."""
    target = table_path(name, profile_name, variant)
    settings = {*frame.get("settings", pd.Series(dtype="str"))} - {""}
    if settings and not variant:
        raise InputError(f"{name} was run with changed settings ({settings.pop()}): give it a variant name, "
                         f"so that {target} is not overwritten")  # fmt: skip
    write_atomic(target, lambda temporary: frame.to_csv(temporary, index=False, lineterminator="\n"))
    return target


def read_table(name: str, profile_name: str, variant: str = "") -> pd.DataFrame:
    """The table as it was written; MissingError, with the command that makes it, if there is none."""
    path = table_path(name, profile_name, variant)
    if not path.is_file():
        target = DERIVED.get(name, name)
        raise MissingError(f"no {name}{variant and f' ({variant})'} for profile {profile_name}: {path} is not there; "
                           f"run: make {target} PROFILE={profile_name}")  # fmt: skip
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
        raise MissingError(f"no {', '.join(absent)} for profile {profile_name} in {paths.results(profile_name)}; "
                           f"run: make tables PROFILE={profile_name}")  # fmt: skip
    names += [name for name in EXTRAS if table_path(name, profile_name).is_file()]
    return {name: read_table(name, profile_name) for name in names}
