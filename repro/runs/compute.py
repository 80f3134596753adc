"""How each stage is computed from its values and its parents' artefacts."""

import importlib
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from repro.config.tasks import task
from repro.data import encoders, glue, metrics
from repro.data.encode import Encoded, encode
from repro.errors import InputError
from repro.methods import ptp
from repro.models import classifier
from repro.models.classifier import Classifier, FineTuned
from repro.runs import cache, machine
from repro.runs.cache import Artefact
from repro.runs.callbacks import usual_callbacks
from repro.runs.specs import GivenOutputs, Inputs, Pretraining, Teacher, load_splits
from repro.runs.stages import Stage
from repro.training import checkpoints
from repro.training.loop import (
    Callback,
    Evaluate,
    Evaluation,
    Hyperparameters,
    Objective,
    Progress,
    device,
    fit,
    predict,
)
from repro.training.states import load_state, state_of

_INNER = 10  # one training example in ten is the inner split (decisions D9 and D15)


@dataclass(frozen=True)
class Data:
    """The splits of a stage, as text with labels and as tokens."""

    train: glue.Split
    dev: glue.Split
    train_tokens: Encoded
    dev_tokens: Encoded


def run_stage(stage: Stage) -> float:
    """Compute a stage's artefact unless it is there; returns the seconds it took.

    Raises:
        InputError: If this machine's data or encoder are not those of the plan.
    """
    start = time.perf_counter()
    read(stage)
    return time.perf_counter() - start


def read(stage: Stage) -> Artefact:
    """The stage's artefact; computed if it is missing or damaged."""
    return cache.get(stage.kind, stage.key, lambda: _compute(stage))


def _compute(stage: Stage) -> Artefact:
    earlier = checkpoints.seconds(cache.partial(stage.kind, stage.key))  # of interrupted processes
    start = time.perf_counter() - earlier
    artefact = function_of(stage.kind)(stage)
    made_by = {"seconds": time.perf_counter() - start} | machine.description()
    return Artefact(artefact.tensors, artefact.meta | made_by)


def load_data(inputs: Inputs) -> Data:
    """The splits of a stage, loaded and tokenised once per process.

    Raises:
        InputError: If they, or the encoder, are not those that the stage was planned with.
    """
    train, dev = load_splits(inputs.task, inputs)
    found = train.fingerprint, dev.fingerprint, encoders.fingerprint(inputs.encoder)
    if found != (inputs.train, inputs.dev, inputs.encoder_files):
        raise InputError(
            f"{platform.node()} has other data of {inputs.task} or another encoder "
            f"{inputs.encoder} than the machine that made the plan; give every machine the same"
        )
    tokens = _tokens(train, inputs), _tokens(dev, inputs)
    return Data(train, dev, *tokens)


@lru_cache(maxsize=8)
def _tokens(split: glue.Split, inputs: Inputs) -> Encoded:
    tokenizer = encoders.load_tokenizer(inputs.encoder)
    return Encoded(encode(split, tokenizer, inputs.max_length), tokenizer.pad_token_id)


# stages


def _teacher(stage: Stage) -> Artefact:
    spec, data = stage.spec, load_data(stage.spec.inputs)
    torch.manual_seed(spec.training.seed)
    model = build(stage)
    rule, metric = spec.selection, task(spec.inputs.task).metric
    evaluate: dict[str, Evaluate | None] = {
        "last": None,
        "best_dev": _scorer(spec, metric, data.dev_tokens, data.dev.labels),
        "lowest_dev_loss": _minus_loss(spec, data.dev_tokens, data.dev.labels),
    }
    rows = np.arange(len(data.train.labels))
    objective = spec.loss.objective(_on_device(data.train.labels), {})
    progress = train(stage, model, data, rows, objective, spec.training, evaluate[rule])
    return Artefact(state_of(model), training_meta(model, progress, rule))


def _outputs(stage: Stage) -> Artefact:
    spec, data = stage.spec, load_data(stage.spec.inputs)
    given = isinstance(spec, GivenOutputs)
    model: Any = _given_teacher(spec) if given else load_model(stage.parent("teacher"))
    logits, states = predict(model, data.train_tokens, precision=spec.precision, states=True)
    dev_logits, _ = predict(model, data.dev_tokens, precision=spec.precision)
    assert states is not None  # (examples, layers, hidden)
    tensors = {"train.logits": torch.from_numpy(logits), "train.cls": states}
    return Artefact(tensors | {"dev.logits": torch.from_numpy(dev_logits)}, {})


