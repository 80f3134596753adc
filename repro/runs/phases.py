"""Students of methods that train in phases, some of them beside the running teacher.

Each phase is a stage; the last one is scored. `compute` loads this module for its kinds of stages.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from repro.config.tasks import task
from repro.data import encoders
from repro.data.augment import CANDIDATES, augment
from repro.data.encode import Encoded
from repro.methods import ptp
from repro.models.classifier import Classifier
from repro.models.masked import Masking, Reader, WordHead, masked_cross_entropy
from repro.models.observe import copy_layers, observe
from repro.models.pair import Pair
from repro.runs import compute
from repro.runs.cache import Artefact
from repro.runs.compute import Data, read, whole_encoder
from repro.runs.specs import Inputs
from repro.runs.stages import Stage
from repro.training.loop import device, predict, to_device
from repro.training.states import load_state, state_of


def _words(stage: Stage) -> Artefact:
    """Train the head (see `models.masked`)."""
    spec, data = stage.spec, compute.load_data(stage.spec.inputs)
    torch.manual_seed(spec.training.seed)
    reader = Reader(whole_encoder(spec.inputs), masking(spec.inputs, data))

    def objective(output: Any, rows: Tensor) -> dict[str, Tensor]:
        return {"mlm": masked_cross_entropy(output)}

    rows = np.arange(len(data.train.labels))
    compute.train(stage, reader, data, rows, objective, spec.training, None)
    return Artefact(state_of(reader.head), {})


def _phase(stage: Stage) -> Artefact:
    spec, data = stage.spec, compute.load_data(stage.spec.inputs)
    phase, training = spec.phase, compute.chosen_training(stage)
    teacher = compute.load_model(stage.parent("outputs").parent("teacher"))
    tokens, outputs = data.train_tokens, read(stage.parent("outputs")).tensors
    if phase.copies:
        tokens = augmented(stage, data)
    if phase.copies and not phase.teacher:  # its outputs are stored for the plain examples only
        logits, _ = predict(teacher, tokens, precision=training.precision)
        outputs = outputs | {"train.logits": torch.from_numpy(logits)}
    torch.manual_seed(training.seed)  # after the reads, which may compute what is damaged
    student = compute.build(stage)
    _start(stage, student)
    labels = np.tile(data.train.labels, 1 + phase.copies)
    objective = phase.loss.objective(torch.from_numpy(labels).to(device()), outputs)
    metric = task(spec.inputs.task).metric
    rows, evaluate = compute.select(spec, data, metric, data.train.labels, data.dev.labels)
    rows = np.concatenate([rows + k * len(data.train.labels) for k in range(1 + phase.copies)])
    model: Any = student
    if phase.teacher:
        beside = teacher if phase.teacher == "fine-tuned" else whole_encoder(spec.inputs)
        hidden = (masking(spec.inputs, data), _head(stage, beside)) if phase.masked else ()
        model = Pair(student, beside, phase.project, *hidden)
    data = replace(data, train_tokens=tokens)
    progress = compute.train(stage, model, data, rows, objective, training, evaluate)
    dev_logits, _ = predict(student, data.dev_tokens, precision=training.precision)
    meta = compute.training_meta(student, progress, spec.selection)
    meta |= {"learning_rate": training.learning_rate, "examples": len(tokens.examples)}
    return Artefact(state_of(student) | {"dev.logits": torch.from_numpy(dev_logits)}, meta)


COMPUTE: dict[str, Callable[[Stage], Artefact]] = {"words": _words, "phase": _phase}


def _start(stage: Stage, student: Classifier) -> None:
    """Put a fresh student where its phase starts; the classifier stays fresh."""
    if stage.has("phase"):
        load_state(student, read(stage.parent("phase")).tensors, ("classifier",))
    elif stage.has("ptp"):
        ptp.initialise(student, read(stage.parent("ptp")).tensors, stage.spec.pooler)
    elif stage.spec.phase.layers:
        copy_layers(student, whole_encoder(stage.spec.inputs), stage.spec.phase.layers)


def _head(stage: Stage, model: Classifier) -> WordHead:
    tensors = read(stage.parent("words")).tensors
    head = WordHead(model, len(tensors["bias"]))
    load_state(head, tensors)
    return head


def masking(inputs: Inputs, data: Data) -> Masking:
    """The words of the task's training text, and the special ones."""
    tokenizer = encoders.load_tokenizer(inputs.encoder)
    special = torch.tensor(tokenizer.all_special_ids)
    words = torch.cat([data.train_tokens.vocabulary, special]).unique()
    return Masking(words, torch.isin(words, special), tokenizer.mask_token_id)


def augmented(stage: Stage, data: Data) -> Encoded:
    """The training examples and their augmented copies; see `data.augment`."""
    spec = stage.spec
    model, words = whole_encoder(spec.inputs).to(device()).eval(), masking(spec.inputs, data).words
    head = _head(stage, model).to(device())

    @torch.no_grad()
    def predict_words(masked: Encoded, candidates: np.ndarray) -> np.ndarray:
        places = torch.searchsorted(words, torch.from_numpy(candidates)).to(device())
        best = []
        for start in range(0, len(masked.examples), 128):
            rows = range(start, min(start + 128, len(masked.examples)))
            batch = to_device(masked.batch(rows), device())
            at = batch["input_ids"] == tokenizer.mask_token_id
            states = observe(model, **batch).hidden[-1][at]  # (masks, hidden)
            logits = head(model, states, words.to(device()))[:, places]
            best.append(logits.topk(min(CANDIDATES, len(candidates))).indices.cpu())
        return candidates[torch.cat(best).numpy()]

    tokenizer = encoders.load_tokenizer(spec.inputs.encoder)
    table: Any = model.encoder.get_input_embeddings()
    embeddings = table.weight.detach().cpu().numpy()
    given = (data.train, data.train_tokens, tokenizer, spec.inputs.max_length, embeddings)
    return augment(*given, predict_words, spec.phase.copies, spec.training.seed)
