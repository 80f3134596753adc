"""A cell resolved into stages: teacher -> teacher outputs -> PTP-pretrained student -> student.

`resolve` is the only place that reads options: it replaces them by the values that determine the
computation. A stage is a pure function of these values and of its parents, and its key is their
hash. Cells, tables and processes that need the same stage share it.
"""

import importlib
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

from repro import methods, paths
from repro.config.cells import Cell, digest
from repro.config.profiles import PROFILES, Budget
from repro.config.tasks import OWN, task
from repro.data import encoders, glue, own
from repro.errors import InputError
from repro.methods import ptp
from repro.models.layers import Use, effective_layers, layer_map
from repro.runs.code_version import code_version
from repro.training.loop import Hyperparameters, resolve_precision
from repro.training.reshaping import Reshaping

PATIENCE = 3  # evaluations without a gain after which PTP stops (decision D8)


@dataclass(frozen=True)
class Inputs:
    """Data and encoder of a stage.

    The first five fields say how to load them; only the length limit and the fingerprints, which
    say what was found when the stage was planned, are part of its key.
    """

    task: str
    train_cap: int = field(compare=False)
    dev_cap: int = field(compare=False)
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

    inputs: Inputs
    loss: methods.Loss
    training: Hyperparameters
    selection: str  # "last", "best_dev" or "lowest_dev_loss" (decision D20)


@dataclass(frozen=True)
class Outputs:
    """The teacher's logits on train and dev, and its [CLS] states on train."""

    inputs: Inputs
    precision: str


@dataclass(frozen=True)
class GivenOutputs:
    """The same of a fine-tuned teacher in a transformers folder; `inputs.encoder` is the folder."""

    inputs: Inputs
    precision: str
    columns: tuple[int, ...]  # per class of the task, the column of the teacher's logits


@dataclass(frozen=True)
class Pretraining:
    """Pretrain a student on PTP labels."""

    inputs: Inputs
    structure: Structure
    ptp: ptp.PTP
    training: Hyperparameters
    selection: str  # "last", "best_dev" or "best_inner" (decision D9)


@dataclass(frozen=True)
class Student:
    """Train a student; with a Search among the parents, at the learning rate that it chose."""

    inputs: Inputs
    structure: Structure
    loss: methods.Loss
    training: Hyperparameters
    selection: str  # "last", "best_dev" or "best_inner" (decision D15)
    pooler: str  # what becomes of the pooler after PTP: "kept", "reset", "" without PTP (D10)


@dataclass(frozen=True)
class Search:
    """Choose the learning rate of the parent with the best score on the inner split."""


KINDS: dict[type, str] = {
    Teacher: "teacher",
    Outputs: "outputs",
    GivenOutputs: "outputs",
    Pretraining: "ptp",
    Search: "search",
    Student: "student",
}


@dataclass(frozen=True)
class Stage:
    """One artefact to compute.

    Attributes:
        spec: The values that determine it: a Teacher, Outputs, Pretraining, Student or Search, or
            a spec of `phases`.
        parents: The stages whose artefacts it reads.
        name: What messages call it, e.g. "student of PeaBERT3 on mini-RTE, seed 0".
        folder: Where its log goes: the profile of the first cell that needed it.
        work: Layers times examples, forward and backward; for the order and the time left.
    """

    spec: Any
    parents: tuple["Stage", ...] = ()
    name: str = field(default="", compare=False)
    profile: str = field(default="", compare=False)
    work: float = field(default=0.0, compare=False)

    def __str__(self) -> str:
        return self.name

    @property
    def kind(self) -> str:
        """ "teacher", "outputs", "ptp", "search" or "student"; or that of a later module.

        `phases` has "words" and "phase", `reshaped` has "reshaped".
        """
        return KINDS[type(self.spec)]

    @cached_property
    def key(self) -> str:
        """Hash of the values, of the code that uses them and of the parents' keys."""
        identity = {
            "kind": self.kind,
            "spec": _plain(self.spec),
            "code": code_version(self.spec),
            "parents": [parent.key for parent in self.parents],
        }
        return digest(identity, 16)

    def parent(self, kind: str) -> "Stage":
        """The parent of that kind."""
        return next(stage for stage in self.parents if stage.kind == kind)

    def has(self, kind: str) -> bool:
        """Whether a parent is of that kind."""
        return any(stage.kind == kind for stage in self.parents)