def _given_teacher(spec: GivenOutputs) -> FineTuned:
    return FineTuned(encoders.load_classifier(spec.inputs.encoder), spec.columns)


def _pretraining(stage: Stage) -> Artefact:
    spec, data = stage.spec, load_data(stage.spec.inputs)
    teacher = read(stage.parent("outputs")).tensors
    logits, dev_logits = teacher["train.logits"].numpy(), teacher["dev.logits"].numpy()
    cuts = spec.ptp.cuts(logits, data.train.labels)
    labels = spec.ptp.labels(logits, data.train.labels, cuts)
    dev_labels = spec.ptp.labels(dev_logits, data.dev.labels, cuts)
    torch.manual_seed(spec.training.seed)
    model = build(stage)
    rows, evaluate = select(spec, data, "accuracy", labels, dev_labels)
    objective = spec.ptp.objective(labels)
    progress = train(stage, model, data, rows, objective, spec.training, evaluate)
    counts = np.bincount(labels, minlength=spec.ptp.classes).tolist()
    meta = {"thresholds": list(cuts), "label_counts": counts}
    return Artefact(state_of(model), training_meta(model, progress, spec.selection) | meta)


def _search(stage: Stage) -> Artefact:
    """The learning rate with the best score on the inner split (decision D13)."""
    scores = {
        candidate.spec.training.learning_rate: read(candidate).meta["best_score"]
        for candidate in stage.parents
    }
    best = max(scores, key=scores.__getitem__)
    return Artefact({}, {"learning_rate": best, "scores": {str(k): v for k, v in scores.items()}})


def _student(stage: Stage) -> Artefact:
    spec, data = stage.spec, load_data(stage.spec.inputs)
    model, progress, training = train_student(stage, data)
    logits, _ = predict(model, data.dev_tokens, precision=training.precision)
    meta = training_meta(model, progress, spec.selection) | {
        "learning_rate": training.learning_rate
    }
    return Artefact(state_of(model) | {"dev.logits": torch.from_numpy(logits)}, meta)


COMPUTE: dict[str, Callable[[Stage], Artefact]] = {
    "teacher": _teacher,
    "outputs": _outputs,
    "ptp": _pretraining,
    "search": _search,
    "student": _student,
}
# Kinds that few methods use. Their modules are loaded by name, since they build on this one.
ELSEWHERE = {
    "words": "repro.runs.phases",
    "phase": "repro.runs.phases",
    "reshaped": "repro.runs.reshaped",
}


def function_of(kind: str) -> Callable[[Stage], Artefact]:
    """What computes the stages of a kind."""
    if kind in COMPUTE:
        return COMPUTE[kind]
    function: Callable[[Stage], Artefact] = importlib.import_module(ELSEWHERE[kind]).COMPUTE[kind]
    return function


# parts of stages


def train_student(
    stage: Stage, data: Data, callbacks: Sequence[Callback] = ()
) -> tuple[Classifier, Progress, Hyperparameters]:
    """Train the student of a stage.

    Args:
        stage: A student's stage.
        data: Its splits.
        callbacks: Further callbacks, called first.

    Returns:
        The student, how its training went, and its hyperparameters with the learning rate used.
    """
    spec, training = stage.spec, chosen_training(stage)
    teacher = read(stage.parent("outputs")).tensors
    pretrained = read(stage.parent("ptp")).tensors if stage.has("ptp") else None
    torch.manual_seed(training.seed)  # after the reads, which may compute what is damaged
    model = build(stage)
    if pretrained is not None:
        ptp.initialise(model, pretrained, spec.pooler)
    objective = spec.loss.objective(_on_device(data.train.labels), teacher)
    metric = task(spec.inputs.task).metric
    rows, evaluate = select(spec, data, metric, data.train.labels, data.dev.labels)
    progress = train(stage, model, data, rows, objective, training, evaluate, callbacks)
    return model, progress, training


