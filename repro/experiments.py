"""What to run: profiles, the paper's tables, and their cells. Everything that changes a number is declared here, once.

No torch here: listing a plan must cost nothing.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from typing import Any

from repro.errors import InputError, one_of
from repro.recipe import Recipe, parse
from repro.tasks import GLUE


PRECISIONS = ("auto", "float32", "bfloat16")


def _check_positive(values: Any, *names: str) -> None:
    for name in names:
        if not getattr(values, name) > 0:
            raise InputError(f"{name} must be above 0, got {getattr(values, name)}")


@dataclass(frozen=True)
class Training:
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
    teacher: Training
    ptp: Training
    student: Training
    alpha: float = 0.7  # the authors' preset, as are T and beta
    temperature: float = 10.0
    beta: float = 100.0
    max_length: int = 128
    train_cap: int = 0  # 0: all
    dev_cap: int = 0
    precision: str = "auto"  # bfloat16 where the hardware has it, else float32
    evaluations_per_epoch: int = 4  # the authors evaluate every 2 to 80 steps

    def __post_init__(self) -> None:
        _check_positive(self, "temperature", "max_length", "evaluations_per_epoch")
        if not (0 <= self.alpha <= 1 and self.beta >= 0 and self.train_cap >= 0 and self.dev_cap >= 0):
            raise InputError(f"alpha must lie in 0 .. 1 and beta and the caps at or above 0, got alpha {self.alpha}, "
                             f"beta {self.beta}, train_cap {self.train_cap}, dev_cap {self.dev_cap}")  # fmt: skip
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


_STANDIN = "the encoder was tuned for sentence similarity (NLI and question pairs included): not comparable with BERT"
PROFILES = {
    profile.name: profile
    for profile in (
        Profile("demo", "embedded miniature tasks", "embedded miniature tasks: not GLUE",
                Setting("embedded", Training(1e-3, 32, 6), Training(1e-3, 32, 6, 4), Training(1e-3, 32, 6),
                        max_length=64, precision="float32", evaluations_per_epoch=2),
                (2e-4, 5e-4, 1e-3, 2e-3), 1.2e-4, task_prefix="mini-"),
        Profile("cpu", "GLUE, first 2,000 training and 1,000 dev examples", _STANDIN,
                Setting("all-MiniLM-L6-v2", Training(5e-5, 32, 4), Training(5e-5, 32, 4, 3), Training(5e-5, 32, 4),
                        train_cap=2000, dev_cap=1000),
                (2e-5, 5e-5, 1e-4, 2e-4), 4e-3),
        Profile("base", "GLUE", _STANDIN,
                Setting("all-mpnet-base-v2", Training(3e-5, 32, 3), Training(2e-5, 64, 6, 4), Training(2e-5, 64, 6)),
                (1e-5, 2e-5, 3e-5, 5e-5), 2e-2),
        Profile("paper", "GLUE", "the paper's own setting",
                Setting("bert-base-uncased", Training(2e-5, 32, 4), Training(2e-5, 64, 6, 4), Training(2e-5, 64, 6)),
                (1e-5, 2e-5, 3e-5, 5e-5), 2e-2),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Method:
    """What a row's model is. kind: "student", "teacher", "labels" (PTP labels of its predictions) or "printed"."""

    kind: str = "student"
    sharing: str = "none"  # none, paired (SPS-1), shuffled (SPS-2)
    ptp: str = "none"  # none, correct (PTP-1), confident (PTP-2), both
    loss: str = "patient"  # finetune, kd, patient; "ablation": as decision D19 says


@dataclass(frozen=True)
class Row:
    """One line of a table: the paper's name for it, its stored layers (0: the teacher's own depth), what it is."""

    name: str
    layers: int
    method: Method


@dataclass(frozen=True)
class Table:
    """One table of the paper. `rows` in the paper's order."""

    name: str
    caption: str
    paper_split: str
    rows: tuple[Row, ...]


