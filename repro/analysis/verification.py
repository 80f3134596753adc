"""Whether the results agree: every cell with its predictions, every table with its cells. No torch here."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from repro import paths
from repro.analysis import claims, derivation
from repro.config.cells import Cell
from repro.config.profiles import profile
from repro.config.tasks import task
from repro.data import metrics
from repro.errors import MissingError, ReproError
from repro.files import sha256
from repro.models import layers
from repro.paths import shown
from repro.runs import results as files

_UNSEALED = "has no checksum of its own, so that an edit would not be seen; remake it"
_EXACT = 1e-9  # points: a score of the same predictions differs by rounding at most


@dataclass
class Verdict:
    """What was looked at, and what was found: one line each, with the file's name."""

    profile: str
    cells: int = 0
    predictions: int = 0
    tables: int = 0
    findings: list[str] = field(default_factory=list)
    unverifiable: list[str] = field(default_factory=list)  # tables none of whose cells are here

    def lines(self) -> list[str]:
        """Every finding, every table that could not be verified, then the counts."""
        looked = (self.cells, "cell"), (self.predictions, "prediction file"), (self.tables, "table")
        counts = f"profile {self.profile}: {', '.join(_counted(*pair) for pair in looked)}"
        said = "all agree" if self.cells or self.tables else "nothing here to verify"
        said = f"{_counted(len(self.findings), 'finding')}, above" if self.findings else said
        rest = (
            f"; {_counted(len(self.unverifiable), 'table')} not verified, above"
            if self.unverifiable
            else ""
        )
        return [*self.findings, *self.unverifiable, f"{counts}: {said}{rest}"]


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def verify(profile_name: str) -> Verdict:
    """Recompute all of results/<profile>: cell ids, checksums, scores of the stored predictions, every CSV.

    Nothing is written. Raises MissingError if the profile has no results at all, InputError for an unknown profile.
    """
    folder = paths.results(profile(profile_name).name)
    tables = _tables(folder)
    results, predictions = (
        sorted((folder / name).glob(f"*.{kind}"))
        for name, kind in (("cells", "json"), ("predictions", "parquet"))
    )
    if not (tables or results or predictions):
        raise MissingError(
            f"no results for profile {profile_name} in {shown(folder)}; run: make tables "
            f"PROFILE={profile_name}"
        )
    verdict = Verdict(profile_name, len(results), len(predictions))
    found = {path: check_cell(path) for path in results}
    verdict.findings += [line for lines in found.values() for line in lines]
    verdict.findings += _orphans(results, predictions)
    verdict.findings += _ledger(folder / "ledger.csv")
    for path in tables:
        here, lines = check_table(path, damaged(found))
        verdict.tables += here
        (verdict.findings if here else verdict.unverifiable).extend(lines)
    return verdict


def _tables(folder: Path) -> list[Path]:
    """Every CSV of a profile, known or not."""
    found = sorted(folder.glob("*.csv"))
    return [path for path in found if path.name.partition(".")[0] != "ledger"]  # see `_ledger`


def _ledger(path: Path) -> list[str]:
    """The ledger again from the CSVs beside it; the verdicts and values that differ."""
    if not path.is_file():
        return []
    text = claims.of(path.parent.name).to_csv(index=False, lineterminator="\n")
    if text.encode() == path.read_bytes():
        return []
    stored, made = derivation.read_text(path), derivation.parse(text)
    return [
        f"{shown(path)}: {line}"
        for line in [*_columns(stored, made), *_rows(stored, made, ("id",))]
    ]


def damaged(found: dict[Path, list[str]]) -> set[str]:
    """The ids of the cells with findings, but for those that only lack a checksum: a table can be derived from them."""
    return {
        path.stem for path, lines in found.items() if any(_UNSEALED not in line for line in lines)
    }


def _orphans(results: list[Path], predictions: list[Path]) -> list[str]:
    """Predictions of no cell. (A cell without predictions is found with the cell.)"""
    known = {path.stem for path in results}
    return [
        f"{shown(path)}: predictions of no cell, {path.stem}.json is not there"
        for path in predictions
        if path.stem not in known
    ]


# a cell


def check_cell(path: Path) -> list[str]:
    """What is wrong with a cell's file or its predictions: one line each. path: .../cells/<id>.json"""
    try:
        row = json.loads(path.read_text())
        cell = Cell.from_dict(row["cell"])
        found = _identity(path, row, cell)
        if path.stem == cell.id:  # else whose predictions would they be?
            found += [*_facts(row, cell), *_scores(row, cell)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ReproError) as error:
        found = [f"cannot be read as a cell's result ({type(error).__name__}: {error})"]
    return [f"{shown(path)}: {' '.join(line.split())}" for line in found]


def _identity(path: Path, row: dict[str, Any], cell: Cell) -> list[str]:
    """The file's name, its id and its checksum must be those of its content."""
    found = [
        f"{what} {stored!r} but its content is that of {cell.id!r}"
        for what, stored in (("name", path.stem), ("id", row["id"]))
        if stored != cell.id
    ]
    if cell.profile != path.parent.parent.name:
        found.append(
            f"lies in profile {path.parent.parent.name} but is a cell of profile {cell.profile}"
        )
    expected = files.sealed(row)["sha256"]
    if "sha256" not in row:
        found.append(_UNSEALED)
    elif row["sha256"] != expected:
        found.append(f"edited after it was written: checksum {row['sha256']}, content {expected}")
    return found


