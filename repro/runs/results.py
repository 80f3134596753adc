"""The result of a cell: one JSON file, and its per-example predictions. No torch."""

import hashlib
import json
import shlex
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro import paths
from repro.config.cells import Cell
from repro.errors import MissingError, of_disk
from repro.files import digest, set_aside, sha256
from repro.runs import remote

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

OWN_STAGES = ("ptp", "search", "student", "phase", "reshaped")  # those of one student alone


def path(cell: Cell) -> Path:
    """results/<profile>/cells/<id>.json"""
    return paths.below(paths.results(cell.profile), "cells", f"{cell.id}.json")


def predictions_path(cell: Cell) -> Path:
    """results/<profile>/predictions/<id>.parquet"""
    return paths.below(paths.results(cell.profile), "predictions", f"{cell.id}.parquet")


def done(cell: Cell) -> bool:
    """Whether the result and the predictions are there and match their checksums."""
    try:
        row = json.loads(path(cell).read_text())
        # `verify` reports a result without a checksum; here it counts as done.
        sealed_as_written = row.get("sha256", "") in ("", sealed(row)["sha256"])
        published = packed(predictions_path(cell).parent).get(cell.id)
        if published is not None:
            return sealed_as_written and bool(row["logits_sha256"] == logits_sha256(published))
        return sealed_as_written and row["predictions_sha256"] == sha256(predictions_path(cell))
    except PermissionError as error:
        raise of_disk(path(cell), error) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # missing or damaged
        return False


def clear(cell: Cell) -> None:
    """Set a damaged result aside before it is written again."""
    if path(cell).is_file() and not done(cell):
        set_aside(path(cell), predictions_path(cell))


def fetch(cells: list[Cell]) -> None:
    """Copy results that are missing here from REPRO_REMOTE, if that is set."""
    there = {folder: remote.names(folder) for folder in {path(cell).parent for cell in cells}}
    for cell in cells:
        target = path(cell)
        if not target.is_file() and target.name in there[target.parent]:
            remote.pull(predictions_path(cell), target)


def read(cell: Cell) -> dict[str, Any]:
    """The result as `write` stored it.

    Raises:
        MissingError: If there is none, or none that can be read; with the command that computes it.
    """
    if not path(cell).is_file():
        raise MissingError(f"no result for cell {cell.id}; run: {command(cell)}")
    row = load(path(cell))
    if row is None:
        raise MissingError(f"the result of cell {cell.id} is damaged; run: {command(cell)}")
    return row


def costs(cell: Cell) -> dict[str, Any]:
    """What a finished cell's model costs, as far as its result says: a row of a table of costs.

    Returns:
        table, method, task: The cell's.
        parameters: stored ones, with embeddings and pooler, without the classifier.
        training_seconds: of its own trainings; teacher and teacher's outputs, which all students
            share, are not counted.
        effective_layers: layers that an answer runs.
    """
    result = read(cell)
    return {
        "table": cell.table,
        "method": cell.row,
        "task": cell.task,
        "parameters": result["parameters"]["with_embeddings"],
        "training_seconds": round(sum(result["seconds"].get(kind, 0.0) for kind in OWN_STAGES), 1),
        "effective_layers": result["effective_layers"],
    }


def of_first_seed(cells: list[Cell]) -> list[Cell]:
    """The cells of the lowest seed: costs are those of one seed."""
    first = min(cell.seed for cell in cells)
    return [cell for cell in cells if cell.seed == first]


