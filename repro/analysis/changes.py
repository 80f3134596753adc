"""What a changed setting or recipe does to each row of a table, beside the plain table."""

from typing import Any

import numpy as np
import pandas as pd

from repro.analysis import inference
from repro.analysis.groups import Group, groups
from repro.config.cells import Cell, plan
from repro.config.tables import table
from repro.runs import results

COLUMNS = ("method", "task", "plain", "changed", "difference", "ci_low", "ci_high", "seeds")


def plain_cells(cells: list[Cell]) -> list[Cell]:
    """The cells of the same table, tasks and seeds with the authors' recipe and no changes.

    Args:
        cells: A whole plan.
    """
    first, names = cells[0], dict.fromkeys(cell.task for cell in cells)
    seeds = len({cell.seed for cell in cells})
    return plan(first.table, first.profile, ",".join(names), seeds)


def changed(cells: list[Cell]) -> bool:
    """Whether a plan differs from the plain one."""
    return {cell.id for cell in cells} != {cell.id for cell in plain_cells(cells)}


def finished(cells: list[Cell]) -> bool:
    """Whether all cells have results."""
    return all(results.done(cell) for cell in cells)


def of(cells: list[Cell]) -> pd.DataFrame:
    """Compare each row of a changed table with the same row of the plain table.

    Args:
        cells: A whole plan with a changed recipe or setting, of Tables 2 to 5.

    Returns:
        COLUMNS, one row per method and task, and for several tasks their average ("Avg").
        difference: changed minus plain, in points, with its 95 % interval; NaN if the change
        affects which examples are scored, so that there is nothing to pair.

    Raises:
        MissingError: If a cell, changed or plain, has no result.
    """
    after, before = groups(cells), groups(plain_cells(cells))
    rows: list[dict[str, Any]] = []
    names = [row.name for row in table(cells[0].table).rows]
    for name in names:
        keys = [key for key in after if key[0] == name]
        estimates = [_difference(before[key], after[key]) for key in keys]
        scores = [(before[key].scores.mean(), after[key].scores.mean()) for key in keys]
        seeds = len(after[keys[0]].cells) if keys else 0
        rows += [
            _row(name, key[1], *pair, estimate, seeds)
            for key, pair, estimate in zip(keys, scores, estimates, strict=True)
        ]
        if len(keys) > 1:
            every = [estimate for estimate in estimates if estimate]
            average = inference.combine(every) if len(every) == len(keys) else None
            plain, now = np.mean(scores, axis=0)
            rows.append(_row(name, "Avg", plain, now, average, seeds))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _difference(before: Group, after: Group) -> inference.Estimate | None:
    """None if the two were scored on different examples."""
    if not np.array_equal(before.labels, after.labels):
        return None
    return inference.difference(before.example_scores, after.example_scores)


def _row(
    method: str,
    name: str,
    plain: float,
    now: float,
    estimate: inference.Estimate | None,
    seeds: int,
) -> dict[str, Any]:
    ends = (estimate.estimate, estimate.low, estimate.high) if estimate else (np.nan,) * 3
    return dict(zip(COLUMNS, (method, name, plain, now, *ends, seeds), strict=True))
