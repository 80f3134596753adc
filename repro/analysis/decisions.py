"""The headline difference under every decision D1 to D21 flipped, one at a time. No torch here."""

from dataclasses import fields
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from repro.analysis import comparisons, stats
from repro.analysis.comparisons import Pair
from repro.analysis.rows import with_types
from repro.config import cells as experiments
from repro.config.cells import Cell
from repro.config.printed import DIGITS
from repro.config.recipe import Recipe, parse

TABLE, METHOD, AGAINST = (
    "table2",
    "PeaBERT3",
    "BERT3-PatientKD",
)  # the headline: the paper's largest students
NO_CELL = (
    "seeds",
    "parameter_count",
)  # D14 and D17 change how cells are averaged and shown, not the cells
COLUMNS = (
    "decision",
    "option",
    "value",
    "recipe",
    "acts",
    "task",
    "difference",
    "ci_low",
    "ci_high",
    "change",
    "change_low",
    "change_high",
    "seeds",
    "profile",
    "data",
)


def flips(base: str = "authors") -> list[tuple[str, str, str]]:
    """(decision, option, recipe) of the base itself, named "none", and of every other value of every option."""
    reading = parse(base)
    others = [
        (entry.metadata["decision"], entry.name, f"{base}+{entry.name}={value}")
        for entry in fields(Recipe)
        if entry.name not in NO_CELL
        for value in entry.metadata["options"]
        if value != getattr(reading, entry.name)
    ]
    return [("", "none", base), *others]


def plan(
    profile: str = "demo", tasks: str = "", seeds: int = 1, base: str = "authors"
) -> dict[str, list[Cell]]:
    """The cells of both methods under every flip, by recipe, the base first. Arguments as `experiments.plan`."""
    return {
        recipe: [
            cell
            for cell in experiments.plan(TABLE, profile, tasks, seeds, recipe)
            if cell.row in (METHOD, AGAINST)
        ]
        for _, _, recipe in flips(base)
    }


def all_cells(plans: dict[str, list[Cell]]) -> list[Cell]:
    """Every cell of `plan`, for the engine."""
    return list(chain.from_iterable(plans.values()))


def of(plans: dict[str, list[Cell]]) -> pd.DataFrame:
    """One row per flip and task, and its average. See COLUMNS; differences in points.

    difference: PeaBERT3 minus BERT3-PatientKD with its 95 % bootstrap interval. change: that difference minus the
    base's, with the interval of the same resampled examples and seeds. acts: whether the flip changes any training of
    these two methods (by the stages' hashes); one that does not has change 0. Raises as `rows.groups`.
    """
    base, *_ = plans
    pairs = {
        recipe: comparisons.pairs_of(cells, METHOD, AGAINST) for recipe, cells in plans.items()
    }
    rows = [
        {
            "decision": decision,
            "option": option,
            "value": recipe.rpartition("=")[2] if option != "none" else "",
        }
        | {
            "recipe": recipe,
            "acts": "yes" if _stages(pairs[recipe]) != _stages(pairs[base]) else "no",
        }
        | row
        for decision, option, recipe in flips(base)
        for row in _differences(pairs[recipe], pairs[base])
    ]
    return with_types(pd.DataFrame(rows, columns=list(COLUMNS)))


def _stages(pairs: list[Pair]) -> list[dict[str, str]]:
    """The hashes of every stage behind the pairs."""
    return [
        result["stages"]
        for pair in pairs
        for group in (pair.method, pair.against)
        for result in group.results
    ]


def _differences(pairs: list[Pair], base: list[Pair]) -> list[dict[str, Any]]:
    single = [
        _row([pair], [other], pair.method.task) for pair, other in zip(pairs, base, strict=True)
    ]
    return [*single, _row(pairs, base, "Avg")]


def _row(pairs: list[Pair], base: list[Pair], name: str) -> dict[str, Any]:
    draws, before = (np.mean([pair.draws for pair in chosen], axis=0) for chosen in (pairs, base))
    mean, mean_before = (np.mean([pair.by_seed for pair in chosen]) for chosen in (pairs, base))
    values = (mean, *stats.interval(draws), mean - mean_before, *stats.interval(draws - before))
    names = ("difference", "ci_low", "ci_high", "change", "change_low", "change_high")
    numbers = {key: round(float(value), DIGITS) for key, value in zip(names, values, strict=True)}
    return {"task": name, "seeds": len(pairs[0].by_seed)} | comparisons.source(pairs[0]) | numbers


def acting(frame: pd.DataFrame) -> pd.Series:
    """Which rows are the base's, or of a flip that changes a training."""
    return (frame["acts"] == "yes") | (frame["option"] == "none")


def view(frame: pd.DataFrame) -> pd.DataFrame:
    """Flips by tasks: "difference [95 % interval]" in points; the change on average; a flip that does not act: "–"."""
    spans = [
        f"{row['difference']:+.1f} [{row['ci_low']:+.1f}, {row['ci_high']:+.1f}]"
        for row in frame.to_dict("records")
    ]
    named = frame.assign(value=np.where(acting(frame), spans, "–"))
    wide = named.pivot(index="recipe", columns="task", values="value")
    return wide.reindex(
        index=list(dict.fromkeys(frame["recipe"])), columns=list(dict.fromkeys(frame["task"]))
    )
