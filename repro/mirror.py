"""Copies of artefacts and results under REPRO_REMOTE, a folder or any fsspec URL, for machines that share no disk.

`s3://bucket/peakd` needs the package of its protocol (s3fs), and its credentials on every machine.
"""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from repro import paths
from repro.errors import InputError, MissingError, on_disk
from repro.files import write_atomic


def remote() -> str:
    """REPRO_REMOTE, a folder in full; "" if there is none."""
    place = os.environ.get("REPRO_REMOTE", "")
    return os.path.abspath(place) if place and "://" not in place else place


def write(target: Path, fill: Callable[[Path], object]) -> None:
    """`write_atomic` to a path below the cache or the results; the copy in the remote is there before the file is."""

    def filled(temporary: Path) -> None:
        fill(temporary)
        if remote():
            _put(temporary, target)

    write_atomic(target, filled)


def _put(file: Path, name: Path) -> None:
    system, target = _place(name)
    with on_disk(Path(target)):
        if getattr(system, "local_file", False):  # object stores know no folders
            system.makedirs(target.rpartition("/")[0], exist_ok=True)
        system.put_file(os.fspath(file), target)


def pull(*names: Path) -> bool:
    """Copy these files from the remote, in this order; whether the last of them was there."""
    if not remote():
        return False
    placed = {name: _place(name) for name in names}
    system, last = placed[names[-1]]
    if not system.exists(last):
        return False
    for name, (_, source) in placed.items():
        write_atomic(name, partial(_get, system, source))
    return True


def _get(system: Any, source: str, target: Path) -> None:
    system.get_file(source, os.fspath(target))


def text(file: Path) -> str:
    """The content of a small file, from here or else from the remote. Raises FileNotFoundError if neither has it."""
    if file.is_file() or not remote():
        return file.read_text()
    system, source = _place(file)
    content: bytes = system.cat_file(source)
    return content.decode()


def names(folder: Path) -> set[str]:
    """The names of the files that the remote has of this folder: one request, however many there are."""
    if not remote():
        return set()
    system, place = _place(folder)
    try:
        return {found.rpartition("/")[2] for found in system.ls(place, detail=False)}
    except FileNotFoundError:
        return set()


def _place(file: Path) -> tuple[Any, str]:
    """The remote's file system, and where the file is there: cache/... or results/..."""
    import fsspec

    try:
        system, root = fsspec.url_to_fs(remote())
    except ImportError as error:
        raise MissingError(f"REPRO_REMOTE={remote()}: {error}") from None
    except ValueError as error:
        raise InputError(f"REPRO_REMOTE={remote()!r} cannot be used: {error}; use a folder or an fsspec URL") from None
    system.invalidate_cache()  # other machines write there too
    base, name = (paths.cache(), "cache") if file.is_relative_to(paths.cache()) else (paths.all_results(), "results")
    return system, f"{root}/{name}/{file.relative_to(base).as_posix()}"
