"""The file beside a CSV, <name>.run.json: the arguments of its plan and the ids of its cells."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from repro.config.cells import Cell
from repro.errors import InputError, MissingError
from repro.files import write_atomic
from repro.paths import shown

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


def path(csv_path: Path) -> Path:
    """The sidecar of results/<profile>/table2.csv: results/<profile>/table2.run.json."""
    return csv_path.with_name(f"{csv_path.name.removesuffix('.csv')}.run.json")


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
