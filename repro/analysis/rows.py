"""Finished cells, read and checked together, and what every row of a table says about its origin. No torch here."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from repro import paths
from repro.analysis import stats
from repro.config.cells import Cell
from repro.config.printed import DIGITS
from repro.config.profiles import profile
from repro.config.tables import TABLES
from repro.config.tasks import TASKS, task
from repro.data import metrics
from repro.errors import InputError, MissingError
from repro.runs import results as files

COLUMNS = (
    "table",
    "method",
    "layers",
    "parameters",
    "task",
    "metric",
    "split",
    "mean",
    "sd",
    "seeds",
    "ci_low",
    "ci_high",
    "paper",
    "delta",
    "backbone",
    "data",
    "recipe",
)
MORE_COLUMNS = (
    "last",
    "one_class",
    "parameters_full",
    "effective_layers",
    "precision",
    "checkpoint",
    "profile",
    "settings",
)
TUNED = "tuned"  # in the column `settings`
PRINTED = "as printed"  # the backbone, data and recipe of a row that is copied from the paper
_WHOLE = {
    "layers",
    "seed",
    "seeds",
    "pairs",
    "examples",
    "parameters",
    "parameters_full",
    "effective_layers",
    "one_class",
}
_NUMBERS = {
    "mean",
    "sd",
    "ci_low",
    "ci_high",
    "paper",
    "delta",
    "count",
    "t",
    "share",
    "difference",
    "p_permutation",
    "last",
    "p_seeds",
    "p_holm",
    "improvement",
    "improvement_low",
    "improvement_high",
    "detectable",
    "change",
    "change_low",
    "change_high",
    "printed",
    "recomputed",
    "ours",
    "t1",
    "t2",
    "before",
    "after",
    "agreement",
    "agreement_low",
    "agreement_high",
    "chance",
    "kappa",
    "constant",
}
_SEED = 20210112  # of every interval


@dataclass(frozen=True)
class Group:
    """The finished cells of one method and task, over its seeds. `labels`: (n,); `logits`: (seeds, n, classes)."""

    cells: list[Cell]
    results: list[dict[str, Any]]
    labels: np.ndarray
    logits: np.ndarray

    @property
    def task(self) -> str:
        """The task of all its cells."""
        return self.cells[0].task

    @property
    def scores(self) -> np.ndarray:
        """The stored scores (seeds,) in percent, by the task's metric."""
        return np.array([result["metrics"][task(self.task).metric] for result in self.results])


def groups(cells: list[Cell]) -> dict[tuple[str, str], Group]:
    """The results of a whole plan by (method, task), seeds in order, tasks in GLUE's order.

    Raises InputError if the cells are not of one table, profile, setting and recipe; MissingError, with every missing
    cell, if any has no (undamaged) result; InputError for results that contradict themselves or each other.
    """
    _check_one_plan(cells)
    _check_done(cells)
    found: dict[tuple[str, str], list[Cell]] = {}
    for cell in sorted(cells, key=lambda one: (list(TASKS).index(one.task), one.seed)):
        found.setdefault((cell.row, cell.task), []).append(cell)
    read = {key: _group(members) for key, members in found.items()}
    for name in {name for _, name in read}:
        check_same([group for (_, other), group in read.items() if other == name], name)
    return read


def _check_one_plan(cells: list[Cell]) -> None:
    plans = {(cell.table, cell.profile, repr(cell.given), cell.recipe) for cell in cells}
    if len(plans) != 1:
        raise InputError(
            f"a table needs cells of one table, profile, setting and recipe, got {len(plans)} of them"
        )
    students = [cell for cell in cells if cell.method.kind == "student"]
    settings = {(cell.row, cell.task, cell.setting) for cell in students if cell.tuned}
    if len(settings) not in (0, len({(cell.row, cell.task) for cell in students})):
        raise InputError(
            "a table needs all its students tuned, each by one sweep, or none; use the cells of one plan"
        )
    counts = {
        key: [c.seed for c in cells if (c.row, c.task) == key]
        for key in {(c.row, c.task) for c in cells}
    }
    methods, names = ({key[k] for key in counts} for k in (0, 1))
    if (
        len(counts) < len(methods) * len(names)
        or len({tuple(sorted(seeds)) for seeds in counts.values()}) > 1
    ):
        raise InputError(
            f"every method of {cells[0].table} needs the same tasks and seeds; use the cells of one plan"
        )


def _check_done(cells: list[Cell]) -> None:
    absent = [cell for cell in cells if not files.done(cell)]
    if absent:
        named = ", ".join(cell.id for cell in absent)
        raise MissingError(
            f"{len(absent)} of {len(cells)} cells of {cells[0].table} have no result "
            f"(or a damaged one): {named}; run: {remake(cells)}"
        )


def remake(cells: list[Cell], target: str = "") -> str:
    """The command that makes all these cells, with their recipe and changed settings.

    target: of make; by default the table of the first.
    """
    first = next((cell for cell in cells if cell.tuned), cells[0])
    target = target or first.table
    tasks, seeds = (
        ",".join(sorted({cell.task for cell in cells})),
        len({cell.seed for cell in cells}),
    )
    if changed(first):
        settings = " ".join(
            "--tuned" if word == TUNED else f"--set {word}" for word in changed(first).split("; ")
        )
        command = f"table {target}" if target in TABLES else target
        return (
            f"python -m repro {command} --profile {first.profile} --tasks {tasks} --seeds {seeds} "
            f"--recipe {first.recipe.name} {settings}"
        )
    recipe = "" if first.recipe.name == "authors" else f" RECIPE={first.recipe.name}"
    return f"make {target} PROFILE={first.profile} TASKS={tasks} SEEDS={seeds}{recipe}"