def chosen_training(stage: Stage) -> Hyperparameters:
    """A stage's hyperparameters, at the learning rate that its search chose, if it has one."""
    training: Hyperparameters = stage.spec.training
    if not stage.has("search"):
        return training
    rate = read(stage.parent("search")).meta["learning_rate"]
    return replace(training, learning_rate=rate)


def whole_encoder(inputs: Inputs) -> Classifier:
    """The whole pretrained encoder with a fresh classifier for the task's labels."""
    return classifier.teacher(inputs.encoder, len(task(inputs.task).labels))


def build(stage: Stage) -> Classifier:
    """The untrained model of a stage: pretrained layers and a fresh classifier."""
    spec = stage.spec
    if isinstance(spec, Teacher):
        return whole_encoder(spec.inputs)
    pretraining = isinstance(spec, Pretraining)
    classes = spec.ptp.classes if pretraining else len(task(spec.inputs.task).labels)
    structure = spec.structure
    return classifier.student(
        spec.inputs.encoder, structure.layers, structure.uses, classes, structure.swap_biases
    )


def load_model(stage: Stage) -> Classifier:
    """The trained model of a stage."""
    model = build(stage)
    load_state(model, read(stage).tensors)
    return model


def train(
    stage: Stage,
    model: Any,
    data: Data,
    rows: np.ndarray,
    objective: Objective,
    training: Hyperparameters,
    evaluate: Evaluate | None,
    callbacks: Sequence[Callback] = (),
) -> Progress:
    """Run `fit` with the evaluation and the callbacks of every training.

    Args:
        stage: What is trained.
        model: The model, in place.
        data: Its splits.
        rows: Indices (n,) of the training examples.
        objective: Weighted loss terms of a batch.
        training: Hyperparameters.
        evaluate: The score that picks the checkpoint; None to keep the last step.
        callbacks: Further callbacks, called first.
    """
    evaluation = [Evaluation(evaluate)] if evaluate else []
    every = [*callbacks, *evaluation, *usual_callbacks(stage)]
    return fit(model, data.train_tokens, rows, objective, training, every)


def select(
    spec: Any, data: Data, metric: str, labels: np.ndarray, dev_labels: np.ndarray
) -> tuple[np.ndarray, Evaluate | None]:
    """The rows to train on, and the score that picks the checkpoint.

    Args:
        spec: Its `selection` is "last" (no score), "best_dev" or "best_inner" (on a random tenth of
            train that is not trained on).
        data: The splits.
        metric: Name of the score.
        labels: Targets (examples,) of train.
        dev_labels: Targets (examples,) of dev.
    """
    rows = np.arange(len(labels))
    if spec.selection == "last":
        return rows, None
    if spec.selection == "best_dev":
        return rows, _scorer(spec, metric, data.dev_tokens, dev_labels)
    shuffled = np.random.default_rng(spec.training.seed).permutation(rows)
    inner = shuffled[: max(1, len(rows) // _INNER)]
    evaluate = _scorer(spec, metric, data.train_tokens, labels[inner], inner)
    return np.setdiff1d(rows, inner), evaluate


def _scorer(
    spec: Any, metric: str, tokens: Encoded, labels: np.ndarray, rows: np.ndarray | None = None
) -> Evaluate:
    def evaluate(model: Classifier) -> float:
        logits, _ = predict(model, tokens, rows, spec.training.precision)
        return float(metrics.score(metric, labels, logits.argmax(axis=1)))

    return evaluate


def _minus_loss(spec: Any, tokens: Encoded, labels: np.ndarray) -> Evaluate:
    """Minus the cross-entropy: the authors keep the teacher with the lowest dev loss (D20)."""

    def evaluate(model: Classifier) -> float:
        logits, _ = predict(model, tokens, precision=spec.training.precision)
        gold = torch.from_numpy(labels)
        return -torch.nn.functional.cross_entropy(torch.from_numpy(logits), gold).item()

    return evaluate


def _on_device(labels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(labels).to(device())


def training_meta(model: Classifier, progress: Progress, rule: str) -> dict[str, Any]:
    """What an artefact says of its training, with the selection rule."""
    scored = progress.best_step > 0
    return {
        "rule": rule,
        "steps": progress.step,
        "best_step": progress.best_step or progress.step,
        "best_score": progress.best_score if scored else None,
        "history": progress.history,
        "parameters": model.parameter_counts(),
    }
