"""A cell's stages: teacher -> teacher outputs -> PTP-pretrained student -> distilled student, each with its inputs.

A stage is a pure function of what `inputs` declares; its key is their hash, so that cells, tables and processes that
need the same stage share it.
"""

from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

from repro.config.cells import Cell, digest
from repro.config.profiles import PROFILES, Budget, Setting, override
from repro.config.tasks import task
from repro.data import encoders, glue
from repro.data.encode import Encoded, encode
from repro.data.glue import Split
from repro.errors import InputError
from repro.models.layers import effective_layers
from repro.training import loop


@dataclass(frozen=True)
class Stage:
    """One artefact to make. `cell` is any of the cells that need it; `parents` are the stages it reads."""

    kind: str  # teacher, outputs, ptp, search, student; trial: a student of a sweep
    cell: Cell
    inputs: dict[str, Any]
    parents: tuple["Stage", ...] = ()
    work: float = 0.0  # layers x examples passed forward and backward, for the time left

    def __str__(self) -> str:
        owner = (
            "" if self.kind in ("teacher", "outputs") else f" of {self.cell.row}"
        )  # these are every method's
        return f"{self.kind}{owner} on {self.cell.task}, seed {self.cell.seed}"

    @cached_property
    def key(self) -> str:
        """The hash of the declared inputs, those of the parents included."""
        return digest(
            {"kind": self.kind, **self.inputs, "parents": [parent.key for parent in self.parents]},
            16,
        )

    def parent(self, kind: str) -> "Stage":
        """The parent of that kind."""
        return next(stage for stage in self.parents if stage.kind == kind)


@dataclass(frozen=True)
class Data:
    """A task's splits, as text with labels and as tokens."""

    train: Split
    dev: Split
    train_tokens: Encoded
    dev_tokens: Encoded


def load_data(cell: Cell) -> Data:
    """The splits of a cell, loaded and tokenised once per process."""
    setting = cell.setting
    return _load_data(
        cell.task, setting.train_cap, setting.dev_cap, setting.backbone, setting.max_length
    )


@lru_cache(maxsize=4)
def _load_data(name: str, train_cap: int, dev_cap: int, backbone: str, max_length: int) -> Data:
    tokenizer = encoders.load_tokenizer(backbone)
    train, dev = glue.load(task(name), "train", train_cap), glue.load(task(name), "dev", dev_cap)
    tokens = [
        Encoded(encode(split, tokenizer, max_length), tokenizer.pad_token_id)
        for split in (train, dev)
    ]
    return Data(train, dev, *tokens)


def stages(cell: Cell) -> list[Stage]:
    """All stages of a cell, each after its parents. Raises InputError if the student is deeper than its teacher."""
    cell = replace(cell, setting=_settled(cell.setting))
    outputs = _outputs(cell)
    if cell.method.kind != "student":
        return [*outputs.parents, outputs]
    depth = encoders.depth(cell.setting.backbone)
    if cell.layers > depth:
        raise InputError(
            f"{cell.row} has {cell.layers} layers, more than the {depth} of its teacher "
            f"{cell.setting.backbone}; use 1 .. {depth}"
        )
    ptp = [] if cell.method.ptp == "none" else [_ptp(cell, outputs)]
    students = _students(cell, [outputs, *ptp])
    return [*outputs.parents, outputs, *ptp, *students]


def trial_stages(cell: Cell, watch: dict[str, Any]) -> list[Stage]:
    """The stages of a sweep's trial: a cell's, with a student that `watch` (the arguments of study.Watch) may end.

    The bar counts trials: of these stages only the last has work.
    """
    *earlier, student = stages(cell)
    trial = replace(student, kind="trial", inputs=student.inputs | {"watch": watch}, work=1.0)
    return [*(replace(stage, work=0.0) for stage in earlier), trial]


def planned_here(stage: Stage) -> list[Stage]:
    """What this process would plan in place of the stages among which `stage` was planned."""
    return (
        trial_stages(stage.cell, stage.inputs["watch"])
        if stage.kind == "trial"
        else stages(stage.cell)
    )


def _settled(setting: Setting) -> Setting:
    """With the precision that "auto" means where the plan is made: a stage is what its key says, wherever it runs."""
    return replace(setting, precision=loop.resolve_precision(setting.precision))


