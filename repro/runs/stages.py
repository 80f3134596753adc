"""Resolve cells into stages: teacher -> teacher outputs -> PTP-pretrained student -> student.

`resolve` is the only function that reads options; it replaces them by the values that determine the
computation. A stage is a pure function of these values and of its parents, and its key is a hash of
both. Cells, tables and processes that need the same stage share it.
"""

from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cached_property
from typing import Any

from repro import methods
from repro.config.cells import Cell
from repro.config.profiles import PROFILES
from repro.config.tasks import task
from repro.data import encoders
from repro.errors import InputError
from repro.files import digest
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
    hyperparameters,
    load_splits,
)
from repro.training.reshaping import Reshaping

SEARCH_SEED = 0  # the learning rate of all seeds is searched with this one (decision D13)
PATIENCE = 3  # evaluations without a gain after which PTP stops (decision D8)
HEAD_RATE = 1e-3  # learning rate of a masked-language head, which is initialised at random


@dataclass(frozen=True)
class Stage:
    """One artefact to compute.

    Attributes:
        spec: The values that determine it, an instance of one of the classes in `specs`.
        parents: The stages whose artefacts it reads.
        name: Name for messages, e.g. "student of PeaBERT3 on mini-RTE, seed 0".
        profile: Profile of the first cell that needed it; the log goes to this profile's folder.
        work: Layers times examples, forward and backward; determines the order of stages and the
            estimated time.
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
        """Kind of its spec, such as "teacher" or "student"."""
        return str(self.spec.kind)

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
        """Return the parent of a kind."""
        return next(stage for stage in self.parents if stage.kind == kind)

    def has(self, kind: str) -> bool:
        """Check whether there is a parent of a kind."""
        return any(stage.kind == kind for stage in self.parents)


@dataclass(frozen=True)
class Plan:
    """A resolved cell.

    Attributes:
        cell: The cell.
        stages: All stages it needs, each after its parents.
        effective_layers: Number of layers that its model runs.
        own: The stages that its result reports; stages of SEARCH_SEED that only the choice of the
            learning rate needs are left out.
    """

    cell: Cell
    stages: tuple[Stage, ...]
    effective_layers: int
    own: tuple[Stage, ...]

    def stage(self, kind: str) -> Stage:
        """Return the cell's own stage of a kind; of several students the last, which is scored."""
        return [stage for stage in self.own if stage.kind == kind][-1]

    @property
    def trained(self) -> Stage:
        """The stage whose model is scored: the student or, in a cell without one, the teacher."""
        return self.stages[-1] if self.cell.method.kind == "student" else self.stage("teacher")


def resolve(cell: Cell, given: tuple[str, tuple[int, ...]] | None = None) -> Plan:
    """Replace every option of a cell by the values that determine the computation.

    Args:
        cell: The cell.
        given: The folder of a fine-tuned teacher, and `GivenOutputs.columns`; None to fine-tune the
            cell's encoder.

    Raises:
        InputError: If the student has more layers than its encoder.
    """
    inputs = _inputs(cell)
    stages, depth = _teacher(cell, inputs, given)
    if cell.method.kind != "student":
        return Plan(cell, tuple(stages), depth, tuple(stages))
    structure = _structure(cell, depth)
    parents: tuple[Stage, ...] = (stages[-1],)
    if cell.method.ptp != "none":
        stages.append(_pretraining(cell, inputs, structure, parents))
        parents = (*parents, stages[-1])
    if phases := methods.phases(cell.method.loss, cell.setting, cell.layers, depth):
        *earlier, student = _phases(cell, phases, inputs, structure, parents)
        stages += earlier
    else:
        student = _student(cell, inputs, structure, depth, parents)
    search_seed_stages: tuple[Stage, ...] = ()
    if cell.recipe.hyperparameters == "searched":  # decision D13
        search, search_seed_stages = _search(cell, student, given)
        stages += search
        rated = _at_rate(student.spec, 0.0, student.spec.selection)
        student = replace(student, spec=rated, parents=(*student.parents, search[-1]))
    own = (*stages, student)
    needed = tuple(stage for stage in search_seed_stages if stage not in own)
    return Plan(cell, (*needed, *own), len(structure.uses), own)


