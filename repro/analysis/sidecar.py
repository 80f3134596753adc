"""The file beside a CSV, <name>.run.json: the arguments of its plan and the ids of its cells.

It also tells a run with fewer seeds or tasks from a full one, which it must not replace.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from repro.config.cells import Cell
from repro.errors import InputError, MissingError, ReproError
from repro.files import write_atomic
from repro.paths import shown

_PARTIAL = "partial"  # a word in the names of CSVs with fewer seeds or tasks than the full one
_TYPES = {
    "profile": str,
    "tasks": str,
    "seeds": int,
    "recipe": str,
    "overrides": dict,
    "tuned": bool,
}


@dataclass(frozen=True)
class Run:
    """The arguments that a CSV was planned with; see `config.cells.plan`."""

    profile: str
    tasks: str
    seeds: int
    recipe: str = "authors"
    overrides: dict[str, Any] = field(default_factory=dict)
    tuned: bool = False

    @classmethod
    def of(cls, cells: list[Cell]) -> "Run":
        """The arguments that plan these cells.

        Args:
            cells: A whole plan; if it is of several recipes, the first cell has the base recipe.
        """
        return cls(
            cells[0].profile,
            ",".join(dict.fromkeys(cell.task for cell in cells)),
            len({cell.seed for cell in cells}),
            cells[0].recipe.name,
            cells[0].given,
            any(cell.tuned for cell in cells),
        )

    def covers(self, other: "Run") -> bool:
        """Whether this run has at least the seeds and the tasks of another."""
        return self.seeds >= other.seeds and {*self.tasks.split(",")} >= {*other.tasks.split(",")}


def path(csv_path: Path) -> Path:
    """The sidecar of results/<profile>/table2.csv: results/<profile>/table2.run.json."""
    return csv_path.with_name(f"{csv_path.name.removesuffix('.csv')}.run.json")


def target(csv_path: Path, cells: list[Cell]) -> Path:
    """Where a table of these cells is written, so that it replaces no table with more.

    Returns:
        `csv_path`, or if that has seeds or tasks which the cells lack, a path that names those of
        the cells: table2.partial+seeds=1.csv, table2.partial+tasks=RTE-MRPC+seeds=1.csv.
    """
    run = Run.of(cells)
    try:
        kept, _ = read(csv_path, "tables") if csv_path.is_file() else (run, [])
    except ReproError:  # without a readable sidecar nothing is known about it
        return csv_path
    if run.covers(kept):
        return csv_path
    words = [f"tasks={run.tasks.replace(',', '-')}"] if run.tasks != kept.tasks else []
    name, _, variant = csv_path.name.removesuffix(".csv").partition(".")
    words = [*filter(None, [variant]), _PARTIAL, *words, f"seeds={run.seeds}"]
    return csv_path.with_name(f"{name}.{'+'.join(words)}.csv")


def is_partial(csv_path: Path) -> bool:
    """Whether the name of a CSV is one that `target` made for fewer seeds or tasks."""
    return _PARTIAL in variant(csv_path).split("+")


def variant(csv_path: Path) -> str:
    """The variant in the name of a CSV: "beta=40" of table2.beta=40.csv, "" of table2.csv."""
    return csv_path.name.removesuffix(".csv").partition(".")[2]


def write(csv_path: Path, cells: list[Cell]) -> None:
    """Write the sidecar of a CSV that is made from these cells. Raises InputError as `check`."""
    run = Run.of(cells)
    check(csv_path, run)
    content = {"run": asdict(run), "cells": [cell.id for cell in cells]}
    text = json.dumps(content, indent=1) + "\n"
    write_atomic(path(csv_path), lambda temporary: temporary.write_text(text))


def read(csv_path: Path, target: str) -> tuple[Run, list[str]]:
    """Read the sidecar of a CSV.

    Args:
        csv_path: results/<profile>/<name>.csv or <name>.<variant>.csv.
        target: The make target that writes the CSV, for messages.

    Returns:
        The arguments, and the ids of the cells.

    Raises:
        MissingError: There is no sidecar.
        InputError: The sidecar is damaged, or fails `check`.
    """
    file, command = path(csv_path), f"make {target} PROFILE={csv_path.resolve().parent.name}"
    if not file.is_file():
        raise MissingError(
            f"{shown(csv_path)}: cannot be verified: no {file.name} beside it; run: {command}"
        )
    try:
        content = json.loads(file.read_text())
        run, ids = Run(**content["run"]), content["cells"]
        wrong = [name for name, kind in _TYPES.items() if type(getattr(run, name)) is not kind]
        if wrong or not all(type(cell_id) is str for cell_id in ids):
            raise ValueError(f"wrong type of {', '.join(wrong) or 'cells'}")
    except (ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{shown(file)} is damaged ({type(error).__name__}: {reason}); run: {command}"
        ) from None
    check(csv_path, run)
    return run, ids


def check(csv_path: Path, run: Run) -> None:
    """Check that the name and the folder of a CSV agree with the arguments of its plan.

    Raises:
        InputError: The folder is of another profile, or the plain name (without a variant) is used
            for another recipe or changed settings.
    """
    name, _, variant = csv_path.name.removesuffix(".csv").partition(".")
    folder = csv_path.resolve().parent.name
    if run.profile != folder:
        raise InputError(
            f"{shown(csv_path)} is in the folder of profile {folder}, but its cells are of profile "
            f"{run.profile}; write it to results/{run.profile}/{csv_path.name}"
        )
    changes = [f"recipe {run.recipe}"] if run.recipe != "authors" else []
    changes += ["tuned"] if run.tuned else []
    changes += [f"{key}={value}" for key, value in run.overrides.items()]
    if changes and not variant:
        raise InputError(
            f"{shown(csv_path)} is for the authors' recipe and the profile's settings, got "
            f"{', '.join(changes)}; give it a variant name, as in {name}.VARIANT.csv"
        )
