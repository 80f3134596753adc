"""PTP, looked at closely: its labels under every threshold rule, what they say of difficulty, how far teachers agree.

Everything is read from finished cells: the teachers of Table 1 (training data) and Table 2 (dev), the students of
Table 5 without and with PTP. No torch here.
"""

from collections.abc import Iterable
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from repro.analysis import stats
from repro.analysis.rows import Group, check_same, generator, groups, origin, with_types
from repro.analysis.tables import assigned, gold_classes
from repro.config import cells as experiments
from repro.config.cells import Cell
from repro.config.printed import DIGITS
from repro.config.tasks import TASKS, task
from repro.data import ptp_labels
from repro.errors import InputError

LABELLED, TEACHER, BEFORE, AFTER = (
    ("table1", "PTP labels"),
    ("table2", "BERT-base"),
    ("table5", "BERT3+SPS"),
    ("table5", "BERT3+SPS+PTP"),
)
ALL = "all"  # in the place of a label or a gold class: every example
ORIGIN = ("profile", "data", "backbone", "recipe", "settings", "precision", "split", "checkpoint")
SHARES = ("task", "rule", "seed", "seeds", "gold", "label", "count", "share", "t1", "t2", *ORIGIN)
DIFFICULTY = (
    "task",
    "rule",
    "label",
    "seeds",
    "count",
    "share",
    "before",
    "after",
    "difference",
    "ci_low",
    "ci_high",
    "method_before",
    "method_after",
    *ORIGIN,
)
AGREEMENT = (
    "task",
    "rule",
    "label",
    "seeds",
    "pairs",
    "agreement",
    "agreement_low",
    "agreement_high",
    "chance",
    "kappa",
    *ORIGIN,
)


def plan(
    profile: str = "demo",
    tasks: str = "",
    seeds: int = 0,
    recipe: str = "authors",
    overrides: dict[str, Any] | None = None,
) -> list[Cell]:
    """The cells that the study reads. Arguments and errors as `experiments.plan`."""
    wanted = (LABELLED, TEACHER, BEFORE, AFTER)
    names = dict.fromkeys(name for name, _ in wanted)
    cells = [
        cell
        for name in names
        for cell in experiments.plan(name, profile, tasks, seeds, recipe, overrides)
    ]
    return [cell for cell in cells if (cell.table, cell.row) in wanted]


def shares(cells: list[Cell]) -> pd.DataFrame:
    """How many training examples have each PTP label: one row per task, rule of D1, teacher seed, gold class and label.

    cells: those of `plan`. Columns: SHARES; gold: "all" or a class; share: percent of that class under that seed; t1,
    t2: the thresholds for correct and for wrong predictions. Raises as `rows.groups`.
    """
    rows = [
        row
        for group in _labelled(cells)
        for rule in ptp_labels.RULES
        for row in _share_rows(group, rule)
    ]
    return with_types(pd.DataFrame(rows, columns=list(SHARES)))


def _labelled(cells: list[Cell]) -> list[Group]:
    """The teachers' logits on the training data, by task."""
    return list(groups(_of(cells, LABELLED)).values())


def _of(cells: list[Cell], *wanted: tuple[str, str]) -> list[Cell]:
    return [cell for cell in cells if (cell.table, cell.row) in wanted]


def _share_rows(group: Group, rule: str) -> list[dict[str, Any]]:
    predicted, cuts = assigned(group, rule)
    said = _origin(group) | {"task": group.task, "rule": rule, "seeds": len(predicted)}
    return [
        said
        | {"seed": cell.seed, "gold": gold, "t1": round(t1, DIGITS), "t2": round(t2, DIGITS)}
        | row
        for cell, one, (t1, t2) in zip(group.cells, predicted, cuts, strict=True)
        for gold, chosen in gold_classes(group).items()
        for row in _counts(one[chosen])
    ]


def _counts(predicted: np.ndarray) -> list[dict[str, Any]]:
    """Count and share of each PTP label among (n,) of them."""
    counts = np.bincount(predicted, minlength=len(ptp_labels.LABELS)).tolist()
    return [
        {"label": label, "count": count, "share": round(100 * count / len(predicted), DIGITS)}
        for label, count in zip(ptp_labels.LABELS, counts, strict=True)
    ]


def _origin(group: Group) -> dict[str, Any]:
    """Where the numbers come from."""
    said = origin([group])
    return {name: said[name] for name in ORIGIN}


def difficulty(cells: list[Cell]) -> pd.DataFrame:
    """The student's dev accuracy without and with PTP, by the PTP label that its own teacher gives each dev example.

    cells: those of `plan`. One row per task and label, and one for all examples. Columns: DIFFICULTY; count and share:
    examples with the label, mean over seeds; before, after, difference: percent and points, every seed's examples
    counted once; interval: `stats.bootstrap_within`. A label that no example has is a row without accuracies.
    Raises as `rows.groups`; InputError if the students were not taught by these teachers.
    """
    train = {group.task: group for group in _labelled(cells)}
    teachers, students = groups(_of(cells, TEACHER)), groups(_of(cells, BEFORE, AFTER))
    rows: list[dict[str, Any]] = []
    for name in (name for name in TASKS if name in train):
        dev = teachers[TEACHER[1], name]
        before, after = students[BEFORE[1], name], students[AFTER[1], name]
        _check_one_teacher([train[name], dev, before, after])
        rows += _difficulty_rows(_dev_labels(train[name], dev, after), before, after)
    return with_types(pd.DataFrame(rows, columns=list(DIFFICULTY)))


