"""With what a table is made: encoder, data and hyper-parameters of each profile, declared once. No torch here."""

import ast
import math
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from typing import Any

from repro.config.tasks import GLUE
from repro.errors import InputError, one_of

PRECISIONS = ("auto", "float32", "bfloat16")


def _check_positive(values: Any, *names: str) -> None:
    for name in names:
        if not getattr(values, name) > 0:
            raise InputError(f"{name} must be above 0, got {getattr(values, name)}")


@dataclass(frozen=True)
class Budget:
    """One training's budget. `stop_epoch` ends it within a longer schedule (0: at its end), as the authors end PTP."""

    learning_rate: float
    batch_size: int
    epochs: int
    stop_epoch: int = 0

    def __post_init__(self) -> None:
        _check_positive(self, "learning_rate", "batch_size", "epochs")

    @property
    def run_epochs(self) -> int:
        """The epochs that are run of the schedule's."""
        return min(self.stop_epoch, self.epochs) or self.epochs


@dataclass(frozen=True)
class Setting:
    """The hyper-parameters of a cell; a profile gives their values, `overrides` change single ones."""

    backbone: str
    teacher: Budget
    ptp: Budget
    student: Budget
    alpha: float = 0.7  # the authors' preset, as is T
    temperature: float = 10.0
    beta: float = 100.0  # the authors', for 768 dimensions; see `beta_for`
    max_length: int = 128
    train_cap: int = 0  # 0: all
    dev_cap: int = 0
    precision: str = "auto"  # bfloat16 where the hardware has it, else float32
    evaluations_per_epoch: int = 4  # the authors evaluate every 2 to 80 steps

    def __post_init__(self) -> None:
        _check_positive(self, "temperature", "max_length", "evaluations_per_epoch")
        if not (
            0 <= self.alpha <= 1 and self.beta >= 0 and self.train_cap >= 0 and self.dev_cap >= 0
        ):
            raise InputError(
                f"alpha must lie in 0 .. 1 and beta and the caps at or above 0, got alpha {self.alpha}, "
                f"beta {self.beta}, train_cap {self.train_cap}, dev_cap {self.dev_cap}"
            )
        if self.precision not in PRECISIONS:
            raise one_of("precision", self.precision, PRECISIONS)


@dataclass(frozen=True)
class Profile:
    """With what a table is made. Rows of different profiles never meet in one table."""

    name: str
    data: str  # the `data` column of every row
    note: str  # printed under every output
    setting: Setting
    search_rates: tuple[float, ...]  # the student's learning rates when D13 is "searched"
    seconds_per_work: float  # one core, one layer, one example, forward and backward: for the plan's estimate only
    task_prefix: str = ""

    def tasks(self, names: tuple[str, ...] = ()) -> list[str]:
        """This profile's task names for the paper's (RTE) or its own (mini-RTE); all four if none is given."""
        allowed = {t.name: self.task_prefix + t.name for t in GLUE}
        return [self._task(name, allowed) for name in names or allowed]

    def _task(self, name: str, allowed: dict[str, str]) -> str:
        if name in allowed.values():
            return name
        if name not in allowed:
            raise one_of(f"task for profile {self.name}", name, allowed)
        return allowed[name]


def beta_for(hidden: int) -> float:
    """The authors' beta for states of another width: the mean over dimensions of unit vectors' distance is 768 / hidden
    times larger, and 100 would drown the other terms."""
    return round(100.0 * hidden / 768, 2)


