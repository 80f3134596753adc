"""Options that several commands share, error messages and exit codes of the command line."""

import difflib
import io
import os
import re
import shlex
import signal
import sys
from collections.abc import Iterable
from functools import partial
from importlib.metadata import version
from typing import Annotated, Any

import typer

from repro import paths
from repro.config.cells import check_seed
from repro.config.profiles import PROFILES
from repro.config.tables import TABLES
from repro.errors import InputError, ReproError, on_disk

_STOPPED, _TERMINATED = 130, 143  # exit codes after Ctrl-C (typer's too) and after SIGTERM
# Arguments of the examples in each command's help, one example per line
EXAMPLES = {
    "list": "table2 --tasks RTE\ntable2 --profile cpu --seeds 5 --json",
    "status": "--profile demo\n--json",
    "run": "table2 --method PeaBERT3 --tasks RTE --seed 0\ntable4 --tasks RTE,MRPC --seeds 5",
    "table": "table2\ntable4 --tasks RTE --seeds 5 --set beta=40\ntable2 --tasks RTE --json",
    "within": "8 --profile base --workers 12",
    "sweep": "table2 --method PeaBERT3 --task RTE --budget 10",
    "sensitivity": "--tasks RTE --seeds 5",
    "ptp": "--tasks RTE --seeds 3",
    "submission": "--profile cpu --method PeaBERT3",
    "mrpc-test": "--profile cpu --seeds 5",
    "show": "table2\ntable4 --set beta=40",
    "explain": "results/demo/table2.csv:PeaBERT3:RTE",
    "verify": "--profile demo\n--profile demo --published --json",
    "claims": "--profile demo",
    "report": "--tables 2,4",
    "publish": "--profile demo",
    "decisions": "",
    "distill": "--train train.csv --dev dev.csv --encoder FOLDER --out student\n"
    "--train train.csv --dev dev.csv --text a,b --label fits --teacher DIR --out student",
    "predict": "student --data new.csv --out predictions.csv",
    "export": "student --to model --onnx\nCELL --to model --shared",
    "models": "--profile demo --recipe textbook",
    "doctor": "",
    "check-reference": "FOLDER",
    "packages": "minilm",
}


def run_app(app: typer.Typer) -> None:
    """Run a command line; an expected error prints one line to stderr and exits with code 2."""
    from typer.exceptions import TyperException

    signal.signal(signal.SIGTERM, _terminate)
    paths.use_absolute_folders()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal may lack a character
    try:
        arguments = sys.argv[1:] or ["--help"]
        script = os.path.basename(sys.argv[0]) == "repro"
        completion = any(word.endswith("-completion") for word in arguments)  # of the script
        name = "repro" if script or completion else "python -m repro"
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
    """Build the click command; the help of each subcommand ends with examples."""
    command: Any = typer.main.get_command(app)
    for name, single in command.commands.items():
        lines = [f"  {example}" for example in _examples(name)]
        single.epilog = "\n".join(["\b", "Examples:" if lines[1:] else "Example:", *lines])
    return command


def _examples(name: str) -> list[str]:
    return [
        f"python -m repro {name} {arguments}".rstrip() for arguments in EXAMPLES[name].split("\n")
    ]


def _same_command() -> str:
    """Return the command line to run again: that of make, if make started this process.

    It includes the folders from the environment, which may have been set for this command only.
    """
    folders = [
        f"{name}={shlex.quote(os.environ[name])}" for name in paths.FOLDERS if os.environ.get(name)
    ]
    goals = os.environ.get("REPRO_GOALS", "").split()
    given = os.environ.get("REPRO_GIVEN", "").split()
    values = [f"{name}={os.environ[name]}" for name in given if os.environ.get(name)]
    words = ["make", *goals, *values] if goals else sys.orig_argv
    return " ".join([*folders, shlex.join(words)])


def _terminate(number: int, frame: object) -> None:
    """Treat SIGTERM, which Slurm and Kubernetes send, as Ctrl-C; ignore a second one."""
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _misuse(error: Any) -> str:
    """Describe a wrong command line: the error, the nearest name, and all names or an example."""
    command: Any = getattr(getattr(error, "ctx", None), "command", None)
    text: str = error.format_message().rstrip(".")
    if command is None:
        return text
    wrong = getattr(error, "option_name", "") if text.startswith("No such option") else ""
    if wrong:
        allowed = [name for option in command.params for name in option.opts if name[:2] == "--"]
        text = f"{command.name or 'repro'} has no option {wrong!r}"
    elif hasattr(command, "commands"):
        allowed = list(command.commands)
        wrong = (re.findall("'(.*?)'", text) or [""])[0]
        text = f"there is no command {wrong!r}" if wrong else text
    else:
        return f"{text}; for example: {_examples(command.name)[0]}"
    near = difflib.get_close_matches(wrong, allowed, 1)
    advice = f"did you mean {near[0]}? All: " if near else "use one of: "
    return f"{text}; {advice}{', '.join(allowed)}"


def _whole(flag: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InputError(f"{flag} must be a whole number, got {text!r}") from None


def _one_seed(text: str) -> int:
    seed = _whole("--seed", text)
    check_seed(seed)
    return seed


def number(flag: str, help: str) -> Any:
    """Declare an option that takes a whole number.

    Args:
        flag: Name of the option, e.g. "--seeds".
        help: Its line in the help of a command.
    """
    return typer.Option(flag, parser=partial(_whole, flag), metavar="N", help=help)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"repro {version('repro')}")
        raise typer.Exit


def _seed(help: str) -> Any:
    return typer.Option("--seed", parser=_one_seed, metavar="N", help=help)


def _completed(names: Iterable[str]) -> Any:
    """Create a function for shell completion: the names that start with what was typed."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return complete


AsJson = Annotated[bool, typer.Option("--json", help="print one JSON document")]
Version = Annotated[
    bool,
    typer.Option("--version", callback=_print_version, is_eager=True, help="print the version"),
]
Table = Annotated[
    str,
    typer.Argument(metavar="TABLE", help=", ".join(TABLES), autocompletion=_completed(TABLES)),
]
Profile = Annotated[
    str,
    typer.Option(metavar="NAME", help=", ".join(PROFILES), autocompletion=_completed(PROFILES)),
]
Tasks = Annotated[
    str, typer.Option("--tasks", metavar="A,B", help="tasks, e.g. RTE,MRPC; default: all four")
]
OneTask = Annotated[str, typer.Option("--task", metavar="NAME", help="one task, e.g. RTE")]
Seeds = Annotated[int, number("--seeds", "how many seeds; 0: as the recipe says (decision D14)")]
OneSeed = Annotated[int, _seed("which seed, 0 .. 99")]
OnlySeed = Annotated[int | None, _seed("only this seed, 0 .. 99")]
RecipeName = Annotated[
    str,
    typer.Option(
        "--recipe", metavar="NAME", help="authors, textbook, or either with +option=value"
    ),
]
Changes = Annotated[
    list[str] | None, typer.Option("--set", help="change a setting, e.g. beta=40", metavar="K=V")
]
Tuned = Annotated[bool, typer.Option("--tuned", help="each student at its sweep's best settings")]
Engine = Annotated[str, typer.Option(metavar="NAME", help="processes, serial or ray")]
Workers = Annotated[int, number("--workers", "how many processes; 0: one per core")]
SweptRow = Annotated[
    str, typer.Option(metavar="ROW", help="e.g. PeaBERT3, or PeaBERT with --layers 3")
]
OnlyRow = Annotated[
    str, typer.Option("--method", metavar="ROW", help="only this row, e.g. PeaBERT3")
]
