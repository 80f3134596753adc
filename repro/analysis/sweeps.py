"""Hyper-parameter sweeps of one student with Optuna, on the engines. A trial is chosen by its score on the inner split
of train; no label of dev is read on the way to it.

A sweep is replayed whenever it is run: the same seed proposes the same trials, and the engine finds those that are
there. So it resumes after any stop, and a larger budget goes on where a smaller one ended.
"""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from repro import paths
from repro.config import cells as experiments
from repro.config import tuned
from repro.config.cells import Cell
from repro.config.profiles import override, profile
from repro.config.recipe import Recipe, parse
from repro.config.tables import table as table_of
from repro.errors import InputError, ReproError, one_of
from repro.files import write_atomic
from repro.runs import engine as engines
from repro.runs import space
from repro.runs.space import Dimension
from repro.runs.study import PRUNERS, SAMPLERS, at_once, create, distributions, tell

if TYPE_CHECKING:
    from repro.runs.stages import Stage

_DIGITS = 4
_MOST = 1000  # trials: a slip of the finger is not a plan


@dataclass(frozen=True)
class Sweep:
    """What is searched, how, and on what budget. `cell`: the student as the profile has it; `fixed`: settings that were
    changed, and are not searched."""

    cell: Cell
    budget: int
    sampler: str
    pruner: str
    recipe: str
    fixed: dict[str, Any] = field(default_factory=dict)

    @property
    def dimensions(self) -> tuple[Dimension, ...]:
        """The settings that are searched."""
        return space.of(self.cell, tuple(self.fixed))

    @property
    def trials(self) -> int:
        """How many trials there will be: the budget, or the grid's size if that is less."""
        return (
            min(self.budget, space.size(self.dimensions)) if self.sampler == "grid" else self.budget
        )

    @property
    def variant(self) -> str:
        """As of the tables that its best values are for, less "tuned"."""
        return experiments.variant(self.recipe, self.fixed)

    @property
    def name(self) -> str:
        """E.g. "table2-peabert3-mini-rte-s0-tpe-median", with the variant behind it."""
        cell = self.cell
        words = (cell.table, cell.row, cell.task, f"s{cell.seed}", self.sampler, self.pruner)
        slug = re.sub(r"[^a-z0-9+-]", "-", "-".join(words).lower())
        return f"{slug}.{self.variant}" if self.variant else slug

    @property
    def path(self) -> Path:
        """results/<profile>/sweeps/<name>.csv"""
        return paths.results(self.cell.profile) / "sweeps" / f"{self.name}.csv"


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
    """The sweep of one student. All arguments are literals a notebook can hold.

    method: a row's name, or that name without its number where `layers` says it (PeaBERT and 3 for PeaBERT3).
    budget: trials. seed: of the trainings and of the sampler. overrides: settings to change, which are not searched.
    Raises InputError on an unknown name, or a budget that is no whole number from 1 to 1000.
    """
    for what, value, allowed in (("sampler", sampler, SAMPLERS), ("pruner", pruner, PRUNERS)):
        if value not in allowed:
            raise one_of(what, value, allowed)
    if type(budget) is not int or not 1 <= budget <= _MOST:
        raise InputError(
            f"budget must be a whole number of trials from 1 to {_MOST}, got {budget!r}"
        )
    experiments.check_preset(parse(recipe), recipe)
    name = row_name(table, method, layers)
    if "," in task or not task.strip():
        raise InputError(
            f"a sweep is of one task, got {task!r}; use one of: {', '.join(profile(profile_name).tasks())}"
        )
    cells = experiments.plan(table, profile_name, task, seed + 1, recipe, overrides)
    found = next(cell for cell in cells if (cell.row, cell.seed) == (name, seed))
    sweep = Sweep(found, budget, sampler, pruner, recipe, overrides or {})
    if not sweep.dimensions:
        raise InputError(
            f"nothing is left to search: {', '.join(sweep.fixed)} are all set; leave one out"
        )
    return sweep


def row_name(table: str, method: str, layers: int = 0) -> str:
    """The row's name of a method and its layers (0: as the name says); InputError with the names allowed."""
    rows = [row for row in table_of(table).rows if row.method.kind == "student"]
    plain = {row.name: row.name.replace(str(row.layers), "", 1) for row in rows}
    named = [
        row.name
        for row in rows
        if layers in (0, row.layers) and method in (row.name, plain[row.name])
    ]
    if len(named) != 1:
        asked = f"{method} of {layers} layers" if layers else method
        raise one_of(f"student of {table}", asked, [row.name for row in rows])
    return named[0]


