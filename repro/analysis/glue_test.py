"""GLUE's test files: the zip for GLUE's server, and MRPC's test score from public labels.

The server takes one tab-separated file per task, at the top level of the zip, with the header
"index<tab>prediction" and one row per test example. All files must be present: those of tasks that
were not run are filled with a constant. File names, header and labels are taken from public
submission scripts, row counts and constants from GLUE's files. No zip has been uploaded yet.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile, ZipInfo

import numpy as np
import pandas as pd

from repro import paths
from repro.analysis import tables
from repro.analysis.example_scores import example_scores
from repro.analysis.groups import Group, groups, make_command, origin
from repro.analysis.inference import mean_score
from repro.analysis.tables import summary, table_frame
from repro.config import printed
from repro.config.cells import Cell, check_seed, plan, variant
from repro.config.printed import DIGITS
from repro.config.profiles import glue_profile
from repro.config.tasks import task
from repro.data import metrics
from repro.errors import InputError, MissingError, one_of
from repro.files import write_atomic
from repro.runs import results

HEADER = "index\tprediction"


@dataclass(frozen=True)
class GlueFile:
    """One file of the zip.

    Attributes:
        task: GLUE's name of the task.
        rows: Number of test examples.
        labels: The allowed predictions; () for a number from 0 to 5.
        constant: The prediction for every example if the task is not run: the most frequent label
            of the training file, or the mean of its numbers.
    """

    task: str
    rows: int
    labels: tuple[str, ...]
    constant: str

    @property
    def name(self) -> str:
        """The file's name in the zip."""
        return f"{self.task}.tsv"


_BINARY, _NLI = ("0", "1"), ("entailment", "neutral", "contradiction")
FILES = (
    GlueFile("AX", 1_104, _NLI, "entailment"),  # has no training file; uses MNLI's constant
    GlueFile("CoLA", 1_063, _BINARY, "1"),  # 6,023 of 8,551
    GlueFile("MNLI-m", 9_796, _NLI, "entailment"),  # about a third; MNLI and QQP were not counted
    GlueFile("MNLI-mm", 9_847, _NLI, "entailment"),
    GlueFile("MRPC", 1_725, task("MRPC").label_strings, "1"),  # 2,474 of 3,668
    GlueFile("QNLI", 5_463, task("QNLI").label_strings, "entailment"),  # half of the examples
    GlueFile("QQP", 390_965, _BINARY, "0"),  # most pairs are not duplicates
    GlueFile("RTE", 3_000, task("RTE").label_strings, "entailment"),  # 1,249 of 2,490
    GlueFile("SST-2", 1_821, task("SST-2").label_strings, "1"),  # 37,569 of 67,349
    GlueFile("STS-B", 1_379, (), "2.701"),  # the mean; a constant has no correlation
    GlueFile("WNLI", 146, _BINARY, "0"),  # 323 of 635
)


def submit(
    profile_name: str, row: str, seed: int, tasks: str = "", recipe: str = "authors"
) -> tuple[Path, dict[str, list[str]]]:
    """Write the zip for one row of Table 2, whose numbers in the paper are the server's.

    Args:
        profile_name: A profile on GLUE.
        row: The name of the row.
        seed: The seed of the models.
        tasks: Comma-separated; "" for all four.
        recipe: Name of the recipe.

    Returns:
        results/<profile>/submission-<row>-s<seed>.zip, with the recipe in its name if it is not
        the authors', and the predictions in it by task.

    Raises:
        InputError: If a name is unknown or the profile is not on GLUE.
        MissingError: If a cell has no result.
    """
    check_seed(seed)
    cells = plan("table2", glue_profile(profile_name).name, tasks, seed + 1, recipe)
    rows = list(dict.fromkeys(cell.row for cell in cells))
    if row not in rows:
        raise one_of("method of table2", row, rows)
    cells = [cell for cell in cells if (cell.row, cell.seed) == (row, seed)]
    _check_finished(cells, " && ".join(map(results.command, cells)))
    from repro.runs import test_set  # imports torch

    predictions = {cell.task: test_set.label_strings(cell) for cell in cells}
    name = ".".join(filter(None, (f"submission-{row}-s{seed}", variant(recipe))))
    zip_path = paths.results(profile_name) / f"{name}.zip"
    write_zip(zip_path, predictions)
    return zip_path, predictions