def _stage(
    cell: Cell, spec: Any, parents: tuple[Stage, ...], work: float, owner: str = ""
) -> Stage:
    """Create a stage of a cell; `work` is per example, `owner` names the row if it trains one."""
    examples = len(load_splits(cell.task, cell.setting)[0].labels)
    name = f"{spec.kind}{owner} on {cell.task}, seed {cell.seed}"
    return Stage(spec, parents, name, cell.profile, work * examples)


def _teacher(
    cell: Cell, inputs: Inputs, given: tuple[str, tuple[int, ...]] | None
) -> tuple[list[Stage], int]:
    """Resolve the stages that end in the teacher's outputs; returns them and the teacher's depth.

    A forward pass counts as a third of the work of a training step.
    """
    setting, recipe, depth = cell.setting, cell.recipe, check_depth(cell)
    training = hyperparameters(cell, setting.teacher, recipe.shuffle)
    if given:
        folder, columns = given
        depth = encoders.depth(folder)
        files = replace(inputs, encoder=folder, encoder_files=encoders.fingerprint(folder))
        spec = GivenOutputs(files, training.precision, columns)
        return [_stage(cell, spec, (), depth / 3)], depth
    loss = methods.resolve("finetune", setting, recipe, ())
    fine_tuned = Teacher(inputs, loss, training, recipe.teacher_checkpoint)
    teacher = _stage(cell, fine_tuned, (), depth * training.stop_epoch)
    outputs = _stage(cell, Outputs(inputs, training.precision), (teacher,), depth / 3)
    return [teacher, outputs], depth


def _search(
    cell: Cell, student: Stage, given: tuple[str, tuple[int, ...]] | None
) -> tuple[list[Stage], tuple[Stage, ...]]:
    """Resolve the search of a student's learning rate, on SEARCH_SEED for all seeds (decision D13).

    Returns:
        The stages of the search that this cell reports, the choice last; and, for another seed, all
        stages of SEARCH_SEED that the choice needs.
    """
    if cell.seed != SEARCH_SEED:
        search_seed_stages = resolve(replace(cell, seed=SEARCH_SEED), given).stages[:-1]
        return [search_seed_stages[-1]], search_seed_stages
    candidates = [
        replace(student, spec=_at_rate(student.spec, rate, "best_inner"))
        for rate in _search_rates(cell, student)
    ]
    return [*candidates, _stage(cell, Search(), tuple(candidates), 0.0, f" of {cell.row}")], ()


def _search_rates(cell: Cell, student: Stage) -> tuple[float, ...]:
    """The profile's grid; for a method with a learning rate of its own, scaled to centre on it."""
    grid = PROFILES[cell.profile].search_rates
    own = student.spec.loss.rate if isinstance(student.spec, Reshaped) else 0.0
    if not own:
        return grid
    return tuple(float(f"{own * rate / grid[len(grid) // 2]:.3g}") for rate in grid)


