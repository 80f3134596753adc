"""A cell resolved into stages: teacher -> teacher outputs -> PTP-pretrained student -> student.

`resolve` is the only place that reads options: it replaces them by the values that determine the
computation. A stage is a pure function of these values and of its parents, and its key is their
hash. Cells, tables and processes that need the same stage share it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cached_property
from typing import Any

from repro import methods
from repro.config.cells import Cell, digest
from repro.config.profiles import PROFILES, Budget
from repro.config.tasks import task
from repro.data import encoders
from repro.errors import InputError
from repro.methods import ptp
from repro.models.layers import effective_layers, layer_map
from repro.runs.code_version import code_version
from repro.runs.specs import (
    GivenOutputs,
    Inputs,
    Outputs,
    PhaseTraining,
    Pretraining,
    Reshaped,
    Search,
    Structure,
    Student,
    Teacher,
    WordTraining,
    load_splits,
)
from repro.training.loop import Hyperparameters, resolve_precision
from repro.training.reshaping import Reshaping

SEARCH_SEED = 0  # the seed whose inner split chooses the learning rate of all seeds (decision D13)
PATIENCE = 3  # evaluations without a gain after which PTP stops (decision D8)
HEAD_RATE = 1e-3  # learning rate of a masked-language head, which starts at random


@dataclass(frozen=True)
class Stage:
    """One artefact to compute.

    Attributes:
        spec: The values that determine it: one of the classes of `specs`.
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
        """That of its spec, such as "teacher" or "student"."""
        kind: str = self.spec.kind
        return kind

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
    """A resolved cell.

    Attributes:
        cell: The cell.
        stages: All stages it needs, each after its parents.
        effective_layers: Layers that its model runs.
        own: The stages that its result reports: without those of SEARCH_SEED that the choice of the
            learning rate needs.
    """

    cell: Cell
    stages: tuple[Stage, ...]
    effective_layers: int
    own: tuple[Stage, ...]

    def stage(self, kind: str) -> Stage:
        """The cell's stage of that kind; of several students the last is the one it scores."""
        return [stage for stage in self.own if stage.kind == kind][-1]

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
        name = f"{spec.kind}{owner} on {cell.task}, seed {cell.seed}"
        return Stage(spec, parents, name, cell.profile, work * examples)

    training = hyperparameters(cell, setting.teacher, recipe.shuffle)
    if given:
        folder, columns = given
        depth = encoders.depth(folder)
        files = replace(inputs, encoder=folder, encoder_files=encoders.fingerprint(folder))
        made = [stage(GivenOutputs(files, training.precision, columns), (), depth / 3)]
    else:
        loss = methods.resolve("finetune", setting, recipe, ())
        fine_tuned = Teacher(inputs, loss, training, recipe.teacher_checkpoint)
        teacher = stage(fine_tuned, (), depth * training.stop_epoch)
        made = [teacher, stage(Outputs(inputs, training.precision), (teacher,), depth / 3)]
    outputs = made[-1]  # the work of a forward pass alone is a third
    if cell.method.kind != "student":
        return Plan(cell, tuple(made), depth, tuple(made))

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
        *earlier, last = _phases(cell, phases, stage, inputs, structure, training, parents)
        made += earlier
        spec, parents, work = last.spec, last.parents, last.work / examples
    else:
        spec = _student(cell, inputs, structure, depth)
        work = float(effective * spec.training.stop_epoch * getattr(spec.loss, "work", 1.0))
    borrowed: tuple[Stage, ...] = ()
    if recipe.hyperparameters == "searched":  # decision D13
        if cell.seed != SEARCH_SEED:
            borrowed = resolve(replace(cell, seed=SEARCH_SEED), given).stages[:-1]
            search = borrowed[-1]
        else:
            candidates = tuple(
                stage(_at_rate(spec, rate, "best_inner"), parents, work, owner)
                for rate in PROFILES[cell.profile].search_rates
            )
            search = stage(Search(), candidates, 0.0, owner)
            made += candidates
        made.append(search)
        spec, parents = _at_rate(spec, 0.0, spec.selection), (*parents, search)
    own = (*made, stage(spec, parents, work, owner))
    needed = tuple(other for other in borrowed if other not in own)
    return Plan(cell, (*needed, *own), effective, own)


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
        setting.label_noise,
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
        training = replace(training, learning_rate=loss.rate or training.learning_rate)
        return Reshaped(inputs, loss, training, recipe.checkpoint)
    pooler = recipe.ptp_pooler if method.ptp != "none" else ""
    return Student(inputs, structure, loss, training, recipe.checkpoint, pooler)


def _phases(
    cell: Cell,
    phases: tuple[methods.Phase, ...],
    stage: Callable[..., Stage],
    inputs: Inputs,
    structure: Structure,
    teacher: Hyperparameters,
    parents: tuple[Stage, ...],
) -> list[Stage]:
    """The stages of a student that trains in phases: the last is its own; see `resolve`.

    Args:
        cell: The cell.
        phases: Its method's phases.
        stage: Makes a stage of spec, parents, work and owner.
        inputs: Data and encoder.
        structure: The student's network.
        teacher: How the teacher is trained; a masked-language head, which belongs to the teacher's
            side and is shared by all students, is trained as long.
        parents: The teacher's outputs, and PTP if the student starts from it.
    """
    made, forward = [], encoders.depth(cell.setting.backbone) / 3  # a third of a training pass
    if any(phase.masked or phase.copies for phase in phases):
        words = WordTraining(inputs, replace(teacher, learning_rate=HEAD_RATE))
        made.append(stage(words, (), forward * teacher.stop_epoch))
        parents = (*parents, *made)
    pooler = cell.recipe.ptp_pooler if cell.method.ptp != "none" else ""
    before: tuple[Stage, ...] = ()
    for number, phase in enumerate(phases, start=1):
        training = hyperparameters(cell, phase.budget, cell.recipe.shuffle)
        selection = cell.recipe.checkpoint if number == len(phases) else "last"
        spec = PhaseTraining(inputs, structure, phase, training, selection, pooler)
        passes = training.stop_epoch * (1 + phase.copies)
        to_augment = phase.copies * forward
        work = passes * float(len(structure.uses)) + to_augment
        if phase.teacher:
            work += passes * forward
        elif phase.copies:  # the teacher's predictions of the copies
            work += (1 + phase.copies) * forward
        before = (stage(spec, (*parents, *before), work, f" {number} of {cell.row}"),)
        made += before
    return made


def _at_rate(spec: Student, rate: float, selection: str) -> Student:
    return replace(spec, training=replace(spec.training, learning_rate=rate), selection=selection)


def _plain(value: Any) -> Any:
    """A spec as data: what `==` compares, with the names of the classes."""
    if is_dataclass(value) and not isinstance(value, type):
        compared = [entry.name for entry in fields(value) if entry.compare]
        data = {name: _plain(getattr(value, name)) for name in compared}
        return {"class": type(value).__name__} | data
    return [_plain(part) for part in value] if isinstance(value, tuple) else value
