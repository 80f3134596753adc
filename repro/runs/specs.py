"""What determines each kind of stage, as plain values, and the data that it is computed from."""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar

from repro import methods, paths
from repro.config.cells import Cell
from repro.config.profiles import Budget
from repro.config.tasks import OWN, task
from repro.data import glue, own
from repro.methods import ptp
from repro.models.layers import Use
from repro.training.loop import Hyperparameters, resolve_precision
from repro.training.reshaping import Reshaping


@dataclass(frozen=True)
class Inputs:
    """Data and encoder of a stage.

    `train_cap` to `encoder` only say how to load them. The key has the task, the length limit, and
    the fingerprints of what was found when the stage was planned.
    """

    task: str
    train_cap: int = field(compare=False)
    dev_cap: int = field(compare=False)
    label_noise: float = field(compare=False)
    encoder: str = field(compare=False)
    max_length: int
    train: str
    dev: str
    encoder_files: str


@dataclass(frozen=True)
class Structure:
    """A student's network: stored layers, and which of them each effective layer runs."""

    layers: int
    uses: tuple[Use, ...]
    swap_biases: bool  # whether a swap exchanges biases too (decision D7)


@dataclass(frozen=True)
class Teacher:
    """Fine-tune the whole encoder."""

    kind: ClassVar = "teacher"
    inputs: Inputs
    loss: methods.Loss
    training: Hyperparameters
    selection: str  # "last", "best_dev" or "lowest_dev_loss" (decision D20)


@dataclass(frozen=True)
class Outputs:
    """The teacher's logits on train and dev, and its [CLS] states on train."""

    kind: ClassVar = "outputs"
    inputs: Inputs
    precision: str


@dataclass(frozen=True)
class GivenOutputs:
    """The same of a fine-tuned teacher in a transformers folder; `inputs.encoder` is the folder."""

    kind: ClassVar = "outputs"
    inputs: Inputs
    precision: str
    columns: tuple[int, ...]  # per class of the task, the column of the teacher's logits


@dataclass(frozen=True)
class Pretraining:
    """Pretrain a student on PTP labels."""

    kind: ClassVar = "ptp"
    inputs: Inputs
    structure: Structure
    ptp: ptp.PTP
    training: Hyperparameters
    selection: str  # "last", "best_dev" or "best_inner" (decision D9)


@dataclass(frozen=True)
class Student:
    """Train a student; with a Search among the parents, at the learning rate that it chose."""

    kind: ClassVar = "student"
    inputs: Inputs
    structure: Structure
    loss: methods.Loss
    training: Hyperparameters
    selection: str  # "last", "best_dev" or "best_inner" (decision D15)
    pooler: str  # what becomes of the pooler after PTP: "kept", "reset", "" without PTP (D10)


@dataclass(frozen=True)
class Search:
    """Choose the learning rate of the parent with the best score on the inner split."""

    kind: ClassVar = "search"


@dataclass(frozen=True)
class WordTraining:
    """Train a masked-language head of the frozen encoder on the task's training text."""

    kind: ClassVar = "words"
    inputs: Inputs
    training: Hyperparameters


@dataclass(frozen=True)
class PhaseTraining:
    """One phase of the training of a student that has several."""

    kind: ClassVar = "phase"
    inputs: Inputs
    structure: Structure
    phase: methods.Phase
    training: Hyperparameters
    selection: str  # as of Student
    pooler: str = ""  # as of Student


@dataclass(frozen=True)
class Reshaped:
    """Train a student of a method that changes its network; compare Student."""

    kind: ClassVar = "reshaped"
    inputs: Inputs
    loss: Reshaping
    training: Hyperparameters
    selection: str


def hyperparameters(cell: Cell, budget: Budget, shuffle: bool) -> Hyperparameters:
    """Combine a budget with the cell's other settings of a training.

    Args:
        cell: The cell; its recipe gives the optimiser, its setting precision and evaluations.
        budget: Learning rate, batch size and epochs.
        shuffle: Whether the training data are shuffled in each epoch.
    """
    return Hyperparameters(
        learning_rate=budget.learning_rate,
        batch_size=budget.batch_size,
        epochs=budget.epochs,
        stop_epoch=budget.run_epochs,
        optimizer=cell.recipe.optimizer,
        shuffle=shuffle,
        seed=cell.seed,
        precision=resolve_precision(cell.setting.precision),
        evaluations_per_epoch=cell.setting.evaluations_per_epoch,
    )


def load_splits(name: str, setting: Any) -> tuple[glue.Split, glue.Split]:
    """The train and dev split of a task, loaded once per process and GLUE_DIR.

    Args:
        name: The task.
        setting: Anything with `train_cap`, `dev_cap` and `label_noise`, such as a Setting.
    """
    values = setting.train_cap, setting.dev_cap, setting.label_noise
    return _load_splits(name, *values, paths.folder("GLUE_DIR"))


@lru_cache(maxsize=4)
def _load_splits(
    name: str, train_cap: int, dev_cap: int, label_noise: float, folder: str
) -> tuple[glue.Split, glue.Split]:
    if name.startswith(OWN):
        return own.load(name, "train"), own.load(name, "dev")
    train = glue.load(task(name), "train", train_cap, label_noise)
    return train, glue.load(task(name), "dev", dev_cap)