@dataclass(frozen=True)
class Plan:
    """A resolved cell: its stages, each after its parents, and what its result reports of them."""

    cell: Cell
    stages: tuple[Stage, ...]
    effective_layers: int

    def stage(self, kind: str) -> Stage:
        """The cell's stage of that kind; of several students the last is the cell's own."""
        return [stage for stage in self.stages if stage.kind == kind][-1]

    @property
    def trained(self) -> Stage:
        """The stage whose model the cell scores: its student, or its teacher."""
        return self.stages[-1] if self.cell.method.kind == "student" else self.stage("teacher")


def resolve(cell: Cell, given: tuple[str, tuple[int, ...]] | None = None) -> Plan:
    """Replace every option of a cell by the values that determine the computation.

    Args:
        cell: What to compute.
        given: The folder of a teacher that is fine-tuned already, and `GivenOutputs.columns`;
            None to fine-tune the cell's encoder.

    Raises:
        InputError: If the student has more layers than its encoder.
    """
    setting, recipe = cell.setting, cell.recipe
    depth = check_depth(cell)
    inputs, examples = _inputs(cell), len(load_splits(cell.task, setting)[0].labels)

    def stage(spec: Any, parents: tuple[Stage, ...], work: float, owner: str = "") -> Stage:
        name = f"{KINDS[type(spec)]}{owner} on {cell.task}, seed {cell.seed}"
        return Stage(spec, parents, name, cell.profile, work * examples)

    training = hyperparameters(cell, setting.teacher, recipe.shuffle)
    loss = methods.resolve("finetune", setting, recipe, ())
    teacher_spec = Teacher(inputs, loss, training, recipe.teacher_checkpoint)
    teacher = stage(teacher_spec, (), depth * training.stop_epoch)
    outputs = stage(Outputs(inputs, training.precision), (teacher,), depth / 3)  # forward only
    made = [teacher, outputs]
    if given:
        folder, columns = given
        depth = encoders.depth(folder)
        files = replace(inputs, encoder=folder, encoder_files=encoders.fingerprint(folder))
        outputs = stage(GivenOutputs(files, training.precision, columns), (), depth / 3)
        made = [outputs]
    if cell.method.kind != "student":
        return Plan(cell, tuple(made), depth)

    owner, structure = f" of {cell.row}", _structure(cell, depth)
    effective = len(structure.uses)
    parents: tuple[Stage, ...] = (outputs,)
    if cell.method.ptp != "none":
        pretraining = _pretraining(cell, inputs, structure)
        work = float(effective * pretraining.training.stop_epoch)
        made.append(stage(pretraining, parents, work, owner))
        parents = (outputs, made[-1])
    if phases := methods.phases(cell.method.loss, setting, cell.layers, depth):
        owner = f" {len(phases)}{owner}"
        # by name, since it builds on `compute`, which builds on this module
        module = importlib.import_module("repro.runs.phases")
        *earlier, last = module.plan(cell, phases, stage, inputs, structure, training, parents)
        made += earlier
        spec, parents, work = last.spec, last.parents, last.work / examples
    else:
        spec = _student(cell, inputs, structure, depth)
        work = float(effective * spec.training.stop_epoch * getattr(spec.loss, "work", 1.0))
    if recipe.hyperparameters == "searched":  # decision D13
        candidates = tuple(
            stage(_at_rate(spec, rate, "best_inner"), parents, work, owner)
            for rate in PROFILES[cell.profile].search_rates
        )
        search = stage(Search(), candidates, 0.0, owner)
        spec, parents = _at_rate(spec, 0.0, spec.selection), (*parents, search)
        made += [*candidates, search]
    return Plan(cell, (*made, stage(spec, parents, work, owner)), effective)


def check_depth(cell: Cell) -> int:
    """The number of layers of a cell's encoder.

    Raises:
        InputError: If the student has more.
    """
    depth = encoders.depth(cell.setting.backbone)
    if cell.layers > depth:
        raise InputError(
            f"{cell.row} has {cell.layers} layers, more than the {depth} of its teacher "
            f"{cell.setting.backbone}; use 1 .. {depth}"
        )
    return depth


