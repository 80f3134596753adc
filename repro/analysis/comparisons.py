"""Paired comparisons of two methods on the same examples and seeds, with one test each."""

from typing import Any

import pandas as pd

from repro.analysis.groups import Group, changed_settings, computed, groups
from repro.analysis.inference import Estimate, combine, detectable, difference, holm, verdict
from repro.analysis.tables import with_types
from repro.config import printed
from repro.config.cells import Cell
from repro.config.printed import DIGITS
from repro.config.profiles import profile
from repro.config.tables import table
from repro.config.tasks import TASKS

COLUMNS = tuple(
    "table method against compared_by task metric difference ci_low ci_high seeds examples p "
    "p_holm verdict detectable paper profile data recipe settings computed".split()
)


def of(cells: list[Cell]) -> pd.DataFrame:
    """Compare the pairs of methods that the table declares: one row per task, then the average.

    Args:
        cells: A whole plan.

    Returns:
        COLUMNS; no row for a table without pairs.
        compared_by: "paper", or "us" for a pair that the paper does not compare. difference: method
        minus against, mean over seeds, in points, with its 95 % interval over seeds and examples
        and p (`inference`). p_holm: p adjusted over all rows of the table; verdict follows from it.
        detectable: the minimum detectable difference at 80 % power. paper: the difference of the
        printed scores. computed: code, versions and precision of both methods' cells.

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
    for row, p_holm in zip(rows, holm([row["p"] for row in rows]).tolist(), strict=True):
        row["p_holm"] = p_holm
        row["verdict"] = verdict(row["difference"], row["p"], p_holm, row["seeds"])
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
