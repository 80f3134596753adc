"""What to run: the paper's tables and their cells, each with everything that changes its number.

No torch here: listing a plan must cost nothing.
"""

import hashlib
import json
import re
import shlex
from dataclasses import asdict, dataclass, replace
from typing import Any

from repro.config import tuned as best
from repro.config.profiles import PROFILES, Setting, Training, changes, override, profile
from repro.config.recipe import Recipe, parse
from repro.errors import InputError, MissingError, one_of


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
    """One table of the paper. `rows` in the paper's order; `pairs`: (method, against) that its text compares."""

    name: str
    caption: str
    paper_split: str
    rows: tuple[Row, ...]
    pairs: tuple[tuple[str, str], ...] = ()


_LONGEST = 100  # characters of a variant's name; a file's name has 255, with a sweep's or a notebook's words before it
_PLAIN, _SPS = Method(loss="ablation"), Method(sharing="shuffled", loss="ablation")
_PEA = Method(sharing="shuffled", ptp="both")
_TEACHER, _PRINTED = Method("teacher", loss="finetune"), Method("printed")
_SIZES = [(Row(f"BERT{n}-PatientKD", n, Method()), Row(f"PeaBERT{n}", n, _PEA)) for n in (1, 2, 3)]
_ABLATED = "BERT3+SPS"
TABLES = {
    table.name: table
    for table in (
        Table(
            "table1",
            "PTP labels of the teacher's predictions on the training data",
            "train",
            (Row("PTP labels", 0, Method("labels", loss="finetune")),),
        ),
        Table(
            "table2",
            "PeaBERT beside Patient KD",
            "test",
            (Row("BERT-base", 0, _TEACHER), *(row for pair in _SIZES for row in pair)),
            (
                *((pea.name, kd.name) for kd, pea in _SIZES),
                ("PeaBERT1", "BERT2-PatientKD"),
                ("PeaBERT2", "BERT3-PatientKD"),
            ),
        ),
        Table(
            "table3",
            "Six layers: PeaBERT beside DistilBERT and TinyBERT",
            "dev",
            (Row("DistilBERT", 6, _PRINTED), Row("TinyBERT", 6, _PRINTED), Row("PeaBERT", 6, _PEA)),
        ),
        Table(
            "table4",
            "Ablation of SPS",
            "dev",
            (
                Row("BERT3", 3, _PLAIN),
                Row("SPS-1", 3, replace(_SPS, sharing="paired")),
                Row("SPS-2", 3, _SPS),
            ),
            (("SPS-1", "BERT3"), ("SPS-2", "SPS-1"), ("SPS-2", "BERT3")),
        ),
        Table(
            "table5",
            "Ablation of PTP",
            "dev",
            (
                Row(_ABLATED, 3, _SPS),
                Row(f"{_ABLATED}+PTP-1", 3, replace(_SPS, ptp="correct")),
                Row(f"{_ABLATED}+PTP-2", 3, replace(_SPS, ptp="confident")),
                Row(f"{_ABLATED}+PTP", 3, replace(_SPS, ptp="both")),
            ),
            (
                (f"{_ABLATED}+PTP-1", _ABLATED),
                (f"{_ABLATED}+PTP-2", _ABLATED),
                (f"{_ABLATED}+PTP", _ABLATED),
                (f"{_ABLATED}+PTP", f"{_ABLATED}+PTP-1"),
                (f"{_ABLATED}+PTP", f"{_ABLATED}+PTP-2"),
            ),
        ),
    )
}


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
    tuned: tuple[str, ...] = ()  # the settings whose values a sweep chose

    @property
    def id(self) -> str:
        """A readable name that is the same wherever the cell is, e.g. "table2-peabert3-mini-rte-s0-1a2b3c4d"."""
        slug = "-".join(
            part.replace(" ", "-") for part in (self.table, self.method, self.task)
        ).lower()
        return f"{slug}-s{self.seed}-{digest(self.as_dict())}"

    def as_dict(self) -> dict[str, Any]:
        """Plain data, without the recipe's options that change no cell (D14 seeds, D17 parameter count)."""
        data = asdict(self)
        del data["recipe"]["seeds"], data["recipe"]["parameter_count"]
        return data | {"tuned": [*self.tuned]} if data.pop("tuned") else data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Cell":
        """The inverse of `as_dict`."""
        trainings = {
            name: Training(**data["setting"][name]) for name in ("teacher", "ptp", "student")
        }
        setting = Setting(**(data["setting"] | trainings))
        nested = {
            "model": Method(**data["model"]),
            "setting": setting,
            "recipe": Recipe(**data["recipe"]),
            "tuned": tuple(data.get("tuned", ())),
        }
        return cls(**(data | nested))

    @property
    def given(self) -> dict[str, Any]:
        """The settings that differ from the profile's because someone said so, not a sweep."""
        changed = changes(self.setting, PROFILES[self.profile].setting)
        return {name: value for name, value in changed.items() if name not in self.tuned}


