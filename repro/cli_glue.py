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
    from repro.runs import submission as glue
    from repro.runs import test_set

    target, predictions = test_set.submit(profile, method, seed, tasks)
    typer.echo("\n".join([*glue.summary(predictions), f"written, and valid: {shown(target)}"]))


def mrpc_test(profile: Profile = "demo", seeds: Seeds = 1) -> None:
    """MRPC's test score of every method of Table 2, from the public labels, beside the dev score."""
    from repro.analysis import mrpc, tables
    from repro.runs import test_set

    cells = test_set.score_mrpc(profile, seeds)
    frame = mrpc.of(cells)
    target = tables.write_table("mrpc_test", profile, frame, cells)
    typer.echo(f"{mrpc.to_text(frame)}\n\nwritten: {shown(target)}")
