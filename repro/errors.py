"""The exceptions a user meets. Each message is one line: what was wrong, the value, those allowed, what to do."""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class ReproError(Exception):
    """Anything the command line reports as one line with exit code 2."""


class InputError(ReproError):
    """A name, value or file that cannot be used."""


class MissingError(ReproError):
    """Something the run needs is not there: a cell, an encoder, a data file, a package."""


class TrainingError(ReproError):
    """A training that went wrong and has no score."""


class DiskError(ReproError):
    """A file that the disk or its rights do not let us read or write."""


class FullError(DiskError):
    """A disk on which nothing more can be written."""


class KilledError(ReproError):
    """A process that was killed from outside while it computed a stage."""


def one_of(kind: str, value: object, allowed: Iterable[object]) -> InputError:
    """The error for a value outside a closed set, e.g. one_of("task", "RTEE", tasks)."""
    names = ", ".join(str(name) for name in allowed)
    return InputError(
        f"unknown {kind} {value!r}; {f'use one of: {names}' if names else f'there is no {kind}'}"
    )


_ELSEWHERE = "or set REPRO_CACHE, REPRO_RESULTS or REPRO_FIGURES to another folder"
_RIGHTS, _ROOM = (
    f"make it and its folder readable and writable for you, {_ELSEWHERE}",
    f"free some space, {_ELSEWHERE}",
)
_LOCKS = "its file system has no file locks; set REPRO_CACHE to a folder that has them, such as one on a local disk"
_FILES = "raise the limit of open files (ulimit -n)"
_WAY = f"move away what is in the way, {_ELSEWHERE}"
_NAME = f"give it a shorter name, {_ELSEWHERE}"
_ADVICE = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: "raise the limit of file sizes (ulimit -f)",
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: _RIGHTS,
    errno.ENOTDIR: _WAY,
    errno.EEXIST: _WAY,
    errno.EISDIR: _WAY,
    errno.EIO: "check the disk",
    errno.ENOSYS: _LOCKS,
    errno.ENOLCK: _LOCKS,
    errno.EOPNOTSUPP: _LOCKS,
    errno.ELOOP: f"mend the links on its way, {_ELSEWHERE}",
    errno.ENAMETOOLONG: _NAME,
    errno.ENOENT: f"make the folder it lies in, {_ELSEWHERE}",
    errno.ESTALE: "mount its file system again",
    errno.EMFILE: _FILES,
    errno.ENFILE: _FILES,
}


FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}  # the numbers of a FullError


@contextmanager
def on_disk(path: Path | None = None) -> Iterator[None]:
    """Make a DiskError of what goes wrong with `path` (None: any file), if it is of a kind that a user can mend."""
    try:
        yield
    except OSError as error:
        if error.errno not in _ADVICE:
            raise
        raise of_disk(path or error.filename or "a file", error) from error


def of_disk(path: Path | str, error: OSError) -> DiskError:
    """What is wrong with `path`, and what to do."""
    number = error.errno or 0
    advice = _ADVICE.get(number, "see to that")
    kind = FullError if number in FULL else DiskError
    return kind(
        f"cannot use {path}: {os.strerror(number)}; {advice}; then run the same command again: what is "
        "finished is kept"
    )