def _shared(cell: Cell) -> dict[str, Any]:
    """The inputs of every training: data, encoder, seed and the way of stepping."""
    setting, loaded = cell.setting, load_data(cell)
    return {
        "task": cell.task,
        "train": loaded.train.fingerprint,
        "dev": loaded.dev.fingerprint,
        "seed": cell.seed,
        "backbone": encoders.fingerprint(setting.backbone),
        "max_length": setting.max_length,
        "precision": loop.resolve_precision(setting.precision),
        "evaluations_per_epoch": setting.evaluations_per_epoch,
        "optimizer": cell.recipe.optimizer,
    }


def _options(cell: Cell, *names: str) -> dict[str, Any]:
    """Those options of the recipe."""
    return {name: getattr(cell.recipe, name) for name in names}


def _work(cell: Cell, budget: Budget, depth: int) -> float:
    return depth * len(load_data(cell).train.labels) * budget.run_epochs


def _outputs(cell: Cell) -> Stage:
    setting, depth = cell.setting, encoders.depth(cell.setting.backbone)
    inputs = (
        _shared(cell)
        | _options(cell, "teacher_checkpoint", "shuffle")
        | {"training": asdict(setting.teacher)}
    )
    teacher = Stage("teacher", cell, inputs, (), _work(cell, setting.teacher, depth))
    work = depth * len(load_data(cell).train.labels) / 3  # forward only
    return Stage("outputs", cell, {"what": "logits and [CLS] states"}, (teacher,), work)


def _student_depth(cell: Cell) -> int:
    return len(effective_layers(cell.layers, cell.method.sharing, cell.recipe.sps6_order))


def _form(cell: Cell) -> dict[str, Any]:
    """What decides a student's structure."""
    options = _options(cell, "sps6_order", "swap_biases") if cell.method.sharing != "none" else {}
    return {"layers": cell.layers, "sharing": cell.method.sharing} | options


def _ptp(cell: Cell, outputs: Stage) -> Stage:
    options = _options(
        cell, "ptp_thresholds", "ptp_stop", "ptp_selection", "ptp_class_weights", "ptp2_threshold"
    )
    target = {"ptp": cell.method.ptp, "thresholds": task(cell.task).thresholds}
    inputs = _shared(cell) | _form(cell) | options | target | {"training": asdict(cell.setting.ptp)}
    return Stage(
        "ptp", cell, inputs, (outputs,), _work(cell, cell.setting.ptp, _student_depth(cell))
    )


def _students(cell: Cell, parents: list[Stage]) -> list[Stage]:
    """The student; with decision D13 "searched", after one student per learning rate and the choice between them."""
    if cell.recipe.hyperparameters == "preset":
        return [_student(cell, parents)]
    candidates = [_student(candidate, parents) for candidate in _candidates(cell)]
    search = Stage("search", cell, {"over": "learning rate, best inner score"}, tuple(candidates))
    return [*candidates, search, _student(cell, [*parents, search])]


def _candidates(cell: Cell) -> list[Cell]:
    recipe = replace(cell.recipe, hyperparameters="preset", checkpoint="best_inner")
    rates = PROFILES[cell.profile].search_rates
    return [
        replace(cell, recipe=recipe, setting=override(cell.setting, {"student.learning_rate": r}))
        for r in rates
    ]


def _student(cell: Cell, parents: list[Stage]) -> Stage:
    inputs = _shared(cell) | _form(cell) | _options(cell, "checkpoint", "shuffle") | _loss(cell)
    inputs |= {"training": asdict(cell.setting.student)}
    if cell.method.ptp != "none":
        inputs |= _options(cell, "ptp_pooler")
    return Stage(
        "student",
        cell,
        inputs,
        tuple(parents),
        _work(cell, cell.setting.student, _student_depth(cell)),
    )


def _loss(cell: Cell) -> dict[str, Any]:
    """What decides a student's objective, and nothing else: cells that agree in it share one training."""
    setting: Setting = cell.setting
    inputs: dict[str, Any] = {"loss": cell.method.loss}
    if cell.method.loss != "finetune":
        inputs |= {"alpha": setting.alpha, "T": setting.temperature} | _options(
            cell, "kl_reduction", "temperature"
        )
    if cell.method.loss == "patient_kd":
        inputs |= {"beta": setting.beta} | _options(
            cell, "hidden_match", "layer_map", "one_layer_patient"
        )
    return inputs
