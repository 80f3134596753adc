"""Arguments that several commands share, and how a command line ends: errors and exit codes."""

import io
import os
import shlex
import signal
import sys
from importlib.metadata import version
from typing import Annotated, Any

import typer

from repro import paths
from repro.errors import InputError, ReproError, on_disk

_STOPPED, _TERMINATED = 130, 143  # exit codes after Ctrl-C (as typer has it) and after SIGTERM
# Arguments of the example in each command's help
EXAMPLES = {
    "list": "table2 --tasks RTE --json",
    "status": "--profile demo --json",
    "run": "table2 --method PeaBERT3 --tasks RTE --seed 0",
    "table": "table4 --tasks RTE --seeds 5 --set beta=40",
    "sweep": "table2 --method PeaBERT3 --task RTE --budget 10",
    "sensitivity": "--tasks RTE --seeds 5",
    "ptp": "--tasks RTE --seeds 3",
    "show": "table2 --profile demo",
    "claims": "--profile demo",
    "report": "--tables 2,4",
    "explain": "results/demo/table2.csv:PeaBERT3:RTE",
    "verify": "--profile demo",
    "publish": "--profile demo --replace",
    "decisions": "",
    "submission": "--profile cpu --method PeaBERT3",
    "mrpc-test": "--profile cpu --seeds 5",
    "doctor": "",
    "check-reference": "FOLDER",
    "packages": "minilm",
    "distill": "--train train.csv --dev dev.csv --text a,b --label y --encoder FOLDER --out DIR",
    "predict": "DIR --data new.csv --out predictions.csv",
    "export": "DIR --to FOLDER --onnx",
}


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
        script = os.path.basename(sys.argv[0]) == "repro"  # shell completion needs its name
        name = "repro" if script else "python -m repro"
        with on_disk():
            code = click_command(app)(arguments, prog_name=name, standalone_mode=False)
    except (ReproError, TyperException) as error:
        text = _misuse(error) if isinstance(error, TyperException) else str(error)
        print(f"error: {' '.join(text.split())}", file=sys.stderr)
        code = 2
    if code == _STOPPED:
        message = "stopped; finished stages are kept; to resume, run:"
        print(f"{message} {_same_command()}", file=sys.stderr)
        code = _TERMINATED if signal.getsignal(signal.SIGTERM) == signal.SIG_IGN else code
    sys.exit(code)


def click_command(app: typer.Typer) -> Any:
    """The command line with an example under the help of each command."""
    command: Any = typer.main.get_command(app)
    for name, single in command.commands.items():
        single.epilog = f"Example: python -m repro {name} {EXAMPLES[name]}".rstrip()
    return command


def _same_command() -> str:
    """The command line to paste again: that of make, if make started this process."""
    goals = os.environ.get("REPRO_GOALS", "").split()
    if not goals:
        return shlex.join(["python", "-m", "repro", *sys.argv[1:]])
    given = os.environ.get("REPRO_GIVEN", "").split()
    values = [f"{name}={os.environ[name]}" for name in given if os.environ.get(name)]
    return shlex.join(["make", *goals, *values])


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


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"repro {version('repro')}")
        raise typer.Exit


def _seed(help: str) -> Any:
    return typer.Option("--seed", parser=_one_seed, metavar="N", help=help)


AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]
Version = Annotated[
    bool,
    typer.Option("--version", callback=_print_version, is_eager=True, help="print the version"),
]
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
