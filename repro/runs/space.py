"""The space that a sweep searches: the paper's grid, scaled to the profile. Data; no torch, no Optuna."""

import math
from dataclasses import dataclass
from functools import reduce
from typing import Any

from repro.config.cells import Cell
from repro.config.profiles import PROFILES, Profile, Setting

Value = int | float
STEP = 0.01  # of what lies between two bounds


@dataclass(frozen=True)
class Dimension:
    """One setting and the values it may take; between the first and the last of them if `continuous`.

    A grid takes `values` alone, whatever `continuous` says.
    """

    name: str
    values: tuple[Value, ...]
    continuous: bool = False


# Section 4.1; of alpha and beta it gives the bounds, the points between them are ours. The rates are the profile's own
# (`search_rates`, decision D13): those of the paper do not suit a small encoder.
PAPER = (
    Dimension("student.batch_size", (32, 64)),
    Dimension("student.epochs", (4, 6, 10)),
    Dimension("alpha", (0.1, 0.3, 0.5, 0.7), continuous=True),
    Dimension("beta", (0.0, 40.0, 100.0, 250.0, 500.0), continuous=True),
)
_SCALED = ("student.batch_size", "student.epochs", "beta")  # alpha is a share: the same everywhere


def full(profile: Profile) -> tuple[Dimension, ...]:
    """The paper's grid; each value times what the profile's own is of the paper's (authors' preset), so that around
    another batch size, number of epochs or beta the grid has the same shape."""
    rates = Dimension("student.learning_rate", profile.search_rates)
    return (rates, *(_scaled(dimension, profile) for dimension in PAPER))


def _scaled(dimension: Dimension, profile: Profile) -> Dimension:
    if dimension.name not in _SCALED:
        return dimension
    own, paper = (value(source.setting, dimension.name) for source in (profile, PROFILES["paper"]))
    digits = None if type(own) is int else 2
    return Dimension(
        dimension.name,
        tuple(round(one * own / paper, digits) for one in dimension.values),
        dimension.continuous,
    )


def value(setting: Setting, name: str) -> Value:
    """A setting by its dotted name."""
    return reduce(getattr, name.split("."), setting)  # type: ignore[return-value]


def of(cell: Cell, fixed: tuple[str, ...] = ()) -> tuple[Dimension, ...]:
    """The dimensions that change the cell's student, less the settings that are `fixed`."""
    unused = {*fixed}
    if cell.method.loss == "finetune":
        unused |= {"alpha", "beta"}
    elif cell.method.loss == "kd" or _matches_nothing(cell):
        unused |= {"beta"}
    return tuple(
        dimension for dimension in full(PROFILES[cell.profile]) if dimension.name not in unused
    )


def _matches_nothing(cell: Cell) -> bool:
    """Patient KD without a pair of layers is plain KD (decisions D5 and D18): beta weighs nothing."""
    alone = cell.layers == 1 and cell.method.sharing == "none"
    return cell.recipe.one_layer_patient == "kd" if alone else cell.recipe.layer_map == "none"


def size(dimensions: tuple[Dimension, ...]) -> int:
    """How many points the grid has."""
    return math.prod(len(dimension.values) for dimension in dimensions)


def settings(values: dict[str, Any]) -> dict[str, Any]:
    """A trial's values as `profiles.override` takes them: without the last digits of a sum of steps."""
    return {
        name: value if name.startswith("student.") else round(value, 2)
        for name, value in values.items()
    }
