"""Atomic writing and checksums.

A file is written under a temporary name in its folder and then renamed, so that a reader never sees
half of it. Nothing depends on file times, so a wrong clock does no harm.
"""

import hashlib
import json
import os
import re
import socket
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from repro.errors import InputError, on_disk


def write_atomic(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file completely or not at all.

    Args:
        path: The file; missing folders are created.
        write: Called with the path of a temporary file in the same folder, which it fills.

    Raises:
        DiskError: If the disk is full or the folder not writable; `path` is then unchanged.
    """
    with on_disk(path):
        _fill(temporary(path), write, path)


def _fill(temporary_path: Path, write: Callable[[Path], object], path: Path) -> None:
    try:
        write(temporary_path)
        with temporary_path.open("rb+") as file:
            os.fsync(file.fileno())
        with suppress(OSError):  # some mounts (CIFS, exFAT) have no modes
            temporary_path.chmod(0o644)
        temporary_path.replace(path)
    finally:
        temporary_path.unlink(missing_ok=True)


def temporary(path: Path) -> Path:
    """Create a temporary file in the folder of `path`.

    Its name holds the process that owns it, and where that number means something. Files of
    processes that no longer exist there are removed from the folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path.parent)
    owner = f"{path.name[:40]}.{process_space()}.{os.getpid()}"  # a name has at most 255 bytes
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{owner}.")
    os.close(handle)
    return Path(name)


@cache
def process_space() -> str:
    """Names the host, its boot and the container, within which a process has one number."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8")
        inside = boot + os.readlink("/proc/self/ns/pid")
    except OSError:  # not Linux
        return socket.gethostname()
    return f"{socket.gethostname()}-{hashlib.sha256(inside.encode()).hexdigest()[:12]}"


@cache  # once per process: listing 10,000 artefacts takes longer than writing one
def _remove_leftovers(folder: Path) -> None:
    space = re.escape(process_space())
    for name in os.listdir(folder):
        leftover = re.fullmatch(rf"\..+\.{space}\.(\d{{1,9}})\.\w+", name)
        if leftover and not _alive(int(leftover[1])):
            with suppress(OSError):  # it may belong to another user
                (folder / name).unlink()


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)  # signal 0 only checks that the process exists
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's process
        return True
    return True


def visible(paths: Iterable[Path]) -> list[Path]:
    """Paths in order, without hidden files: macOS writes ._name beside a file on other disks."""
    return sorted(path for path in paths if not path.name.startswith("."))


def set_aside(*paths: Path) -> None:
    """Rename damaged files to *.damaged, so that the cause can be found, and print a line."""
    for path in paths:
        if path.exists():
            print(f"damaged file set aside, computing it again: {path.name}.damaged", flush=True)
            with on_disk(path):
                path.replace(path.with_name(f"{path.name}.damaged"))


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache  # once per process, unless the file changes
def _cached_sha256(path: Path, size: int, modified: int) -> str:
    return sha256(path)


def verified(path: Path, expected: str = "", remedy: str = "") -> str:
    """Check a file's SHA-256.

    Args:
        path: The file.
        expected: The SHA-256 in hex; "" to accept any.
        remedy: What to do if it differs; part of the message.

    Returns:
        The file's SHA-256, in hex.

    Raises:
        InputError: If it differs from `expected`.
    """
    status = path.stat()
    received = _cached_sha256(path, status.st_size, status.st_mtime_ns)
    if expected not in ("", received):
        raise InputError(
            f"{path} has SHA-256 {received}, expected {expected}; nothing was loaded; {remedy}"
        )
    return received


def digest(data: Any, length: int = 8) -> str:
    """Hash plain data.

    Args:
        data: Anything that JSON can represent.
        length: Number of hex digits to return, at most 64.

    Returns:
        The first hex digits of the SHA-256 of the data as JSON with sorted keys.
    """
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:length]
