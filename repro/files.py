"""Writing so that a reader never sees half a file: a temporary name beside the target, then one rename.

Nothing here looks at times: a clock that jumps changes nothing.
"""

import hashlib
import os
import re
import socket
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path

from repro.errors import InputError, on_disk


def write_atomic(path: Path, write: Callable[[Path], object]) -> None:
    """Have `write` fill a temporary file in the target's folder, flush it to disk, then rename it to `path`.

    What killed processes of this machine left in the folder is removed. Raises DiskError where the disk is full or the
    folder cannot be written; `path` is then as it was.
    """
    with on_disk(path):
        _fill(temporary(path), write, path)


def temporary(path: Path) -> Path:
    """A new file in the target's folder, whose name says which process it belongs to: who comes later may remove it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path.parent)
    owner = f"{path.name[:40]}.{socket.gethostname()}.{os.getpid()}"  # cut: a name may have 255 bytes, this too
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{owner}.")
    os.close(handle)
    return Path(name)


def _fill(made: Path, write: Callable[[Path], object], path: Path) -> None:
    try:
        write(made)
        with made.open("rb+") as file:
            os.fsync(file.fileno())
        made.chmod(0o644)
        made.replace(path)
    finally:
        made.unlink(missing_ok=True)


@cache
def _sweep(folder: Path) -> None:
    """Remove the temporary files whose writer, a process of this machine, is no more.

    Once per process: a folder of 10,000 artefacts takes longer to list than an artefact to write.
    """
    for name in os.listdir(folder):
        left = re.fullmatch(rf"\..+\.{re.escape(socket.gethostname())}\.(\d{{1,9}})\.\w+", name)
        if left and not _alive(int(left[1])):
            with suppress(OSError):  # another user's may have to stay
                (folder / name).unlink()


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)  # signal 0 asks, and does nothing
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


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


_hashed = lru_cache(
    lambda path, size, changed: sha256(path)
)  # once per process, unless the file changes


def verified(path: Path, expected: str = "", fix: str = "") -> str:
    """The file's SHA-256; InputError if it is not the expected one ("": any). fix: what to do then."""
    received = _hashed(path, path.stat().st_size, path.stat().st_mtime_ns)
    if expected not in ("", received):
        raise InputError(
            f"{path} has SHA-256 {received}, expected {expected}; nothing was loaded; {fix}"
        )
    return received
