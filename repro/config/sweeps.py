"""Sweeps: which student, settings and search space; the paper's grid, scaled to a profile."""

import re
from dataclasses import dataclass, field, replace
from functools import reduce
from itertools import product
from typing import Any

import numpy as np

from repro.config.cells import Cell, check_seed, variant
from repro.config.cells import plan as plan_cells
from repro.config.profiles import PROFILES, Setting, override, profile
from repro.config.recipe import Recipe, parse
from repro.config.tables import table as table_of
from repro.errors import InputError, one_of

SAMPLERS = ("tpe", "random", "grid")
PRUNERS = ("none", "median", "halving")
# The paper's grid (section 4.1). For alpha and beta it gives the bounds; the points in between are
# ours. The learning rates are the profile's `search_rates`, since the paper's do not suit a small
# encoder.
PAPER: dict[str, tuple[int | float, ...]] = {
    "student.batch_size": (32, 64),
    "student.epochs": (4, 6, 10),
    "alpha": (0.1, 0.3, 0.5, 0.7),
    "beta": (0.0, 40.0, 100.0, 250.0, 500.0),
}
CONTINUOUS = ("alpha", "beta")  # other samplers than the grid take any value, in steps of 0.01
_MOST_TRIALS = 1000


@dataclass(frozen=True)
class Sweep:
    """A hyperparameter search for one student.

    Attributes:
        cell: The student, with the profile's settings.
        budget: Number of trials; a grid may have fewer.
        sampler: One of SAMPLERS.
        pruner: One of PRUNERS.
        recipe: Name of the recipe.
        fixed: Settings that a user changed, by dotted name; they are not searched.
    """

    cell: Cell
    budget: int
    sampler: str
    pruner: str
    recipe: str
    fixed: dict[str, Any] = field(default_factory=dict)

    @property
    def space(self) -> dict[str, tuple[int | float, ...]]:
        """Values of each setting that is searched: not fixed, and with an effect on the student.

        Patient KD without pairs of layers is plain KD, where beta has no effect (D5, D18).
        """
        method, recipe = self.cell.method, self.cell.recipe
        one_layer = self.cell.layers == 1 and method.sharing == "none"
        unpaired = recipe.one_layer_patient == "kd" if one_layer else recipe.layer_map == "none"
        unused = {*self.fixed}
        if method.loss == "finetune":
            unused |= {"alpha", "beta"}
        elif method.loss == "kd" or unpaired:
            unused |= {"beta"}
        scaled = scaled_space(self.cell.profile)
        return {name: values for name, values in scaled.items() if name not in unused}

    @property
    def grid(self) -> list[dict[str, Any]]:
        """Points of the grid in random order, at most `budget` of them."""
        points = [
            dict(zip(self.space, point, strict=True)) for point in product(*self.space.values())
        ]
        order = np.random.default_rng(self.cell.seed).permutation(len(points))
        return [points[index] for index in order[: self.budget]]

    @property
    def name(self) -> str:
        """Name such as "table2-peabert3-mini-rte-s0-tpe-median"; ends with the variant, if any."""
        cell, changed = self.cell, variant(self.recipe, self.fixed)
        words = (cell.table, cell.row, cell.task, f"s{cell.seed}", self.sampler, self.pruner)
        slug = re.sub(r"[^a-z0-9+-]", "-", "-".join(words).lower())
        return f"{slug}.{changed}" if changed else slug

    def trial_cell(self, params: dict[str, Any]) -> Cell:
        """Return the cell of a trial; nothing in it is chosen on dev."""
        setting = override(self.cell.setting, settings(params))
        return replace(self.cell, setting=setting, recipe=blind(self.cell.recipe))


def scaled_space(profile_name: str) -> dict[str, tuple[int | float, ...]]:
    """Scale the paper's grid to a profile.

    Batch sizes, epochs and beta are multiplied by the ratio of the profile's value to that of the
    profile "paper". alpha is a weight in 0 .. 1 and is not scaled.
    """
    source, paper = PROFILES[profile_name], PROFILES["paper"].setting
    space: dict[str, tuple[int | float, ...]] = {"student.learning_rate": source.search_rates}
    for name, values in PAPER.items():
        default = value_of(source.setting, name)
        ratio = 1 if name == "alpha" else default / value_of(paper, name)
        digits = None if type(default) is int else 2
        space[name] = tuple(round(value * ratio, digits) for value in values)
    return space


