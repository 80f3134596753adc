"""One progress bar over a whole grid: live in a terminal or notebook, plain lines where there is neither."""

import os
import sys
import time
from contextlib import AbstractContextManager

from tqdm import tqdm

from repro.errors import one_of

_MODES = ("bar", "lines")
_FORMAT = "{desc} {percentage:3.0f}%|{bar}| {elapsed} gone, {remaining} left{postfix}"


class Progress(AbstractContextManager):
    """Counts work in any unit. REPRO_PROGRESS ("bar" or "lines") decides the form; the notebook runner sets it.

    Raises InputError for any other word in REPRO_PROGRESS.
    """

    def __init__(self, total: float, what: str) -> None:
        mode = os.environ.get("REPRO_PROGRESS") or (
            "bar" if sys.stderr.isatty() or _in_notebook() else "lines"
        )
        if mode not in _MODES:
            raise one_of("REPRO_PROGRESS", mode, _MODES)
        self._lines, self._start = mode == "lines", time.monotonic()
        self._bar = tqdm(
            total=total, desc=what, bar_format=_FORMAT, disable=self._lines, dynamic_ncols=True
        )
        self._total, self._done, self._what = total, 0.0, what

    def advance(self, work: float, name: str) -> None:
        """`work` more is done; `name` says of what."""
        self._done += work
        self._bar.set_postfix_str(name, refresh=False)
        self._bar.update(work)
        if self._lines:
            gone = time.monotonic() - self._start
            left = gone * (self._total - self._done) / self._done if self._done else 0.0
            share = 100 * self._done / self._total if self._total else 100
            print(
                f"{self._what} {share:3.0f}% | {clock(gone)} gone, {clock(left)} left | {name}",
                file=sys.stderr,
                flush=True,
            )

    def __exit__(self, *error: object) -> None:
        self._bar.close()


def clock(seconds: float) -> str:
    """1:05 or 2:03:04."""
    minutes, rest = divmod(round(seconds), 60)
    return (
        f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"
    )


def _in_notebook() -> bool:
    return "ipykernel" in sys.modules
