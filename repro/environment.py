"""Whether a run can begin with what the environment says."""

import os

from repro import paths
from repro.errors import InputError, on_disk

STEPS = 100  # between two checkpoints; another number of them changes no score


def checkpoint_steps() -> int:
    """REPRO_CHECKPOINT_STEPS; STEPS if it is not set. InputError if it is no such number."""
    text = os.environ.get("REPRO_CHECKPOINT_STEPS") or str(STEPS)
    if not text.isdecimal() or int(text) < 1:
        raise InputError(
            f"REPRO_CHECKPOINT_STEPS must be a whole number of steps from 1, got {text!r}"
        )
    return int(text)


def check() -> None:
    """Refuse at once, and once, what every training, or the first result after hours, would stumble over.

    Raises InputError for a variable's value, DiskError for a folder that cannot be made.
    """
    checkpoint_steps()
    for folder in (paths.cache(), paths.all_results()):
        with on_disk(folder):
            folder.mkdir(parents=True, exist_ok=True)
