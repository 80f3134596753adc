"""Copies of artefacts and results under REPRO_REMOTE, a folder or any fsspec URL, for machines that share no disk.

`s3://bucket/peakd` needs the package of its protocol (s3fs), and its credentials on every machine.
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


def remote() -> str:
    """REPRO_REMOTE, a folder in full; "" if there is none."""
    place = os.environ.get("REPRO_REMOTE", "")
    return os.path.abspath(place) if place and "://" not in place else place


class _NotThereError(Exception):
    """The remote has no such file: no OSError, which would be one of writing here."""


def write(target: Path, fill: Callable[[Path], object]) -> None:
    """`write_atomic` to a path below the cache or the results; the copy in the remote is there before the file is."""

    def filled(temporary: Path) -> None:
        fill(temporary)
        if remote():
            _put(temporary, target)

    write_atomic(target, filled)


def _put(file: Path, name: Path) -> None:
    with _reaching():
        system, target = _place(name)
        if getattr(system, "local_file", False):  # object stores know no folders
            system.makedirs(target.rpartition("/")[0], exist_ok=True)
        system.put_file(os.fspath(file), target)


def pull(*names: Path) -> bool:
    """Copy these files from the remote, in this order, as far as they are there; whether all were."""
    if not remote():
        return False
    try:
        for name in names:
            write_atomic(name, partial(_get, name))
    except _NotThereError:
        return False
    return True


def _get(name: Path, target: Path) -> None:
    try:
        with _reaching(ours=FULL):
            system, source = _place(name)
            system.get_file(source, os.fspath(target))
    except FileNotFoundError as error:
        raise _NotThereError from error


def text(file: Path) -> str:
    """The content of a small file, from here or else from the remote. Raises FileNotFoundError if neither has it."""
    if file.is_file() or not remote():
        return file.read_text()
    with _reaching():
        system, source = _place(file)
        content: bytes = system.cat_file(source)
    return content.decode()


def names(folder: Path) -> set[str]:
    """The names of the files that the remote has of this folder: one request, however many there are."""
    if not remote():
        return set()
    try:
        with _reaching():
            system, place = _place(folder)
            return {found.rpartition("/")[2] for found in system.ls(place, detail=False)}
    except FileNotFoundError:
        return set()


@contextmanager
def _reaching(ours: Container[int | None] = ()) -> Iterator[None]:
    """Name REPRO_REMOTE in whatever goes wrong there: each protocol's package raises errors of its own.

    A FileNotFoundError is passed on: the caller knows what it means that a file is not there. So are errors with the
    numbers `ours`, which are of this machine's disk.
    """
    try:
        yield
    except (FileNotFoundError, ReproError):
        raise
    except Exception as error:
        if getattr(error, "errno", None) in ours:
            raise
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise MissingError(
            f"REPRO_REMOTE={remote()} cannot be used: {reason}; check that it is a folder or an fsspec "
            "URL, its space, its rights and the network, or unset REPRO_REMOTE"
        ) from error


def _place(file: Path) -> tuple[Any, str]:
    """The remote's file system, and where the file is there: cache/... or results/..."""
    import fsspec

    system, root = fsspec.url_to_fs(remote())
    system.invalidate_cache()  # other machines write there too
    bases = {"cache": paths.cache(), "results": paths.all_results()}
    name = max(
        (name for name in bases if file.is_relative_to(bases[name])),
        key=lambda name: len(bases[name].parts),
    )
    return system, f"{root}/{name}/{file.relative_to(bases[name]).as_posix()}"
