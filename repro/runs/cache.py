"""Artefacts of finished stages, stored under the stage's key.

An artefact is two files: `<key>.safetensors` and, written last, `<key>.json` with plain data and
checksums. Files are written atomically, verified when they are read, and computed once even if
several processes need them.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from safetensors.torch import load_file
from torch import Tensor

from repro import paths
from repro.config.cells import digest
from repro.errors import of_disk, on_disk
from repro.files import process_space, set_aside, sha256, verified, write_atomic
from repro.runs import remote
from repro.training.states import UNREADABLE, write_tensors


@dataclass(frozen=True)
class Artefact:
    """Named tensors and plain data of one finished stage."""

    tensors: dict[str, Tensor]
    meta: dict[str, Any]


def check() -> None:
    """Check, before the first training, the environment, and that files can be written.

    Raises:
        InputError: As `paths.check`.
        DiskError: If a file in one of the three folders cannot be written, renamed or locked.
    """
    paths.check()

    def lock(temporary: Path) -> None:
        with temporary.open("rb+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    for folder in (paths.cache(), paths.all_results(), paths.all_figures()):
        written = folder / f".check.{process_space()}.{os.getpid()}"
        write_atomic(written, lock)
        written.unlink()


def location(kind: str, key: str) -> Path:
    """cache/<kind>/<key>.json; the tensors are beside it."""
    return paths.below(paths.cache(), kind, f"{key}.json")


def partial(kind: str, key: str) -> Path:
    """The checkpoint of a stage's training, which exists until the stage is finished."""
    return location(kind, key).with_suffix(".partial.safetensors")


def exists(kind: str, key: str) -> bool:
    """Whether the stage is finished."""
    return location(kind, key).is_file()


def finished(kind: str) -> set[str]:
    """Keys of all finished stages of a kind, here or at REPRO_REMOTE."""
    folder = location(kind, "").parent
    with on_disk(folder):
        names = {*os.listdir(folder)} if folder.is_dir() else set()
    names |= remote.names(folder)
    return {name[:-5] for name in names if name.endswith(".json") and name[0] != "."}


def damaged(kind: str, key: str) -> bool:
    """Whether the artefact is on this machine and differs from what was written.

    Its tensors are hashed once per process, unless the file changes.
    """
    target = location(kind, key)
    return target.exists() and _record(target, verified) is None


def meta(kind: str, key: str) -> dict[str, Any] | None:
    """The plain data of an artefact, without reading tensors; None if missing or damaged."""
    try:
        record: dict[str, Any] = json.loads(remote.text(location(kind, key)))
        return record["meta"] if _unaltered(record) else None
    except UNREADABLE:
        return None


def save(kind: str, key: str, artefact: Artefact) -> None:
    """Write an artefact; with REPRO_REMOTE set, first its remote copy."""
    target = location(kind, key)
    tensors = target.with_suffix(".safetensors")
    write_tensors(tensors, artefact.tensors, write=remote.write)
    record = {"sha256": sha256(tensors), "meta": artefact.meta}
    text = json.dumps(record | {"seal": digest(record, 64)}, indent=1)
    remote.write(target, lambda temporary: temporary.write_text(text))


def load(kind: str, key: str) -> Artefact | None:
    """Read an artefact; None if it is missing, or damaged and therefore set aside."""
    artefact, target = _read(kind, key), location(kind, key)
    if artefact is None and target.exists():
        set_aside(target, target.with_suffix(".safetensors"))
    return artefact


def get(kind: str, key: str, compute: Callable[[], Artefact]) -> Artefact:
    """Read an artefact, or compute and store it.

    Args:
        kind: The kind of the stage.
        key: The key of the stage.
        compute: Called at most once, while this process holds the stage's lock.
    """
    artefact, target = _read(kind, key), location(kind, key)
    if artefact is None:
        with _lock(kind, key):
            artefact = load(kind, key)  # another process may have stored it meanwhile
            if artefact is None and remote.pull(target.with_suffix(".safetensors"), target):
                artefact = load(kind, key)
            if artefact is None:
                artefact = compute()
                save(kind, key, artefact)
    with suppress(OSError):  # a process killed just before this leaves it to the next reader
        partial(kind, key).unlink(missing_ok=True)
    return artefact


def _read(kind: str, key: str) -> Artefact | None:
    target = location(kind, key)
    try:
        record = _record(target, sha256)
        if record is None:
            return None
        return Artefact(load_file(target.with_suffix(".safetensors")), record["meta"])
    except UNREADABLE:
        return None


def _record(target: Path, checksum: Callable[[Path], str]) -> dict[str, Any] | None:
    """The JSON of an artefact if it and the tensors are unaltered, else None."""
    try:
        record: dict[str, Any] = json.loads(target.read_text())
        intact = checksum(target.with_suffix(".safetensors")) == record["sha256"]
        return record if _unaltered(record) and intact else None
    except PermissionError as error:  # not damage: another user's file, which must stay
        raise of_disk(target, error) from error
    except UNREADABLE:
        return None


def _unaltered(record: dict[str, Any]) -> bool:
    """Remove the seal of a record; whether it is the checksum of the rest."""
    return record.pop("seal", None) == digest(record, 64)


@contextmanager
def _lock(kind: str, key: str) -> Iterator[None]:
    """Hold the lock of a stage, waiting for the process that has it.

    It is a kernel lock (flock) on a file that stays. It ends with its owner, even by SIGKILL, so
    no lock is ever stale. NFS supports it since Linux 2.6.12. File systems without flock are
    refused, since a lock that is only a file outlives its owner.
    """
    path = location(kind, key).with_suffix(".lock")
    lock = FileLock(path, mode=0o666, fallback_to_soft=False)  # writable for every user
    with on_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            print(f"waiting for another process that computes {kind} {key}", flush=True)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()