def _facts(row: dict[str, Any], cell: Cell) -> list[str]:
    """What the cell's declaration alone decides."""
    student = cell.method.kind == "student"
    declared: dict[str, tuple[Any, Any]] = {
        "selection rule": (
            row["selection"]["rule"],
            cell.recipe.checkpoint if student else cell.recipe.teacher_checkpoint,
        ),
        "backbone": (row["backbone"]["name"], cell.setting.backbone),
    }
    if student:
        depth = len(
            layers.effective_layers(cell.layers, cell.method.sharing, cell.recipe.sps6_order)
        )
        declared["effective_layers"] = row["effective_layers"], depth
    return _differences(declared)


def _differences(pairs: dict[str, tuple[Any, Any]]) -> list[str]:
    return [
        f"{name}: stored {stored}, recomputed {again}"
        for name, (stored, again) in pairs.items()
        if stored != again
    ]


def _scores(row: dict[str, Any], cell: Cell) -> list[str]:
    """The predictions must be there, unchanged, of as many examples as the data have, and give the stored scores."""
    target = files.predictions_path(cell)
    if not target.is_file():
        return [f"its predictions {target.name} are not there; run: {files.command(cell)}"]
    stored = sha256(target)
    if stored != row["predictions_sha256"]:
        return [
            f"its predictions {shown(target)} have SHA-256 {stored}, recorded is {row['predictions_sha256']}"
        ]
    frame = pd.read_parquet(target)
    logits, labels = frame.filter(regex=r"^logit_\d+$").to_numpy(), frame["label"].to_numpy()
    rows = row["data"]["train_rows" if cell.method.kind == "labels" else "dev_rows"]
    found = _differences({"examples": (rows, len(frame))})
    if not np.isfinite(logits).all() or not np.array_equal(frame["index"], np.arange(len(frame))):
        found.append(
            f"its predictions {shown(target)} are not finite, or not those of examples 0 .. n - 1"
        )
    for name, metric in metrics.METRICS.items():
        old, again = row["metrics"][name], float(metric(labels, logits.argmax(axis=1)))
        if not math.isclose(old, again, rel_tol=0, abs_tol=_EXACT):
            found.append(f"{name}: stored {old}, recomputed from its predictions {again}")
    if (
        cell.method.kind == "student" and row["selection"]["rule"] == "best_dev"
    ):  # what was chosen is what is scored
        best = row["selection"]["best_score"], row["metrics"][task(cell.task).metric]
        found += _differences({"best score on dev": best})
    return found


# a table


def check_table(path: Path, damaged: set[str]) -> tuple[bool, list[str]]:
    """Derive a CSV again from its cells. damaged: ids of cells that are not to be trusted.

    Returns (True, its differences), or (False, one line that says why) if none of its cells are here.
    """
    try:
        plans = derivation.plans_of(path)
        needed = [cell for cells in plans.values() for cell in cells]
        absent = [cell.id for cell in needed if not files.path(cell).is_file()]
        bad = [cell.id for cell in needed if cell.id in damaged]
        missing = (
            f"its {len(needed)} cells are"
            if len(absent) == len(needed)
            else f"{_some(absent, needed)} are"
        )
        if absent:
            found = [f"cannot be verified, {missing} not here; run: {derivation.command(path)}"]
        elif bad:
            found = [f"cannot be derived again, {_some(bad, needed)} are damaged"]
        else:
            found = _against_cells(path, plans)
    except ReproError as error:
        return True, [f"{shown(path)}: cannot be derived again: {error}"]
    return len(absent) < len(needed), [f"{shown(path)}: {line}" for line in found]


def _some(ids: list[str], needed: list[Cell]) -> str:
    """ "2 of its 28 cells (table2-..., table2-...)", at most three by name."""
    more = f" and {len(ids) - 3} more" if len(ids) > 3 else ""
    return f"{len(ids)} of its {len(needed)} cells ({', '.join(ids[:3])}{more})"


def _against_cells(path: Path, plans: derivation.Plans) -> list[str]:
    """The differences between the CSV and what its cells give, to the byte."""
    maker = derivation.MAKERS[derivation.split(path)[0]]
    text = maker.make(plans).to_csv(index=False, lineterminator="\n")
    if text.encode() == path.read_bytes():
        return []
    stored, made = derivation.read_text(path), derivation.parse(text)
    found = [*_columns(stored, made), *_rows(stored, made, maker.key)]
    return found or [
        "differs from what its cells give in form only: the order of its rows, quotes or line ends"
    ]


def _columns(stored: pd.DataFrame, made: pd.DataFrame) -> list[str]:
    missing, extra = ([c for c in a if c not in b] for a, b in ((made, stored), (stored, made)))
    return [
        *(f"column {name} is missing" for name in missing),
        *(f"column {name} is of no cell" for name in extra),
    ]


def _rows(stored: pd.DataFrame, made: pd.DataFrame, key: tuple[str, ...]) -> list[str]:
    """Rows that are missing, extra or twice there, and the values that differ in the others."""
    if not {*key} <= {*stored}:
        return []  # said by `_columns`
    old, new = (_by_key(frame, key) for frame in (stored, made))
    twice = stored.duplicated(subset=list(key))
    return [
        *(f"row {_named(one)} is there more than once" for one in _by_key(stored[twice], key)),
        *(f"row {_named(one)} is of no cell" for one in old if one not in new),
        *(f"row {_named(one)} is missing" for one in new if one not in old),
        *(
            f"row {_named(one)}, column {name}: stored {old[one][name] or 'nothing'}, recomputed {value or 'nothing'}"
            for one in new
            if one in old
            for name, value in new[one].items()
            if name in old[one] and old[one][name] != value
        ),
    ]


def _by_key(frame: pd.DataFrame, key: tuple[str, ...]) -> dict[tuple[str, ...], dict[str, str]]:
    return {
        tuple(str(row[name]) for name in key): {str(k): v for k, v in row.items()}
        for row in frame.to_dict("records")
    }


def _named(key: tuple[str, ...]) -> str:
    return f"({', '.join(key)})"
