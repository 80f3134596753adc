"""Where things lie. Everything can be moved with REPRO_CACHE, REPRO_RESULTS and REPRO_FIGURES.

An empty variable is one that is not set: as a path it would be the current folder.
"""

import os
import subprocess
from functools import lru_cache
from pathlib import Path

from repro.errors import InputError, on_disk

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
_DECISIVE = ("repro", "constraints.txt")  # not results and figures: every run writes some


def cache() -> Path:
    """Teachers, teacher outputs, initialised and distilled students, by the hash of their inputs."""
    return Path(os.environ.get("REPRO_CACHE") or ROOT / "cache")


def all_results() -> Path:
    """A folder per profile."""
    return Path(os.environ.get("REPRO_RESULTS") or ROOT / "results")


def results(profile: str) -> Path:
    """Cells, predictions, table CSVs and executed notebooks of one profile."""
    return below(all_results(), profile)


def figures(profile: str) -> Path:
    """LaTeX tables and pictures of one profile."""
    return below(Path(os.environ.get("REPRO_FIGURES") or ROOT / "figures"), profile)


def below(folder: Path, *names: str) -> Path:
    """folder/name/name/..; InputError for a name that would lead anywhere else: a/b, .., one with a NUL, none."""
    for name in names:
        if name in ("", ".", "..") or any(sign in name for sign in "/\\\0"):
            raise InputError(
                f"{name!r} cannot name a file or folder below {folder}; use a name without / and \\"
            )
    return folder.joinpath(*names)


def shown(path: Path) -> str:
    """A path as a message says it: relative to where the user is, if it lies below."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


@lru_cache(maxsize=1)  # the code of this process is that of its start
def commit() -> str:
    """The package's commit, "-dirty" if what decides a number was changed since; "unknown" outside a checkout."""
    git = ["git", "-C", os.fspath(ROOT)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
        )
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--", *_DECISIVE], capture_output=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + "-dirty" * bool(changed.stdout)


CHECKPOINT_STEPS = 100  # between two checkpoints; another number of them changes no score


def checkpoint_steps() -> int:
    """REPRO_CHECKPOINT_STEPS, by default CHECKPOINT_STEPS.

    Raises:
        InputError: If it is not a positive whole number.
    """
    text = os.environ.get("REPRO_CHECKPOINT_STEPS") or str(CHECKPOINT_STEPS)
    if not text.isdecimal() or int(text) < 1:
        raise InputError(
            f"REPRO_CHECKPOINT_STEPS must be a whole number of steps from 1, got {text!r}"
        )
    return int(text)


def check() -> None:
    """Check before a run what would otherwise fail after hours.

    Raises:
        InputError: For a variable that cannot be used.
        DiskError: For a folder that cannot be made.
    """
    checkpoint_steps()
    for folder in (cache(), all_results()):
        with on_disk(folder):
            folder.mkdir(parents=True, exist_ok=True)
