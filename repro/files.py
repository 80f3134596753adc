"""Writing so that a reader never sees half a file: a temporary name beside the target, then one rename.

Nothing here looks at times: a clock that jumps changes nothing.
"""

import hashlib
import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

from repro.errors import on_disk


def write_atomic(path: Path, write: Callable[[Path], object]) -> None:
    """Have `write` fill a temporary file in the target's folder, flush it to disk, then rename it to `path`.

    What killed processes of this machine left of earlier tries is removed. Raises DiskError where the disk is full or
    the folder cannot be written; `path` is then as it was.
    """
    with on_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(path)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{_mark(path)}{os.getpid()}.")
        os.close(handle)
        _fill(Path(name), write, path)


def _fill(temporary: Path, write: Callable[[Path], object], path: Path) -> None:
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _mark(path: Path) -> str:
    """How the temporary files of `path` begin that this machine writes; the number of the process follows."""
    return f".{path.name}.{socket.gethostname()}."


def remove_abandoned(path: Path) -> None:
    """Remove the temporary files of `path` whose writer, a process of this machine, is no more."""
    mark = _mark(path)
    for name in os.listdir(path.parent) if path.parent.is_dir() else []:
        if name.startswith(mark) and not _alive(name.removeprefix(mark).partition(".")[0]):
            (path.parent / name).unlink(missing_ok=True)


def _alive(process: str) -> bool:
    try:
        os.kill(int(process), 0)  # signal 0 asks, and does nothing
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:  # another user's
        return True
    return True


def discard(path: Path) -> None:
    """Remove a file that is no longer needed, and what killed writers left of it."""
    path.unlink(missing_ok=True)
    remove_abandoned(path)


def set_aside(*paths: Path) -> None:
    """Rename damaged files to *.damaged, for whoever wants to know why, and say so."""
    for path in paths:
        if path.exists():
            print(f"damaged file set aside, computing it again: {path.name}.damaged", flush=True)
            with on_disk(path):
                path.replace(path.with_name(f"{path.name}.damaged"))


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
