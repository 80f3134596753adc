"""Folders and settings from the environment, all read here.

REPRO_CACHE, REPRO_RESULTS, REPRO_FIGURES and GLUE_DIR name folders; REPRO_CHECKPOINT_STEPS is a
number. An empty variable counts as not set: as a path it would be the current folder.
"""

import os
import subprocess
from functools import lru_cache
from pathlib import Path

from repro.errors import InputError, on_disk

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
_CODE = ("repro", "constraints.txt")  # what a number depends on; runs write results and figures
_CHECKPOINT_STEPS = 100


def cache() -> Path:
    """The folder of the stages' artefacts: REPRO_CACHE, or cache/."""
    return Path(os.environ.get("REPRO_CACHE") or ROOT / "cache")


def all_results() -> Path:
    """The folder with one folder of results per profile: REPRO_RESULTS, or results/."""
    return Path(os.environ.get("REPRO_RESULTS") or ROOT / "results")


def results(profile: str) -> Path:
    """The folder of a profile's cells, predictions, tables and executed notebooks."""
    return below(all_results(), profile)


def figures(profile: str) -> Path:
    """The folder of a profile's LaTeX tables and figures, in REPRO_FIGURES or figures/."""
    return below(Path(os.environ.get("REPRO_FIGURES") or ROOT / "figures"), profile)


def glue() -> Path | None:
    """The folder of GLUE's TSV files, GLUE_DIR; None to read GLUE from the hub."""
    folder = os.environ.get("GLUE_DIR")
    return Path(folder).expanduser() if folder else None


def checkpoint_steps() -> int:
    """Steps between two checkpoints of a training: REPRO_CHECKPOINT_STEPS, or 100.

    The number has no effect on scores.

    Raises:
        InputError: If it is not a whole number from 1.
    """
    text = os.environ.get("REPRO_CHECKPOINT_STEPS") or str(_CHECKPOINT_STEPS)
    if not text.isdecimal() or int(text) < 1:
        raise InputError(
            f"REPRO_CHECKPOINT_STEPS must be a whole number of steps from 1, got {text!r}"
        )
    return int(text)


def check() -> None:
    """Check the environment before a run, so that it does not fail after hours.

    Raises:
        InputError: If REPRO_CHECKPOINT_STEPS is not a number.
        DiskError: If the folder of the cache or of the results cannot be created.
    """
    checkpoint_steps()
    for folder in (cache(), all_results()):
        with on_disk(folder):
            folder.mkdir(parents=True, exist_ok=True)


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

    It is "unknown" outside a checkout.
    """
    git = ["git", "-C", os.fspath(ROOT)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
        )
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--", *_CODE], capture_output=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + "-dirty" * bool(changed.stdout)
