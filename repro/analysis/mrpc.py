"""MRPC's test score, the one number of the paper's Table 2 that needs no server, beside dev. No torch here."""

import textwrap
from typing import Any

import numpy as np
import pandas as pd

from repro.analysis import stats
from repro.analysis.groups import Group, generator, groups, origin
from repro.analysis.tables import summary, table_frame
from repro.config import printed
from repro.config.cells import Cell
from repro.config.printed import DIGITS
from repro.config.profiles import profile
from repro.data import metrics
from repro.errors import InputError
from repro.runs import results

_TASK, _TEST = "MRPC", "test"
_METRICS = {"f1": "F1", "accuracy": "acc"}  # the paper prints the first


def of(cells: list[Cell]) -> pd.DataFrame:
    """One row per method, split (dev, test) and metric, in percent, with the columns of the paper's tables.

    cells: Table 2's plan for MRPC, finished and scored on test (testset.score_mrpc). ci_low, ci_high: the 95 %
    bootstrap interval over seeds and examples of the split. paper: the printed F1 of GLUE's test server, beside the
    test F1 alone. constant: the score of answering "equivalent" always. Raises as `groups.groups`; MissingError for a
    cell without test predictions.
    """
    found = groups(cells)
    if {name for _, name in found} != {_TASK}:
        raise InputError(
            f"MRPC's test score needs cells of MRPC alone, got {', '.join({name for _, name in found})}"
        )
    made = [(group, *_on_test(group)) for group in found.values()]
    if any(not np.array_equal(labels, made[0][1]) for _, labels, _ in made):
        raise InputError(
            f"the cells have different test labels; remake them: {results.test_command(cells[0])}"
        )
    rows = [row for group, labels, predicted in made for row in _rows(group, labels, predicted)]
    return table_frame(rows, ("constant",))


def _on_test(group: Group) -> tuple[np.ndarray, np.ndarray]:
    """Labels (n,) and predictions (seeds, n) of the test pairs; InputError if the seeds were not on the same pairs."""
    frames = [results.test_predictions(cell) for cell in group.cells]
    labels = [frame["label"].to_numpy() for frame in frames]
    if any(not np.array_equal(other, labels[0]) for other in labels):
        raise InputError(
            f"the seeds of {group.cells[0].row} have different test labels; "
            f"remake them: {results.test_command(group.cells[-1])}"
        )
    logits = [frame.filter(regex=r"^logit_\d+$").to_numpy() for frame in frames]
    return labels[0], np.stack([one.argmax(axis=1) for one in logits])


def _rows(group: Group, labels: np.ndarray, predicted: np.ndarray) -> list[dict[str, Any]]:
    """One method's rows: dev, then test. The dev F1 and its interval are those of Table 2."""
    said = origin([group]) | {
        "task": _TASK,
        "last": None,
    }  # of the last step only F1 on dev is known: see Table 2
    dev = [
        said | _score(metric, group.labels, group.logits.argmax(axis=2), _TASK)
        for metric in _METRICS
    ]
    test = [
        said | {"split": _TEST} | _score(metric, labels, predicted, f"{_TASK} test")
        for metric in _METRICS
    ]
    paper = printed.paper(said["table"], said["method"], [_TASK])
    test[0] |= {"paper": paper, "delta": round(test[0]["mean"] - paper, DIGITS)}
    return [*dev, *test]


def _score(metric: str, labels: np.ndarray, predicted: np.ndarray, name: str) -> dict[str, Any]:
    """Mean over seeds and interval of one metric. labels: (n,); predicted: (seeds, n); name: of the random numbers."""
    draws = stats.bootstrap_scores(metrics.METRICS[metric], labels, predicted, generator(name))
    constant = round(float(metrics.score(metric, labels, np.ones_like(labels))), DIGITS)
    return summary(metrics.score(metric, labels, predicted), draws) | {
        "metric": metric,
        "constant": constant,
    }


def to_text(frame: pd.DataFrame) -> str:
    """The scores as a table of at most 120 columns: methods by split and metric, and what must be known to read it."""
    first = frame.iloc[0]
    wide = pd.DataFrame(index=pd.Index(frame["method"].drop_duplicates(), name="method"))
    for (split, metric), part in frame.groupby(["split", "metric"], sort=False):
        wide[f"{split} {_METRICS[str(metric)]}"] = [_shown(row) for row in part.to_dict("records")]
        if part["paper"].notna().all():
            wide["paper"] = [f"{value:.1f}" for value in part["paper"]]
    always = [
        f"{value:.1f}" for value in frame["constant"][: len(_METRICS) * 2]
    ]  # the same for every method
    wide.loc["always equivalent"] = [*always[:3], "", *always[3:]]
    lines = [
        line for note in _notes(first) for line in textwrap.wrap(note, 116, subsequent_indent="  ")
    ]
    return "\n".join(
        [f"MRPC on dev and on test, profile {first['profile']}", "", wide.to_string(), "", *lines]
    )


def _shown(row: dict) -> str:
    return f"{row['mean']:.1f} [{row['ci_low']:.1f}, {row['ci_high']:.1f}]"


def _notes(first: pd.Series) -> list[str]:
    seeds = f"{first['seeds']} seed{'s' if first['seeds'] > 1 else ''}"
    chosen = (
        " The checkpoint was chosen on dev: that score is optimistic."
        if "dev" in first["checkpoint"]
        else ""
    )
    return [
        f"Percent, {seeds}, 95 % bootstrap interval over examples and seeds. Paper: F1 on GLUE's test server, Table 2.",
        f"Test: GLUE's test pairs with the corpus' public labels; nothing was chosen on them.{chosen}",
        "Always equivalent: what that one answer to every pair scores. F1 is high without any skill; see accuracy.",
        f"Profile {first['profile']}: {first['data']}; encoder {first['backbone']} ({first['precision']}); "
        f"{profile(str(first['profile'])).note}.",
    ]