_STANDIN = "the encoder was tuned for sentence similarity (NLI and question pairs included): not comparable with BERT"
PROFILES = {
    profile.name: profile
    for profile in (
        Profile(
            "demo",
            "embedded miniature tasks",
            "embedded miniature tasks: not GLUE",
            Setting(
                "embedded",
                Budget(1.5e-4, 32, 10),
                Budget(3e-4, 32, 6, 4),
                Budget(4e-4, 32, 6),
                beta=beta_for(64),
                max_length=64,
                precision="float32",
                evaluations_per_epoch=2,
            ),
            (1e-4, 2e-4, 4e-4, 8e-4),
            2.3e-4,
            task_prefix="mini-",
        ),
        Profile(
            "cpu",
            "GLUE, first 2,000 training and 1,000 dev examples",
            _STANDIN,
            Setting(
                "all-MiniLM-L6-v2",
                Budget(5e-5, 32, 4),
                Budget(5e-5, 32, 4, 3),
                Budget(5e-5, 32, 4),
                beta=beta_for(384),
                train_cap=2000,
                dev_cap=1000,
                evaluations_per_epoch=2,
            ),
            (2e-5, 5e-5, 1e-4, 2e-4),
            5e-3,
        ),
        # the teacher's rate: 3e-5 suits AdamW; BertAdam's first steps are larger, and from step 70 on it learns nothing
        # (RTE, seed 0: 63.2 on dev; with 1e-5, 68.6)
        Profile(
            "base",
            "GLUE",
            _STANDIN,
            Setting(
                "all-mpnet-base-v2",
                Budget(1e-5, 32, 3),
                Budget(2e-5, 64, 6, 4),
                Budget(2e-5, 64, 6),
            ),
            (1e-5, 2e-5, 3e-5, 5e-5),
            2e-2,
        ),
        Profile(
            "paper",
            "GLUE",
            "the paper's own setting",
            Setting(
                "bert-base-uncased",
                Budget(2e-5, 32, 4),
                Budget(2e-5, 64, 6, 4),
                Budget(2e-5, 64, 6),
            ),
            (1e-5, 2e-5, 3e-5, 5e-5),
            2e-2,
        ),
    )
}


def profile(name: str) -> Profile:
    """The profile of that name; InputError with the names allowed otherwise."""
    if name not in PROFILES:
        raise one_of("profile", name, PROFILES)
    return PROFILES[name]


def glue_profile(name: str) -> Profile:
    """The profile of that name; InputError also if its tasks are not GLUE's, and so have no test set."""
    if profile(name).task_prefix:
        allowed = [other.name for other in PROFILES.values() if not other.task_prefix]
        raise InputError(
            f"profile {name} has {PROFILES[name].data}, which have no GLUE test set; "
            f"use one of: {', '.join(allowed)}"
        )
    return PROFILES[name]


def override(setting: Any, changes: dict[str, Any]) -> Any:
    """A copy of a (nested) setting with single values changed, each checked for name and type."""
    for name, value in changes.items():
        head, _, rest = name.partition(".")
        known = [entry.name for entry in fields(setting)]
        if head not in known:
            raise one_of("setting", name, known)
        old = getattr(setting, head)
        if rest and not is_dataclass(old):
            raise InputError(f"setting {head} is one value, got {name!r}; leave {'.' + rest!r} out")
        new = override(old, {rest: value}) if rest else value
        if type(old) is float and type(new) is int:
            new = float(str(new))  # one that is too large becomes inf, as when it is written 1e999
        if type(new) is not type(old):
            raise InputError(f"setting {name} must be a {type(old).__name__}, got {value!r}")
        if type(new) is float and not math.isfinite(new):
            raise InputError(f"setting {name} must be a finite number, got {new}")
        setting = replace(setting, **{head: new})
    return setting


def assignments(changes: list[str] | None) -> dict[str, Any]:
    """{"beta": 40} of ["beta=40"]; a value that is no literal is text. InputError for one without "="."""
    parsed = {}
    for change in changes or []:
        name, equals, value = change.partition("=")
        if not (name and equals):
            raise InputError(f"a changed setting is name=value, e.g. beta=40, got {change!r}")
        try:
            parsed[name] = ast.literal_eval(value)
        except (
            ValueError,
            SyntaxError,
            TypeError,
            MemoryError,
            RecursionError,
        ):  # all that no literal raises
            parsed[name] = value
    return parsed


def changes(setting: Setting, base: Setting) -> dict[str, Any]:
    """What `override` would need to make `setting` of `base`: dotted names and values."""
    before, after = _flat(asdict(base)), _flat(asdict(setting))
    return {name: value for name, value in sorted(after.items()) if value != before[name]}


def _flat(data: dict[str, Any]) -> dict[str, Any]:
    nested = {
        name: _flat(value) if isinstance(value, dict) else {"": value}
        for name, value in data.items()
    }
    return {
        f"{name}.{rest}".rstrip("."): value
        for name, inner in nested.items()
        for rest, value in inner.items()
    }
