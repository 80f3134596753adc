"""Profiles: the encoder, the data and the hyperparameters that a table is run with. No torch."""

import ast
import math
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from repro.config.recipe import Recipe
from repro.config.tasks import GLUE
from repro.errors import InputError, one_of

PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True)
class Budget:
    """Learning rate, batch size and epochs of one training.

    Attributes:
        learning_rate: Peak of the schedule.
        batch_size: Examples per step.
        epochs: Length of the schedule.
        stop_epoch: Epoch after which training stops, before the end of the schedule, as the authors
            do in PTP; 0 to run all epochs.
    """

    learning_rate: float
    batch_size: int
    epochs: int
    stop_epoch: int = 0

    def __post_init__(self) -> None:
        _check_positive(self, "learning_rate", "batch_size", "epochs")
        if self.stop_epoch < 0:
            raise InputError(f"stop_epoch must be 0 (all epochs) or more, got {self.stop_epoch}")

    @property
    def run_epochs(self) -> int:
        """Number of epochs that are run."""
        return min(self.stop_epoch, self.epochs) or self.epochs


@dataclass(frozen=True)
class Setting:
    """The hyperparameters of a cell: a profile's, possibly with overrides.

    Attributes:
        backbone: Name of the encoder; see `data.encoders.locate`.
        teacher: Budget of fine-tuning.
        ptp: Budget of PTP.
        student: Budget of distillation.
        alpha: Weight of the KL term; the cross-entropy has 1 - alpha (authors' preset).
        temperature: T of the KL term (authors' preset).
        beta: Weight of the patience term (authors' preset for 768 dimensions; see `beta_for`).
        max_length: Number of tokens to which examples are truncated.
        train_cap: Number of training examples to use, from the start; 0 for all.
        dev_cap: Number of dev examples to use, from the start; 0 for all.
        label_noise: Share of training labels that are replaced by a wrong one, the same for every
            seed, so that the teacher makes mistakes, some of them with high confidence.
        precision: "auto" (bfloat16 if the hardware supports it), "float32" or "bfloat16".
        evaluations_per_epoch: Number of evaluations per epoch (the authors: every 2 to 80 steps).
    """

    backbone: str
    teacher: Budget
    ptp: Budget
    student: Budget
    alpha: float = 0.7
    temperature: float = 10.0
    beta: float = 100.0
    max_length: int = 128
    train_cap: int = 0
    dev_cap: int = 0
    label_noise: float = 0.0
    precision: str = "auto"
    evaluations_per_epoch: int = 4

    def __post_init__(self) -> None:
        _check_positive(self, "temperature", "max_length", "evaluations_per_epoch")
        for name in ("alpha", "label_noise"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must lie in 0 .. 1, got {getattr(self, name)}")
        for name in ("beta", "train_cap", "dev_cap"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.precision not in PRECISIONS:
            raise one_of("precision", self.precision, PRECISIONS)


def _check_positive(values: Any, *names: str) -> None:
    for name in names:
        if not getattr(values, name) > 0:
            raise InputError(f"{name} must be above 0, got {getattr(values, name)}")


@dataclass(frozen=True)
class Profile:
    """Encoder, data and hyperparameters of a table; one table never mixes profiles.

    Attributes:
        name: "demo", "cpu", "base" or "paper".
        data: Value of the `data` column of every row.
        note: Note under every table and figure.
        setting: The hyperparameters, for BertAdam (decision D21).
        search_rates: Learning rates of the student that are tried if D13 is "searched".
        seconds_per_work: Seconds that one core takes for one layer and one example, forward and
            backward; only used to estimate the time of a run.
        task_prefix: "mini-" for the embedded tasks.
        failed_gates: The paper's names of tasks on which students of all depths score alike, i.e.
            whose baselines failed their gate; a claim about such a task alone is not tested.
        adamw: Learning rates for AdamW that differ from `setting`, by dotted name. BertAdam has no
            bias correction, so at the same rate its first steps are larger than AdamW's.
    """

    name: str
    data: str
    note: str
    setting: Setting
    search_rates: tuple[float, ...]
    seconds_per_work: float
    task_prefix: str = ""
    failed_gates: tuple[str, ...] = ()
    adamw: tuple[tuple[str, float], ...] = ()

    def setting_for(self, recipe: Recipe) -> Setting:
        """Return the hyperparameters for the optimiser of a recipe."""
        changed = dict(self.adamw) if recipe.optimizer == "adamw" else {}
        setting: Setting = override(self.setting, changed)
        return setting

    def tasks(self, names: tuple[str, ...] = ()) -> list[str]:
        """Convert names of tasks to this profile's names; removes duplicates.

        Args:
            names: The paper's names (RTE) or this profile's (mini-RTE); none for all four.

        Raises:
            InputError: If a name is neither.
        """
        own_names = {task.name: self.task_prefix + task.name for task in GLUE}
        for name in names:
            if name not in own_names and name not in own_names.values():
                raise one_of(f"task for profile {self.name}", name, own_names)
        return list(dict.fromkeys(own_names.get(name, name) for name in names or own_names))


def beta_for(hidden: int) -> float:
    """Scale the authors' beta, which is for hidden states of 768 dimensions, to another width.

    The patience term is the squared distance of unit vectors, averaged over dimensions, so it is
    768 / hidden times larger; with beta 100 it would dominate the other terms.
    """
    return round(100.0 * hidden / 768, 2)


_SIMILARITY = (
    "the encoder was tuned for sentence similarity (NLI and question pairs included): "
    "not comparable with BERT"
)
# Learning rates of the teachers. "cpu": in benchmarks/teachers.py, 2e-5 is best for BertAdam and
# 1e-4 for AdamW. "base" with BertAdam: chosen on RTE, seed 0, where 1e-5 gives 68.6 on dev; 3e-5
# gives 63.2, since the loss stops falling at step 70. "base" with AdamW: a first run with five
# seeds gave 68.9 on RTE and 90.2 F1 on MRPC.
# fmt: off
_PROFILES = (
    Profile("demo", "embedded miniature tasks",
            "embedded miniature tasks: not GLUE; 4 % of the training labels of each task are "
            "flipped on purpose, so that the teacher errs",
            Setting("embedded", Budget(2e-4, 32, 4), Budget(2e-4, 32, 3, 2), Budget(2e-4, 32, 2),
                    beta=beta_for(64), max_length=64, label_noise=0.04, precision="float32",
                    evaluations_per_epoch=2),
            (2e-4, 5e-4, 1e-3), 1.3e-4, task_prefix="mini-",
            failed_gates=("MRPC",)),  # benchmarks/results/gates.csv
    Profile("cpu", "GLUE, first 8,000 training examples", _SIMILARITY,
            Setting("all-MiniLM-L6-v2",
                    Budget(2e-5, 32, 4), Budget(2e-5, 32, 4, 3), Budget(5e-5, 32, 4),
                    beta=beta_for(384), train_cap=8000, evaluations_per_epoch=2),
            (5e-5, 1e-4, 2e-4), 5e-3,
            adamw=(("teacher.learning_rate", 1e-4), ("ptp.learning_rate", 1e-4),
                   ("student.learning_rate", 1e-4))),
    Profile("base", "GLUE", _SIMILARITY,
            Setting("all-mpnet-base-v2",
                    Budget(1e-5, 32, 3), Budget(2e-5, 64, 6, 4), Budget(2e-5, 64, 6)),
            (1e-5, 2e-5, 3e-5, 5e-5), 2e-2,
            adamw=(("teacher.learning_rate", 3e-5), ("ptp.learning_rate", 5e-5),
                   ("student.learning_rate", 5e-5))),
    Profile("paper", "GLUE", "the paper's own setting",
            Setting("bert-base-uncased",
                    Budget(2e-5, 32, 4), Budget(2e-5, 64, 6, 4), Budget(2e-5, 64, 6)),
            (1e-5, 2e-5, 3e-5, 5e-5), 2e-2),
)
# fmt: on
PROFILES = {profile.name: profile for profile in _PROFILES}


def profile(name: str) -> Profile:
    """Look up a profile by name.

    Raises:
        InputError: If the name is unknown; the message lists the names.
    """
    if name not in PROFILES:
        raise one_of("profile", name, PROFILES)
    return PROFILES[name]


def check_glue_dir(name: str, folder: Path | None) -> None:
    """Refuse a folder of GLUE files that the profile would ignore.

    Args:
        name: The profile.
        folder: The output of `paths.glue()`, None if GLUE_DIR is not set.

    Raises:
        InputError: If GLUE_DIR is set and the profile's tasks are embedded.
    """
    if folder is not None and profile(name).task_prefix:
        allowed = ", ".join(other.name for other in PROFILES.values() if not other.task_prefix)
        raise InputError(
            f"GLUE_DIR is {folder}, but profile {name} has {PROFILES[name].data}; use one of the "
            f"profiles {allowed}, or unset GLUE_DIR"
        )


def glue_profile(name: str) -> Profile:
    """Look up a profile whose tasks are those of GLUE, which have a test set.

    Raises:
        InputError: If the name is unknown, or the profile's tasks are not those of GLUE.
    """
    if profile(name).task_prefix:
        allowed = [other.name for other in PROFILES.values() if not other.task_prefix]
        raise InputError(
            f"profile {name} has {PROFILES[name].data}, which have no GLUE test set; "
            f"use one of: {', '.join(allowed)}"
        )
    return PROFILES[name]


def override(setting: Any, changes: dict[str, Any]) -> Any:
    """Return a copy of a setting with some values changed.

    Args:
        setting: A Setting, or any nested dataclass.
        changes: New values by dotted name, e.g. {"student.learning_rate": 2e-5}.

    Raises:
        InputError: If a name is unknown, or a value has another type or is not finite.
    """
    for name, value in changes.items():
        head, _, rest = name.partition(".")
        known = [entry.name for entry in fields(setting)]
        if head not in known:
            raise one_of("setting", name, known)
        old = getattr(setting, head)
        if rest and not is_dataclass(old):
            raise InputError(f"setting {head} has no parts, got {name!r}; remove {'.' + rest!r}")
        new = override(old, {rest: value}) if rest else value
        if type(old) is float and type(new) is int:
            new = float(str(new))  # an integer that is too large becomes inf, like 1e999
        if type(new) is not type(old):
            raise InputError(f"setting {name} must be a {type(old).__name__}, got {value!r}")
        if type(new) is float and not math.isfinite(new):
            raise InputError(f"setting {name} must be a finite number, got {new}")
        setting = replace(setting, **{head: new})
    return setting


def assignments(words: list[str] | None) -> dict[str, Any]:
    """Parse changed settings: ["beta=40"] becomes {"beta": 40}.

    A value that is not a Python literal is kept as text.

    Raises:
        InputError: If a word is not of the form name=value.
    """
    parsed = {}
    for word in words or []:
        name, equals, value = word.partition("=")
        if not (name and equals):
            raise InputError(f"a changed setting is name=value, e.g. beta=40, got {word!r}")
        try:
            parsed[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # not a literal
            parsed[name] = value
    return parsed


def changes(setting: Setting, base: Setting) -> dict[str, Any]:
    """Find the overrides that turn one setting into another; the inverse of `override`.

    Args:
        setting: The changed setting.
        base: The setting before the changes.

    Returns:
        Values of `setting` that differ, by dotted name.
    """
    before, after = _flatten(asdict(base)), _flatten(asdict(setting))
    return {name: value for name, value in sorted(after.items()) if value != before[name]}


def _flatten(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in data.items():
        inner = _flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else None
        flat |= {f"{prefix}{name}": value} if inner is None else inner
    return flat