_PLAIN, _SPS = Method(loss="ablation"), Method(sharing="shuffled", loss="ablation")
_PEA = Method(sharing="shuffled", ptp="both")
_TEACHER, _PRINTED = Method("teacher", loss="finetune"), Method("printed")
_PAIRS = [(Row(f"BERT{n}-PatientKD", n, Method()), Row(f"PeaBERT{n}", n, _PEA)) for n in (1, 2, 3)]
TABLES = {
    table.name: table
    for table in (
        Table("table1", "PTP labels of the teacher's predictions on the training data", "train",
              (Row("PTP labels", 0, Method("labels", loss="finetune")),)),
        Table("table2", "PeaBERT beside Patient KD", "test",
              (Row("BERT-base", 0, _TEACHER), *(row for pair in _PAIRS for row in pair))),
        Table("table3", "Six layers: PeaBERT beside DistilBERT and TinyBERT", "dev",
              (Row("DistilBERT", 6, _PRINTED), Row("TinyBERT", 6, _PRINTED), Row("PeaBERT", 6, _PEA))),
        Table("table4", "Ablation of SPS", "dev",
              (Row("BERT3", 3, _PLAIN), Row("SPS-1", 3, replace(_SPS, sharing="paired")), Row("SPS-2", 3, _SPS))),
        Table("table5", "Ablation of PTP", "dev",
              (Row("BERT3+SPS", 3, _SPS), Row("BERT3+SPS+PTP-1", 3, replace(_SPS, ptp="correct")),
               Row("BERT3+SPS+PTP-2", 3, replace(_SPS, ptp="confident")),
               Row("BERT3+SPS+PTP", 3, replace(_SPS, ptp="both")))),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One number's recipe: everything that changes it."""

    table: str
    method: str  # the row's printed name
    task: str
    layers: int
    seed: int
    profile: str
    model: Method
    setting: Setting
    recipe: Recipe

    @property
    def id(self) -> str:
        """A readable name that is the same wherever the cell is, e.g. "table2-peabert3-mini-rte-s0-1a2b3c4d"."""
        slug = "-".join(part.replace(" ", "-") for part in (self.table, self.method, self.task)).lower()
        return f"{slug}-s{self.seed}-{digest(self.as_dict())}"

    def as_dict(self) -> dict[str, Any]:
        """Plain data, without the recipe's options that change no cell (D14 seeds, D17 parameter count)."""
        data = asdict(self)
        del data["recipe"]["seeds"], data["recipe"]["parameter_count"]
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Cell":
        """The inverse of `as_dict`."""
        trainings = {name: Training(**data["setting"][name]) for name in ("teacher", "ptp", "student")}
        setting = Setting(**(data["setting"] | trainings))
        nested = {"model": Method(**data["model"]), "setting": setting, "recipe": Recipe(**data["recipe"])}
        return cls(**(data | nested))


def digest(data: Any, length: int = 8) -> str:
    """The first hex digits of the SHA-256 of `data` as sorted JSON."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:length]


def profile(name: str) -> Profile:
    """The profile of that name; InputError with the names allowed otherwise."""
    if name not in PROFILES:
        raise one_of("profile", name, PROFILES)
    return PROFILES[name]


def table(name: str) -> Table:
    """The table of that name; InputError with the names allowed otherwise."""
    if name not in TABLES:
        raise one_of("table", name, TABLES)
    return TABLES[name]


def plan(table_name: str, profile_name: str = "demo", tasks: str = "", seeds: int = 0, recipe: str = "authors",
         overrides: dict[str, Any] | None = None) -> list[Cell]:  # fmt: skip
    """The cells of a table, row by row: every task and seed. All arguments are literals a notebook can hold.

    tasks: comma-separated, "" for all four. seeds: how many (0 .. seeds - 1); 0 for as many as decision D14 says.
    overrides: settings to change, by dotted name, e.g. {"beta": 40.0, "student.learning_rate": 2e-5}.
    Raises InputError on an unknown name or a value of another type than the setting's.
    """
    source, reading = profile(profile_name), parse(recipe)
    if type(seeds) is not int or not 0 <= seeds <= 100:
        raise InputError(f"seeds must be a whole number from 1 to 100 (or 0: the recipe's), got {seeds!r}")
    names = source.tasks(tuple(name.strip() for name in tasks.split(",") if name.strip()))
    setting = override(source.setting, overrides or {})
    return [
        Cell(table_name, row.name, name, row.layers, seed, source.name, _resolved(row.method, reading), setting,
             reading)
        for row in table(table_name).rows if row.method.kind != "printed"
        for name in names for seed in range(seeds or reading.seeds)
    ]  # fmt: skip


def _resolved(method: Method, recipe: Recipe) -> Method:
    """The method with decision D19 put in."""
    return replace(method, loss=recipe.ablation_loss) if method.loss == "ablation" else method


def override(setting: Any, changes: dict[str, Any]) -> Any:
    """A copy of a (nested) setting with single values changed, each checked for name and type."""
    for name, value in changes.items():
        head, _, rest = name.partition(".")
        known = [entry.name for entry in fields(setting)] if is_dataclass(setting) else []
        if head not in known:
            raise one_of("setting", name, known)
        old = getattr(setting, head)
        new = override(old, {rest: value}) if rest else value
        if type(old) is float and type(new) is int:
            new = float(new)
        if type(new) is not type(old):
            raise InputError(f"setting {name} must be a {type(old).__name__}, got {value!r}")
        setting = replace(setting, **{head: new})
    return setting