def _check_one_teacher(members: list[Group]) -> None:
    """All must rest on the same data and, seed by seed, on the same teacher's outputs."""
    check_same(members, members[0].task)
    for results in zip(*(group.results for group in members), strict=True):
        if len({result["stages"].get("outputs") for result in results}) > 1:
            raise InputError(
                f"the cells of {members[0].task} come from different teachers of one seed; remove them "
                f"and run: make ptp PROFILE={members[0].cells[0].profile}"
            )


def _dev_labels(train: Group, dev: Group, student: Group) -> np.ndarray:
    """PTP labels (seeds, n) of the dev examples, with the thresholds that the student's PTP used on its training data.

    They stand in its result; if they do not, the recipe's rule gives them again from the teacher's training logits.
    """
    rule = student.cells[0].recipe.ptp_thresholds
    derived = [
        ptp_labels.thresholds(rule, task(dev.task), logits, train.labels) for logits in train.logits
    ]
    recorded = [result.get("ptp", {}).get("thresholds") for result in student.results]
    cuts = [tuple(one or again) for one, again in zip(recorded, derived, strict=True)]
    return np.stack(
        [ptp_labels.labels(one, dev.labels, cut) for one, cut in zip(dev.logits, cuts, strict=True)]
    )


def _difficulty_rows(labels: np.ndarray, before: Group, after: Group) -> list[dict[str, Any]]:
    first, second = (
        group.logits.argmax(axis=2) == group.labels for group in (before, after)
    )  # each (seeds, n)
    members = {label: labels == k for k, label in enumerate(ptp_labels.LABELS)} | {
        ALL: np.ones_like(labels, bool)
    }
    said = _origin(after) | {
        "task": after.task,
        "rule": after.cells[0].recipe.ptp_thresholds,
        "seeds": len(labels),
        "method_before": BEFORE[1],
        "method_after": AFTER[1],
    }
    return [
        said | {"label": label} | _gain(first, second, member, after.task)
        for label, member in members.items()
    ]


def _gain(before: np.ndarray, after: np.ndarray, member: np.ndarray, name: str) -> dict[str, float]:
    """The numbers of one row. before, after, member: (seeds, n)."""
    values = {"count": member.sum() / len(member), "share": 100 * member.mean()}
    if member.any():
        low, high = stats.interval(stats.bootstrap_within(before, after, member, generator(name)))
        first, second = 100 * before[member].mean(), 100 * after[member].mean()
        values |= {
            "before": first,
            "after": second,
            "difference": second - first,
            "ci_low": low,
            "ci_high": high,
        }
    return {key: round(float(value), DIGITS) for key, value in values.items()}


def agreement(cells: list[Cell]) -> pd.DataFrame:
    """How often two teachers of other seeds give a training example the same PTP label, by task and rule.

    cells: those of `plan`. Columns: AGREEMENT; agreement: percent, mean over pairs of seeds, with the lowest and
    highest pair. "all": share of the examples with the same label; of one label: of the examples that have it under one
    teacher, the share that has it under the other, too. chance: what two independent teachers with these labels'
    frequencies would reach; kappa: (agreement - chance) / (100 - chance), Cohen's. One seed has no pair.
    """
    rows = [
        _origin(group)
        | {"task": group.task, "rule": rule, "label": label, "seeds": len(group.logits)}
        | row
        for group in _labelled(cells)
        for rule in ptp_labels.RULES
        for label, row in _agreements(assigned(group, rule)[0])
    ]
    return with_types(pd.DataFrame(rows, columns=list(AGREEMENT)))


def _agreements(predicted: np.ndarray) -> Iterable[tuple[str, dict[str, float]]]:
    """One row for all examples and one per label, over the pairs of seeds. predicted: (seeds, n)."""
    pairs = [_pair(first, second) for first, second in combinations(predicted, 2)]
    made = np.reshape(pairs, (len(pairs), 1 + len(ptp_labels.LABELS), 2))
    for k, label in enumerate((ALL, *ptp_labels.LABELS)):
        same, chance = made[
            ~np.isnan(made[:, k, 0]), k
        ].T  # a label that neither teacher gives says nothing
        yield label, {"pairs": len(same)} | _mean_agreement(same, chance)


def _mean_agreement(same: np.ndarray, chance: np.ndarray) -> dict[str, float]:
    if not len(same):
        return {}
    values = {"agreement": same.mean(), "agreement_low": same.min(), "agreement_high": same.max()}
    values |= {"chance": chance.mean()}
    if (chance < 100).all():  # else both teachers give all examples one label, and kappa is 0 / 0
        values |= {"kappa": ((same - chance) / (100 - chance)).mean()}
    return {key: round(float(value), DIGITS) for key, value in values.items()}


def _pair(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(agreement, chance) in percent: all examples first, then each label. NaN for a label of neither. Both: (n,)."""
    size = len(ptp_labels.LABELS)
    table = np.bincount(size * first + second, minlength=size**2).reshape(size, size) / len(first)
    one, other = table.sum(axis=1), table.sum(axis=0)
    same, chance = np.diag(table), one * other
    with np.errstate(invalid="ignore"):
        by_label = 2 * np.stack([same, chance]) / (one + other)
    return 100 * np.column_stack([(same.sum(), chance.sum()), by_label]).T


def view(frame: pd.DataFrame) -> pd.DataFrame:
    """Percent and points with one decimal, by task and label. frame: as made by `difficulty`."""
    wide = frame.set_index(["task", "label"])[
        ["count", "before", "after", "difference", "ci_low", "ci_high"]
    ]
    return wide.rename(columns={"count": "examples"}).round(1)
