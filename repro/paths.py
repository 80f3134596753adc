"""Folders and settings from the environment, all read here.

REPRO_CACHE, REPRO_RESULTS, REPRO_FIGURES, REPRO_REMOTE and GLUE_DIR name folders, where ~ is the
home folder; REPRO_CHECKPOINT_STEPS and REPRO_KERNEL_SECONDS are numbers. An empty variable counts
as not set: as a path it would be the current folder.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path

from repro.errors import InputError, on_disk

ROOT = Path(__file__).resolve().parent.parent
_CHECKOUT = (ROOT / "pyproject.toml").is_file()
# pip puts the notebooks of an installed package into share/ beside or above site-packages
_SHARED = [folder / "share" / "repro" / "notebooks" for folder in (ROOT, *ROOT.parents)]
NOTEBOOKS = next(filter(Path.is_dir, [] if _CHECKOUT else _SHARED), ROOT / "notebooks")
_CODE = ("repro", "constraints.txt")  # what a number depends on; runs write results and figures
FOLDERS = ("REPRO_CACHE", "REPRO_RESULTS", "REPRO_FIGURES", "REPRO_REMOTE", "GLUE_DIR", "HF_HOME")
_RESULTS: ContextVar[Path | None] = ContextVar("results", default=None)


def base() -> Path:
    """Where cache/, results/ and figures/ are: the checkout, or else the current folder."""
    return ROOT if _CHECKOUT else Path.cwd()


def cache() -> Path:
    """The folder of the stages' artefacts: REPRO_CACHE, or cache/."""
    return Path(folder("REPRO_CACHE") or base() / "cache")


def all_results() -> Path:
    """The folder with one folder of results per profile: REPRO_RESULTS, or results/."""
    return Path(folder("REPRO_RESULTS") or base() / "results")


def results(profile: str) -> Path:
    """The folder of a profile's cells, predictions, tables and executed notebooks."""
    return below(_RESULTS.get() or all_results(), profile)


@contextmanager
def results_in(folder: Path) -> Iterator[None]:
    """Inside this context, `results` are those below another folder, e.g. the published ones."""
    token = _RESULTS.set(folder)
    try:
        yield
    finally:
        _RESULTS.reset(token)


def published_results() -> Path:
    """The folder with one folder of published results per profile: results/published."""
    return all_results() / "published"


def figures(profile: str) -> Path:
    """The folder of a profile's LaTeX tables and figures, in REPRO_FIGURES or figures/."""
    return below(all_figures(), profile)


def published_figures() -> Path:
    """The folder with one folder of published figures per profile: figures/published."""
    return all_figures() / "published"


def all_figures() -> Path:
    """The folder with one folder of figures per profile: REPRO_FIGURES, or figures/."""
    return Path(folder("REPRO_FIGURES") or base() / "figures")


def glue() -> Path | None:
    """The folder of GLUE's TSV files, GLUE_DIR; None to read GLUE from the hub."""
    path = folder("GLUE_DIR")
    return Path(path) if path else None


def folder(variable: str) -> str:
    """The absolute path in an environment variable, or its URL; "" if it is not set."""
    text = os.environ.get(variable, "")
    return os.path.abspath(os.path.expanduser(text)) if text and "://" not in text else text


def use_absolute_folders() -> None:
    """Make the folders in the environment absolute, for processes with another current folder."""
    os.environ.update({name: folder(name) for name in FOLDERS if os.environ.get(name)})


def checkpoint_steps() -> int:
    """Steps between two checkpoints of a training: REPRO_CHECKPOINT_STEPS, or 100.

    The number has no effect on scores.

    Raises:
        InputError: If it is not a whole number from 1.
    """
    return _number("REPRO_CHECKPOINT_STEPS", 100, "steps")


def kernel_seconds() -> int:
    """How long a notebook's kernel may take to start: REPRO_KERNEL_SECONDS, or 300.

    Raises:
        InputError: If it is not a whole number from 1.
    """
    return _number("REPRO_KERNEL_SECONDS", 300, "seconds")


def _number(variable: str, default: int, unit: str) -> int:
    text = os.environ.get(variable) or str(default)
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"{variable} must be a whole number of {unit} from 1, got {text!r}")
    return int(text)


def check() -> None:
    """Check the environment before a run, so that it does not fail after hours.

    Raises:
        InputError: If REPRO_CHECKPOINT_STEPS or REPRO_KERNEL_SECONDS is not a number.
        DiskError: If the folder of the cache, results or figures cannot be created.
    """
    checkpoint_steps()
    kernel_seconds()
    for path in (cache(), all_results(), all_figures()):
        with on_disk(path):
            path.mkdir(parents=True, exist_ok=True)


def below(folder: Path, *names: str) -> Path:
    """The path folder/name/name...

    Raises:
        InputError: If a name would lead elsewhere: "a/b", "..", "" or one with a NUL.
    """
    for name in names:
        if name in ("", ".", "..") or any(sign in name for sign in "/\\\0"):
            raise InputError(
                f"{name!r} cannot name a file or folder below {folder}; use a name without / and \\"
            )
    return folder.joinpath(*names)


def shown(path: Path) -> str:
    """A path for a message: relative to the current folder if it lies below that."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


@lru_cache(maxsize=1)  # a process keeps the code it started with
def commit() -> str:
    """The package's git commit, with "-dirty" if code has changed since.

    It is "unknown" outside a checkout, also if a folder above belongs to another repository.
    """
    # without GIT_DIR and the like, which hooks set, and without a search in the folders above
    environment = {name: text for name, text in os.environ.items() if not name.startswith("GIT_")}
    environment["GIT_CEILING_DIRECTORIES"] = os.fspath(ROOT.parent)

    def git(*arguments: str) -> str:
        command = ["git", "-C", os.fspath(ROOT), *arguments]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        head = git("rev-parse", "--short=12", "HEAD")
        return head + "-dirty" * bool(git("status", "--porcelain", "--", *_CODE))
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
