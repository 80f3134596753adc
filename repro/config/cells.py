"""The cells of a table: what to run, with everything that determines each number. No torch."""

import re
from dataclasses import asdict, dataclass, replace
from typing import Any

from repro.config.profiles import PROFILES, Budget, Setting, changes, override, profile
from repro.config.recipe import MOST_SEEDS, TEXTBOOK, Recipe, parse
from repro.config.tables import Method, table
from repro.errors import InputError
from repro.files import digest

_LONGEST = 100  # characters of a variant's name, since a file name has at most 255


@dataclass(frozen=True)
class Cell:
    """One number of a table, for one task and seed.

    Attributes:
        table: A name in `config.tables.TABLES`, or "own" for a user's own data.
        row: The row's printed name.
        task: The task's name, such as "mini-RTE".
        layers: Stored layers of the student; 0 for the teacher's own.
        seed: Seed of all its trainings.
        profile: The profile's name.
        method: What is trained.
        setting: Encoder and hyperparameters.
        recipe: How the points that the paper leaves open are read.
        tuned: Names of the settings whose values were chosen by a sweep.
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
        """Return plain data; omits the two recipe options that change no cell (D14 and D17)."""
        data = asdict(self)
        del data["recipe"]["seeds"], data["recipe"]["parameter_count"]
        tuned = data.pop("tuned")
        return data | {"tuned": [*tuned]} if tuned else data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Cell":
        """Create a cell from the output of `as_dict`."""
        # The omitted options take the values of the textbook recipe if all others are its own.
        textbook = all(getattr(TEXTBOOK, name) == value for name, value in data["recipe"].items())
        recipe = TEXTBOOK if textbook else Recipe(**data["recipe"])
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
        """Settings that a user changed from the profile's, by dotted name."""
        changed = changes(self.setting, PROFILES[self.profile].setting_for(self.recipe))
        return {name: value for name, value in changed.items() if name not in self.tuned}


def check_seed(seed: int) -> None:
    """Check the number of one seed; InputError if it is none."""
    if type(seed) is not int or not 0 <= seed < MOST_SEEDS:
        raise InputError(f"seed must be a whole number from 0 to {MOST_SEEDS - 1}, got {seed!r}")


def plan(
    table_name: str,
    profile_name: str = "demo",
    tasks: str = "",
    seeds: int = 0,
    recipe: str = "authors",
    overrides: dict[str, Any] | None = None,
) -> list[Cell]:
    """Plan the cells of a table, row by row, for every task and seed.

    All arguments are literals, so that a notebook can store them.

    Args:
        table_name: A name in `config.tables.TABLES`.
        profile_name: "demo", "cpu", "base" or "paper".
        tasks: Comma-separated names; "" for all four.
        seeds: Number of seeds, starting with seed 0; 0 for as many as decision D14 says.
        recipe: "authors", "textbook", or either with "+option=value".
        overrides: Settings to change, by dotted name, e.g. {"student.learning_rate": 2e-5}.

    Raises:
        InputError: If a name is unknown, or a value has another type than the setting.
    """
    declared, source, reading = table(table_name), profile(profile_name), parse(recipe)
    if type(seeds) is not int or not 0 <= seeds <= MOST_SEEDS:
        raise InputError(
            f"seeds must be a whole number from 1 to {MOST_SEEDS} (or 0: the recipe's), "
            f"got {seeds!r}"
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
                place = (declared.name, row.name, name, row.layers, seed, source.name)
                cells.append(Cell(*place, method, setting, reading))
    return cells


def variant(
    recipe: str = "authors", overrides: dict[str, Any] | None = None, tuned: bool = False
) -> str:
    """Name a run by its recipe and changed settings, e.g. "textbook+beta=40".

    Args:
        recipe: Name of the recipe.
        overrides: Changed settings, by dotted name.
        tuned: Whether the settings of each student come from its sweep.

    Returns:
        The name, which is used in file names; "" for the authors' recipe without changes. A long
        name is cut and ends with a hash of the whole.
    """
    words = [] if recipe == "authors" else [recipe]
    words += ["tuned"] if tuned else []
    # 40 and 40.0 give the same name, and so do two orders of the same settings
    for name, value in sorted((overrides or {}).items()):
        whole = isinstance(value, float) and value.is_integer()
        words.append(f"{name}={int(value) if whole else value}")
    text = "+".join(words)
    short = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}-{digest(text)}"
    return re.sub(r"[^A-Za-z0-9_=+.-]", "-", short)
