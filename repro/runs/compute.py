"""How each stage is computed."""

import platform
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from repro.config.cells import Cell
from repro.config.profiles import Budget
from repro.config.tasks import task
from repro.data import metrics, ptp_labels
from repro.errors import InputError, TrainingError
from repro.methods import finetune, kd, patient_kd, pea_kd
from repro.models import classifier, layers
from repro.models.classifier import Classifier
from repro.runs import cache, machine
from repro.runs.cache import Artefact
from repro.runs.scalars import Scalars
from repro.runs.stages import Data, Stage, load_data, planned_here
from repro.runs.watching import Note
from repro.training import checkpoints, loop
from repro.training.checkpoints import Checkpoint
from repro.training.loop import (
    Encoded,
    Evaluate,
    Fitted,
    Log,
    Plan,
    Watch,
    device,
    fit,
    predict,
    resolve_precision,
)
from repro.training.states import load_state, state_of

_INNER = 10  # one example in ten is the inner split (decisions D9 and D15)


def run_stage(stage: Stage) -> float:
    """Make the stage's artefact unless it is there. Returns the seconds it took this time.

    Raises InputError where another process planned the stage on other data or another encoder than this one has.
    """
    start = time.perf_counter()
    cache.get(stage.kind, stage.key, lambda: _timed(_as_planned(stage)))
    return time.perf_counter() - start


def _as_planned(stage: Stage) -> Stage:
    if stage.key not in {mine.key for mine in planned_here(stage)}:
        raise InputError(
            f"{platform.node()} would not make what was planned for the {stage}: its data or encoder "
            "are not those of the machine that made the plan; give every machine the same"
        )
    return stage


def _timed(stage: Stage) -> Artefact:
    torch.manual_seed(stage.cell.seed)
    start = time.perf_counter() - checkpoints.seconds(cache.partial(stage.kind, stage.key))
    with Note("stage", what=str(stage)) as note, Scalars(stage, note) as log:
        artefact = _COMPUTE[stage.kind](stage, log)
    made = {"seconds": time.perf_counter() - start} | machine.hardware()
    return Artefact(artefact.tensors, artefact.meta | made)


def _checkpoint(stage: Stage) -> Checkpoint:
    """Where the stage's training stands, as long as it is not finished."""
    return Checkpoint(cache.partial(stage.kind, stage.key))


def read(stage: Stage) -> Artefact:
    """The stage's artefact, made now if it is not there (or was damaged)."""
    return cache.get(stage.kind, stage.key, lambda: _timed(stage))


def _teacher(stage: Stage, log: Log) -> Artefact:
    cell, data = stage.cell, load_data(stage.cell)
    model = classifier.teacher(cell.setting.backbone, len(task(cell.task).labels))
    rule = cell.recipe.teacher_checkpoint
    evaluate = {
        "last": None,
        "best_dev": _dev_score(cell, data),
        "lowest_dev_loss": _minus_dev_loss(cell, data),
    }[rule]
    rows = np.arange(len(data.train.labels))
    objective = finetune.objective(torch.from_numpy(data.train.labels).to(device()))
    plan = _plan(cell, cell.setting.teacher, cell.recipe.shuffle)
    fitted = fit(
        model, data.train_tokens, rows, objective, plan, evaluate, _checkpoint(stage), log=log
    )
    return Artefact(state_of(model), _meta(model, fitted, rule))


def _outputs(stage: Stage, log: Log) -> Artefact:
    """The teacher over all the data, once: train.logits, train.cls (examples, layers, hidden), dev.logits."""
    cell, data = stage.cell, load_data(stage.cell)
    model = classifier.teacher(cell.setting.backbone, len(task(cell.task).labels))
    load_state(model, read(stage.parent("teacher")).tensors)
    precision = resolve_precision(cell.setting.precision)
    logits, states = predict(model, data.train_tokens, precision=precision, states=True)
    dev_logits, _ = predict(model, data.dev_tokens, precision=precision)
    assert states is not None
    named = {
        "train.logits": torch.from_numpy(logits),
        "train.cls": states,
        "dev.logits": torch.from_numpy(dev_logits),
    }
    return Artefact(named, {})


