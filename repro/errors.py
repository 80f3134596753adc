"""Exceptions for users; each message is one line.

A message says what was wrong, the value received, the values allowed and what to do.
"""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class ReproError(Exception):
    """Any error that the command line reports in one line, with exit code 2."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows instead of a traceback."""
        return [f"error: {self}"]


class InputError(ReproError):
    """A name, value or file that cannot be used."""


class MissingError(ReproError):
    """Something the run needs is missing: a cell, an encoder, a data file, a package."""


class TrainingError(ReproError):
    """A training that failed and has no score."""


class DiskError(ReproError):
    """A file that cannot be read or written."""


class FullError(DiskError):
    """A disk that cannot take any more data."""


class KilledError(ReproError):
    """A worker process that was killed while it computed a stage."""


def one_of(kind: str, value: object, allowed: Iterable[object]) -> InputError:
    """The error for a value outside a closed set, e.g. one_of("task", "RTEE", TASKS)."""
    names = ", ".join(str(name) for name in allowed)
    advice = f"use one of: {names}" if names else f"there is no {kind}"
    return InputError(f"unknown {kind} {value!r}; {advice}")


_MOVE = "or set REPRO_CACHE, REPRO_RESULTS or REPRO_FIGURES to another folder"
_NO_LOCKS = (
    "its file system has no file locks; set REPRO_CACHE to a folder that has them, "
    "such as one on a local disk"
)
# fmt: off
_REMEDIES = {
    number: remedy
    for remedy, numbers in (
        (f"free some space, {_MOVE}", (errno.ENOSPC, errno.EDQUOT)),
        (f"make it and its folder readable and writable, {_MOVE}",
         (errno.EACCES, errno.EPERM, errno.EROFS)),
        (f"move away what is in the way, {_MOVE}", (errno.ENOTDIR, errno.EEXIST, errno.EISDIR)),
        (f"create its folder, {_MOVE}", (errno.ENOENT,)),
        (f"fix the links in its path, {_MOVE}", (errno.ELOOP,)),
        (f"use a shorter path, {_MOVE}", (errno.ENAMETOOLONG,)),
        (_NO_LOCKS, (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)),
        ("raise the limit of file sizes (ulimit -f)", (errno.EFBIG,)),
        ("raise the limit of open files (ulimit -n)", (errno.EMFILE, errno.ENFILE)),
        ("check the disk", (errno.EIO,)),
        ("mount its file system again", (errno.ESTALE,)),
    )
    for number in numbers
}
# fmt: on
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}  # the numbers of a FullError


@contextmanager
def on_disk(path: Path | None = None) -> Iterator[None]:
    """Turn an OSError that a user can fix into a DiskError.

    Args:
        path: The file concerned; None for the one that the OSError names.

    Raises:
        DiskError: In place of such an OSError; others pass unchanged.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _REMEDIES:
            raise
        raise of_disk(path or error.filename or "a file", error) from error


def of_disk(path: Path | str, error: OSError) -> DiskError:
    """The DiskError for an OSError, with its remedy."""
    number = error.errno or 0
    kind = FullError if number in FULL else DiskError
    remedy = _REMEDIES.get(number, "fix the cause")
    return kind(
        f"cannot use {path}: {os.strerror(number)}; {remedy}; then run the same command again: "
        "what is finished is kept"
    )
