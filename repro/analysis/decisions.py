"""The headline difference with each of the decisions D1 to D21 flipped, one at a time."""

from dataclasses import fields
from typing import Any

import numpy as np
import pandas as pd

from repro.analysis.groups import Group, groups
from repro.analysis.inference import combine, mean_difference
from repro.analysis.tables import with_types
from repro.config import cells as experiments
from repro.config.cells import Cell
from repro.config.printed import DIGITS
from repro.config.profiles import profile
from repro.config.recipe import Recipe, parse
from repro.config.tasks import TASKS

TABLE, METHOD, AGAINST = "table2", "PeaBERT3", "BERT3-PatientKD"  # the paper's largest students
NO_CELL = ("seeds", "parameter_count")  # D14 and D17 change how cells are averaged and shown
COLUMNS = tuple(
    "decision option value recipe acts task difference ci_low ci_high change change_low "
    "change_high seeds profile data".split()
)


def flips(base: str = "authors") -> list[tuple[str, str, str]]:
    """The base recipe, and every recipe with one other value of one option.

    Returns:
        (decision, option, recipe) of each; the base comes first, as ("", "none", base).
    """
    base_recipe = parse(base)
    flipped = [
        (entry.metadata["decision"], entry.name, f"{base}+{entry.name}={value}")
        for entry in fields(Recipe)
        if entry.name not in NO_CELL
        for value in entry.metadata["options"]
        if value != getattr(base_recipe, entry.name)
    ]
    return [("", "none", base), *flipped]


def plan(
    profile: str = "demo", tasks: str = "", seeds: int = 1, base: str = "authors"
) -> list[Cell]:
    """The cells of both methods under every recipe of `flips`, those of the base first.

    Arguments and errors as `config.cells.plan`.
    """
    return [
        cell
        for _, _, recipe in flips(base)
        for cell in experiments.plan(TABLE, profile, tasks, seeds, recipe)
        if cell.row in (METHOD, AGAINST)
    ]


def of(cells: list[Cell]) -> pd.DataFrame:
    """The difference of the two methods under every recipe: one row per flip and task, and average.

    Args:
        cells: A whole plan, as of `plan`.

    Returns:
        COLUMNS, differences in points. difference: METHOD minus AGAINST. change: that difference
        minus the base's. Both have 95 % intervals over seeds and examples. acts: whether the flip
        changes a training of the two methods (by the keys of their stages); a flip that does not
        has change 0.

    Raises:
        MissingError, InputError: As `groups.groups`.
    """
    base = cells[0].recipe.name
    pairs = {
        recipe: _pairs([cell for cell in cells if cell.recipe == parse(recipe)])
        for _, _, recipe in flips(base)
    }
    base_stages = _stages(pairs[base])
    rows = []
    for decision, option, recipe in flips(base):
        flip = {
            "decision": decision,
            "option": option,
            "value": recipe.rpartition("=")[2] if option != "none" else "",
            "recipe": recipe,
            "acts": "yes" if _stages(pairs[recipe]) != base_stages else "no",
        }
        for pair, before in zip(pairs[recipe], pairs[base], strict=True):
            rows.append(flip | _row([pair], [before], pair[0].task))
        rows.append(flip | _row(pairs[recipe], pairs[base], "Avg"))
    return with_types(pd.DataFrame(rows, columns=list(COLUMNS)))


def _pairs(cells: list[Cell]) -> list[tuple[Group, Group]]:
    """Both methods on each task."""
    by_key = groups(cells)
    return [
        (by_key[METHOD, name], by_key[AGAINST, name]) for name in TASKS if (METHOD, name) in by_key
    ]


def _stages(pairs: list[tuple[Group, Group]]) -> list[dict[str, str]]:
    """The keys of all stages that the pairs rest on."""
    return [result["stages"] for pair in pairs for group in pair for result in group.results]


def _row(
    pairs: list[tuple[Group, Group]], base: list[tuple[Group, Group]], name: str
) -> dict[str, Any]:
    """The columns of one task, or of the average over the tasks of the pairs."""
    gains, base_gains = (
        [new.example_scores - old.example_scores for new, old in side] for side in (pairs, base)
    )
    own = combine([mean_difference(gain) for gain in gains])
    change = combine(
        [mean_difference(gain - before) for gain, before in zip(gains, base_gains, strict=True)]
    )
    numbers = {
        "difference": own.estimate,
        "ci_low": own.low,
        "ci_high": own.high,
        "change": change.estimate,
        "change_low": change.low,
        "change_high": change.high,
    }
    rounded = {key: round(float(value), DIGITS) for key, value in numbers.items()}
    cell = pairs[0][0].cells[0]
    source = {"profile": cell.profile, "data": profile(cell.profile).data}
    return {"task": name, "seeds": own.seeds} | source | rounded


def acting(frame: pd.DataFrame) -> pd.Series:
    """Which rows are the base's, or of a flip that changes a training."""
    return (frame["acts"] == "yes") | (frame["option"] == "none")


def view(frame: pd.DataFrame) -> pd.DataFrame:
    """Recipes by tasks: "difference [95 % interval]" in points; "–" if a flip does not act."""
    texts = [
        f"{row['difference']:+.1f} [{row['ci_low']:+.1f}, {row['ci_high']:+.1f}]"
        for row in frame.to_dict("records")
    ]
    labelled = frame.assign(value=np.where(acting(frame), texts, "–"))
    wide = labelled.pivot(index="recipe", columns="task", values="value")
    return wide.reindex(
        index=list(dict.fromkeys(frame["recipe"])), columns=list(dict.fromkeys(frame["task"]))
    )
