"""Students whose method changes their network: it loses width, or gets adapters.

`compute` loads this module for its kind of stage.
"""

from collections.abc import Callable

import torch

from repro.config.tasks import task
from repro.models.classifier import Classifier
from repro.runs import compute
from repro.runs.cache import Artefact
from repro.runs.compute import read, whole_encoder
from repro.runs.specs import Reshaped
from repro.runs.stages import Stage
from repro.training.loop import device, predict
from repro.training.states import load_state, state_of


def _reshaped(stage: Stage) -> Artefact:
    spec, data = stage.spec, compute.load_data(stage.spec.inputs)
    training = compute.chosen_training(stage)
    outputs = read(stage.parent("outputs")).tensors
    start = read(stage.parent("outputs").parent("teacher")).tensors
    torch.manual_seed(training.seed)  # after the reads, which may compute what is damaged
    plain = whole_encoder(spec.inputs)
    if spec.loss.from_teacher:
        load_state(plain, start)
    model = spec.loss.begin(plain)
    labels = torch.from_numpy(data.train.labels).to(device())
    metric = task(spec.inputs.task).metric
    rows, evaluate = compute.select(spec, data, metric, data.train.labels, data.dev.labels)
    objective, callbacks = spec.loss.objective(labels, outputs), spec.loss.callbacks()
    progress = compute.train(stage, model, data, rows, objective, training, evaluate, callbacks)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    student = spec.loss.finish(model)
    logits, _ = predict(student, data.dev_tokens, precision=training.precision)
    meta = compute.training_meta(student, progress, spec.selection)
    meta["parameters"]["trained"] = trained
    meta["learning_rate"] = training.learning_rate
    return Artefact(state_of(student) | {"dev.logits": torch.from_numpy(logits)}, meta)


COMPUTE: dict[str, Callable[[Stage], Artefact]] = {"reshaped": _reshaped}


def load_model(stage: Stage) -> Classifier:
    """The trained model of a stage of any kind; of this kind, perhaps narrower or with adapters."""
    if not isinstance(stage.spec, Reshaped):
        return compute.load_model(stage)
    loss = stage.spec.loss
    model = loss.finish(loss.begin(whole_encoder(stage.spec.inputs)))
    load_state(model, read(stage).tensors)
    return model
