"""Check one result file: id, checksum, declared facts, and scores against predictions."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from repro.config.cells import Cell
from repro.config.tasks import task
from repro.data import metrics
from repro.errors import MissingError, ReproError
from repro.files import sha256
from repro.models import layers
from repro.paths import shown
from repro.runs import results

_NO_CHECKSUM = "has no checksum, so an edit cannot be detected; run the cell again"
_TOLERANCE = 1e-9  # points; scores of the same predictions differ by rounding at most


def check_cell(path: Path) -> list[str]:
    """Check a result file and its predictions.

    Args:
        path: results/<profile>/cells/<id>.json.

    Returns:
        One line per finding, starting with the name of the file.
    """
    try:
        row = json.loads(path.read_text())
        cell = Cell.from_dict(row["cell"])
        findings = _check_identity(path, row, cell)
        if path.stem == cell.id:  # otherwise predictions of this name belong to another cell
            findings += [*_check_facts(row, cell), *_check_scores(row, cell)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ReproError) as error:
        findings = [f"cannot be read as the result of a cell ({type(error).__name__}: {error})"]
    return [f"{shown(path)}: {' '.join(line.split())}" for line in findings]


def damaged(findings: dict[Path, list[str]]) -> set[str]:
    """Return the ids of damaged cells, from which no table is computed.

    Args:
        findings: The output of `check_cell` for each result file. A cell whose only finding is a
            missing checksum is not damaged.
    """
    return {
        path.stem
        for path, lines in findings.items()
        if any(_NO_CHECKSUM not in line for line in lines)
    }


def _check_identity(path: Path, row: dict[str, Any], cell: Cell) -> list[str]:
    """Check that name, id, folder and checksum agree with the content."""
    findings = [
        f"{what} is {stored!r} but the content belongs to {cell.id!r}"
        for what, stored in (("name", path.stem), ("id", row["id"]))
        if stored != cell.id
    ]
    folder = path.parent.parent.name
    if cell.profile != folder:
        findings.append(f"is in profile {folder} but belongs to profile {cell.profile}")
    expected = results.sealed(row)["sha256"]
    if "sha256" not in row:
        findings.append(_NO_CHECKSUM)
    elif row["sha256"] != expected:
        findings.append(
            f"edited after it was written: checksum {row['sha256']}, content {expected}"
        )
    return findings


def _check_facts(row: dict[str, Any], cell: Cell) -> list[str]:
    """Check that selection rule, encoder and depth are those that the cell declares."""
    student = cell.method.kind == "student"
    rule = cell.recipe.checkpoint if student else cell.recipe.teacher_checkpoint
    facts: dict[str, tuple[Any, Any]] = {
        "selection rule": (row["selection"]["rule"], rule),
        "backbone": (row["backbone"]["name"], cell.setting.backbone),
    }
    if student and cell.layers:  # 0: as many as the encoder, which is not loaded here
        order = layers.effective_layers(cell.layers, cell.method.sharing, cell.recipe.sps6_order)
        facts["effective_layers"] = row["effective_layers"], len(order)
    if student and row["selection"]["rule"] == "best_dev":  # then the best score is the result
        score = row["metrics"][task(cell.task).metric]
        facts["best score on dev"] = row["selection"]["best_score"], score
    return [
        f"{name}: stored {stored}, recomputed {recomputed}"
        for name, (stored, recomputed) in facts.items()
        if stored != recomputed
    ]


def _check_scores(row: dict[str, Any], cell: Cell) -> list[str]:
    """Check that the predictions are unchanged, cover the split, and give the stored scores."""
    path = results.predictions_path(cell)
    checksum = sha256(path) if path.is_file() else row["predictions_sha256"]  # published: packed
    if checksum != row["predictions_sha256"]:
        return [
            f"its predictions {shown(path)} have SHA-256 {checksum}, "
            f"recorded is {row['predictions_sha256']}"
        ]
    try:
        frame = results.predictions(cell)
    except MissingError:
        return [f"its predictions {path.name} are missing; run: {results.command(cell)}"]
    logits, labels = results.logits(frame), frame["label"].to_numpy()
    findings = []
    content = results.logits_sha256(frame)
    if content != row.get("logits_sha256", content if path.is_file() else "nothing"):
        findings.append(
            f"its labels and logits have SHA-256 {content}, "
            f"recorded is {row.get('logits_sha256', 'nothing')}"
        )
    examples = row["data"]["train_rows" if cell.method.kind == "labels" else "dev_rows"]
    if examples != len(frame):
        findings.append(f"examples: stored {examples}, recomputed {len(frame)}")
    if not np.isfinite(logits).all() or not np.array_equal(frame["index"], np.arange(len(frame))):
        findings.append(
            f"its predictions {shown(path)} are not finite, or their index is not 0 .. n - 1"
        )
    for name, metric in metrics.METRICS.items():
        stored, score = row["metrics"][name], float(metric(labels, logits.argmax(axis=1)))
        if not math.isclose(stored, score, rel_tol=0, abs_tol=_TOLERANCE):
            findings.append(f"{name}: stored {stored}, recomputed from its predictions {score}")
    return findings
