"""Groups of finished cells: the results and predictions of one row and task, all seeds."""

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from repro.analysis.example_scores import example_scores
from repro.config.cells import Cell
from repro.config.printed import DIGITS
from repro.config.profiles import profile
from repro.config.tables import TABLES
from repro.config.tasks import TASKS, task
from repro.data import metrics
from repro.errors import InputError, MissingError
from repro.runs import results

TUNED = "tuned"  # in the column `settings`


@dataclass(frozen=True)
class Group:
    """The finished cells of one row and task, one per seed.

    Attributes:
        cells: In the order of their seeds.
        results: The result file of each cell.
        labels: (n,), the gold classes of the examples.
        logits: (seeds, n, classes).
    """

    cells: list[Cell]
    results: list[dict[str, Any]]
    labels: np.ndarray
    logits: np.ndarray

    @property
    def row(self) -> str:
        """The printed name of the row."""
        return self.cells[0].row

    @property
    def task(self) -> str:
        """The task of all cells."""
        return self.cells[0].task

    @property
    def metric(self) -> str:
        """The name of the task's metric."""
        return task(self.task).metric

    @property
    def predicted(self) -> np.ndarray:
        """(seeds, n), the predicted classes."""
        return self.logits.argmax(axis=2)

    @property
    def scores(self) -> np.ndarray:
        """(seeds,), the stored scores by the task's metric, in percent."""
        return np.array([result["metrics"][self.metric] for result in self.results])

    @property
    def example_scores(self) -> np.ndarray:
        """(seeds, n), scores of the single examples, in percent; see `example_scores.py`."""
        return example_scores(self.metric, self.labels, self.predicted)


def groups(cells: list[Cell]) -> dict[tuple[str, str], Group]:
    """Read and check the results of a plan.

    Args:
        cells: The cells of a plan, or all cells of some of its rows.

    Returns:
        The groups by (row, task), in the order of the GLUE tasks, then of the rows.

    Raises:
        MissingError: A cell has no result or a damaged one; the message names every such cell.
        InputError: The cells are not of one plan, or the results contradict their predictions or
            each other.
    """
    _check_one_plan(cells)
    missing = [cell for cell in cells if not results.done(cell)]
    if missing:
        raise MissingError(
            f"{len(missing)} of {len(cells)} cells of {cells[0].table} have no result (or a "
            f"damaged one): {', '.join(cell.id for cell in missing)}; run: {make_command(cells)}"
        )
    by_key: dict[tuple[str, str], list[Cell]] = {}
    for cell in sorted(cells, key=lambda cell: (list(TASKS).index(cell.task), cell.seed)):
        by_key.setdefault((cell.row, cell.task), []).append(cell)
    read = {key: _group(members) for key, members in by_key.items()}
    for name in {name for _, name in read}:
        check_same_origin([group for group in read.values() if group.task == name])
    return read


def _check_one_plan(cells: list[Cell]) -> None:
    """Check for one table, profile, setting and recipe, and the same seeds in every row."""
    plans = {(cell.table, cell.profile, repr(cell.given), cell.recipe) for cell in cells}
    if len(plans) != 1:
        raise InputError(
            "a table needs cells of one table, profile, setting and recipe, "
            f"got {len(plans)} combinations; use the cells of one plan"
        )
    students = [cell for cell in cells if cell.method.kind == "student"]
    tuned_settings = {(cell.row, cell.task, cell.setting) for cell in students if cell.tuned}
    if len(tuned_settings) not in (0, len({(cell.row, cell.task) for cell in students})):
        raise InputError(
            "a table needs all its students tuned, each by one sweep, or none; "
            "use the cells of one plan"
        )
    seeds: dict[tuple[str, str], list[int]] = {}
    for cell in cells:
        seeds.setdefault((cell.row, cell.task), []).append(cell.seed)
    rows, tasks = {row for row, _ in seeds}, {name for _, name in seeds}
    if (
        len(seeds) < len(rows) * len(tasks)
        or len({tuple(sorted(numbers)) for numbers in seeds.values()}) > 1
    ):
        raise InputError(
            f"every method of {cells[0].table} needs the same tasks and seeds; "
            "use the cells of one plan"
        )


def _group(cells: list[Cell]) -> Group:
    """Read the cells of one row and task, and check each score against its predictions."""
    frames = [results.predictions(cell) for cell in cells]
    stored_results = [results.read(cell) for cell in cells]
    labels = frames[0]["label"].to_numpy()
    for cell, frame in zip(cells, frames, strict=True):
        if not np.array_equal(frame["label"], labels):
            raise InputError(
                f"cell {cell.id} was scored on other examples than {cells[0].id}; "
                "run one of them again"
            )
    logits = np.stack([results.logits(frame) for frame in frames])
    group = Group(cells, stored_results, labels, logits)
    recomputed = np.ravel(metrics.score(group.metric, labels, group.predicted))
    for cell, stored, score, own in zip(cells, group.scores, recomputed, logits, strict=True):
        if not np.isfinite(own).all() or not np.isclose(stored, score, rtol=0, atol=1e-6):
            raise InputError(
                f"cell {cell.id} has {group.metric} {stored} but its predictions give {score}; "
                f"remove {results.path(cell)} and run: {results.command(cell)}"
            )
    return group


