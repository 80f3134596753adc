"""The results file of a cell, and its per-example predictions. No torch here; pandas where it is used."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro import paths
from repro.config.cells import Cell, digest
from repro.config.recipe import Recipe
from repro.errors import MissingError, of_disk
from repro.files import set_aside, sha256
from repro.runs import remote

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


def path(cell: Cell) -> Path:
    """results/<profile>/cells/<id>.json"""
    return paths.below(paths.results(cell.profile), "cells", f"{cell.id}.json")


def predictions_path(cell: Cell) -> Path:
    """results/<profile>/predictions/<id>.parquet"""
    return paths.below(paths.results(cell.profile), "predictions", f"{cell.id}.parquet")


def done(cell: Cell) -> bool:
    """Whether the cell's result and predictions are there, both with the checksums of when they were written."""
    try:
        row = json.loads(path(cell).read_text())
        whole = row.get("sha256", "") in (
            "",
            sealed(row)["sha256"],
        )  # "": one without is named by `verify`
        return whole and row["predictions_sha256"] == sha256(predictions_path(cell))
    except PermissionError as error:
        raise of_disk(path(cell), error) from error
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
    ):  # not there, or not what was written
        return False


def clear(cell: Cell) -> None:
    """Set what is left of a damaged result aside, before it is made again. A cell that is done stays."""
    if path(cell).is_file() and not done(cell):
        set_aside(path(cell), predictions_path(cell))


def fetch(cells: list[Cell]) -> None:
    """Bring from REPRO_REMOTE, if that is set, what it has of the cells and is not here."""
    there = {folder: remote.names(folder) for folder in {path(cell).parent for cell in cells}}
    for cell in cells:
        target = path(cell)
        if not target.is_file() and target.name in there[target.parent]:
            remote.pull(predictions_path(cell), target)


def read(cell: Cell) -> dict[str, Any]:
    """The cell's result as written by `write`; MissingError if there is none, or none that can be read."""
    if not path(cell).is_file():
        raise MissingError(f"no result for cell {cell.id}; run: {command(cell)}")
    try:
        row = json.loads(path(cell).read_text())
    except ValueError:
        row = None
    if not isinstance(row, dict):
        raise MissingError(f"the result of cell {cell.id} is damaged; run: {command(cell)}")
    return row


def predictions(cell: Cell) -> "pd.DataFrame":
    """One row per example: index, label, logit_0 .. logit_{classes - 1}."""
    import pandas as pd

    if not predictions_path(cell).is_file():
        raise MissingError(f"no predictions for cell {cell.id}; run: {command(cell)}")
    return pd.read_parquet(predictions_path(cell))


def write(cell: Cell, result: dict[str, Any], labels: "np.ndarray", logits: "np.ndarray") -> None:
    """Store a finished cell: predictions first, so that a result never stands without them.

    result: metrics in percent and provenance. labels: (examples,). logits: (examples, classes).
    """
    target = predictions_path(cell)
    _write_predictions(target, labels, logits)
    row = {"id": cell.id, "cell": cell.as_dict(), **result, "predictions_sha256": sha256(target)}
    text = json.dumps(sealed(row), indent=1, sort_keys=True) + "\n"
    remote.write(path(cell), lambda temporary: temporary.write_text(text))


def _write_predictions(target: Path, labels: "np.ndarray", logits: "np.ndarray") -> None:
    import numpy as np
    import pandas as pd

    columns = {f"logit_{k}": logits[:, k].astype(np.float32) for k in range(logits.shape[1])}
    frame = pd.DataFrame(
        {"index": np.arange(len(labels)), "label": labels.astype(np.int64), **columns}
    )
    remote.write(target, lambda temporary: frame.to_parquet(temporary, index=False))


def test_path(cell: Cell) -> Path:
    """results/<profile>/test_predictions/<id>.parquet, where a task's test labels are public"""
    return paths.below(paths.results(cell.profile), "test_predictions", f"{cell.id}.parquet")


def write_test(cell: Cell, labels: "np.ndarray", logits: "np.ndarray") -> None:
    """Store a finished cell's predictions for the test examples. labels: (examples,). logits: (examples, classes)."""
    _write_predictions(test_path(cell), labels, logits)


def test_predictions(cell: Cell) -> "pd.DataFrame":
    """One row per test example, as `predictions`; MissingError if there are none."""
    import pandas as pd

    if not test_path(cell).is_file():
        raise MissingError(f"no test predictions for cell {cell.id}; run: {test_command(cell)}")
    return pd.read_parquet(test_path(cell))


def test_command(cell: Cell) -> str:
    """The command line that makes the test predictions of this seed and those before it."""
    return f"python -m repro mrpc-test --profile {cell.profile} --seeds {cell.seed + 1}"


def sealed(row: dict[str, Any]) -> dict[str, Any]:
    """The row with `sha256`, the checksum of all its other fields, so that `verify` finds any later edit."""
    content = {name: value for name, value in row.items() if name != "sha256"}
    return content | {"sha256": digest(content, 64)}


def command(cell: Cell) -> str:
    """The command line that makes just this cell."""
    words = [
        "python",
        "-m",
        "repro",
        "run",
        cell.table,
        "--profile",
        cell.profile,
        "--method",
        cell.row,
        "--task",
        cell.task,
        "--seed",
        str(cell.seed),
    ]
    if cell.recipe != Recipe():
        words += ["--recipe", cell.recipe.name]
    words += ["--tuned"] if cell.tuned else []
    for name, value in cell.given.items():
        words += ["--set", f"{name}={value}"]
    return shlex.join(words)
