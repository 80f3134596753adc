"""Study of the PTP labels: their shares, the difficulty of their examples, teachers' agreement.

The study reads finished cells only: the teachers of Table 1 (training data) and Table 2 (dev), and
the students of Table 5 without and with PTP.
"""

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from repro.analysis.example_scores import pooled_ratio_scores
from repro.analysis.groups import Group, check_same_origin, groups, origin
from repro.analysis.inference import OF_DIFFERENCES, holm, mean_difference, verdict
from repro.analysis.tables import assigned, gold_classes, with_types
from repro.config import cells as experiments
from repro.config.cells import Cell
from repro.config.printed import DIGITS
from repro.config.tasks import TASKS, task
from repro.data import ptp_labels
from repro.errors import InputError

# (table, row) of the teacher on the training data and on dev, and of the students
LABELLED = ("table1", "PTP labels")
TEACHER = ("table2", "BERT-base")
BEFORE = ("table5", "BERT3+SPS")
AFTER = ("table5", "BERT3+SPS+PTP")
ALL = "all"  # stands for all labels or all gold classes
ORIGIN = ("profile", "data", "backbone", "recipe", "settings", "precision", "split", "checkpoint")
SHARES = ("task", "rule", "seed", "seeds", "gold", "label", "count", "share", "t1", "t2", *ORIGIN)
DIFFICULTY = (
    *"task rule label seeds count share before after difference ci_low ci_high p p_holm "
    "verdict".split(),
    *("method_before", "method_after", *ORIGIN),
)
AGREEMENT = (
    *"task rule label seeds pairs agreement agreement_low agreement_high chance kappa".split(),
    *ORIGIN,
)


def plan(
    profile: str = "demo",
    tasks: str = "",
    seeds: int = 0,
    recipe: str = "authors",
    overrides: dict[str, Any] | None = None,
) -> list[Cell]:
    """Plan the cells that the study reads.

    Args:
        profile: Name of the profile.
        tasks: Comma-separated names of tasks; "" for all four.
        seeds: Number of seeds; 0 for as many as decision D14 says.
        recipe: Name of the recipe.
        overrides: Changed settings, by dotted name.

    Raises:
        InputError: As `config.cells.plan`.
    """
    wanted = (LABELLED, TEACHER, BEFORE, AFTER)
    return [
        cell
        for name in dict.fromkeys(name for name, _ in wanted)
        for cell in experiments.plan(name, profile, tasks, seeds, recipe, overrides)
        if (cell.table, cell.row) in wanted
    ]


def _groups_of(cells: list[Cell], *wanted: tuple[str, str]) -> dict[tuple[str, str], Group]:
    """The groups of these (table, row), by (row, task)."""
    return groups([cell for cell in cells if (cell.table, cell.row) in wanted])


def _origin(group: Group) -> dict[str, Any]:
    """The columns ORIGIN of a row."""
    columns = origin([group])
    return {name: columns[name] for name in ORIGIN}


def shares(cells: list[Cell]) -> pd.DataFrame:
    """Count the training examples with each PTP label.

    Args:
        cells: The output of `plan`.

    Returns:
        One row per task, threshold rule (decision D1), teacher seed, gold class and label. Columns:
        SHARES. gold: "all" or a class; share: percent of the examples of that class; t1, t2: the
        thresholds for correct and for wrong predictions.

    Raises:
        MissingError, InputError: As `groups.groups`.
    """
    rows = []
    for group in _groups_of(cells, LABELLED).values():
        for rule in ptp_labels.RULES:
            by_seed, thresholds = assigned(group, rule)
            common = _origin(group) | {"task": group.task, "rule": rule, "seeds": len(by_seed)}
            for cell, labels, (t1, t2) in zip(group.cells, by_seed, thresholds, strict=True):
                cuts = {"seed": cell.seed, "t1": round(t1, DIGITS), "t2": round(t2, DIGITS)}
                for gold, mask in gold_classes(group).items():
                    counts = np.bincount(labels[mask], minlength=len(ptp_labels.LABELS)).tolist()
                    rows += [
                        common
                        | cuts
                        | {"gold": gold, "label": label, "count": count}
                        | {"share": round(100 * count / int(mask.sum()), DIGITS)}
                        for label, count in zip(ptp_labels.LABELS, counts, strict=True)
                    ]
    return with_types(pd.DataFrame(rows, columns=list(SHARES)))