def check_depth(cell: Cell) -> int:
    """Return the number of layers of a cell's encoder.

    Raises:
        InputError: If the student has more layers.
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


def _structure(cell: Cell, depth: int) -> Structure:
    layers = cell.layers or depth
    uses = effective_layers(layers, cell.method.sharing, cell.recipe.sps6_order)
    swapped = any(use.swapped for use in uses)
    return Structure(layers, tuple(uses), cell.recipe.swap_biases if swapped else True)


def _pretraining(
    cell: Cell, inputs: Inputs, structure: Structure, parents: tuple[Stage, ...]
) -> Stage:
    """Resolve PTP, the student's training on the teacher's predictions before distillation."""
    recipe, training = cell.recipe, hyperparameters(cell, cell.setting.ptp, shuffle=True)
    selection = recipe.ptp_selection
    if recipe.ptp_stop == "patience":  # decision D8: runs the whole schedule unless gains end
        training = replace(training, stop_epoch=training.epochs, patience=PATIENCE)
        selection = "best_inner" if selection == "last" else selection
    target = ptp.resolve(cell.method.ptp, task(cell.task), recipe)
    spec = Pretraining(inputs, structure, target, training, selection)
    work = float(len(structure.uses) * training.stop_epoch)
    return _stage(cell, spec, parents, work, f" of {cell.row}")


def _student(
    cell: Cell,
    inputs: Inputs,
    structure: Structure,
    teacher_layers: int,
    parents: tuple[Stage, ...],
) -> Stage:
    """Resolve the distillation: a Student, or a Reshaped if the method changes the network."""
    recipe, method, layers = cell.recipe, cell.method, structure.layers
    if layers == 1 and method.sharing == "none" and recipe.one_layer_patient == "match":
        pairs = [(1, (teacher_layers + 1) // 2)]  # decision D18
    else:
        pairs = layer_map(
            layers, method.sharing, teacher_layers, recipe.layer_map, recipe.sps6_order
        )
    loss = methods.resolve(method.loss, cell.setting, recipe, tuple(pairs))
    training = hyperparameters(cell, cell.setting.student, recipe.shuffle)
    spec: Student | Reshaped
    if isinstance(loss, Reshaping):
        training = replace(training, learning_rate=loss.rate or training.learning_rate)
        spec = Reshaped(inputs, loss, training, recipe.checkpoint)
    else:
        pooler = recipe.ptp_pooler if method.ptp != "none" else ""
        spec = Student(inputs, structure, loss, training, recipe.checkpoint, pooler)
    work = float(len(structure.uses) * training.stop_epoch * getattr(loss, "work", 1.0))
    return _stage(cell, spec, parents, work, f" of {cell.row}")


def _phases(
    cell: Cell,
    phases: tuple[methods.Phase, ...],
    inputs: Inputs,
    structure: Structure,
    parents: tuple[Stage, ...],
) -> list[Stage]:
    """Resolve a student that is trained in phases; the last stage is the one that is scored.

    A masked-language head is trained on the frozen encoder, for as many epochs as the teacher, and
    shared by all students.
    """
    stages, forward = [], encoders.depth(cell.setting.backbone) / 3  # a third of a training step
    if any(phase.masked or phase.copies for phase in phases):
        training = hyperparameters(cell, cell.setting.teacher, cell.recipe.shuffle)
        words = WordTraining(inputs, replace(training, learning_rate=HEAD_RATE))
        stages.append(_stage(cell, words, (), forward * training.stop_epoch))
        parents = (*parents, *stages)
    pooler = cell.recipe.ptp_pooler if cell.method.ptp != "none" else ""
    before: tuple[Stage, ...] = ()
    for number, phase in enumerate(phases, start=1):
        training = hyperparameters(cell, phase.budget, cell.recipe.shuffle)
        selection = cell.recipe.checkpoint if number == len(phases) else "last"
        spec = PhaseTraining(inputs, structure, phase, training, selection, pooler)
        passes = training.stop_epoch * (1 + phase.copies)
        work = passes * float(len(structure.uses)) + phase.copies * forward  # to augment
        if phase.teacher:
            work += passes * forward
        elif phase.copies:  # the teacher's predictions of the copies
            work += (1 + phase.copies) * forward
        before = (_stage(cell, spec, (*parents, *before), work, f" {number} of {cell.row}"),)
        stages += before
    return stages


def _at_rate(spec: Student, rate: float, selection: str) -> Student:
    return replace(spec, training=replace(spec.training, learning_rate=rate), selection=selection)


def _plain(value: Any) -> Any:
    """Convert a spec to plain data: the fields that `==` compares, and the names of classes."""
    if is_dataclass(value) and not isinstance(value, type):
        compared = [entry.name for entry in fields(value) if entry.compare]
        data = {name: _plain(getattr(value, name)) for name in compared}
        return {"class": type(value).__name__} | data
    return [_plain(part) for part in value] if isinstance(value, tuple) else value
