"""Students whose method changes their network: it loses width, or gets adapters.

This module adds its kind of stage to those of `stages` and `compute`, which need not know it: a
stage of this kind can only exist where this module is loaded.
"""

from dataclasses import dataclass, replace

import torch

from repro.config.tasks import task
from repro.models import classifier
from repro.models.classifier import Classifier
from repro.runs import compute
from repro.runs.cache import Artefact
from repro.runs.callbacks import usual_callbacks
from repro.runs.compute import read
from repro.runs.stages import KINDS, Inputs, Stage
from repro.training.loop import Evaluation, Hyperparameters, device, fit, predict
from repro.training.reshaping import Reshaping
from repro.training.states import load_state, state_of


@dataclass(frozen=True)
class Reshaped:
    """Train a student of a method that changes its network; compare `stages.Student`."""

    inputs: Inputs
    loss: Reshaping
    training: Hyperparameters
    selection: str


KINDS[Reshaped] = "reshaped"


def _reshaped(stage: Stage) -> Artefact:
    spec, data = stage.spec, compute.load_data(stage.spec.inputs)
    training = spec.training
    if stage.has("search"):
        rate = read(stage.parent("search")).meta["learning_rate"]
        training = replace(training, learning_rate=rate)
    outputs = read(stage.parent("outputs")).tensors
    start = read(stage.parent("outputs").parent("teacher")).tensors
    torch.manual_seed(training.seed)  # after the reads, which may compute what is damaged
    plain = build(stage)
    if spec.loss.from_teacher:
        load_state(plain, start)
    model = spec.loss.begin(plain)
    labels = torch.from_numpy(data.train.labels).to(device())
    metric = task(spec.inputs.task).metric
    rows, evaluate = compute.select(spec, data, metric, data.train.labels, data.dev.labels)
    evaluation = [Evaluation(evaluate)] if evaluate else []
    callbacks = [*spec.loss.callbacks(), *evaluation, *usual_callbacks(stage)]
    objective = spec.loss.objective(labels, outputs)
    progress = fit(model, data.train_tokens, rows, objective, training, callbacks)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    student = spec.loss.finish(model)
    logits, _ = predict(student, data.dev_tokens, precision=training.precision)
    # a name of `compute`'s own, kept as it is since every stage's key covers that file
    meta = compute._meta(student, progress, spec.selection)
    meta["parameters"]["trained"] = trained
    meta["learning_rate"] = training.learning_rate
    return Artefact(state_of(student) | {"dev.logits": torch.from_numpy(logits)}, meta)


compute.COMPUTE["reshaped"] = _reshaped


def build(stage: Stage) -> Classifier:
    """The whole pretrained encoder with a fresh classifier."""
    inputs = stage.spec.inputs
    return classifier.teacher(inputs.encoder, len(task(inputs.task).labels))


def load_model(stage: Stage) -> Classifier:
    """The trained model of a stage of any kind; of this kind, perhaps narrower or with adapters."""
    if not isinstance(stage.spec, Reshaped):
        return compute.load_model(stage)
    loss = stage.spec.loss
    model = loss.finish(loss.begin(build(stage)))
    load_state(model, read(stage).tensors)
    return model
