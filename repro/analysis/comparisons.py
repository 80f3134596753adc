"""Paired comparisons: of two methods, and of a changed table with the plain one."""

import math
from typing import Any

import numpy as np
import pandas as pd

from repro.analysis.groups import Group, changed_settings, computed, groups
from repro.analysis.inference import Estimate, combine, detectable, difference, holm, verdict
from repro.analysis.tables import with_types
from repro.config import printed
from repro.config.cells import Cell, plan
from repro.config.printed import DIGITS
from repro.config.profiles import profile
from repro.config.tables import table
from repro.config.tasks import TASKS
from repro.runs import results

COLUMNS = tuple(
    "table method against compared_by task metric difference ci_low ci_high seeds examples p "
    "p_holm verdict detectable paper profile data recipe settings computed".split()
)
CHANGE_COLUMNS = tuple("method task plain changed difference ci_low ci_high seeds".split())


def of(cells: list[Cell]) -> pd.DataFrame:
    """Compare the pairs of methods that the table declares: one row per task, then the average.

    Args:
        cells: A whole plan.

    Returns:
        COLUMNS; no row for a table without pairs.
        compared_by: "paper", or "us" for a pair that the paper does not compare. difference: method
        minus against, mean over seeds, in points, with its 95 % interval over seeds and examples
        and p (`inference`). p_holm: p adjusted over all comparisons of the table; verdict follows
        from it. detectable: the minimum detectable difference at 80 % power. paper: the difference
        of the printed scores. computed: code, versions and precision of both methods' cells.

    Raises:
        MissingError, InputError: As `groups.groups`.
    """
    rows: list[dict[str, Any]] = []
    pairs = table(cells[0].table).pairs
    compared = [cell for cell in cells if any(cell.row in pair for pair in pairs)]
    by_key = groups(compared) if pairs else {}
    for method, against in pairs:
        by_task = gains(by_key, method, against)
        both = [(by_key[method, name], by_key[against, name]) for name in by_task]
        for pair, (name, gain) in zip(both, by_task.items(), strict=True):
            rows.append(_row(name, [pair], gain))
        rows.append(_row("Avg", both, combine(list(by_task.values()))))
    # with one task an average repeats the row before it, and is not a comparison of its own
    one_task = len({cell.task for cell in compared}) == 1
    repeated = [one_task and row["task"] == "Avg" for row in rows]
    tested = [math.nan if again else row["p"] for row, again in zip(rows, repeated, strict=True)]
    adjusted = holm(tested).tolist()
    for number, row in enumerate(rows):
        row["p_holm"] = adjusted[number - repeated[number]]
        row["verdict"] = verdict(row["difference"], row["p"], row["p_holm"], row["seeds"])
    return with_types(pd.DataFrame(rows, columns=list(COLUMNS))).round(DIGITS)


def gains(by_key: dict[tuple[str, str], Group], method: str, against: str) -> dict[str, Estimate]:
    """The difference of two rows on each task, in the order of TASKS.

    Args:
        by_key: As `groups.groups` returns them; both rows have the same tasks.
        method, against: The rows; the difference is method minus against.
    """
    return {
        name: difference(by_key[against, name].example_scores, by_key[method, name].example_scores)
        for name in TASKS
        if (method, name) in by_key
    }


def _row(name: str, pairs: list[tuple[Group, Group]], gain: Estimate) -> dict[str, Any]:
    """The columns of one task, or of the average ("Avg") over the tasks of the pairs (new, old)."""
    new, old = pairs[0]
    cell, members = new.cells[0], [group for pair in pairs for group in pair]
    names = [group.task for group, _ in pairs]
    columns, metric = printed.average(names) if name == "Avg" else printed.column(name)
    ours = (new.row, old.row) in table(cell.table).our_pairs
    return {
        "table": cell.table,
        "method": new.row,
        "against": old.row,
        "compared_by": "us" if ours else "paper",
        "task": name,
        "metric": metric,
        "difference": gain.estimate,
        "ci_low": gain.low,
        "ci_high": gain.high,
        "seeds": gain.seeds,
        "examples": gain.examples,
        "p": gain.p,
        "detectable": detectable(gain),
        "paper": printed.difference(cell.table, new.row, old.row, columns),
        "profile": cell.profile,
        "data": profile(cell.profile).data,
        "recipe": cell.recipe.name,
        "settings": changed_settings(cell),
        "computed": computed(members),
    }


def plain_cells(cells: list[Cell]) -> list[Cell]:
    """The cells of the same table, tasks and seeds with the authors' recipe and no changes.

    Args:
        cells: A whole plan.
    """
    first, names = cells[0], dict.fromkeys(cell.task for cell in cells)
    seeds = len({cell.seed for cell in cells})
    return plan(first.table, first.profile, ",".join(names), seeds)


def is_changed(cells: list[Cell]) -> bool:
    """Whether a plan differs from the plain one."""
    return {cell.id for cell in cells} != {cell.id for cell in plain_cells(cells)}


def all_done(cells: list[Cell]) -> bool:
    """Whether all cells have results."""
    return all(results.done(cell) for cell in cells)


def compare_with_plain(cells: list[Cell]) -> pd.DataFrame:
    """Compare each row of a changed table with the same row of the plain table.

    Args:
        cells: A whole plan with a changed recipe or setting, of Tables 2 to 5.

    Returns:
        CHANGE_COLUMNS, one row per method and task, and for several tasks their average ("Avg").
        difference: changed minus plain, in points, with its 95 % interval; NaN if the change
        affects which examples are scored, so that there is nothing to pair.

    Raises:
        MissingError: If a cell, changed or plain, has no result.
    """
    changed, plain = groups(cells), groups(plain_cells(cells))
    rows: list[dict[str, Any]] = []
    for method in (row.name for row in table(cells[0].table).rows):
        pairs = {key[1]: (plain[key], changed[key]) for key in changed if key[0] == method}
        gains = [_change(*pair) for pair in pairs.values()]
        scores = [[group.scores.mean() for group in pair] for pair in pairs.values()]
        seeds = len(next(iter(pairs.values()))[1].cells) if pairs else 0
        names = list(pairs)
        if len(names) > 1:
            paired = [gain for gain in gains if gain]
            gains.append(combine(paired) if len(paired) == len(names) else None)
            scores.append(list(np.mean(scores, axis=0)))
            names.append("Avg")
        for name, means, gain in zip(names, scores, gains, strict=True):
            interval = (gain.estimate, gain.low, gain.high) if gain else (np.nan,) * 3
            rows.append(
                dict(zip(CHANGE_COLUMNS, (method, name, *means, *interval, seeds), strict=True))
            )
    return pd.DataFrame(rows, columns=list(CHANGE_COLUMNS))


def _change(plain: Group, changed: Group) -> Estimate | None:
    """None if the two were scored on different examples."""
    if not np.array_equal(plain.labels, changed.labels):
        return None
    return difference(plain.example_scores, changed.example_scores)