def _ptp(stage: Stage, log: Log) -> Artefact:
    cell, data, recipe = stage.cell, load_data(stage.cell), stage.cell.recipe
    teacher = read(stage.parent("outputs")).tensors
    labels, dev_labels, cuts = _ptp_labels(cell, data, teacher)
    classes = 4 if cell.method.ptp == "both" else 2
    model = pea_kd.build(cell, classes)
    rule = (
        "best_inner"
        if recipe.ptp_stop == "patience" and recipe.ptp_selection == "last"
        else recipe.ptp_selection
    )
    rows, evaluate = _selection(cell, data, rule, "accuracy", labels, dev_labels)
    objective = pea_kd.pretraining_objective(
        torch.from_numpy(labels).to(device()), classes, recipe.ptp_class_weights
    )
    plan = _plan(cell, cell.setting.ptp, shuffle=True, patience=recipe.ptp_stop == "patience")
    fitted = fit(
        model, data.train_tokens, rows, objective, plan, evaluate, _checkpoint(stage), log=log
    )
    counts = np.bincount(labels, minlength=classes).tolist()
    return Artefact(
        state_of(model), _meta(model, fitted, rule) | {"thresholds": cuts, "label_counts": counts}
    )


def _ptp_labels(
    cell: Cell, data: Data, teacher: dict[str, Tensor]
) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """PTP targets of the training and the dev examples, with the thresholds that the training data give."""
    train_logits, dev_logits = teacher["train.logits"].numpy(), teacher["dev.logits"].numpy()
    cuts = ptp_labels.thresholds(
        cell.recipe.ptp_thresholds, task(cell.task), train_logits, data.train.labels
    )
    variant, rule = cell.method.ptp, cell.recipe.ptp2_threshold
    return (
        ptp_labels.variant_labels(variant, train_logits, data.train.labels, cuts, rule),
        ptp_labels.variant_labels(variant, dev_logits, data.dev.labels, cuts, rule),
        cuts,
    )


def _search(stage: Stage, log: Log) -> Artefact:
    """The candidate with the best score on the inner split (decision D13)."""
    scores = {
        parent.cell.setting.student.learning_rate: read(parent).meta["best_score"]
        for parent in stage.parents
    }
    return Artefact(
        {},
        {
            "scores": {str(rate): score for rate, score in scores.items()},
            "learning_rate": max(scores, key=scores.__getitem__),
        },
    )


def _student(stage: Stage, log: Log, watch: Watch = loop.go_on) -> Artefact:
    cell, data, recipe = stage.cell, load_data(stage.cell), stage.cell.recipe
    model = pea_kd.build(cell, len(task(cell.task).labels))
    if cell.method.ptp != "none":
        pea_kd.initialise(model, read(stage.parent("ptp")).tensors, recipe.ptp_pooler)
    objective = _objective(cell, data, read(stage.parent("outputs")).tensors)
    metric = task(cell.task).metric
    rows, evaluate = _selection(
        cell, data, recipe.checkpoint, metric, data.train.labels, data.dev.labels
    )
    searched = {parent.kind: parent for parent in stage.parents}.get("search")
    rate = read(searched).meta["learning_rate"] if searched else None
    plan = _plan(cell, cell.setting.student, recipe.shuffle, rate=rate)
    fitted = fit(
        model, data.train_tokens, rows, objective, plan, evaluate, _checkpoint(stage), watch, log
    )
    logits, _ = predict(model, data.dev_tokens, precision=plan.precision)
    if stage.kind == "student":  # a sweep's trial does not look at dev's labels
        score = float(metrics.score(metric, data.dev.labels, logits.argmax(1)))
        log({fitted.steps: {"dev": score}}, fitted.steps)
    meta = _meta(model, fitted, recipe.checkpoint) | {"learning_rate": plan.learning_rate}
    return Artefact(state_of(model) | {"dev.logits": torch.from_numpy(logits)}, meta)


def _trial(stage: Stage, log: Log) -> Artefact:
    """A student of a sweep, for its scores on the inner split alone. One that diverges is a trial that failed."""
    from repro.runs.study import Watch as Pruning  # Optuna is for sweeps only

    watch = Pruning(**stage.inputs["watch"])
    try:
        meta = _student(stage, log, watch).meta | {"failed": ""}
    except TrainingError as error:
        meta = {"failed": str(error), "best_score": None, "steps": 0}
    return Artefact({}, meta | {"epoch_scores": watch.scores, "pruned": watch.pruned})


