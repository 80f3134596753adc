"""Run the stages of one student, and what a report and an exported model say of it."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from repro.config.cells import Cell
from repro.config.own import RECIPE
from repro.config.recipe import parse
from repro.config.tasks import OWN, task
from repro.data import encoders, own
from repro.data.encode import encode
from repro.data.glue import Split
from repro.errors import InputError
from repro.models import export
from repro.models.classifier import Classifier
from repro.runs import compute, machine, reshaped
from repro.runs.engine import missing_stages, run_stages
from repro.runs.progress import Progress
from repro.runs.specs import GivenOutputs, load_splits
from repro.runs.stages import Plan, check_depth
from repro.runs.workers import Inline

_NARROW = 128  # encoders of up to so many dimensions train in one thread


def given_teacher(folder: str, labels: list[own.Label]) -> tuple[str, tuple[int, ...]]:
    """A fine-tuned teacher's folder, and per class of the data the column of its logits.

    Columns are matched by the names of the labels. A teacher without names (LABEL_0, LABEL_1, ...)
    counts as having its classes in the order of the data's.

    Raises:
        InputError: If its classes are not those of the data.
    """
    names = encoders.teacher_labels(folder)
    wanted = [str(label) for label in labels]
    if len(names) == len(wanted) and all(name.startswith("LABEL_") for name in names):
        return folder, tuple(range(len(names)))
    if sorted(names) != sorted(wanted):
        raise InputError(
            f"the teacher {folder} has the labels {', '.join(names)}, the data have "
            f"{', '.join(wanted)}; they must be the same"
        )
    return folder, tuple(names.index(label) for label in wanted)


def check(cell: Cell, teacher: str, example: tuple[str, ...]) -> None:
    """Check, before anything is stored, what the stages of a cell would only find out later.

    Args:
        cell: The cell; its task need not be stored.
        teacher: The folder of a given teacher, or the cell's encoder.
        example: The texts of one example.

    Raises:
        InputError: If the encoder has too few layers, `max_length` does not fit, or the states of
            teacher and student cannot be compared.
    """
    encoder = cell.setting.backbone
    check_depth(cell)
    split = Split((example,), np.zeros(1, np.int64), "train", "own data")
    for name in {encoder, teacher}:
        encode(split, encoders.load_tokenizer(name), cell.setting.max_length)
    widths = encoders.width(teacher), encoders.width(encoder)
    if cell.method.loss == "patient_kd" and widths[0] != widths[1]:
        raise InputError(
            f"{cell.row} compares hidden states, but those of the teacher {teacher} have "
            f"{widths[0]} dimensions and those of the encoder {encoder} {widths[1]}; "
            "use an encoder as wide as the teacher, or --method kd"
        )


def run(plan: Plan, title: str) -> None:
    """Compute the stages of a plan that are not in the cache, with a progress bar.

    A narrow encoder's matrices are too small to share between threads. On a busy machine, threads
    that wait for each other at each of them make a step a hundred times slower.

    Raises:
        ReproError: If a stage fails.
    """
    missing = missing_stages(plan.stages)
    if not missing:
        return
    work, count = sum(stage.work for stage in missing), len(missing)
    threads = torch.get_num_threads()
    try:
        with Inline() as pool, Progress(title, work, count) as bar:
            if encoders.width(plan.cell.setting.backbone) <= _NARROW:
                torch.set_num_threads(1)
            for _, error in run_stages(missing, pool, bar):
                if error is not None:
                    raise error
    finally:
        torch.set_num_threads(threads)


def predictions(plan: Plan) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gold labels (examples,), and the class ids of teacher and trained model, on dev."""
    labels = load_splits(plan.cell.task, plan.cell.setting)[1].labels
    teacher = compute.read(plan.stage("outputs")).tensors["dev.logits"].numpy()
    if plan.cell.method.kind != "student":
        return labels, teacher.argmax(axis=1), teacher.argmax(axis=1)
    student = compute.read(plan.trained).tensors["dev.logits"].numpy()
    return labels, teacher.argmax(axis=1), student.argmax(axis=1)


def labels_of(plan: Plan) -> list[own.Label]:
    """The classes of a plan's task, in the order of their ids."""
    name = plan.cell.task
    return own.classes(name) if name.startswith(OWN) else list(task(name).labels)


def facts(plan: Plan) -> dict[str, Any]:
    """What was trained on what, as plain data, without scores."""
    cell = plan.cell
    train, dev = load_splits(cell.task, cell.setting)
    seen = set(train.texts)
    metas = {stage.kind: compute.read(stage).meta for stage in plan.own}
    trained = metas[plan.trained.kind]
    outputs = plan.stage("outputs").spec
    given = outputs.inputs.encoder if isinstance(outputs, GivenOutputs) else ""
    return {
        "kind": cell.method.kind,
        "method": cell.row,
        "layers": cell.layers or plan.effective_layers,
        "effective_layers": plan.effective_layers,
        "encoder": _shown(cell.setting.backbone),
        "encoder_sha256": encoders.locate(cell.setting.backbone).sha256,
        "given_teacher": _shown(given),
        "task": cell.task,
        "columns": list(task(cell.task).columns),
        "labels": labels_of(plan),
        "train": {"examples": len(train.labels), "fingerprint": train.fingerprint},
        "dev": {
            "examples": len(dev.labels),
            "fingerprint": dev.fingerprint,
            "also_in_train": sum(text in seen for text in dev.texts),
        },
        "seed": cell.seed,
        "recipe": RECIPE if cell.recipe == parse(RECIPE) else cell.recipe.name,
        "profile": cell.profile,
        "setting": {k: v for k, v in asdict(cell.setting).items() if k != "backbone"},
        "trainings": [name for name in ("teacher", "ptp", "student") if name in metas],
        "learning_rate": trained.get("learning_rate"),  # chosen, if decision D13 searches it
        "precision": plan.trained.spec.training.precision,
        "parameters": trained["parameters"],
        "teacher_parameters": metas["teacher"]["parameters"] if "teacher" in metas else None,
        "ptp_label_counts": metas["ptp"]["label_counts"] if "ptp" in metas else None,
        "seconds": {kind: meta["seconds"] for kind, meta in metas.items()},
        "device": trained["device"],
        "commit": trained["commit"],
        "versions": machine.versions(),
    }


def _shown(encoder: str) -> str:
    """An encoder's name without the folders of this machine."""
    return Path(encoder).name


def stock_model(plan: Plan) -> tuple[Any, Any]:
    """The trained model of a plan as a stock transformers model, checked against ours.

    Returns:
        The model and its tokenizer, which cuts texts where training did.
    """
    model: Classifier = reshaped.load_model(plan.trained)
    stock = export.to_transformers(model, [str(label) for label in labels_of(plan)])
    export.check_same(model, stock)
    tokenizer = encoders.load_tokenizer(plan.cell.setting.backbone)
    tokenizer.model_max_length = plan.cell.setting.max_length
    return stock, tokenizer