def write_zip(zip_path: Path, predictions: dict[str, list[str]]) -> None:
    """Write a submission atomically; its bytes depend on the predictions only.

    Args:
        zip_path: The file to write.
        predictions: By task, label strings in the order of the test file.

    Raises:
        InputError: If predictions are of another task, number or label than the server takes.
    """
    files = {file.task: file for file in FILES}
    for name, labels in predictions.items():
        if name not in files:
            raise one_of("GLUE task", name, list(files))
        if len(labels) != files[name].rows:
            raise InputError(
                f"{name} has {len(labels)} predictions; its test file has {files[name].rows} rows"
            )
        if wrong := set(labels) - set(files[name].labels):
            raise one_of(f"prediction of {name}", min(wrong), list(files[name].labels))

    def fill(temporary: Path) -> None:
        with ZipFile(temporary, "w") as archive:
            for file in FILES:
                labels = predictions.get(file.task, [file.constant] * file.rows)
                lines = [HEADER, *(f"{index}\t{label}" for index, label in enumerate(labels))]
                archive.writestr(ZipInfo(file.name), "\n".join(lines) + "\n")  # with a fixed date

    write_atomic(zip_path, fill)


def _check_finished(cells: list[Cell], command: str) -> None:
    missing = [cell for cell in cells if not results.done(cell)]
    if missing:
        raise MissingError(
            f"{len(missing)} of {len(cells)} cells have no result (or a damaged one): "
            f"{', '.join(cell.id for cell in missing)}; run: {command}"
        )


# MRPC's test score

_METRICS = ("f1", "accuracy")  # the paper prints F1


def score_mrpc(
    profile_name: str, seeds: int = 0, recipe: str = "authors"
) -> tuple[Path, pd.DataFrame]:
    """Score every row of Table 2 on MRPC's test pairs, and write the table.

    Args:
        profile_name: A profile on GLUE.
        seeds: The number of seeds; 0 for the recipe's.
        recipe: Name of the recipe.

    Returns:
        results/<profile>/mrpc_test.csv, with the recipe in its name if it is not the authors', and
        its content: see `mrpc_table`.

    Raises:
        InputError: If the profile is not on GLUE, or the public labels are of other pairs.
        MissingError: If a cell has no result, or the public labels are not in GLUE_DIR.
    """
    cells = plan("table2", glue_profile(profile_name).name, "MRPC", seeds, recipe)
    _check_finished(cells, make_command(cells))
    from repro.runs import test_set  # imports torch

    test_set.predict_mrpc(cells)
    frame = mrpc_table(cells)
    target = tables.write_table("mrpc_test", profile_name, frame, cells, variant(recipe))
    return target, frame


def mrpc_table(cells: list[Cell]) -> pd.DataFrame:
    """MRPC's dev and test scores.

    Args:
        cells: Table 2's plan for MRPC, with test predictions.

    Returns:
        One row per method, split (dev, test) and metric, in percent, with the columns of the
        paper's tables. `ci_low` and `ci_high` are the 95 % interval over seeds and examples
        of the split. `paper` is the printed F1 of GLUE's server, given beside the test F1.
        `constant` is the score of predicting "equivalent" for every pair.

    Raises:
        InputError: If there are cells of other tasks, or test labels differ between cells.
        MissingError: If a cell has no result or no test predictions.
    """
    by_method = groups(cells)
    tasks = {name for _, name in by_method}
    if tasks != {"MRPC"}:
        raise InputError(f"MRPC's test score needs cells of MRPC only, got {', '.join(tasks)}")
    rows: list[dict[str, Any]] = []
    first_labels = None
    for group in by_method.values():
        labels, predicted = _test_predictions(group, first_labels)
        first_labels = labels
        columns = origin([group]) | {"task": "MRPC", "last": None}  # the last step's F1: Table 2
        for metric in _METRICS:
            dev = _score(metric, group.labels, group.predicted)
            rows.append(columns | dev)
        for metric in _METRICS:
            test = _score(metric, labels, predicted)
            if metric == "f1":
                paper = printed.paper(columns["table"], columns["method"], ["MRPC"])
                test |= {"paper": paper, "delta": round(test["mean"] - paper, DIGITS)}
            rows.append(columns | {"split": "test"} | test)
    return table_frame(rows, ("constant",))


def _test_predictions(group: Group, expected: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Labels (n,), which must be the expected ones if given, and predicted classes (seeds, n)."""
    frames = [results.test_predictions(cell) for cell in group.cells]
    labels = [frame["label"].to_numpy() for frame in frames]
    expected = labels[0] if expected is None else expected
    if not all(np.array_equal(other, expected) for other in labels):
        raise InputError(
            f"cells of {group.cells[0].row} have different test labels; "
            f"run: {results.test_command(group.cells[-1])}"
        )
    logits = np.stack([results.logits(frame) for frame in frames])
    return expected, logits.argmax(axis=2)


def _score(metric: str, labels: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
    """Mean, interval and constant baseline. labels: (n,); predicted: (seeds, n)."""
    estimate = mean_score(example_scores(metric, labels, predicted))
    constant = round(float(metrics.score(metric, labels, np.ones_like(labels))), DIGITS)
    columns = summary(metrics.score(metric, labels, predicted), estimate)
    return columns | {"metric": metric, "constant": constant}