def blind(recipe: Recipe) -> Recipe:
    """The recipe with every choice that it would make on dev made without it: the student's and PTP's checkpoint by the
    inner split, the teacher's the last (decisions D15, D9, D20)."""
    ptp = "best_inner" if recipe.ptp_selection == "best_dev" else recipe.ptp_selection
    return replace(recipe, checkpoint="best_inner", ptp_selection=ptp, teacher_checkpoint="last")


def describe(sweep: Sweep) -> pd.DataFrame:
    """The space, one row per setting: bounds or values, and what the profile has."""
    rows = [
        (
            d.name,
            f"{d.values[0]:g} to {d.values[-1]:g}"
            if d.continuous and sweep.sampler != "grid"
            else ", ".join(f"{value:g}" for value in d.values),
            f"{space.value(sweep.cell.setting, d.name):g}",
        )
        for d in sweep.dimensions
    ]
    return pd.DataFrame(rows, columns=["setting", "searched", "the profile's"])


def run(sweep: Sweep, engine: str = "processes", workers: int = 0) -> pd.DataFrame:
    """Make the sweep's trials. One row per trial, in the order proposed; see `_row`.

    Raises ReproError if a stage fails, or every trial; a training that diverges is a trial that failed.
    """
    study, known = (
        create(sweep.sampler, sweep.cell.seed, sweep.dimensions),
        distributions(sweep.dimensions),
    )
    wave, rows = at_once(sweep.sampler, sweep.pruner, sweep.trials), list[dict[str, Any]]()
    print(
        f"{sweep.trials} trials of {sweep.cell.row} on {sweep.cell.task}, {sweep.sampler}, pruner {sweep.pruner}, "
        f"{min(wave, sweep.trials)} proposed at a time",
        flush=True,
    )
    with engines.making(float(sweep.trials), "sweep", engine, workers) as make:
        while len(rows) < sweep.trials:
            asked = [study.ask(known) for _ in range(min(wave, sweep.trials - len(rows)))]
            stages = [_stages(sweep, trial.params, rows) for trial in asked]
            make([stage for made in stages for stage in made])
            for trial, made in zip(asked, stages, strict=True):
                rows.append(_row(trial.number, trial.params, made[-1]))
                tell(study, trial, rows[-1]["state"], rows[-1]["scores"], rows[-1]["inner_score"])
    return _frame(sweep, rows)


def _stages(sweep: Sweep, values: dict[str, Any], earlier: list[dict[str, Any]]) -> list["Stage"]:
    """A trial's stages, its student last. All trials share the teacher, its outputs and PTP."""
    from repro.runs.stages import trial_stages

    setting = override(sweep.cell.setting, space.settings(values))
    cell = replace(sweep.cell, setting=setting, recipe=blind(sweep.cell.recipe))
    finished = [
        (row["scores"], row["state"] == "complete") for row in earlier if row["state"] != "failed"
    ]
    return trial_stages(
        cell,
        {
            "pruner": sweep.pruner,
            "finished": finished if sweep.pruner != "none" else [],
            "epochs": setting.student.run_epochs,
        },
    )


def _row(number: int, values: dict[str, Any], stage: "Stage") -> dict[str, Any]:
    """number; state: complete, pruned or failed; inner_score: the best on the inner split, in percent; the epochs,
    optimiser steps and seconds of its training; the settings tried; why it failed."""
    from repro.runs.compute import read

    meta = read(stage).meta
    state = "failed" if meta["failed"] else "pruned" if meta["pruned"] else "complete"
    return (
        {
            "trial": number,
            "state": state,
            "inner_score": meta["best_score"],
            "epochs": len(meta["epoch_scores"]),
            "steps": meta["steps"],
            "seconds": meta["seconds"],
            "scores": meta["epoch_scores"],
        }
        | space.settings(values)
        | {"failure": " ".join(meta["failed"].split())}
    )