def _objective(cell: Cell, data: Data, teacher: dict[str, Tensor]) -> loop.Objective:
    """What the cell's method minimises; the teacher's outputs move to the model's device once."""
    labels = torch.from_numpy(data.train.labels).to(device())
    if cell.method.loss == "finetune":
        return finetune.objective(labels)
    logits = teacher["train.logits"].to(device())
    pairs = _pairs(cell, teacher["train.cls"].shape[1])
    if cell.method.loss == "kd" or not pairs:
        return kd.objective(labels, logits, cell.setting, cell.recipe)
    matched = teacher["train.cls"][:, [target - 1 for _, target in pairs]].to(
        device()
    )  # (examples, pairs, hidden)
    return patient_kd.objective(labels, logits, matched, pairs, cell.setting, cell.recipe)


def _pairs(cell: Cell, teacher_layers: int) -> list[tuple[int, int]]:
    """The matched layers (decisions D5 and D18)."""
    recipe = cell.recipe
    if cell.layers == 1 and cell.method.sharing == "none" and recipe.one_layer_patient == "match":
        return [(1, (teacher_layers + 1) // 2)]
    return layers.layer_map(
        cell.layers, cell.method.sharing, teacher_layers, recipe.layer_map, recipe.sps6_order
    )


def _plan(
    cell: Cell, budget: Budget, shuffle: bool, patience: bool = False, rate: float | None = None
) -> Plan:
    setting = cell.setting
    return Plan(
        rate or budget.learning_rate,
        budget.batch_size,
        budget.epochs,
        0 if patience else budget.run_epochs,
        cell.recipe.optimizer,
        shuffle,
        cell.seed,
        resolve_precision(setting.precision),
        setting.evaluations_per_epoch,
        patience,
    )


def _selection(
    cell: Cell, data: Data, rule: str, metric: str, labels: np.ndarray, dev_labels: np.ndarray
) -> tuple[np.ndarray, Evaluate | None]:
    """The rows to train on, and the score that picks the checkpoint: none, on dev, or on a tenth kept out of train."""
    rows = np.arange(len(labels))
    if rule == "last":
        return rows, None
    if rule == "best_dev":
        return rows, _scorer(cell, metric, data.dev_tokens, dev_labels, None)
    inner = np.random.default_rng(cell.seed).permutation(rows)[: max(1, len(rows) // _INNER)]
    return np.setdiff1d(rows, inner), _scorer(cell, metric, data.train_tokens, labels[inner], inner)


def _scorer(
    cell: Cell, metric: str, tokens: Encoded, labels: np.ndarray, rows: np.ndarray | None
) -> Evaluate:
    precision = resolve_precision(cell.setting.precision)
    return lambda model: float(
        metrics.score(metric, labels, predict(model, tokens, rows, precision)[0].argmax(1))
    )


def _dev_score(cell: Cell, data: Data) -> Evaluate:
    return _scorer(cell, task(cell.task).metric, data.dev_tokens, data.dev.labels, None)


def _minus_dev_loss(cell: Cell, data: Data) -> Evaluate:
    """The authors keep the teacher of the lowest dev loss, so that it still errs on its training data (D20)."""
    precision, gold = resolve_precision(cell.setting.precision), torch.from_numpy(data.dev.labels)

    def evaluate(model: Classifier) -> float:
        logits, _ = predict(model, data.dev_tokens, precision=precision)
        return -torch.nn.functional.cross_entropy(torch.from_numpy(logits), gold).item()

    return evaluate


def _meta(model: Classifier, fitted: Fitted, rule: str) -> dict[str, Any]:
    return {
        "rule": rule,
        "steps": fitted.steps,
        "best_step": fitted.best_step or fitted.steps,
        "best_score": None if np.isnan(fitted.best_score) else fitted.best_score,
        "history": fitted.history,
        "parameters": model.parameter_counts(),
    }


_COMPUTE = {
    "teacher": _teacher,
    "outputs": _outputs,
    "ptp": _ptp,
    "search": _search,
    "student": _student,
    "trial": _trial,
}
