"""What the lessons in notebooks/course share: data, a teacher, students and their training.

The teacher is small and is trained in about 15 seconds on one core, once; it is then in the cache.
"""

from collections.abc import Callable
from dataclasses import astuple, dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from repro.config.profiles import PROFILES
from repro.config.tasks import task
from repro.data import encoders, glue
from repro.data.encode import Encoded, encode
from repro.files import digest
from repro.methods.finetune import FineTuning
from repro.models import classifier
from repro.models.classifier import Classifier
from repro.models.layers import effective_layers
from repro.runs import cache
from repro.runs.cache import Artefact
from repro.runs.code_version import code_version
from repro.training.loop import Hyperparameters, device, fit, predict
from repro.training.losses import cross_entropy
from repro.training.states import load_state, state_of

ENCODER, MAX_LENGTH = "embedded", 64
TEACHER_LAYERS, TEACHER_EPOCHS = 6, 8
DEV_EXAMPLES = 500  # of a task's 2,000: students are scored many times in a lesson
LABEL_NOISE = PROFILES["demo"].setting.label_noise  # share of wrong training labels; see Lesson 4


@dataclass(frozen=True)
class TeacherSpec:
    """What determines a lesson's teacher, as `runs.specs` has it for the stages of tables."""

    kind: ClassVar = "classroom"
    loss: FineTuning
    train: str  # fingerprints of the training split and of the encoder
    encoder: str
    layers: int
    epochs: int


@dataclass(frozen=True)
class Lesson:
    """A task with a teacher and what the teacher says about it.

    Attributes:
        train: Texts and labels of the training split. A share LABEL_NOISE of the labels is wrong.
        dev: Texts and gold labels of the dev split.
        train_tokens: The tokenised training split.
        dev_tokens: The tokenised dev split.
        teacher: The fine-tuned teacher.
        train_logits: The teacher's logits (examples, classes) on train.
        dev_logits: The same on dev.
        train_states: Its [CLS] states (examples, layers, hidden) on train.
        dev_states: The same on dev.
    """

    train: glue.Split
    dev: glue.Split
    train_tokens: Encoded
    dev_tokens: Encoded
    teacher: Classifier
    train_logits: Tensor
    dev_logits: Tensor
    train_states: Tensor
    dev_states: Tensor


def load(task_name: str = "mini-SST-2", examples: int = 2000) -> Lesson:
    """Load an embedded task and its teacher, which is trained if it is not in the cache.

    Args:
        task_name: One of the embedded tasks.
        examples: Use only the first so many training examples.

    Raises:
        InputError: If there is no such task.
    """
    train, dev = splits(task_name, examples)
    tokenizer = encoders.load_tokenizer(ENCODER)
    train_tokens, dev_tokens = (
        Encoded(encode(split, tokenizer, MAX_LENGTH), tokenizer.pad_token_id)
        for split in (train, dev)
    )
    teacher = student(TEACHER_LAYERS)
    fingerprints = train.fingerprint, encoders.fingerprint(ENCODER)
    spec = TeacherSpec(FineTuning(), *fingerprints, TEACHER_LAYERS, TEACHER_EPOCHS)
    key = digest([astuple(spec), code_version(spec)], 16)

    def compute() -> Artefact:
        labels = torch.from_numpy(train.labels).to(device())
        train_model(
            teacher,
            train_tokens,
            lambda output, rows: cross_entropy(output.logits, labels[rows]),
            epochs=TEACHER_EPOCHS,
        )
        return Artefact(state_of(teacher), {})

    load_state(teacher, cache.get(spec.kind, key, compute).tensors)
    train_logits, train_states = outputs(teacher, train_tokens)
    dev_logits, dev_states = outputs(teacher, dev_tokens)
    teacher_outputs = train_logits, dev_logits, train_states, dev_states
    return Lesson(train, dev, train_tokens, dev_tokens, teacher, *teacher_outputs)


def splits(task_name: str, examples: int) -> tuple[glue.Split, glue.Split]:
    """The training split, with some wrong labels, and the dev split of a lesson.

    Args:
        task_name: One of the embedded tasks.
        examples: How many training examples.
    """
    chosen = task(task_name)
    train = glue.load(chosen, "train", examples, LABEL_NOISE)
    return train, glue.load(chosen, "dev", DEV_EXAMPLES)


def student(layers: int, sharing: str = "none", classes: int = 2, seed: int = 0) -> Classifier:
    """A student made of the lowest layers of the pretrained encoder.

    Args:
        layers: How many layers are kept.
        sharing: "none", "paired" or "shuffled"; see `models.layers.effective_layers`.
        classes: The number of classes.
        seed: Seed of the fresh classifier.
    """
    torch.manual_seed(seed)
    return classifier.student(ENCODER, layers, effective_layers(layers, sharing), classes)


def train_model(
    model: Classifier,
    tokens: Encoded,
    loss: Callable[[Any, Tensor], Tensor],
    rows: np.ndarray | None = None,
    epochs: int = 4,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> Classifier:
    """Train a model in place with AdamW and linear warm-up and decay.

    Args:
        model: The model.
        tokens: The tokenised training split.
        loss: A function of the model's output on a batch and the batch's rows (batch,) in the
            split that returns a scalar.
        rows: The rows to train on; None for all.
        epochs: How often each row is seen.
        learning_rate: The peak of the schedule.
        seed: Seed of the order of the examples.

    Returns:
        The model.
    """
    rows = np.arange(len(tokens.examples)) if rows is None else rows
    settings = Hyperparameters(learning_rate, 32, epochs, epochs, "adamw", True, seed, "float32", 1)
    fit(model, tokens, rows, lambda output, batch: {"loss": loss(output, batch)}, settings)
    return model


def outputs(model: Classifier, tokens: Encoded) -> tuple[Tensor, Tensor]:
    """Logits (examples, classes) and [CLS] states (examples, layers, hidden) of a split."""
    logits, states = predict(model, tokens, states=True)
    assert states is not None
    return torch.from_numpy(logits), states


def answers(model: Classifier, lesson: Lesson) -> np.ndarray:
    """Whether the model is right on each dev example: (examples,) of bool."""
    logits, _ = predict(model, lesson.dev_tokens)
    return logits.argmax(axis=1) == lesson.dev.labels