def check_same_origin(members: list[Group]) -> None:
    """Check that all results of a task come from the same data and encoder; InputError if not."""
    origins = {
        (result["data"]["train"], result["data"]["dev"], result["backbone"]["sha256"])
        for group in members
        for result in group.results
    }
    if len(origins) > 1:
        cells = [cell for group in members for cell in group.cells]
        raise InputError(
            f"the results of {members[0].task} come from {len(origins)} versions of its data or "
            f"encoder; run: {make_command(cells)} (it computes the outdated cells again)"
        )


def make_command(cells: list[Cell], target: str = "") -> str:
    """The command that makes all these cells, with their recipe and changed settings.

    Args:
        cells: The cells of a plan.
        target: A make target; by default the table of the cells.
    """
    first = next((cell for cell in cells if cell.tuned), cells[0])
    target = target or first.table
    tasks = ",".join(sorted({cell.task for cell in cells}))
    seeds = len({cell.seed for cell in cells})
    if not changed_settings(first):
        recipe = "" if first.recipe.name == "authors" else f" RECIPE={first.recipe.name}"
        return f"make {target} PROFILE={first.profile} TASKS={tasks} SEEDS={seeds}{recipe}"
    words = ["table", target] if target in TABLES else [target]
    words += ["--profile", first.profile, "--tasks", tasks, "--seeds", str(seeds)]
    words += results.option_words(first.recipe.name, first.given, bool(first.tuned))
    return shlex.join(["python", "-m", "repro", *words])


def changed_settings(cell: Cell) -> str:
    """The settings that differ from the profile's, e.g. "beta=40.0; student.epochs=3"; "" for none.

    Settings chosen by a sweep differ from cell to cell: they are given as "tuned".
    """
    changes = [f"{name}={value}" for name, value in cell.given.items()]
    return "; ".join([*([TUNED] if cell.tuned else []), *changes])


def origin(members: list[Group]) -> dict[str, Any]:
    """The columns of a row that say where its numbers come from.

    Args:
        members: The groups of one row: one task, or several that are averaged.
    """
    cell = members[0].cells[0]
    every_result = [result for group in members for result in group.results]
    last_scores = [result["selection"].get("last_score", np.nan) for result in every_result]
    depth, parameters = every_result[0]["effective_layers"], every_result[0]["parameters"]
    return {
        "table": cell.table,
        "method": cell.row,
        "profile": cell.profile,
        "data": profile(cell.profile).data,
        "backbone": cell.setting.backbone,
        "recipe": cell.recipe.name,
        "settings": changed_settings(cell),
        "split": _joined(map(_split, members)),
        "precision": _joined(result["precision"] for result in every_result),
        "computed": computed(members),
        "checkpoint": _joined(result["selection"]["rule"] for result in every_result),
        "last": round(float(np.mean(last_scores)), DIGITS),  # NaN unless the best on dev was taken
        "one_class": sum(one_class(group) for group in members),
        "effective_layers": depth,
        "layers": cell.layers or depth,
        "parameters": parameters["layers"],
        "parameters_full": parameters["with_embeddings"],
    }


def computed(members: list[Group]) -> str:
    """What the cells were computed with: commit, versions, precision and device; "; " between.

    A comparison is sound if this names one combination; otherwise the notes of the table list them.
    """
    return _joined(
        ", ".join(
            [
                f"commit {result['commit'][:12] or 'unknown'}",
                *(f"{name} {version}" for name, version in sorted(result["versions"].items())),
                result["precision"],
                result["device"],
            ]
        )
        for group in members
        for result in group.results
    )


def _split(group: Group) -> str:
    """The scored split, with the cap if it left examples out, e.g. "dev (first 1000)"."""
    setting = group.cells[0].setting
    name, cap = "dev", setting.dev_cap
    if group.cells[0].method.kind == "labels":
        name, cap = "train", setting.train_cap
    return f"{name} (first {cap})" if cap and len(group.labels) == cap else name


def one_class(group: Group) -> int:
    """The number of seeds whose model predicts the same class for every example."""
    return int((group.predicted == group.predicted[:, :1]).all(axis=1).sum())


def _joined(values: Iterable[str]) -> str:
    return "; ".join(sorted(set(values)))


def make_options(profile_name: str, variant: str = "") -> str:
    """The options of the make target that writes a recipe's tables, such as "PROFILE=demo".

    Args:
        profile_name: A profile.
        variant: "textbook" for the tables of the textbook recipe.
    """
    return f"PROFILE={profile_name}" + (f" RECIPE={variant}" if variant else "")
