"""One progress bar per run: a live bar in a terminal or notebook, plain lines elsewhere."""

import os
import sys
import time
from contextlib import AbstractContextManager

from tqdm import tqdm

from repro.errors import one_of

_MODES = ("bar", "lines")
_FORMAT = "{desc} {percentage:3.0f}%|{bar}| {elapsed} elapsed, {remaining} left{postfix}"


class Progress(AbstractContextManager):
    """Counts work in any unit.

    Args:
        total: The work of the whole run.
        what: The bar's title.

    Raises:
        InputError: If REPRO_PROGRESS is neither "bar" nor "lines"; unset, it depends on where the
            output goes.
    """

    def __init__(self, total: float, what: str) -> None:
        interactive = sys.stderr.isatty() or "ipykernel" in sys.modules
        mode = os.environ.get("REPRO_PROGRESS") or ("bar" if interactive else "lines")
        if mode not in _MODES:
            raise one_of("REPRO_PROGRESS", mode, _MODES)
        self._lines, self._start = mode == "lines", time.monotonic()
        self._bar = tqdm(
            total=total, desc=what, bar_format=_FORMAT, disable=self._lines, dynamic_ncols=True
        )
        self._total, self._done, self._what = total, 0.0, what

    def advance(self, work: float, name: str) -> None:
        """Add finished work; `name` describes what was finished."""
        self._done += work
        self._bar.set_postfix_str(name, refresh=False)
        self._bar.update(work)
        if self._lines:
            elapsed = time.monotonic() - self._start
            left = elapsed * (self._total - self._done) / self._done if self._done else 0.0
            share = 100 * self._done / self._total if self._total else 100
            print(
                f"{self._what} {share:3.0f}% | {clock(elapsed)} elapsed, {clock(left)} left | "
                f"{name}",
                file=sys.stderr,
                flush=True,
            )

    def __exit__(self, *error: object) -> None:
        self._bar.close()


def clock(seconds: float) -> str:
    """Format seconds as 1:05 or 2:03:04."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
    return f"{minutes}:{rest:02}"
