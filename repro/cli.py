"""The command line: `python -m repro`. Each command calls one function of the packages below.

Heavy modules are imported by the command that needs them, so that `list` answers at once.
"""

from typing import Annotated, Any

import typer

from repro import finished, paths, student_commands
from repro.config import cells
from repro.config.profiles import assignments, check_glue_dir
from repro.config.tables import TABLES
from repro.errors import InputError, one_of
from repro.finished import notes_on_stderr, print_json
from repro.options import (
    AsJson,
    Changes,
    Engine,
    OneSeed,
    OneTask,
    OnlyRow,
    OnlySeed,
    Profile,
    RecipeName,
    Seeds,
    SweptRow,
    Table,
    Tasks,
    Tuned,
    Version,
    Workers,
    number,
    run_app,
)
from repro.paths import shown
from repro.runs import results

app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Pea-KD reproduced: compute the paper's tables, and see where each number comes from.",
    epilog="Exit codes: 0 done; 1 a check found a difference; 2 wrong input or something missing; "
    "130 stopped by Ctrl-C; 143 stopped by SIGTERM.",
)


@app.callback()
def options(version: Version = False) -> None:
    """Options before the command."""


@app.command("list")
def list_cells(
    table: Table,
    profile: Profile = "demo",
    tasks: Tasks = "",
    seeds: Seeds = 0,
    recipe_name: RecipeName = "authors",
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """List the cells of a table and which of them are done."""
    plan = cells.plan(table, profile, tasks, seeds, recipe_name, assignments(changes))
    states = [{"id": cell.id, "done": results.done(cell)} for cell in plan]
    if as_json:
        rows = [state | {"cell": cell.as_dict()} for cell, state in zip(plan, states, strict=True)]
        print_json(rows)
        return
    for state in states:
        typer.echo(f"{'done ' if state['done'] else 'to do'}  {state['id']}")


@app.command()
def status(
    profile: Profile = "demo",
    tasks: Tasks = "",
    seeds: Seeds = 0,
    recipe_name: RecipeName = "authors",
    as_json: AsJson = False,
) -> None:
    """Count the finished cells of each table."""
    counts = {}
    for name in TABLES:
        plan = cells.plan(name, profile, tasks, seeds, recipe_name)
        counts[name] = {"done": sum(map(results.done, plan)), "cells": len(plan)}
    if as_json:
        print_json(counts)
        return
    for name, count in counts.items():
        typer.echo(f"{name}  {count['done']:3} of {count['cells']:3} cells done")


@app.command()
def run(
    table: Table,
    profile: Profile = "demo",
    tasks: Tasks = "",
    seeds: Seeds = 0,
    seed: OnlySeed = None,
    method: OnlyRow = "",
    recipe_name: RecipeName = "authors",
    changes: Changes = None,
    engine: Engine = "processes",
    workers: Workers = 0,
    tuned: Tuned = False,
) -> None:
    """Compute cells of a table without its notebook.

    Finished cells are kept.
    """
    if seeds and seed is not None:
        raise InputError(
            f"--seed {seed} is one seed and --seeds {seeds} the first {seeds}; give one of them"
        )
    count, changed = seeds if seed is None else seed + 1, assignments(changes)
    plan = cells.plan(table, profile, tasks, count, recipe_name, changed)
    names = list(dict.fromkeys(cell.row for cell in plan))
    if method and method not in names:
        raise one_of(f"method of {table}", method, names)
    check_glue_dir(profile, paths.glue())
    chosen = [cell for cell in plan if method in ("", cell.row) and seed in (None, cell.seed)]
    if tuned:
        from repro.analysis import sweeps

        chosen = sweeps.tuned(chosen, recipe_name, changed)
    from repro.runs.engine import run_cells

    run_cells(chosen, engine, workers)
    for cell in chosen:
        scores = [f"{name} {score:.1f}" for name, score in results.read(cell)["metrics"].items()]
        typer.echo(f"{cell.row} on {cell.task}, seed {cell.seed}: {', '.join(scores)}")


@app.command()
def within(
    minutes: Annotated[
        float, typer.Argument(metavar="MINUTES", help="time limit, packing included")
    ],
    profile: Profile = "base",
    tasks: Tasks = "",
    seeds: Annotated[int, number("--seeds", "how many seeds of --tasks; 0: 5")] = 0,
    recipe_name: RecipeName = "textbook",
    workers: Workers = 0,
) -> None:
    """Compute what fits into MINUTES, and pack the results.

    Tables 2, 4, 5 and the baselines: RTE and MRPC first, then more seeds, then QNLI and SST-2. For
    a GPU that is lent for a short time.
    """
    from repro.runs import within as timed

    check_glue_dir(profile, paths.glue())
    work = timed.steps(profile, recipe_name, tasks, seeds)
    complete = timed.run_within(minutes, work, workers)
    typer.echo("everything is computed" if complete else "the time is over")
    for step in work:
        shown_seeds = f"{step.seeds} seed{'s' * (step.seeds != 1)}"
        typer.echo(f"{step.tasks}, {shown_seeds}: {step.finished} of {len(step.cells)} cells")
    if any(step.finished for step in work):
        typer.echo(f"written: {shown(timed.pack(profile))}")


@app.command("table")
def make_table(
    table: Table,
    profile: Profile = "demo",
    tasks: Tasks = "",
    seeds: Seeds = 0,
    recipe_name: RecipeName = "authors",
    changes: Changes = None,
    engine: Engine = "processes",
    workers: Workers = 0,
    tuned: Tuned = False,
    as_json: AsJson = False,
) -> None:
    """Make a table and print it beside the paper's.

    Runs the table's notebook. Finished cells are kept, and only the others are computed.
    """
    from repro.analysis import sidecar, tables
    from repro.report import as_json as data
    from repro.report import sentences
    from repro.report.beside_published import beside_published
    from repro.runs.notebooks import table_notebook

    changed = assignments(changes)  # bad input is refused before a kernel starts
    plan = cells.plan(table, profile, tasks, seeds, recipe_name, changed)
    if tuned:
        from repro.analysis import sweeps

        plan = sweeps.tuned(plan, recipe_name, changed)
    declared = cells.variant(recipe_name, changed, tuned)
    full = tables.table_path(table, profile, declared)
    target = sidecar.target(full, plan)
    variant = sidecar.variant(target)
    given = {"tasks": tasks, "seeds": seeds, "recipe": recipe_name, "overrides": changed}
    parameters = _parameters(profile, engine, workers, **given) | ({"tuned": True} if tuned else {})
    with notes_on_stderr(as_json):
        table_notebook(table, profile, parameters, variant)
    if as_json:
        agreement = data.agreement(plan, table, declared)
        print_json(data.table(table, profile, variant) | {"published": agreement})
        return
    typer.echo("\n" + sentences.table_with_differences(table, profile, variant))
    typer.echo(beside_published(plan, table, variant, declared) + "\n")
    if target != full:
        typer.echo(f"{shown(full)} has more seeds or tasks and is kept")
    typer.echo(f"written: {shown(target)}")


def _parameters(profile: str, engine: str, workers: int, **others: Any) -> dict[str, Any]:
    """A notebook's parameters; what would stop its run is found before a kernel starts."""
    check_glue_dir(profile, paths.glue())
    from repro.runs import cache
    from repro.runs.engine import check_engine

    check_engine(engine, workers)
    cache.check()
    return {"engine": engine, "workers": workers} | others


@app.command()
def sweep(
    table: Table,
    profile: Profile = "demo",
    method: SweptRow = "PeaBERT3",
    layers: Annotated[int, number("--layers", "0: as the method's name says")] = 0,
    task: OneTask = "RTE",
    budget: Annotated[int, number("--budget", "number of trials")] = 20,
    sampler: Annotated[str, typer.Option(metavar="NAME", help="tpe, random or grid")] = "tpe",
    pruner: Annotated[str, typer.Option(metavar="NAME", help="none, median or halving")] = "median",
    seed: OneSeed = 0,
    recipe_name: RecipeName = "authors",
    changes: Changes = None,
    engine: Engine = "processes",
    workers: Workers = 0,
) -> None:
    """Search for the best settings of one student.

    Its trials are scored on an inner split of train.
    """
    from repro.analysis import sweeps
    from repro.config.sweeps import plan as plan_sweep
    from repro.runs.notebooks import table_notebook

    changed = assignments(changes)  # bad input is refused before a kernel starts
    plan = plan_sweep(
        table, profile, method, layers, task, budget, sampler, pruner, seed, recipe_name, changed
    )
    parameters = _parameters(profile, engine, workers, overrides=changed, table=table, task=task)
    parameters |= {"method": plan.cell.row, "budget": budget, "recipe": recipe_name}
    parameters |= {"sampler": sampler, "pruner": pruner, "seed": seed}
    table_notebook("sweep", profile, parameters)
    path = sweeps.study_path(plan)
    typer.echo(f"\n{sweeps.sentence(sweeps.load(path))}\nwritten: {shown(path)}")


@app.command()
def sensitivity(
    profile: Profile = "demo",
    tasks: Tasks = "",
    seeds: Seeds = 1,
    recipe_name: RecipeName = "authors",
    engine: Engine = "processes",
    workers: Workers = 0,
) -> None:
    """Measure the effect of each decision on the results.

    The headline difference, with one decision changed at a time.
    """
    from repro.analysis import decisions, sidecar, tables
    from repro.runs.notebooks import table_notebook

    plan = decisions.plan(profile, tasks, seeds, recipe_name)  # refuses bad input
    full = tables.table_path("decisions", profile, cells.variant(recipe_name))
    target = sidecar.target(full, plan)
    given = {"tasks": tasks, "seeds": seeds, "recipe": recipe_name}
    parameters = _parameters(profile, engine, workers, **given)
    variant = sidecar.variant(target)
    table_notebook("decisions", profile, parameters, variant)
    typer.echo("\n" + decisions.view(tables.read_table("decisions", profile, variant)).to_string())
    typer.echo(f"written: {shown(target)}")


@app.command()
def ptp(
    profile: Profile = "demo",
    tasks: Tasks = "",
    seeds: Seeds = 0,
    recipe_name: RecipeName = "authors",
    changes: Changes = None,
    engine: Engine = "processes",
    workers: Workers = 0,
) -> None:
    """Study PTP's labels by rule, teacher and difficulty."""
    from repro.analysis import ptp_study, sidecar, tables
    from repro.runs.notebooks import table_notebook

    changed = assignments(changes)  # bad input is refused before a kernel starts
    plan = ptp_study.plan(profile, tasks, seeds, recipe_name, changed)
    full = tables.table_path("ptp_difficulty", profile, cells.variant(recipe_name, changed))
    target = sidecar.target(full, plan)
    given = {"tasks": tasks, "seeds": seeds, "recipe": recipe_name, "overrides": changed}
    parameters = _parameters(profile, engine, workers, **given)
    variant = sidecar.variant(target)
    table_notebook("ptp", profile, parameters, variant)
    frame = tables.read_table("ptp_difficulty", profile, variant)
    typer.echo("\n" + ptp_study.view(frame).to_string())
    typer.echo(f"written: {shown(target)}")


finished.register(app)
student_commands.register(app)


def main() -> None:
    """Run the command line."""
    run_app(app)
