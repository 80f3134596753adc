"""Paired comparisons of two methods on the same examples and seeds, with tests."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from repro.analysis import stats
from repro.analysis.groups import Group, changed_settings, generator, groups
from repro.analysis.tables import with_types
from repro.config import printed
from repro.config.cells import Cell
from repro.config.printed import DIGITS
from repro.config.profiles import profile
from repro.config.tables import table
from repro.config.tasks import TASKS
from repro.data import metrics

COLUMNS = tuple(
    "table method against task metric difference ci_low ci_high seeds examples mcnemar "
    "p_permutation p_seeds p_holm improvement improvement_low improvement_high detectable paper "
    "profile data recipe settings".split()
)


@dataclass(frozen=True)
class Pair:
    """A method and the one it is compared with, on one task.

    All differences are method minus against, in points.

    Attributes:
        method: The cells of the method.
        against: The cells of the other method.
        by_seed: (seeds,), differences of the scores.
        draws: (draws,), bootstrap draws of the mean difference.
        improved: (draws,), bootstrap draws of the probability of improvement.
        null: (draws,), differences under exchanged predictions.
        mcnemar: (seeds,), exact p values.
    """

    method: Group
    against: Group
    by_seed: np.ndarray
    draws: np.ndarray
    improved: np.ndarray
    null: np.ndarray
    mcnemar: np.ndarray


def of(cells: list[Cell]) -> pd.DataFrame:
    """Compare the pairs of methods that the table declares: one row per task, then the average.

    Args:
        cells: A whole plan.

    Returns:
        COLUMNS; no row for a table without pairs.
        difference: mean over seeds, in points, with its 95 % bootstrap interval over seeds and
        examples. mcnemar: the exact p of each seed. p_permutation: paired permutation test over
        examples, all seeds together; p_holm: the same, adjusted for the number of tasks. p_seeds:
        exact sign flips over seeds (and tasks, for the average). improvement: the probability that
        a seed of the method scores higher than a seed of the other, with interval. detectable: the
        minimum detectable difference at 80 % power.

    Raises:
        MissingError, InputError: As `groups.groups`.
    """
    rows: list[dict[str, Any]] = []
    for method, against in table(cells[0].table).pairs:
        pairs = pairs_of(cells, method, against)
        by_task = [_row([pair]) for pair in pairs]
        adjusted = stats.holm(np.array([row["p_permutation"] for row in by_task]))
        rows += [row | {"p_holm": _rounded(p)} for row, p in zip(by_task, adjusted, strict=True)]
        rows.append(_row(pairs, "Avg"))
    return with_types(pd.DataFrame(rows, columns=list(COLUMNS)))


def pairs_of(cells: list[Cell], method: str, against: str) -> list[Pair]:
    """Compare two methods on each task, in the order of the GLUE tasks.

    Args:
        cells: The cells of both methods, or a whole plan.
        method: A row.
        against: The row it is compared with.
    """
    by_key = groups([cell for cell in cells if cell.row in (method, against)])
    return [
        _pair(by_key[method, name], by_key[against, name])
        for name in TASKS
        if (method, name) in by_key
    ]


def _pair(method: Group, against: Group) -> Pair:
    metric, labels = metrics.METRICS[method.metric], method.labels
    first, second, rng = against.predicted, method.predicted, generator(method.task)
    draws, improved = stats.bootstrap_pairs(metric, labels, first, second, rng)
    null = stats.permuted_pairs(metric, labels, first, second, rng)
    mcnemar = stats.mcnemar_p(labels, first, second)
    return Pair(method, against, method.scores - against.scores, draws, improved, null, mcnemar)


def _row(pairs: list[Pair], name: str = "") -> dict[str, Any]:
    """The columns of one task, or of the average (`name`) of the tasks' independent draws."""
    cell, against = pairs[0].method.cells[0], pairs[0].against.row
    by_seed = np.stack([pair.by_seed for pair in pairs])  # (tasks, seeds)
    draws, null, improved = (
        np.mean([getattr(pair, key) for pair in pairs], axis=0)
        for key in ("draws", "null", "improved")
    )
    if name:
        columns, metric = printed.average([pair.method.task for pair in pairs])
    else:
        columns, metric = printed.column(cell.task)
    low, high = stats.interval(draws)
    improvement_low, improvement_high = stats.interval(improved)
    improvement = [stats.improvement(pair.against.scores, pair.method.scores) for pair in pairs]
    numbers = {
        "difference": by_seed.mean(),
        "ci_low": low,
        "ci_high": high,
        "p_seeds": stats.sign_flip_p(by_seed),
        "p_permutation": stats.p_value(by_seed.mean(), null),
        "improvement": np.mean(improvement),
        "improvement_low": improvement_low,
        "improvement_high": improvement_high,
        "detectable": stats.detectable(draws),
        "paper": printed.difference(cell.table, cell.row, against, columns),
    }
    return {
        "table": cell.table,
        "method": cell.row,
        "against": against,
        "task": name or cell.task,
        "metric": metric,
        "seeds": by_seed.shape[1],
        "examples": sum(len(pair.method.labels) for pair in pairs),
        "mcnemar": "" if name else "; ".join(f"{p:.2g}" for p in pairs[0].mcnemar),
        "recipe": cell.recipe.name,
        "settings": changed_settings(cell),
        **source(pairs[0]),
        **{key: _rounded(value) for key, value in numbers.items()},
    }


def source(pair: Pair) -> dict[str, str]:
    """The columns profile and data."""
    name = pair.method.cells[0].profile
    return {"profile": name, "data": profile(name).data}


def _rounded(value: float) -> float:
    return round(float(value), DIGITS)
