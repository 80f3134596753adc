"""Arguments that several commands share, and how a command line ends: errors and exit codes."""

import io
import shlex
import signal
import sys
from typing import Annotated, Any

import typer

from repro import paths
from repro.errors import InputError, ReproError, on_disk

_STOPPED, _TERMINATED = 130, 143  # exit codes after Ctrl-C (as typer has it) and after SIGTERM


def run_app(app: typer.Typer) -> None:
    """Run a command line; an expected error is one line on stderr, and exit code 2."""
    from typer.exceptions import TyperException

    signal.signal(signal.SIGTERM, _terminate)
    paths.use_absolute_folders()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # not every terminal has every character
    try:
        arguments = sys.argv[1:] or ["--help"]
        command = typer.main.get_command(app)
        with on_disk():
            code = command(arguments, prog_name="python -m repro", standalone_mode=False)
    except (ReproError, TyperException) as error:
        text = _misuse(error) if isinstance(error, TyperException) else str(error)
        print(f"error: {' '.join(text.split())}", file=sys.stderr)
        code = 2
    if code == _STOPPED:
        again = shlex.join(["python", "-m", "repro", *sys.argv[1:]])
        print(f"stopped; finished stages are kept; to resume, run: {again}", file=sys.stderr)
        code = _TERMINATED if signal.getsignal(signal.SIGTERM) == signal.SIG_IGN else code
    sys.exit(code)


def _terminate(number: int, frame: object) -> None:
    """Treat SIGTERM, which Slurm and Kubernetes send, as Ctrl-C; ignore a second one."""
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _misuse(error: Any) -> str:
    """What is wrong with the command line, with the commands or options that exist."""
    text: str = error.format_message().rstrip(".")
    command: Any = getattr(getattr(error, "ctx", None), "command", None)
    if text.startswith("No such option"):
        allowed = [name for option in command.params for name in option.opts if name[:2] == "--"]
    else:
        allowed = list(getattr(command, "commands", ()))
    return f"{text}; use one of: {', '.join(allowed)}" if allowed else text


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InputError(
            f"seeds, layers, trials and workers are given as a whole number, got {text!r}"
        ) from None


def _one_seed(text: str) -> int:
    seed = _whole(text)
    if not 0 <= seed < 100:
        raise InputError(f"seed must be a whole number from 0 to 99, got {seed}")
    return seed


def number(flag: str, help: str) -> Any:
    return typer.Option(flag, parser=_whole, metavar="N", help=help)


def _seed(help: str) -> Any:
    return typer.Option("--seed", parser=_one_seed, metavar="N", help=help)


Table = Annotated[str, typer.Argument(help="table1 .. table5")]
Profile = Annotated[str, typer.Option(help="demo, cpu, base or paper")]
Tasks = Annotated[str, typer.Option("--tasks", "--task", help="comma-separated; default: all four")]
Seeds = Annotated[int, number("--seeds", "how many seeds; 0: as decision D14 says")]
OneSeed = Annotated[int, _seed("which seed, 0 .. 99")]
OnlySeed = Annotated[int | None, _seed("only this seed")]
RecipeName = Annotated[
    str, typer.Option("--recipe", help="authors, textbook, or either with +option=value")
]
Changes = Annotated[
    list[str] | None, typer.Option("--set", help="change a setting, e.g. beta=40", metavar="K=V")
]
Tuned = Annotated[bool, typer.Option("--tuned", help="each student at its sweep's best settings")]
Engine = Annotated[str, typer.Option(help="processes, serial or ray")]
Workers = Annotated[int, number("--workers", "how many processes; 0: one per core")]
SweptRow = Annotated[str, typer.Option(help="a row, e.g. PeaBERT3, or PeaBERT with --layers 3")]
OnlyRow = Annotated[str, typer.Option("--method", help="only this row, e.g. PeaBERT3")]
