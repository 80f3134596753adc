"""The command line's sweep: `python -m repro sweep`."""

from typing import Annotated

import typer

from repro.config.profiles import assignments
from repro.errors import one_of
from repro.options import Changes, Engine, OneSeed, Profile, RecipeName, Table, whole
from repro.paths import shown


def sweep(
    table: Table,
    profile: Profile = "demo",
    method: Annotated[
        str, typer.Option(help="a row, e.g. PeaBERT3, or PeaBERT with --layers 3")
    ] = "PeaBERT3",
    layers: Annotated[
        int, typer.Option(parser=whole, metavar="N", help="0: as the method's name says")
    ] = 0,
    task: Annotated[str, typer.Option(help="one task")] = "RTE",
    budget: Annotated[int, typer.Option(parser=whole, metavar="N", help="trials")] = 20,
    sampler: Annotated[str, typer.Option(help="tpe, random or grid")] = "tpe",
    pruner: Annotated[str, typer.Option(help="none, median or halving")] = "median",
    seed: OneSeed = 0,
    recipe_name: RecipeName = "authors",
    changes: Changes = None,
    engine: Engine = "processes",
) -> None:
    """Search one student's settings on an inner split of train. The best settings are used by --tuned."""
    from repro.analysis import sweeps
    from repro.config import sweeps as config_sweeps
    from repro.runs.engine import ENGINES
    from repro.runs.notebooks import table_notebook

    changed = assignments(changes)  # what follows refuses bad input before a kernel starts
    plan = config_sweeps.plan(
        table, profile, method, layers, task, budget, sampler, pruner, seed, recipe_name, changed
    )
    if engine not in ENGINES:
        raise one_of("engine", engine, ENGINES)
    table_notebook(
        "sweep",
        profile,
        {
            "table": table,
            "method": plan.cell.row,
            "task": task,
            "budget": budget,
            "sampler": sampler,
            "pruner": pruner,
            "seed": seed,
            "recipe": recipe_name,
            "engine": engine,
            "overrides": changed,
        },
    )
    typer.echo(f"\n{sweeps.sentence(sweeps.load(plan.path))}")
    typer.echo(f"written: {shown(plan.path)}")