def _frame(sweep: Sweep, rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The rows with what all of them have in common, rounded as stored."""
    if not any(row["state"] == "complete" for row in rows):
        raise ReproError(
            f"no trial of {len(rows)} was complete: {rows[0]['failure'] or 'all were pruned'}; "
            "widen the search, or take another pruner"
        )
    cell, source = sweep.cell, profile(sweep.cell.profile)
    frame = pd.DataFrame(rows).drop(columns="scores").round({"inner_score": _DIGITS, "seconds": 1})
    said: dict[str, Any] = {
        "table": cell.table,
        "method": cell.row,
        "layers": cell.layers,
        "task": cell.task,
        "seed": cell.seed,
        "sampler": sweep.sampler,
        "pruner": sweep.pruner,
        "budget": sweep.budget,
        "recipe": cell.recipe.name,
        "settings": "; ".join(f"{name}={value}" for name, value in cell.given.items()),
        "profile": source.name,
        "data": source.data,
        "backbone": cell.setting.backbone,
    }
    for name, value in said.items():
        frame[name] = value
    return frame.astype({"inner_score": "float64"})


def write(sweep: Sweep, frame: pd.DataFrame) -> list[Path]:
    """Write the trials' CSV, and the best trial's settings into best.csv. Returns both paths.

    Says so if this sweep stood there with more trials: a smaller budget is taken at its word.
    """
    before = sweep.path.read_text().count("\n") - 1 if sweep.path.is_file() else 0
    if before > len(frame):
        print(
            f"{len(frame)} trials replace the {before} of this sweep in {paths.shown(sweep.path)}; a budget of "
            f"{before} brings them back without training",
            flush=True,
        )
    write_atomic(
        sweep.path, lambda temporary: frame.to_csv(temporary, index=False, lineterminator="\n")
    )
    return [sweep.path, tuned.write(sweep.cell.profile, sweep.variant, best(sweep, frame))]


def best(sweep: Sweep, frame: pd.DataFrame) -> pd.DataFrame:
    """The chosen settings, one row each, with the score and the budget that they cost.

    seconds: of all trials' trainings; the teacher and PTP, which other cells share, are not counted.
    """
    row, states = tuned.winner(frame), frame["state"].value_counts()
    origin = (
        "layers",
        "seed",
        "sampler",
        "pruner",
        "budget",
        "recipe",
        "settings",
        "data",
        "backbone",
    )
    account = {name: row[name] for name in (*tuned.KEY, *origin)} | {
        "trials": len(frame),
        "sweep": sweep.name,
    }
    account |= {state: int(states.get(state, 0)) for state in ("complete", "pruned", "failed")}
    account |= {
        "inner_score": row["inner_score"],
        "seconds": round(float(frame["seconds"].sum()), 1),
    }
    columns = [
        *tuned.KEY,
        "layers",
        "setting",
        "value",
        "inner_score",
        "budget",
        "trials",
        "complete",
        "pruned",
        "failed",
        "seconds",
        "sampler",
        "pruner",
        "seed",
        "recipe",
        "settings",
        "sweep",
        "data",
        "backbone",
    ]
    rows = [
        account | {"setting": d.name, "value": repr(type(d.values[0])(row[d.name]))}
        for d in sweep.dimensions
    ]
    return pd.DataFrame(rows, columns=columns)


def read(sweep: Sweep) -> pd.DataFrame:
    """The trials as written; MissingError if there are none."""
    return tuned.trials(sweep.path)


def sentence(sweep: Sweep, frame: pd.DataFrame) -> str:
    """What was found at what cost."""
    row, states = tuned.winner(frame), frame["state"].value_counts()
    values = ", ".join(f"{d.name} {row[d.name]:g}" for d in sweep.dimensions)
    counts = ", ".join(
        f"{states[state]} {state}" for state in ("complete", "pruned", "failed") if state in states
    )
    ties = (
        int((frame.loc[frame["state"] == "complete", "inner_score"] == row["inner_score"]).sum())
        - 1
    )
    same = f" (the first of {ties + 1} that score the same)" if ties else ""
    return (
        f"{sweep.cell.row} on {sweep.cell.task}: of {len(frame)} trials ({counts}; {frame['epochs'].sum()} "
        f"epochs, {frame['seconds'].sum():.0f} s of training), trial {row['trial']}{same} has the best score on "
        f"the inner split, {row['inner_score']:.1f}: {values}. A best of many is optimistic; dev was not "
        "read."
    )
