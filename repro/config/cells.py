"""What to run: the cells of a table, each with everything that changes its number. No torch."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass, replace
from typing import Any

from repro.config.profiles import PROFILES, Budget, Setting, changes, override, profile
from repro.config.recipe import TEXTBOOK, Recipe, parse
from repro.config.tables import Method, table
from repro.errors import InputError

_LONGEST = 100  # characters of a variant's name; a file name has at most 255


@dataclass(frozen=True)
class Cell:
    """One number of a table, for one task and seed.

    Attributes:
        table: "table1" to "table5".
        row: The row's printed name.
        task: The task's name, such as "mini-RTE".
        layers: Stored layers of the student; 0 for the teacher's own.
        seed: Seed of all its trainings.
        profile: The profile's name.
        method: What is trained.
        setting: Hyperparameters.
        recipe: The reading of the paper.
        tuned: Names of the settings whose values a sweep chose.
    """

    table: str
    row: str
    task: str
    layers: int
    seed: int
    profile: str
    method: Method
    setting: Setting
    recipe: Recipe
    tuned: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """A readable name with a hash, e.g. "table2-peabert3-mini-rte-s0-1a2b3c4d"."""
        words = (self.table, self.row, self.task)
        slug = "-".join(word.replace(" ", "-") for word in words).lower()
        return f"{slug}-s{self.seed}-{digest(self.as_dict())}"

    def as_dict(self) -> dict[str, Any]:
        """Plain data, without the two recipe options that change no cell (D14 and D17)."""
        data = asdict(self)
        del data["recipe"]["seeds"], data["recipe"]["parameter_count"]
        tuned = data.pop("tuned")
        return data | {"tuned": [*tuned]} if tuned else data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Cell":
        """The inverse of `as_dict`."""
        # the two options that `as_dict` leaves out are those of the recipe that the others name
        named = all(getattr(TEXTBOOK, name) == value for name, value in data["recipe"].items())
        recipe = TEXTBOOK if named else Recipe(**data["recipe"])
        budgets = {name: Budget(**data["setting"][name]) for name in ("teacher", "ptp", "student")}
        nested = {
            "method": Method(**data["method"]),
            "setting": Setting(**(data["setting"] | budgets)),
            "recipe": recipe,
            "tuned": tuple(data.get("tuned", ())),
        }
        return cls(**(data | nested))

    @property
    def given(self) -> dict[str, Any]:
        """The settings that a user changed from the profile's, by dotted name."""
        changed = changes(self.setting, PROFILES[self.profile].setting_for(self.recipe))
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
    """The cells of a table, row by row, for every task and seed.

    All arguments are literals, so that a notebook can hold them.

    Args:
        table_name: "table1" to "table5".
        profile_name: "demo", "cpu", "base" or "paper".
        tasks: Comma-separated names; "" for all four.
        seeds: How many, from seed 0; 0 for as many as decision D14 says.
        recipe: "authors", "textbook", or either with "+option=value".
        overrides: Settings to change, by dotted name, e.g. {"student.learning_rate": 2e-5}.

    Raises:
        InputError: For an unknown name, or a value of another type than the setting's.
    """
    declared, source, reading = table(table_name), profile(profile_name), parse(recipe)
    if type(seeds) is not int or not 0 <= seeds <= 100:
        raise InputError(
            f"seeds must be a whole number from 1 to 100 (or 0: the recipe's), got {seeds!r}"
        )
    names = source.tasks(tuple(name.strip() for name in tasks.split(",") if name.strip()))
    setting = override(source.setting_for(reading), overrides or {})
    cells = []
    for row in declared.rows:
        if row.method.kind == "printed":
            continue
        method = (
            replace(row.method, loss=reading.ablation_loss) if declared.ablation else row.method
        )
        for name in names:
            for seed in range(seeds or reading.seeds):
                where = (declared.name, row.name, name, row.layers, seed, source.name)
                cells.append(Cell(*where, method, setting, reading))
    return cells


def variant(
    recipe: str = "authors", overrides: dict[str, Any] | None = None, tuned: bool = False
) -> str:
    """The name of a run with changed settings, e.g. "textbook+beta=40"; "" for the plain one.

    It becomes part of file names. A long one is cut, and ends in a hash of the whole.
    """
    words = [] if recipe == "authors" else [recipe]
    words += ["tuned"] if tuned else []
    # 40 and 40.0 are one value and one name, and so are two orders of the same settings
    for name, value in sorted((overrides or {}).items()):
        whole = isinstance(value, float) and value.is_integer()
        words.append(f"{name}={int(value) if whole else value}")
    text = "+".join(words)
    short = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}-{digest(text)}"
    return re.sub(r"[^A-Za-z0-9_=+.-]", "-", short)
