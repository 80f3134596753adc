"""The models of finished cells on GLUE's test files: a submission to its server, and MRPC's public test labels."""

import os
from pathlib import Path

import numpy as np

from repro.config import cells as experiments
from repro.config.cells import Cell
from repro.config.profiles import glue_profile
from repro.config.tasks import task
from repro.data import encoders, glue
from repro.data.encode import Encoded, encode
from repro.data.glue import read_tsv
from repro.errors import InputError, MissingError, one_of
from repro.runs import compute, results, stages, submission
from repro.training.loop import predict, resolve_precision

PUBLIC = "msr_paraphrase_test.txt"  # MRPC's own test file, with labels: GLUE's test.tsv is the same pairs
_FLIPPED = 0.01  # of the dev predictions may differ: another device rounds otherwise, which turns a near tie


def submit(
    profile_name: str, method: str, seed: int, tasks: str = ""
) -> tuple[Path, dict[str, list[str]]]:
    """Write the submission of one method of Table 2; return where, and the predictions that are not constants.

    tasks: comma-separated, "" for all four. Raises InputError for an unknown name or a profile that is not on GLUE,
    MissingError, with the commands that make them, for cells without a result.
    """
    chosen = _chosen(glue_profile(profile_name).name, method, seed, tasks)
    _check_done(chosen)
    made = {cell.task: label_strings(cell) for cell in chosen}
    target = submission.path(profile_name, method, seed)
    submission.write(target, made)
    return target, made


def _chosen(profile_name: str, method: str, seed: int, tasks: str) -> list[Cell]:
    """The cells of one row of Table 2, the table whose numbers are the server's, and one seed: one for each task."""
    if not 0 <= seed < 100:
        raise InputError(f"seed must be a whole number from 0 to 99, got {seed}")
    plan = [
        cell
        for cell in experiments.plan("table2", profile_name, tasks, seed + 1)
        if cell.seed == seed
    ]
    methods = list(dict.fromkeys(cell.row for cell in plan))
    if method not in methods:
        raise one_of("method of table2", method, methods)
    return [cell for cell in plan if cell.row == method]


def _check_done(chosen: list[Cell]) -> None:
    absent = [cell for cell in chosen if not results.done(cell)]
    if absent:
        raise MissingError(
            f"{len(absent)} of {len(chosen)} cells have no result (or a damaged one): "
            f"{', '.join(cell.id for cell in absent)}; run: "
            f"{' && '.join(map(results.command, absent))}"
        )


def label_strings(cell: Cell) -> list[str]:
    """The cell's predictions for the test file of its task, in its order, as GLUE writes labels."""
    predicted = logits(cell, glue.load(task(cell.task), glue.TEST)).argmax(axis=1)
    return [task(cell.task).label_strings[label] for label in predicted]


def logits(cell: Cell, split: glue.Split) -> np.ndarray:
    """Logits (examples, classes) of a finished cell's model, which must still give the cell's dev predictions.

    The model is the cell's stored student (or teacher); it is trained again only if it is gone from the cache. Raises
    InputError if it is not the model of the cell's result.
    """
    stage, setting = stages.resolve(cell).trained, cell.setting
    model, data = compute.load_model(stage), compute.load_data(stage.spec.inputs)
    precision = resolve_precision(setting.precision)
    _check_same(cell, predict(model, data.dev_tokens, precision=precision)[0])
    tokenizer = encoders.load_tokenizer(setting.backbone)
    tokens = Encoded(encode(split, tokenizer, setting.max_length), tokenizer.pad_token_id)
    return predict(model, tokens, precision=precision)[0]


def _check_same(cell: Cell, dev_logits: np.ndarray) -> None:
    stored = results.predictions(cell).filter(regex=r"^logit_\d+$").to_numpy()
    if stored.shape != dev_logits.shape:
        raise InputError(
            f"cell {cell.id} was scored on {len(stored)} dev examples, the data now have "
            f"{len(dev_logits)}; use the data that it was made with"
        )
    differ = int((stored.argmax(axis=1) != dev_logits.argmax(axis=1)).sum())
    if differ > _FLIPPED * len(stored):
        raise InputError(
            f"the model in the cache is not that of cell {cell.id}: {differ} of {len(stored)} dev "
            f"predictions differ; remove {results.path(cell)} and run: {results.command(cell)}"
        )


def score_mrpc(profile_name: str, seeds: int = 1) -> list[Cell]:
    """Store every Table 2 model's predictions for MRPC's test pairs, with the public labels; return its cells.

    Raises as `submit`; InputError if the labels' file and GLUE's test file are not the same pairs.
    """
    plan = experiments.plan("table2", glue_profile(profile_name).name, "MRPC", seeds)
    _check_done(plan)
    split = glue.load(task("MRPC"), glue.TEST)
    labels = public_labels(split)
    for cell in plan:
        results.write_test(cell, labels, logits(cell, split))
    return plan


def public_labels(split: glue.Split) -> np.ndarray:
    """MRPC's public test labels (examples,) from GLUE_DIR/MRPC/msr_paraphrase_test.txt.

    split: GLUE's test split of MRPC; InputError unless both have the same pairs of sentences in the same order.
    """
    folder = os.environ.get("GLUE_DIR", "")
    path = Path(folder).expanduser() / "MRPC" / PUBLIC
    if not (folder and path.is_file()):
        raise MissingError(
            f"MRPC's test labels are in MRPC/{PUBLIC}, which is not in GLUE_DIR, {folder!r}; "
            "set it to a folder that has this file of the MSR Paraphrase Corpus"
        )
    rows = read_tsv(path, task("MRPC"))
    if len(rows) != len(split.texts):
        raise InputError(
            f"{path} has {len(rows)} pairs, MRPC's test split {len(split.texts)}; use files of one edition"
        )
    for number, ((texts, _), given) in enumerate(zip(rows, split.texts, strict=True)):
        if texts != given:
            raise InputError(
                f"{path}, line {number + 2}: not the pair of index {number} of MRPC's test split; "
                "use files of one edition"
            )
    return np.array([label for _, label in rows], np.int64)
