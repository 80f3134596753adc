"""What a sweep searches: the paper's grid (section 4.1), scaled to the profile."""

import re
from dataclasses import dataclass, field, replace
from functools import reduce
from itertools import product
from typing import Any

import numpy as np

from repro.config.cells import Cell, variant
from repro.config.cells import plan as plan_cells
from repro.config.profiles import PROFILES, Setting, override, profile
from repro.config.recipe import Recipe, parse
from repro.config.tables import table as table_of
from repro.errors import InputError, one_of

SAMPLERS = ("tpe", "random", "grid")
PRUNERS = ("none", "median", "halving")
# Section 4.1. For alpha and beta the paper gives the bounds; the points in between are ours. The
# learning rates are the profile's `search_rates`: the paper's do not suit a small encoder.
PAPER: dict[str, tuple[int | float, ...]] = {
    "student.batch_size": (32, 64),
    "student.epochs": (4, 6, 10),
    "alpha": (0.1, 0.3, 0.5, 0.7),
    "beta": (0.0, 40.0, 100.0, 250.0, 500.0),
}
CONTINUOUS = ("alpha", "beta")  # a grid takes the values above, the other samplers any 0.01 between
_MOST_TRIALS = 1000


@dataclass(frozen=True)
class Sweep:
    """What is searched, how, and with what budget.

    Attributes:
        cell: The student, with the profile's settings.
        budget: Number of trials; a grid may have fewer.
        sampler: One of SAMPLERS.
        pruner: One of PRUNERS.
        recipe: Name of the recipe.
        fixed: Settings that were changed, and so are not searched.
    """

    cell: Cell
    budget: int
    sampler: str
    pruner: str
    recipe: str
    fixed: dict[str, Any] = field(default_factory=dict)

    @property
    def space(self) -> dict[str, tuple[int | float, ...]]:
        """The values of each setting that is searched: not fixed, and with an effect on the cell.

        Patient KD without a pair of layers is plain KD, so beta has no effect (decisions D5, D18).
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
        """Points of the grid in random order, as many as the budget allows."""
        points = [
            dict(zip(self.space, point, strict=True)) for point in product(*self.space.values())
        ]
        order = np.random.default_rng(self.cell.seed).permutation(len(points))
        return [points[index] for index in order[: self.budget]]

    @property
    def name(self) -> str:
        """Such as "table2-peabert3-mini-rte-s0-tpe-median", then the variant if there is one."""
        cell, changed = self.cell, variant(self.recipe, self.fixed)
        words = (cell.table, cell.row, cell.task, f"s{cell.seed}", self.sampler, self.pruner)
        slug = re.sub(r"[^a-z0-9+-]", "-", "-".join(words).lower())
        return f"{slug}.{changed}" if changed else slug

    def trial_cell(self, params: dict[str, Any]) -> Cell:
        """The cell of a trial; it makes no choice on dev."""
        setting = override(self.cell.setting, settings(params))
        return replace(self.cell, setting=setting, recipe=blind(self.cell.recipe))


def scaled_space(profile_name: str) -> dict[str, tuple[int | float, ...]]:
    """The paper's grid, scaled to a profile.

    Batch sizes, epochs and beta are multiplied by the ratio of the profile's own to the paper
    profile's; alpha is a share, the same everywhere.
    """
    source, paper = PROFILES[profile_name], PROFILES["paper"].setting
    space: dict[str, tuple[int | float, ...]] = {"student.learning_rate": source.search_rates}
    for name, values in PAPER.items():
        own = value_of(source.setting, name)
        ratio = 1 if name == "alpha" else own / value_of(paper, name)
        space[name] = tuple(round(v * ratio, None if type(own) is int else 2) for v in values)
    return space


def value_of(setting: Setting, name: str) -> Any:
    """A setting by its dotted name."""
    return reduce(getattr, name.split("."), setting)


def settings(params: dict[str, Any]) -> dict[str, Any]:
    """A trial's parameters as `profiles.override` takes them, without rounding errors of steps."""
    return {k: round(value, 2) if k in CONTINUOUS else value for k, value in params.items()}


def blind(recipe: Recipe) -> Recipe:
    """The recipe without any choice on dev (decisions D9, D15, D20).

    The checkpoints of PTP and the student are chosen on the inner split, the teacher's is the last.
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
    """Plan the sweep of one student. All arguments are literals, as a notebook needs them.

    Args:
        table: The student's table.
        profile_name: Data, encoder and the scale of the search space.
        method: A row's name, or that name without its number (PeaBERT) together with `layers`.
        layers: Layers of the student; 0 if the name says it.
        task: One task.
        budget: Number of trials, 1 to 1000.
        sampler: One of SAMPLERS.
        pruner: One of PRUNERS.
        seed: Of the trainings and of the sampler.
        recipe: One that leaves decision D13 at "preset".
        overrides: Settings to change; they are not searched.

    Raises:
        InputError: On an unknown name, or if nothing is left to search.
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
        raise InputError(f"a sweep is of one task, got {task!r}; use one of: {tasks}")
    cells = plan_cells(table, profile_name, task, seed + 1, recipe, overrides)
    cell = next(cell for cell in cells if (cell.row, cell.seed) == (row, seed))
    sweep = Sweep(cell, budget, sampler, pruner, recipe, overrides or {})
    if not sweep.space:
        names = ", ".join(sweep.fixed)
        raise InputError(f"nothing is left to search: {names} are all set; leave one out")
    return sweep


def row_name(table: str, method: str, layers: int = 0) -> str:
    """The row of a method and its layers (0: as the name says); InputError if there is none."""
    # a method that trains in phases has no single learning rate to search
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
    """InputError unless decision D13 leaves the student's learning rate to the sweep."""
    if recipe.hyperparameters != "preset":
        raise InputError(
            f"recipe {name} searches the student's learning rate itself (decision D13), which a "
            f"sweep would contradict; use {name}+hyperparameters=preset"
        )
