"""From a CSV under results/ back to the cells it is made from, and from those to the same CSV again. No torch here."""

from collections.abc import Callable
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd

from repro.analysis import comparisons, decisions, glue_test, ptp_study, tables
from repro.analysis.rows import PRINTED, TUNED, remake
from repro.config import cells
from repro.config.cells import Cell
from repro.config.profiles import assignments
from repro.config.tables import TABLES
from repro.errors import InputError, MissingError, one_of
from repro.paths import shown

Plans = dict[str, list[Cell]]  # the cells of each recipe that a CSV is about


@dataclass(frozen=True)
class Run:
    """The arguments that a CSV was planned with; see `cells.plan`."""

    profile: str
    tasks: str
    seeds: int
    recipe: str
    overrides: dict[str, Any] = field(default_factory=dict)
    tuned: bool = False


@dataclass(frozen=True)
class Maker:
    """How a CSV is made: the cells of a run, the table of those cells, and the columns that name one of its rows."""

    plan: Callable[[Run], Plans]
    make: Callable[[Plans], pd.DataFrame]
    key: tuple[str, ...] = ("method", "task")


def _from_table(name: str, make: Callable[[list[Cell]], pd.DataFrame], *key: str) -> Maker:
    """A CSV that is made from the cells of one table, all of one recipe."""

    def plan(run: Run) -> Plans:
        planned = cells.plan(name, run.profile, run.tasks, run.seeds, run.recipe, run.overrides)
        if run.tuned:
            from repro.analysis import sweeps  # imports Optuna

            planned = sweeps.tuned(planned, run.recipe, run.overrides)
        return {run.recipe: planned}

    return Maker(plan, lambda plans: make(*plans.values()), *([key] if key else []))


def _from_study(make: Callable[[list[Cell]], pd.DataFrame], *key: str) -> Maker:
    """A CSV of the PTP study, whose cells are of several tables."""

    def plan(run: Run) -> Plans:
        return {
            run.recipe: ptp_study.plan(run.profile, run.tasks, run.seeds, run.recipe, run.overrides)
        }

    return Maker(plan, lambda plans: make(*plans.values()), key)


# A line here makes a new kind of CSV verifiable; a test holds the names against tables.DERIVED.
MAKERS = (
    {
        "table1": _from_table("table1", tables.table1, "method", "task", "gold"),
        "thresholds": _from_table("table1", tables.threshold_sweep, "task", "t", "label"),
        "decisions": Maker(
            lambda run: decisions.plan(run.profile, run.tasks, run.seeds),
            decisions.of,
            ("recipe", "task"),
        ),
        "ptp_labels": _from_study(ptp_study.shares, "task", "rule", "seed", "gold", "label"),
        "ptp_difficulty": _from_study(ptp_study.difficulty, "task", "label"),
        "ptp_agreement": _from_study(ptp_study.agreement, "task", "rule", "label"),
        "mrpc_test": _from_table("table2", glue_test.mrpc_table, "method", "split", "metric"),
    }
    | {name: _from_table(name, tables.aggregate) for name in TABLES if name != "table1"}
    | {
        name: _from_table(table, comparisons.of, "method", "against", "task")
        for name, table in tables.DERIVED.items()
        if name.startswith("comparisons")
    }
)


def split(path: Path) -> tuple[str, str]:
    """("table2", "textbook") of .../table2.textbook.csv; variant "" for the plain one. InputError if unknown."""
    name, _, variant = path.name.removesuffix(".csv").partition(".")
    if name not in MAKERS or path.suffix != ".csv":
        raise one_of("table", path.name, [f"{name}.csv" for name in MAKERS])
    return name, variant


def read_text(path: Path) -> pd.DataFrame:
    """The CSV with every value as the text that is written there. MissingError if it is not there, InputError if it
    cannot be read."""
    if not path.is_file():
        raise MissingError(f"{shown(path)} is not there")
    try:
        return parse(path.read_text())
    except ValueError as error:
        raise InputError(f"{shown(path)} is no CSV: {error}") from None


def parse(text: str) -> pd.DataFrame:
    """CSV text with every value as it is written there; ValueError if it is none."""
    return pd.read_csv(StringIO(text), dtype=str, keep_default_na=False)


def run_of(path: Path) -> Run:
    """What the CSV's rows say it was planned with; each the word of most rows, so that one forged row is a difference.

    path: results/<profile>/<name>[.<variant>].csv. A CSV that does not say (thresholds) has it from its table beside
    it. InputError if the plain name holds another recipe or changed settings, or a column is missing.
    """
    name, variant = split(path)
    frame = read_text(path)
    if "recipe" not in frame and name in tables.DERIVED:
        return run_of(path.with_name(path.name.replace(name, tables.DERIVED[name], 1)))
    run = frame[frame["backbone"] != PRINTED] if "backbone" in frame else frame
    recipe = "authors" if name == "decisions" else _said(run, "recipe", path)
    settings = _said(run, "settings", path) if "settings" in frame or name in TABLES else ""
    if not variant and (recipe != "authors" or settings):
        raise InputError(
            f"{shown(path)} has the name of the authors' recipe and the profile's settings, but its "
            f"rows say recipe {recipe}, settings {settings or 'unchanged'}; give it a variant "
            f"name"
        )
    words = [text for text in settings.split("; ") if text]
    changed = assignments([text for text in words if text != TUNED])
    return Run(
        path.parent.name,
        ",".join(_tasks(run, path)),
        _whole(_said(run, "seeds", path), path),
        recipe,
        changed,
        TUNED in words,
    )


def _said(frame: pd.DataFrame, column: str, path: Path) -> str:
    if column not in frame or frame.empty:
        raise InputError(
            f"{shown(path)} has no {'rows' if column in frame else f'column {column!r}'}"
        )
    return str(frame[column].value_counts().idxmax())


def _whole(text: str, path: Path) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100:
        raise InputError(
            f"{shown(path)} says {text!r} seeds; it must be a whole number from 1 to 100"
        )
    return int(text)


def _tasks(frame: pd.DataFrame, path: Path) -> list[str]:
    """The tasks with more than half the rows of the most frequent one: a forged row adds or removes no task."""
    _said(frame, "task", path)
    counts = frame.loc[frame["task"] != "Avg", "task"].value_counts()
    return [str(name) for name, count in counts.items() if 2 * count > counts.max()]


def plans_of(path: Path) -> Plans:
    """The cells that the CSV is made from, by recipe. Raises as `run_of` and `cells.plan`."""
    return MAKERS[split(path)[0]].plan(run_of(path))


def command(path: Path) -> str:
    """The command that makes the CSV anew, with its cells."""
    name, run, (first, *_) = split(path)[0], run_of(path), plans_of(path).values()
    if name == "decisions":
        return f"make decisions PROFILE={run.profile} TASKS={run.tasks} SEEDS={run.seeds}"
    return remake(first, tables.DERIVED.get(name, name))