def load(file: Path) -> dict[str, Any] | None:
    """The content of a result file; None if it is missing or damaged."""
    try:
        row = json.loads(file.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return row if isinstance(row, dict) else None


def predictions(cell: Cell) -> "pd.DataFrame":
    """One row per example: index, label, logit_0 .. logit_{classes - 1}.

    Raises:
        MissingError: If there are none; with the command that computes them.
    """
    frame = _read_predictions(predictions_path(cell))
    if frame is None:
        raise MissingError(f"no predictions for cell {cell.id}; run: {command(cell)}")
    return frame


def _read_predictions(file: Path) -> "pd.DataFrame | None":
    """Read a cell's own file, or its rows of the one file that holds all published predictions."""
    import pandas as pd

    if file.is_file():
        return pd.read_parquet(file)
    return packed(file.parent).get(file.stem)


def packed(folder: Path) -> "dict[str, pd.DataFrame]":
    """The published predictions by cell id, from predictions.parquet beside the missing folder.

    Its column `cells` names the cells, separated by spaces, that share the predictions of a row.

    Args:
        folder: results/published/<profile>/predictions or test_predictions.
    """
    file = folder.with_suffix(".parquet")
    return _unpack(file, file.stat().st_mtime_ns) if file.is_file() else {}


@lru_cache(maxsize=2)  # of predictions and of test predictions
def _unpack(file: Path, modified: int) -> "dict[str, pd.DataFrame]":
    import pandas as pd

    return {
        cell_id: part.drop(columns="cells").dropna(axis=1, how="all").reset_index(drop=True)
        for cell_ids, part in pd.read_parquet(file).groupby("cells", observed=True)
        for cell_id in str(cell_ids).split()
    }


def logits(frame: "pd.DataFrame") -> "np.ndarray":
    """The logits (examples, classes) of predictions.

    Args:
        frame: As `predictions` returns it.
    """
    return frame.filter(regex=r"^logit_\d+$").to_numpy()


def logits_sha256(frame: "pd.DataFrame") -> str:
    """SHA-256 of labels and logits, which unlike a file's does not depend on how they are stored.

    Two runs with the same value made the same predictions, to the last bit.

    Args:
        frame: As `predictions` returns it.
    """
    labels = frame["label"].to_numpy("<i8")
    return hashlib.sha256(labels.tobytes() + logits(frame).astype("<f4").tobytes()).hexdigest()


def write(cell: Cell, result: dict[str, Any], labels: "np.ndarray", logits: "np.ndarray") -> None:
    """Store a finished cell, predictions first: a result never exists without them.

    Args:
        cell: The cell.
        result: Metrics in percent and provenance.
        labels: Gold labels (examples,).
        logits: Logits (examples, classes).
    """
    target = predictions_path(cell)
    frame = _write_predictions(target, labels, logits)
    sums = {"predictions_sha256": sha256(target), "logits_sha256": logits_sha256(frame)}
    row = {"id": cell.id, "cell": cell.as_dict(), **result, **sums}
    text = json.dumps(sealed(row), indent=1, sort_keys=True) + "\n"
    remote.write(path(cell), lambda temporary: temporary.write_text(text))


def _write_predictions(target: Path, labels: "np.ndarray", logits: "np.ndarray") -> "pd.DataFrame":
    import numpy as np
    import pandas as pd

    columns = {f"logit_{k}": logits[:, k].astype(np.float32) for k in range(logits.shape[1])}
    first = {"index": np.arange(len(labels)), "label": labels.astype(np.int64)}
    frame = pd.DataFrame(first | columns)
    remote.write(target, lambda temporary: frame.to_parquet(temporary, index=False))
    return frame


def test_path(cell: Cell) -> Path:
    """results/<profile>/test_predictions/<id>.parquet, for tasks with public test labels."""
    return paths.below(paths.results(cell.profile), "test_predictions", f"{cell.id}.parquet")


def write_test(cell: Cell, labels: "np.ndarray", logits: "np.ndarray") -> None:
    """Store predictions for the test examples; arguments as in `write`."""
    _write_predictions(test_path(cell), labels, logits)


def test_predictions(cell: Cell) -> "pd.DataFrame":
    """One row per test example, with the columns of `predictions`.

    Raises:
        MissingError: If there are none; with the command that computes them.
    """
    frame = _read_predictions(test_path(cell))
    if frame is None:
        raise MissingError(f"no test predictions for cell {cell.id}; run: {test_command(cell)}")
    return frame


def test_command(cell: Cell) -> str:
    """The command that computes the test predictions of this seed and those before it."""
    words = ["python", "-m", "repro", "mrpc-test", "--profile", cell.profile]
    words += ["--seeds", str(cell.seed + 1), *option_words(cell.recipe.name, cell.given)]
    return shlex.join(words)


def sealed(row: dict[str, Any]) -> dict[str, Any]:
    """The row with `sha256`, a checksum of its other fields that reveals later edits."""
    content = {name: value for name, value in row.items() if name != "sha256"}
    return content | {"sha256": digest(content, 64)}


def command(cell: Cell) -> str:
    """The command that computes this cell alone."""
    words = ["python", "-m", "repro", "run", cell.table, "--profile", cell.profile]
    words += ["--method", cell.row, "--tasks", cell.task, "--seed", str(cell.seed)]
    words += option_words(cell.recipe.name, cell.given, bool(cell.tuned))
    return shlex.join(words)


def option_words(recipe: str, settings: dict[str, Any], tuned: bool = False) -> list[str]:
    """The words --recipe, --tuned and --set of a command, as far as they are needed.

    Args:
        recipe: Name of the recipe.
        settings: Changed settings.
        tuned: Whether students have the best settings of their sweeps.
    """
    words = [] if recipe == "authors" else ["--recipe", recipe]
    words += ["--tuned"] if tuned else []
    for name, value in settings.items():
        words += ["--set", f"{name}={value}"]
    return words