def _group(cells: list[Cell]) -> Group:
    frames = [files.predictions(cell) for cell in cells]
    labels = frames[0]["label"].to_numpy()
    for cell, frame in zip(cells, frames, strict=True):
        if not np.array_equal(frame["label"], labels):
            raise InputError(
                f"cell {cell.id} was scored on other examples than {cells[0].id}; remake one of them"
            )
    logits = np.stack([frame.filter(regex=r"^logit_\d+$").to_numpy() for frame in frames])
    results = [files.read(cell) for cell in cells]
    for cell, result, made in zip(cells, results, logits, strict=True):
        _check_scores(cell, result, labels, made)
    return Group(cells, results, labels, logits)


def _check_scores(
    cell: Cell, result: dict[str, Any], labels: np.ndarray, logits: np.ndarray
) -> None:
    """The stored score must be a number and the one that the stored predictions give."""
    name = task(cell.task).metric
    stored, again = (
        result["metrics"][name],
        float(metrics.score(name, labels, logits.argmax(axis=1))),
    )
    if not np.isfinite(logits).all() or not np.isclose(stored, again, rtol=0, atol=1e-6):
        raise InputError(
            f"cell {cell.id} has {name} {stored} but its predictions give {again}; "
            f"remove {files.path(cell)} and run: {files.command(cell)}"
        )


def check_same(members: list[Group], name: str) -> None:
    """All results of a task must come from the same data and encoder."""
    origins = {
        (r["data"]["train"], r["data"]["dev"], r["backbone"]["sha256"])
        for g in members
        for r in g.results
    }
    if len(origins) > 1:
        raise InputError(
            f"the results of {name} come from {len(origins)} versions of its data or encoder; "
            f"remove {paths.results(members[0].cells[0].profile) / 'cells'} and run again"
        )


def generator(name: str) -> np.random.Generator:
    """The random numbers of a task's intervals: the same for every method, other ones for every task."""
    return np.random.default_rng([_SEED, *name.encode()])


def summary(scores: np.ndarray, draws: np.ndarray) -> dict[str, Any]:
    """mean, sd, ci_low and ci_high, rounded as stored. scores: (seeds,); draws: (draws,); both in percent."""
    values = (*stats.mean_sd(scores), *stats.interval(draws))
    rounded = [round(value, DIGITS) for value in values]
    return dict(zip(("mean", "sd", "ci_low", "ci_high"), rounded, strict=True)) | {
        "seeds": len(scores)
    }


def origin(members: list[Group]) -> dict[str, Any]:
    """What a row (of one task, or averaged over several) says about where its numbers come from."""
    cell, results = members[0].cells[0], [result for group in members for result in group.results]
    source, depth, counts = (
        profile(cell.profile),
        results[0]["effective_layers"],
        results[0]["parameters"],
    )
    return {
        "table": cell.table,
        "method": cell.row,
        "profile": source.name,
        "data": source.data,
        "backbone": cell.setting.backbone,
        "recipe": cell.recipe.name,
        "settings": changed(cell),
        "split": _joined(map(_split, members)),
        "precision": _joined(result["precision"] for result in results),
        "checkpoint": _joined(result["selection"]["rule"] for result in results),
        "last": _last(results),
        "one_class": sum(_one_class(group) for group in members),
        "effective_layers": depth,
        "layers": cell.layers or depth,
        "parameters": counts["layers"],
        "parameters_full": counts["with_embeddings"],
    }


def _one_class(group: Group) -> int:
    """How many seeds' models give every example the same class: no better than guessing, whatever the score."""
    predicted = group.logits.argmax(axis=2)  # (seeds, n)
    return int((predicted == predicted[:, :1]).all(axis=1).sum())


def _last(results: list[dict[str, Any]]) -> float:
    """The mean score of the runs' last steps, where the best on dev was taken; NaN where it was not."""
    scores = [result["selection"].get("last_score", np.nan) for result in results]
    return round(float(np.mean(scores)), DIGITS)


def changed(cell: Cell) -> str:
    """The settings in which the cell differs from its profile, e.g. "beta=40.0; student.epochs=3"; "" for none.

    Of those that a sweep chose, which differ from cell to cell, it says "tuned"; best.csv has their values.
    """
    return "; ".join(
        [
            *([TUNED] if cell.tuned else []),
            *(f"{name}={value}" for name, value in cell.given.items()),
        ]
    )


def _split(group: Group) -> str:
    """The split that was scored, with its cap where that cut something."""
    on_train, setting = group.cells[0].method.kind == "labels", group.cells[0].setting
    name, cap = ("train", setting.train_cap) if on_train else ("dev", setting.dev_cap)
    return f"{name} (first {cap})" if cap and len(group.labels) == cap else name


def _joined(values: Iterable[str]) -> str:
    return "; ".join(sorted(set(values)))


def table_frame(rows: list[dict[str, Any]], extra: tuple[str, ...] = ()) -> pd.DataFrame:
    """The rows with a table's columns, in order and with their types; a column that no row has is empty."""
    frame = pd.DataFrame(rows, columns=[*COLUMNS, *MORE_COLUMNS, *extra])
    return with_types(frame)


def with_types(frame: pd.DataFrame) -> pd.DataFrame:
    """The same values with the columns' types: whole numbers, numbers, text."""
    types = {
        name: "Int64" if name in _WHOLE else "float64" if name in _NUMBERS else "str"
        for name in frame
    }
    text = [name for name in types if types[name] == "str"]
    return frame.astype(dict.fromkeys(text, object)).fillna(dict.fromkeys(text, "")).astype(types)
