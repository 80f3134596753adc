"""Predictions of finished cells' models for GLUE's test files."""

from pathlib import Path
from typing import Any

import numpy as np

from repro import paths
from repro.config.cells import Cell
from repro.config.tasks import task
from repro.data import encoders, glue
from repro.data.encode import Encoded, encode
from repro.data.glue import read_tsv
from repro.errors import InputError, MissingError
from repro.runs import compute, reshaped, results, stages
from repro.training.loop import predict

PUBLIC = "msr_paraphrase_test.txt"  # MRPC's test file with labels; the same pairs as GLUE's
_MAX_FLIPPED = 0.01  # share of dev predictions; on another device, rounding flips near ties


def label_strings(cell: Cell) -> list[str]:
    """The cell's predictions for its task's test file, in its order, as GLUE writes labels."""
    predicted = logits(cell, glue.load(task(cell.task), glue.TEST)).argmax(axis=1)
    return [task(cell.task).label_strings[label] for label in predicted]


def logits(cell: Cell, split: glue.Split) -> np.ndarray:
    """Run the model of a finished cell, which is trained again if it is no longer in the cache.

    Args:
        cell: A finished cell.
        split: Any split of its task.

    Returns:
        Logits (examples, classes).

    Raises:
        InputError: If the model's dev predictions are not those of the cell's result.
    """
    stage = stages.resolve(cell).trained
    spec: Any = stage.spec
    model, precision = reshaped.load_model(stage), spec.training.precision
    dev_tokens = compute.load_data(spec.inputs).dev_tokens
    _check_dev_predictions(cell, predict(model, dev_tokens, precision=precision)[0])
    tokenizer = encoders.load_tokenizer(spec.inputs.encoder)
    tokens = Encoded(encode(split, tokenizer, spec.inputs.max_length), tokenizer.pad_token_id)
    return predict(model, tokens, precision=precision)[0]


def _check_dev_predictions(cell: Cell, dev_logits: np.ndarray) -> None:
    stored = results.logits(results.predictions(cell))
    if stored.shape != dev_logits.shape:
        raise InputError(
            f"cell {cell.id} was scored on {len(stored)} dev examples, the data now have "
            f"{len(dev_logits)}; use the data of the run"
        )
    differ = int((stored.argmax(axis=1) != dev_logits.argmax(axis=1)).sum())
    if differ > _MAX_FLIPPED * len(stored):
        raise InputError(
            f"the model in the cache is not that of cell {cell.id}: {differ} of {len(stored)} dev "
            f"predictions differ; remove {results.path(cell)} and run: {results.command(cell)}"
        )


def predict_mrpc(cells: list[Cell]) -> None:
    """Store the cells' predictions for MRPC's test pairs, with the public labels.

    Raises:
        InputError: As `logits` and `public_labels`.
        MissingError: As `public_labels`.
    """
    split = glue.load(task("MRPC"), glue.TEST)
    labels = public_labels(split)
    for cell in cells:
        results.write_test(cell, labels, logits(cell, split))


def public_labels(split: glue.Split) -> np.ndarray:
    """Read MRPC's public test labels from GLUE_DIR/MRPC/msr_paraphrase_test.txt.

    Args:
        split: GLUE's test split of MRPC.

    Returns:
        Labels (examples,), in the order of the split.

    Raises:
        InputError: If the file has other pairs of sentences than the split.
        MissingError: If there is no such file.
    """
    folder = paths.folder("GLUE_DIR")
    path = Path(folder, "MRPC", PUBLIC)
    if not (folder and path.is_file()):
        raise MissingError(
            f"MRPC's test labels, MRPC/{PUBLIC}, are not in GLUE_DIR, which is {folder!r}; "
            "set it to a folder with this file of the MSR Paraphrase Corpus"
        )
    rows = read_tsv(path, task("MRPC"))
    if len(rows) != len(split.texts):
        raise InputError(
            f"{path} has {len(rows)} pairs, MRPC's test split {len(split.texts)}; "
            "use files of one edition"
        )
    for number, ((texts, _), expected) in enumerate(zip(rows, split.texts, strict=True)):
        if texts != expected:
            raise InputError(
                f"{path}, line {number + 2}: not the pair of index {number} of MRPC's test split; "
                "use files of one edition"
            )
    return np.array([label for _, label in rows], np.int64)
