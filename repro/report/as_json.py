"""What the commands print with `--json`: plain data, in which a missing number is None."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from repro.analysis import published, tables
from repro.config import tables as declared
from repro.config.cells import Cell
from repro.paths import shown
from repro.report import provenance
from repro.runs import results


def rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table, by column, with every digit that the CSV has."""
    parsed: list[dict[str, Any]] = json.loads(frame.to_json(orient="records", double_precision=15))
    return parsed


def table(name: str, profile: str, variant: str = "") -> dict[str, Any]:
    """A finished table and the differences between its methods.

    Args:
        name: A declared table.
        profile: Name of the profile.
        variant: Suffix of the CSV of a run with changed settings; "" for the plain table.

    Raises:
        MissingError: If a CSV does not exist.
    """
    comparisons = declared.table(name).comparisons
    pairs = rows(tables.read_table(comparisons, profile, variant)) if comparisons else []
    return {
        "table": name,
        "profile": profile,
        "file": shown(tables.table_path(name, profile, variant)),
        "rows": rows(tables.read_table(name, profile, variant)),
        "comparisons": pairs,
    }


def agreement(cells: list[Cell], name: str, variant: str) -> dict[str, Any] | None:
    """Whether a run agrees with the published one; None if there is nothing to compare with.

    Args:
        cells: The plan of the run.
        name: The table.
        variant: Of the published CSV.
    """
    found = published.compare(cells, name, variant)
    return None if found is None else asdict(found) | {"sentence": found.sentence()}


def claims(profile: str, variant: str = "") -> dict[str, Any]:
    """The verdicts on the paper's claims, as `make claims` wrote them.

    Args:
        profile: Name of the profile.
        variant: Of the tables; "textbook" for those of the textbook recipe.
    """
    return {
        "profile": profile,
        "file": shown(tables.table_path(tables.LEDGER, profile, variant)),
        "claims": rows(tables.read_table(tables.LEDGER, profile, variant)),
    }


def number(path: Path, method: str, task: str) -> dict[str, Any]:
    """How a number was made; arguments and errors as `provenance.explain`.

    Returns:
        file; row, the row of the CSV; cells, each with its result (None if that is missing) and
        the command that computes it; findings of the verification, [] if everything agrees.
    """
    found = provenance.find(path, method, task)
    cells = [
        {"id": cell.id, "seed": cell.seed, "command": results.command(cell), "result": result}
        for cell, result in found.results.items()
    ]
    return {"file": shown(path), "row": rows(pd.DataFrame([found.row]))[0], "cells": cells} | {
        "findings": found.findings()
    }
