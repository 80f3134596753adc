"""Copies of artefacts and results under REPRO_REMOTE, for machines that share no disk.

REPRO_REMOTE is a folder or any fsspec URL. A URL such as s3://bucket/peakd needs the package of its
protocol (s3fs) and credentials on every machine.
"""

import os
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from repro import paths
from repro.errors import FULL, MissingError, ReproError
from repro.files import write_atomic


class _NotInRemoteError(Exception):
    """The remote has no such file. Not an OSError, which would be reported as one of this disk."""


def remote() -> str:
    """REPRO_REMOTE, a folder as an absolute path; "" if it is not set."""
    return paths.folder("REPRO_REMOTE")


def write(target: Path, fill: Callable[[Path], object]) -> None:
    """Write a file atomically, after its copy in the remote.

    Args:
        target: A path below the cache or the results.
        fill: Writes the content to the path it is given, as in `files.write_atomic`.

    Raises:
        MissingError: If the remote cannot be used.
        DiskError: If the file cannot be written.
    """

    def fill_and_upload(temporary: Path) -> None:
        fill(temporary)
        if remote():
            with _remote_errors():
                system, copy = _locate(target)
                if getattr(system, "local_file", False):  # object stores have no folders
                    system.makedirs(copy.rpartition("/")[0], exist_ok=True)
                system.put_file(os.fspath(temporary), copy)

    write_atomic(target, fill_and_upload)


def pull(*files: Path) -> bool:
    """Copy files from the remote, in this order; stops at the first that is not there.

    Returns:
        Whether all were there.

    Raises:
        MissingError: If the remote cannot be used.
        DiskError: If a file cannot be written.
    """
    if not remote():
        return False
    try:
        for file in files:
            write_atomic(file, partial(_download, file))
    except _NotInRemoteError:
        return False
    return True


def _download(file: Path, target: Path) -> None:
    try:
        with _remote_errors(local=FULL):
            system, copy = _locate(file)
            system.get_file(copy, os.fspath(target))
    except FileNotFoundError as error:
        raise _NotInRemoteError from error


def text(file: Path) -> str:
    """The content of a small file, from this disk or else from the remote.

    Raises:
        FileNotFoundError: If neither has it.
        MissingError: If the remote cannot be used.
    """
    if file.is_file() or not remote():
        return file.read_text()
    with _remote_errors():
        system, copy = _locate(file)
        content: bytes = system.cat_file(copy)
    return content.decode()


def names(folder: Path) -> set[str]:
    """The names of the remote's files of this folder, in one request."""
    if not remote():
        return set()
    try:
        with _remote_errors():
            system, copy = _locate(folder)
            return {path.rpartition("/")[2] for path in system.ls(copy, detail=False)}
    except FileNotFoundError:
        return set()


@contextmanager
def _remote_errors(local: Container[int | None] = ()) -> Iterator[None]:
    """Replace errors by a MissingError about REPRO_REMOTE: each protocol's package has its own.

    FileNotFoundError passes, and so do errors with the numbers `local`, which are of this disk.
    """
    try:
        yield
    except (FileNotFoundError, ReproError):
        raise
    except Exception as error:
        if getattr(error, "errno", None) in local:
            raise
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise MissingError(
            f"REPRO_REMOTE={remote()} cannot be used: {reason}; check that it is a folder or an "
            "fsspec URL, its free space, permissions and the network, or unset REPRO_REMOTE"
        ) from error


def _locate(file: Path) -> tuple[Any, str]:
    """The remote's file system, and the path there: cache/... or results/..."""
    import fsspec

    system, root = fsspec.url_to_fs(remote())
    system.invalidate_cache()  # other machines write there too
    bases = {"cache": paths.cache(), "results": paths.all_results()}
    inside = [name for name in bases if file.is_relative_to(bases[name])]
    name = max(inside, key=lambda name: len(bases[name].parts))  # one may be inside the other
    return system, f"{root}/{name}/{file.relative_to(bases[name]).as_posix()}"