def difficulty(cells: list[Cell]) -> pd.DataFrame:
    """Compare the student's dev accuracy without and with PTP, by PTP label of the example.

    Args:
        cells: The output of `plan`.

    Returns:
        One row per task and label, and one for all examples. Columns: DIFFICULTY. count, share:
        examples with the label, mean over seeds. before, after (percent), difference (points): over
        the examples of all seeds, with the 95 % interval of `inference`. p_holm: adjusted over all
        rows; verdict follows from it. A label that no example has is a row without accuracies.

    Raises:
        MissingError, InputError: As `groups.groups`; InputError also if the students were not
            distilled from these teachers.
    """
    train = {group.task: group for group in _groups_of(cells, LABELLED).values()}
    teachers, students = _groups_of(cells, TEACHER), _groups_of(cells, BEFORE, AFTER)
    rows: list[dict[str, Any]] = []
    for name in (name for name in TASKS if name in train):
        dev = teachers[TEACHER[1], name]
        before, after = students[BEFORE[1], name], students[AFTER[1], name]
        _check_same_teacher([train[name], dev, before, after])
        labels = _dev_labels(train[name], dev, after)
        common = _origin(after) | {
            "task": name,
            "rule": after.cells[0].recipe.ptp_thresholds,
            "seeds": len(labels),
            "method_before": BEFORE[1],
            "method_after": AFTER[1],
        }
        members = {label: labels == k for k, label in enumerate(ptp_labels.LABELS)}
        members[ALL] = np.ones_like(labels, bool)
        rows += [
            common | {"label": label} | _gain(before, after, member)
            for label, member in members.items()
        ]
    for row, p_holm in zip(rows, holm([row.get("p", np.nan) for row in rows]), strict=True):
        if "p" in row:
            row["p_holm"] = float(p_holm)
            row["verdict"] = verdict(row["difference"], row["p"], row["p_holm"], row["seeds"])
    return with_types(pd.DataFrame(rows, columns=list(DIFFICULTY))).round(DIGITS)


def _check_same_teacher(members: list[Group]) -> None:
    """Check that all groups use the same data and, for each seed, the same teacher outputs."""
    check_same_origin(members)
    for results in zip(*(group.results for group in members), strict=True):
        if len({result["stages"].get("outputs") for result in results}) > 1:
            raise InputError(
                f"the cells of {members[0].task} come from different teachers of one seed; remove "
                f"them and run: make ptp PROFILE={members[0].cells[0].profile}"
            )


def _dev_labels(train: Group, dev: Group, student: Group) -> np.ndarray:
    """The PTP labels (seeds, n) of the dev examples, by the thresholds that the student used.

    The thresholds are recorded in the student's result. If not, the recipe's rule is applied to the
    teacher's logits on the training data.
    """
    rule = student.cells[0].recipe.ptp_thresholds
    labels = []
    for result, train_logits, dev_logits in zip(
        student.results, train.logits, dev.logits, strict=True
    ):
        recorded = result.get("ptp", {}).get("thresholds")
        by_rule = ptp_labels.thresholds(rule, task(dev.task), train_logits, train.labels)
        labels.append(ptp_labels.labels(dev_logits, dev.labels, tuple(recorded or by_rule)))
    return np.stack(labels)


