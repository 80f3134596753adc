"""Two methods on the same examples and seeds: the differences that the paper claims, with tests. No torch here."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from repro.analysis import stats
from repro.analysis.rows import Group, changed, generator, groups, with_types
from repro.config import printed
from repro.config.cells import Cell
from repro.config.printed import DIGITS
from repro.config.profiles import profile
from repro.config.tables import table
from repro.config.tasks import TASKS, task
from repro.data import metrics

COLUMNS = (
    "table",
    "method",
    "against",
    "task",
    "metric",
    "difference",
    "ci_low",
    "ci_high",
    "seeds",
    "examples",
    "mcnemar",
    "p_permutation",
    "p_seeds",
    "p_holm",
    "improvement",
    "improvement_low",
    "improvement_high",
    "detectable",
    "paper",
    "profile",
    "data",
    "recipe",
    "settings",
)


@dataclass(frozen=True)
class Pair:
    """A method and the one it is compared with, on one task. All differences: method minus against, in points."""

    method: Group
    against: Group
    by_seed: np.ndarray  # (seeds,) differences of the scores
    draws: np.ndarray  # (draws,) bootstrap differences
    improved: np.ndarray  # (draws,) bootstrap probability of improvement
    null: np.ndarray  # (draws,) differences under exchanged predictions
    mcnemar: np.ndarray  # (seeds,) exact p


def of(cells: list[Cell]) -> pd.DataFrame:
    """One row per pair of methods that the table declares and task, then the average over tasks. See COLUMNS.

    cells: a whole plan. difference: points, mean over seeds, with its 95 % bootstrap interval over seeds and examples.
    mcnemar: exact p of each seed. p_permutation: paired permutation over examples, all seeds together; p_holm: it,
    adjusted for the tasks. p_seeds: exact sign flips over seeds (and tasks, in the average). improvement: chance that a
    seed of the method beats one of the other, with interval. detectable: smallest difference to be found with 80 %
    power. A table that declares no pair gives no row. Raises as `rows.groups`.
    """
    rows: list[dict[str, Any]] = []
    for method, against in table(cells[0].table).pairs:
        rows += _rows(pairs_of(cells, method, against))
    return with_types(pd.DataFrame(rows, columns=list(COLUMNS)))


def pairs_of(cells: list[Cell], method: str, against: str) -> list[Pair]:
    """The pair on each task, in GLUE's order. cells: those of both methods, or a whole plan."""
    found = groups([cell for cell in cells if cell.row in (method, against)])
    names = [name for name in TASKS if (method, name) in found]
    return [_pair(found[method, name], found[against, name]) for name in names]


def _pair(method: Group, against: Group) -> Pair:
    name = task(method.task).metric
    metric, labels, rng = metrics.METRICS[name], method.labels, generator(method.task)
    second, first = method.logits.argmax(axis=2), against.logits.argmax(axis=2)  # (seeds, n)
    draws, improved = stats.bootstrap_pairs(metric, labels, first, second, rng)
    return Pair(
        method,
        against,
        method.scores - against.scores,
        draws,
        improved,
        stats.permuted_pairs(metric, labels, first, second, rng),
        stats.mcnemar_p(labels, first, second),
    )


def _rows(pairs: list[Pair]) -> list[dict[str, Any]]:
    """The rows of one pair of methods: each task, then the average, which averages the tasks' independent draws."""
    single = [_row([pair]) for pair in pairs]
    adjusted = stats.holm(np.array([row["p_permutation"] for row in single]))
    single = [row | {"p_holm": _rounded(p)} for row, p in zip(single, adjusted, strict=True)]
    return [*single, _row(pairs, "Avg")]


def _row(pairs: list[Pair], name: str = "") -> dict[str, Any]:
    cell, by_seed = (
        pairs[0].method.cells[0],
        np.stack([pair.by_seed for pair in pairs]),
    )  # (tasks, seeds)
    columns, metric = (
        printed.average([pair.method.task for pair in pairs]) if name else printed.column(cell.task)
    )
    draws, null, improved = (
        np.mean([getattr(pair, key) for pair in pairs], axis=0)
        for key in ("draws", "null", "improved")
    )
    low, high = stats.interval(draws)
    better = stats.interval(improved)
    against = pairs[0].against.cells[0].row
    numbers = {
        "difference": by_seed.mean(),
        "ci_low": low,
        "ci_high": high,
        "p_seeds": stats.sign_flip_p(by_seed),
        "p_permutation": stats.p_value(by_seed.mean(), null),
        "improvement": _improvement(pairs),
        "improvement_low": better[0],
        "improvement_high": better[1],
        "detectable": stats.detectable(draws),
        "paper": printed.paper(cell.table, cell.row, columns)
        - printed.paper(cell.table, against, columns),
    }
    return (
        {
            "table": cell.table,
            "method": cell.row,
            "against": against,
            "task": name or cell.task,
            "metric": metric,
            "seeds": by_seed.shape[1],
            "examples": sum(len(pair.method.labels) for pair in pairs),
            "mcnemar": "" if name else "; ".join(f"{p:.2g}" for p in pairs[0].mcnemar),
            "recipe": cell.recipe.name,
            "settings": changed(cell),
        }
        | source(pairs[0])
        | {key: _rounded(value) for key, value in numbers.items()}
    )


def source(pair: Pair) -> dict[str, str]:
    """Which profile and data a difference comes from."""
    name = pair.method.cells[0].profile
    return {"profile": name, "data": profile(name).data}


def _improvement(pairs: list[Pair]) -> float:
    """On the dev examples as they are, the mean over tasks."""
    return float(np.mean([stats.improvement(p.against.scores, p.method.scores) for p in pairs]))


def _rounded(value: float) -> float:
    return round(float(value), DIGITS)
