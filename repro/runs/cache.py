"""Cache of artefacts, the outputs of finished stages.

An artefact is two files, named after the stage's key: `<key>.safetensors` and, written last,
`<key>.json` with plain data and checksums. Files are written atomically and verified when they are
read. An artefact that several processes need is computed once.
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
from repro.errors import of_disk, on_disk
from repro.files import digest, process_space, set_aside, sha256, verified, write_atomic
from repro.runs import remote
from repro.training.states import UNREADABLE, write_tensors


@dataclass(frozen=True)
class Artefact:
    """Output of a finished stage.

    Attributes:
        tensors: Tensors by name.
        meta: Plain data, stored as JSON.
    """

    tensors: dict[str, Tensor]
    meta: dict[str, Any]


def check() -> None:
    """Check, before the first training, the environment variables and that files can be written.

    Raises:
        InputError: As `paths.check`.
        DiskError: If a file in the cache, the results or the figures cannot be written, renamed or
            locked.
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
    """Return the path of an artefact's JSON file; its tensors are stored beside it.

    Args:
        kind: Kind of the stage, such as "student".
        key: Key of the stage.

    Returns:
        cache/<kind>/<key>.json.
    """
    return paths.below(paths.cache(), kind, f"{key}.json")


def partial(kind: str, key: str) -> Path:
    """Return the path of a stage's training checkpoint, which exists until the stage is finished.

    Args:
        kind: Kind of the stage.
        key: Key of the stage.
    """
    return location(kind, key).with_suffix(".partial.safetensors")


def exists(kind: str, key: str) -> bool:
    """Check whether a stage is finished on this machine.

    Args:
        kind: Kind of the stage.
        key: Key of the stage.
    """
    return location(kind, key).is_file()


def finished(kind: str) -> set[str]:
    """Return the keys of all finished stages of a kind, here or at REPRO_REMOTE."""
    folder = location(kind, "").parent
    with on_disk(folder):
        names = {*os.listdir(folder)} if folder.is_dir() else set()
    names |= remote.names(folder)
    return {name[:-5] for name in names if name.endswith(".json") and name[0] != "."}


def damaged(kind: str, key: str) -> bool:
    """Check whether an artefact on this machine differs from what was written.

    The tensors are hashed once per process, unless the file changes.

    Args:
        kind: Kind of the stage.
        key: Key of the stage.

    Returns:
        True if the artefact is there and damaged; False if it is intact or missing.

    Raises:
        DiskError: If the file may not be read.
    """
    target = location(kind, key)
    return target.exists() and _record(target, verified) is None


def meta(kind: str, key: str) -> dict[str, Any] | None:
    """Read the plain data of an artefact, not its tensors.

    Args:
        kind: Kind of the stage.
        key: Key of the stage.

    Returns:
        The data; None if the JSON file is missing, here and at REPRO_REMOTE, or damaged.
    """
    try:
        record: dict[str, Any] = json.loads(remote.text(location(kind, key)))
        return record["meta"] if _unaltered(record) else None
    except UNREADABLE:
        return None


def save(kind: str, key: str, artefact: Artefact) -> None:
    """Write an artefact; if REPRO_REMOTE is set, first its remote copy.

    Args:
        kind: Kind of the stage.
        key: Key of the stage.
        artefact: The tensors and the plain data.

    Raises:
        DiskError: If a file cannot be written.
    """
    target = location(kind, key)
    tensors = target.with_suffix(".safetensors")
    write_tensors(tensors, artefact.tensors, write=remote.write)
    record = {"sha256": sha256(tensors), "meta": artefact.meta}
    text = json.dumps(record | {"seal": digest(record, 64)}, indent=1)
    remote.write(target, lambda temporary: temporary.write_text(text))


def load(kind: str, key: str) -> Artefact | None:
    """Read and verify an artefact on this machine. A damaged one is set aside.

    Args:
        kind: Kind of the stage.
        key: Key of the stage.

    Returns:
        The artefact; None if it is missing or damaged.

    Raises:
        DiskError: If a file may not be read.
    """
    artefact, target = _read(kind, key), location(kind, key)
    if artefact is None and target.exists():
        set_aside(target, target.with_suffix(".safetensors"))
    return artefact


def get(kind: str, key: str, compute: Callable[[], Artefact]) -> Artefact:
    """Read an artefact, or compute and store it.

    Args:
        kind: Kind of the stage.
        key: Key of the stage.
        compute: Computes the artefact; called at most once, while this process holds the stage's
            lock.

    Raises:
        DiskError: If a file cannot be read or written.
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
    """The content of an artefact's JSON file; None unless it and the tensors are unaltered."""
    try:
        record: dict[str, Any] = json.loads(target.read_text())
        intact = checksum(target.with_suffix(".safetensors")) == record["sha256"]
        return record if _unaltered(record) and intact else None
    except PermissionError as error:  # not damage: another user's file, which must stay
        raise of_disk(target, error) from error
    except UNREADABLE:
        return None


def _unaltered(record: dict[str, Any]) -> bool:
    """Remove the seal from a record and check that it is the checksum of the rest."""
    return record.pop("seal", None) == digest(record, 64)


@contextmanager
def _lock(kind: str, key: str) -> Iterator[None]:
    """Hold the lock of a stage; waits while another process holds it.

    It is a kernel lock (flock) on a file that is never removed. The kernel releases it when its
    owner ends, even by SIGKILL, so no lock is ever stale. NFS supports flock since Linux 2.6.12.
    File systems without it are refused, since a lock that is only a file outlives its owner.
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
