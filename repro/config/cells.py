"""What to run: the paper's tables and their cells, each with everything that changes its number.

No torch here: listing a plan must cost nothing.
"""

import hashlib
import json
import re
from dataclasses import asdict, dataclass, replace
from typing import Any

from repro.config.profiles import PROFILES, Budget, Setting, changes, override, profile
from repro.config.recipe import Recipe, parse
from repro.config.tables import Method, Row, Table, table
from repro.errors import InputError

_LONGEST = 100  # characters of a variant's name; file names have at most 255


@dataclass(frozen=True)
class Cell:
    """One number's recipe: everything that changes it."""

    table: str
    row: str  # the row's printed name
    task: str
    layers: int
    seed: int
    profile: str
    method: Method
    setting: Setting
    recipe: Recipe
    tuned: tuple[str, ...] = ()  # the settings whose values a sweep chose

    @property
    def id(self) -> str:
        """A readable name that is the same wherever the cell is, e.g. "table2-peabert3-mini-rte-s0-1a2b3c4d"."""
        slug = "-".join(
            part.replace(" ", "-") for part in (self.table, self.row, self.task)
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
            name: Budget(**data["setting"][name]) for name in ("teacher", "ptp", "student")
        }
        setting = Setting(**(data["setting"] | trainings))
        nested = {
            "method": Method(**data["method"]),
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


def plan(
    table_name: str,
    profile_name: str = "demo",
    tasks: str = "",
    seeds: int = 0,
    recipe: str = "authors",
    overrides: dict[str, Any] | None = None,
) -> list[Cell]:
    """The cells of a table, row by row: every task and seed. All arguments are literals a notebook can hold.

    tasks: comma-separated, "" for all four. seeds: how many (0 .. seeds - 1); 0 for as many as decision D14 says.
    overrides: settings to change, by dotted name, e.g. {"beta": 40.0, "student.learning_rate": 2e-5}.
    Raises InputError on an unknown name or a value of another type than the setting's.
    """
    declared, source, reading = table(table_name), profile(profile_name), parse(recipe)
    if type(seeds) is not int or not 0 <= seeds <= 100:
        raise InputError(
            f"seeds must be a whole number from 1 to 100 (or 0: the recipe's), got {seeds!r}"
        )
    names = source.tasks(tuple(name.strip() for name in tasks.split(",") if name.strip()))
    setting = override(source.setting, overrides or {})
    return [
        Cell(
            declared.name,
            row.name,
            name,
            row.layers,
            seed,
            source.name,
            _method(declared, row, reading),
            setting,
            reading,
        )
        for row in declared.rows
        if row.method.kind != "printed"
        for name in names
        for seed in range(seeds or reading.seeds)
    ]


def _method(declared: Table, row: Row, recipe: Recipe) -> Method:
    """What a row trains; in an ablation under the loss of decision D19."""
    if not declared.ablation:
        return row.method
    return replace(row.method, loss=recipe.ablation_loss)


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
