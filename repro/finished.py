"""Commands on finished results, which train nothing: show, explain, verify, publish."""

from typing import Annotated

import typer

from repro import paths
from repro.config import cells
from repro.config.profiles import assignments
from repro.config.tables import table as declared_table
from repro.options import Changes, Profile, RecipeName, Table, Tuned


def show(
    table: Table,
    profile: Profile = "demo",
    recipe_name: RecipeName = "authors",
    changes: Changes = None,
    tuned: Tuned = False,
) -> None:
    """Print a finished table beside the paper's."""
    from repro.report import sentences

    variant = cells.variant(recipe_name, assignments(changes), tuned)
    typer.echo(sentences.table_with_differences(declared_table(table).name, profile, variant))


def explain(
    number: Annotated[str, typer.Argument(help="results/<profile>/table2.csv:METHOD:TASK")],
) -> None:
    """Show how a number was made: cells, stages, data, encoder, versions, and the commands."""
    from repro.report import provenance

    path, method, task = provenance.parse(number)
    published = path.resolve().is_relative_to(paths.published_results().resolve())
    with paths.results_in(paths.published_results() if published else paths.all_results()):
        typer.echo(provenance.explain(path, method, task))


def verify(
    profile: Profile = "demo",
    published: Annotated[
        bool, typer.Option("--published", help="the published results instead of your run's")
    ] = False,
) -> None:
    """Derive every number again from the stored predictions; exit code 1 if any differs."""
    from repro.analysis import published as of_published
    from repro.analysis import verification

    verdict = (of_published if published else verification).verify(profile)
    typer.echo("\n".join(verdict.lines()))
    raise typer.Exit(1 if verdict.findings else 0)


def publish(
    profile: Profile = "demo",
    replace: Annotated[
        bool, typer.Option("--replace", help="also by tables with fewer seeds or tasks")
    ] = False,
    allow_dirty: Annotated[
        bool, typer.Option("--allow-dirty", help="also results of code that is not committed")
    ] = False,
) -> None:
    """Replace the published results of a profile by those of your run, once they are verified."""
    from repro.analysis import publish as publishing

    for line in publishing.publish(profile, replace, allow_dirty):
        typer.echo(line)
    for root in (paths.published_results(), paths.published_figures()):
        typer.echo(f"written: {paths.shown(root / profile)}")


def register(app: typer.Typer) -> None:
    """Add the commands of this module to a command line."""
    for command in (show, explain, verify, publish):
        app.command()(command)