def _inputs(cell: Cell) -> Inputs:
    setting, (train, dev) = cell.setting, load_splits(cell.task, cell.setting)
    return Inputs(
        cell.task,
        setting.train_cap,
        setting.dev_cap,
        setting.backbone,
        setting.max_length,
        train.fingerprint,
        dev.fingerprint,
        encoders.fingerprint(setting.backbone),
    )


def hyperparameters(cell: Cell, budget: Budget, shuffle: bool) -> Hyperparameters:
    """How a model of a cell is trained with a budget."""
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


def _structure(cell: Cell, depth: int) -> Structure:
    layers = cell.layers or depth
    uses = effective_layers(layers, cell.method.sharing, cell.recipe.sps6_order)
    swapped = any(use.swapped for use in uses)
    return Structure(layers, tuple(uses), cell.recipe.swap_biases if swapped else True)


def _pretraining(cell: Cell, inputs: Inputs, structure: Structure) -> Pretraining:
    recipe, training = cell.recipe, hyperparameters(cell, cell.setting.ptp, shuffle=True)
    selection = recipe.ptp_selection
    if recipe.ptp_stop == "patience":  # decision D8: runs the whole schedule unless gains end
        training = replace(training, stop_epoch=training.epochs, patience=PATIENCE)
        selection = "best_inner" if selection == "last" else selection
    target = ptp.resolve(cell.method.ptp, task(cell.task), recipe)
    return Pretraining(inputs, structure, target, training, selection)


def _student(cell: Cell, inputs: Inputs, structure: Structure, teacher_layers: int) -> Any:
    """A Student, or the Reshaped of a method that changes its student's network."""
    recipe, method, layers = cell.recipe, cell.method, structure.layers
    if layers == 1 and method.sharing == "none" and recipe.one_layer_patient == "match":
        pairs = [(1, (teacher_layers + 1) // 2)]  # decision D18
    else:
        pairs = layer_map(
            layers, method.sharing, teacher_layers, recipe.layer_map, recipe.sps6_order
        )
    loss = methods.resolve(method.loss, cell.setting, recipe, tuple(pairs))
    training = hyperparameters(cell, cell.setting.student, recipe.shuffle)
    if isinstance(loss, Reshaping):
        # by name, since it builds on `compute`, which builds on this module
        reshaped: Any = importlib.import_module("repro.runs.reshaped")
        training = replace(training, learning_rate=loss.rate or training.learning_rate)
        return reshaped.Reshaped(inputs, loss, training, recipe.checkpoint)
    pooler = recipe.ptp_pooler if method.ptp != "none" else ""
    return Student(inputs, structure, loss, training, recipe.checkpoint, pooler)


def _at_rate(spec: Student, rate: float, selection: str) -> Student:
    return replace(spec, training=replace(spec.training, learning_rate=rate), selection=selection)


def _plain(value: Any) -> Any:
    """A spec as data: what `==` compares, with the names of the classes."""
    if is_dataclass(value) and not isinstance(value, type):
        compared = [entry.name for entry in fields(value) if entry.compare]
        data = {name: _plain(getattr(value, name)) for name in compared}
        return {"class": type(value).__name__} | data
    return [_plain(part) for part in value] if isinstance(value, tuple) else value


# data


def load_splits(name: str, setting: Any) -> tuple[glue.Split, glue.Split]:
    """The train and dev split of a task, loaded once per process and GLUE_DIR.

    Args:
        name: The task.
        setting: Anything with `train_cap` and `dev_cap`, such as a Setting or Inputs.
    """
    return _load_splits(name, setting.train_cap, setting.dev_cap, paths.folder("GLUE_DIR"))


@lru_cache(maxsize=4)
def _load_splits(
    name: str, train_cap: int, dev_cap: int, folder: str
) -> tuple[glue.Split, glue.Split]:
    if name.startswith(OWN):
        return own.load(name, "train"), own.load(name, "dev")
    return glue.load(task(name), "train", train_cap), glue.load(task(name), "dev", dev_cap)
