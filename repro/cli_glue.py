"""The commands about GLUE's test files: `submission` and `mrpc-test`."""

from typing import Annotated

import typer

from repro.options import OneSeed, Profile, Seeds, Tasks
from repro.paths import shown


def submission(
    profile: Profile = "demo",
    method: Annotated[str, typer.Option(help="a row of table2")] = "PeaBERT3",
    seed: OneSeed = 0,
    tasks: Tasks = "",
) -> None:
    """The zip that GLUE's test server takes; constants for the tasks that are not run."""
    from repro.analysis import glue_test

    zip_path, predictions = glue_test.submit(profile, method, seed, tasks)
    typer.echo(f"{glue_test.submission_text(predictions)}\nwritten: {shown(zip_path)}")


def mrpc_test(profile: Profile = "demo", seeds: Seeds = 1) -> None:
    """MRPC's test score of every method of Table 2, from the public labels, beside the dev score."""
    from repro.analysis import glue_test

    csv_path, frame = glue_test.score_mrpc(profile, seeds)
    typer.echo(f"{glue_test.mrpc_text(frame)}\n\nwritten: {shown(csv_path)}")