def digest(data: Any, length: int = 8) -> str:
    """The first hex digits of the SHA-256 of `data` as sorted JSON."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:length]


def table(name: str) -> Table:
    """The table of that name; InputError with the names allowed otherwise."""
    if name not in TABLES:
        raise one_of("table", name, TABLES)
    return TABLES[name]


def plan(
    table_name: str,
    profile_name: str = "demo",
    tasks: str = "",
    seeds: int = 0,
    recipe: str = "authors",
    overrides: dict[str, Any] | None = None,
    tuned: bool = False,
) -> list[Cell]:
    """The cells of a table, row by row: every task and seed. All arguments are literals a notebook can hold.

    tasks: comma-separated, "" for all four. seeds: how many (0 .. seeds - 1); 0 for as many as decision D14 says.
    overrides: settings to change, by dotted name, e.g. {"beta": 40.0, "student.learning_rate": 2e-5}.
    tuned: each student with the best settings of its sweep; see `with_tuned`.
    Raises InputError on an unknown name or a value of another type than the setting's.
    """
    source, reading = profile(profile_name), parse(recipe)
    if type(seeds) is not int or not 0 <= seeds <= 100:
        raise InputError(
            f"seeds must be a whole number from 1 to 100 (or 0: the recipe's), got {seeds!r}"
        )
    names = source.tasks(tuple(name.strip() for name in tasks.split(",") if name.strip()))
    setting = override(source.setting, overrides or {})
    made = [
        Cell(
            table_name,
            row.name,
            name,
            row.layers,
            seed,
            source.name,
            _resolved(row.method, reading),
            setting,
            reading,
        )
        for row in table(table_name).rows
        if row.method.kind != "printed"
        for name in names
        for seed in range(seeds or reading.seeds)
    ]
    return with_tuned(made, recipe, overrides) if tuned else made


def with_tuned(
    cells: list[Cell], recipe: str = "authors", overrides: dict[str, Any] | None = None
) -> list[Cell]:
    """The cells, every student with the values that its sweep under this recipe and these overrides found best.

    Raises MissingError if any student has none: a table of tuned and untuned methods would compare nothing. InputError
    if there is no student, or if decision D13 searches once more.
    """
    students = [cell for cell in cells if cell.model.kind == "student"]
    if not students:
        raise InputError(f"{cells[0].table} has no student, so nothing to tune; leave tuned out")
    check_preset(students[0].recipe, recipe)
    found = best.read(cells[0].profile, variant(recipe, overrides))
    lacking = dict.fromkeys(
        (c.method, c.task) for c in students if (c.table, c.method, c.task) not in found
    )
    if lacking:
        named = ", ".join(f"{method} on {name}" for method, name in [*lacking][:3])
        more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        command = sweep_command(
            next(c for c in students if (c.method, c.task) in lacking), recipe, overrides
        )
        raise MissingError(f"no sweep of {named}{more}; run: {command}")
    return [_tuned(cell, found) if cell.model.kind == "student" else cell for cell in cells]


def _tuned(cell: Cell, found: dict[tuple[str, str, str], dict[str, Any]]) -> Cell:
    values = found[cell.table, cell.method, cell.task]
    return replace(cell, setting=override(cell.setting, values), tuned=tuple(sorted(values)))


def check_preset(reading: Recipe, name: str) -> None:
    """InputError unless decision D13 leaves the student's learning rate to whoever sets it."""
    if reading.hyperparameters != "preset":
        raise InputError(
            f"recipe {name} searches the student's learning rate itself (decision D13), which a sweep "
            f"would contradict; use {name}+hyperparameters=preset"
        )


def sweep_command(
    cell: Cell, recipe: str = "authors", overrides: dict[str, Any] | None = None
) -> str:
    """The command line of this student's sweep."""
    words = [
        "python",
        "-m",
        "repro",
        "sweep",
        cell.table,
        "--profile",
        cell.profile,
        "--method",
        cell.method,
        "--task",
        cell.task,
    ]
    words += [] if recipe == "authors" else ["--recipe", recipe]
    for name, value in (overrides or {}).items():
        words += ["--set", f"{name}={value}"]
    return shlex.join(words)


def _resolved(method: Method, recipe: Recipe) -> Method:
    """The method with decision D19 put in."""
    return replace(method, loss=recipe.ablation_loss) if method.loss == "ablation" else method


def variant(
    recipe: str = "authors", overrides: dict[str, Any] | None = None, tuned: bool = False
) -> str:
    """The name of a run that is not the plain table, e.g. "textbook+tuned+beta=40"; "" for the plain one.

    A long one ends in a hash of what it leaves out: what a CSV's settings are stands in its rows.
    """
    changed = ["tuned"] * tuned + [f"{name}={value}" for name, value in (overrides or {}).items()]
    words = "+".join([*([] if recipe == "authors" else [recipe]), *changed])
    short = words if len(words) <= _LONGEST else f"{words[:_LONGEST]}-{digest(words)}"
    return re.sub(r"[^A-Za-z0-9_=+.-]", "-", short)  # it becomes part of a file name
