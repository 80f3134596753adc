"""The arguments that several commands of the command line have in common, and what their misuse is told."""

from typing import Annotated, Any

import typer

from repro.errors import InputError


def whole(text: str) -> int:
    """The number; InputError, which says what was received, as typer's own error does not."""
    try:
        return int(text)
    except ValueError:
        raise InputError(
            f"a seed, or how many seeds, layers or trials, is a whole number, got {text!r}"
        ) from None


def _one_seed(text: str) -> int:
    seed = whole(text)
    if not 0 <= seed < 100:
        raise InputError(f"seed must be a whole number from 0 to 99, got {seed}")
    return seed


Table = Annotated[str, typer.Argument(help="table1 .. table5")]
Profile = Annotated[str, typer.Option(help="demo, cpu, base or paper")]
Tasks = Annotated[
    str, typer.Option("--tasks", "--task", help="comma-separated; all four if not given")
]
Seeds = Annotated[
    int, typer.Option(parser=whole, metavar="N", help="how many seeds; 0: as decision D14 says")
]
OneSeed = Annotated[
    int, typer.Option("--seed", parser=_one_seed, metavar="N", help="which seed, 0 .. 99")
]
OnlySeed = Annotated[
    int | None, typer.Option("--seed", parser=_one_seed, metavar="N", help="only this seed")
]
RecipeName = Annotated[
    str, typer.Option("--recipe", help="authors, textbook, or either with +option=value")
]
Changes = Annotated[
    list[str] | None, typer.Option("--set", help="a setting to change, e.g. beta=40", metavar="K=V")
]
Tuned = Annotated[
    bool, typer.Option("--tuned", help="every student with the best settings of its sweep")
]
Engine = Annotated[str, typer.Option(help="processes, serial or ray")]


def misuse(error: Any) -> str:
    """What is wrong with the command line, with the commands or options there are."""
    text: str = error.format_message().rstrip(".")
    command: Any = getattr(getattr(error, "ctx", None), "command", None)
    if text.startswith("No such option"):
        allowed = [
            name for option in command.params for name in option.opts if name.startswith("--")
        ]
    else:
        allowed = list(getattr(command, "commands", ()))
    return f"{text}; use one of: {', '.join(allowed)}" if allowed else text