def value_of(setting: Setting, name: str) -> Any:
    """Look up a value of a setting.

    Args:
        setting: The setting.
        name: Dotted name, e.g. "student.epochs".
    """
    return reduce(getattr, name.split("."), setting)


def settings(params: dict[str, Any]) -> dict[str, Any]:
    """Convert a trial's parameters to overrides; removes the rounding errors of steps of 0.01."""
    return {
        name: round(value, 2) if name in CONTINUOUS else value for name, value in params.items()
    }


def blind(recipe: Recipe) -> Recipe:
    """Return the recipe without any choice on dev (decisions D9, D15, D20).

    The checkpoints of PTP and of the student are chosen on the inner split; the teacher's is the
    last one.
    """
    ptp = "best_inner" if recipe.ptp_selection == "best_dev" else recipe.ptp_selection
    return replace(recipe, checkpoint="best_inner", ptp_selection=ptp, teacher_checkpoint="last")


def plan(
    table: str,
    profile_name: str = "demo",
    method: str = "PeaBERT3",
    layers: int = 0,
    task: str = "RTE",
    budget: int = 20,
    sampler: str = "tpe",
    pruner: str = "median",
    seed: int = 0,
    recipe: str = "authors",
    overrides: dict[str, Any] | None = None,
) -> Sweep:
    """Plan the sweep of one student. All arguments are literals, so that a notebook can store them.

    Args:
        table: The student's table.
        profile_name: The profile; it also scales the search space.
        method: Name of a row, or that name without its number (PeaBERT) together with `layers`.
        layers: Layers of the student; 0 if the name has them.
        task: One task.
        budget: Number of trials, 1 to 1000.
        sampler: One of SAMPLERS.
        pruner: One of PRUNERS.
        seed: Seed of the trainings and of the sampler.
        recipe: Name of a recipe whose decision D13 is "preset".
        overrides: Settings to change, by dotted name; they are not searched.

    Raises:
        InputError: If a name is unknown, a value is not allowed, or nothing is left to search.
    """
    for what, value, allowed in (("sampler", sampler, SAMPLERS), ("pruner", pruner, PRUNERS)):
        if value not in allowed:
            raise one_of(what, value, allowed)
    if type(budget) is not int or not 1 <= budget <= _MOST_TRIALS:
        raise InputError(
            f"budget must be a whole number of trials from 1 to {_MOST_TRIALS}, got {budget!r}"
        )
    check_preset(parse(recipe), recipe)
    row = row_name(table, method, layers)
    if "," in task or not task.strip():
        tasks = ", ".join(profile(profile_name).tasks())
        raise InputError(f"a sweep takes one task, got {task!r}; use one of: {tasks}")
    check_seed(seed)
    cells = plan_cells(table, profile_name, task, seed + 1, recipe, overrides)
    cell = next(cell for cell in cells if (cell.row, cell.seed) == (row, seed))
    sweep = Sweep(cell, budget, sampler, pruner, recipe, overrides or {})
    if not sweep.space:
        names = ", ".join(sweep.fixed)
        raise InputError(f"nothing is left to search: {names} are all set; leave one out")
    return sweep


def row_name(table: str, method: str, layers: int = 0) -> str:
    """Find the row of a student.

    Args:
        table: Name of the table.
        method: Name of the row, or that name without its number (PeaBERT) together with `layers`.
        layers: Layers of the student; 0 if the name has them.

    Raises:
        InputError: If the table has no such student, or several.
    """
    # a method that is trained in phases has no single learning rate to search
    searched = [row for row in table_of(table).rows if row.method.loss in ("kd", "patient_kd")]
    rows = [row for row in searched if row.method.kind == "student"]
    matching = [
        row.name
        for row in rows
        if layers in (0, row.layers)
        and method in (row.name, row.name.replace(str(row.layers), "", 1))
    ]
    if len(matching) != 1:
        received = f"{method} of {layers} layers" if layers else method
        raise one_of(f"student of {table}", received, [row.name for row in rows])
    return matching[0]


def check_preset(recipe: Recipe, name: str) -> None:
    """Check that decision D13 leaves the student's learning rate to the sweep.

    Args:
        recipe: The recipe.
        name: Its name, for the message.

    Raises:
        InputError: If the recipe searches the learning rate itself.
    """
    if recipe.hyperparameters != "preset":
        raise InputError(
            f"recipe {name} searches the student's learning rate itself (decision D13), which a "
            f"sweep would contradict; use {name}+hyperparameters=preset"
        )