def _gain(before: Group, after: Group, member: np.ndarray) -> dict[str, float]:
    """The numbers of one row, over the examples where `member` (seeds, n) is true."""
    values = {"count": member.sum() / len(member), "share": 100 * member.mean()}
    if member.any():
        correct_before, correct_after = (
            group.predicted == group.labels for group in (before, after)
        )  # (seeds, n)
        gain = correct_after.astype(float) - correct_before
        estimate = mean_difference(pooled_ratio_scores(gain * member, member), OF_DIFFERENCES)
        values |= {
            "before": 100 * correct_before[member].mean(),
            "after": 100 * correct_after[member].mean(),
            "difference": estimate.estimate,
            "ci_low": estimate.low,
            "ci_high": estimate.high,
            "p": estimate.p,
        }
    return {key: float(value) for key, value in values.items()}


def agreement(cells: list[Cell]) -> pd.DataFrame:
    """Measure how often teachers of different seeds give an example the same PTP label.

    Args:
        cells: The output of `plan`.

    Returns:
        One row per task, threshold rule and label, and one for all examples. Columns: AGREEMENT.
        agreement: percent, mean over pairs of seeds, with the lowest and the highest pair. For all
        examples it is the share with the same label; for one label, the share of the examples with
        this label under one teacher that also have it under the other. chance: the agreement of two
        independent teachers with the same label frequencies. kappa: Cohen's kappa,
        (agreement - chance) / (100 - chance). With a single seed there is no pair, and these are
        empty.
    """
    rows = []
    for group in _groups_of(cells, LABELLED).values():
        for rule in ptp_labels.RULES:
            by_seed, _ = assigned(group, rule)
            pairs = [_pair_agreement(*pair) for pair in combinations(by_seed, 2)]
            by_label = np.reshape(pairs, (len(pairs), 1 + len(ptp_labels.LABELS), 2))
            for k, label in enumerate((ALL, *ptp_labels.LABELS)):
                observed, chance = by_label[~np.isnan(by_label[:, k, 0]), k].T  # NaN: never given
                rows.append(
                    _origin(group)
                    | {"task": group.task, "rule": rule, "label": label}
                    | {"seeds": len(by_seed), "pairs": len(observed)}
                    | _mean_agreement(observed, chance)
                )
    return with_types(pd.DataFrame(rows, columns=list(AGREEMENT)))


def _mean_agreement(observed: np.ndarray, chance: np.ndarray) -> dict[str, float]:
    """The numbers of one row, from agreement and chance of each pair: (pairs,), in percent."""
    if not len(observed):
        return {}
    values = {
        "agreement": observed.mean(),
        "agreement_low": observed.min(),
        "agreement_high": observed.max(),
        "chance": chance.mean(),
    }
    if (chance < 100).all():  # at 100, both teachers give one label only, and kappa is 0 / 0
        values["kappa"] = ((observed - chance) / (100 - chance)).mean()
    return {key: round(float(value), DIGITS) for key, value in values.items()}


def _pair_agreement(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Agreement and chance of two teachers in percent: (1 + labels, 2), first of all examples.

    `first` and `second` are their labels (n,). NaN for a label that neither of them gives.
    """
    size = len(ptp_labels.LABELS)
    joint = np.bincount(size * first + second, minlength=size**2).reshape(size, size) / len(first)
    first_shares, second_shares = joint.sum(axis=1), joint.sum(axis=0)
    observed, chance = np.diag(joint), first_shares * second_shares
    with np.errstate(invalid="ignore"):
        by_label = 2 * np.stack([observed, chance]) / (first_shares + second_shares)
    return 100 * np.column_stack([(observed.sum(), chance.sum()), by_label]).T


def view(frame: pd.DataFrame) -> pd.DataFrame:
    """Index the output of `difficulty` by task and label, rounded to one decimal."""
    columns = ["count", "before", "after", "difference", "ci_low", "ci_high"]
    wide = frame.set_index(["task", "label"])[columns]
    return wide.rename(columns={"count": "examples"}).round(1)
