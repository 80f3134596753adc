"""Artefacts of the stages, by the hash of their inputs: written whole, checked when read, computed once."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from safetensors.torch import load_file
from torch import Tensor

from repro import paths, tensorfiles
from repro.errors import of_disk, on_disk
from repro.experiments import digest
from repro.files import discard, set_aside, sha256, write_atomic


@dataclass(frozen=True)
class Artefact:
    """Named tensors and plain data of one finished stage."""

    tensors: dict[str, Tensor]
    meta: dict[str, Any]


def location(kind: str, key: str) -> Path:
    """cache/<kind>/<key>.json; the tensors lie beside it as .safetensors."""
    return paths.below(paths.cache(), kind, f"{key}.json")


def partial(kind: str, key: str) -> Path:
    """cache/<kind>/<key>.partial.safetensors: where the stage's training stands, until it is finished."""
    return location(kind, key).with_suffix(".partial.safetensors")


def exists(kind: str, key: str) -> bool:
    """Whether the stage is finished: its JSON is written last."""
    return location(kind, key).is_file()


def save(kind: str, key: str, artefact: Artefact) -> None:
    """Tensors first, then the JSON with their checksum; each written under another name and renamed."""
    target = location(kind, key)
    tensors = target.with_suffix(".safetensors")
    tensorfiles.write(tensors, artefact.tensors)
    record = {"sha256": sha256(tensors), "meta": artefact.meta}
    text = json.dumps(record | {"seal": digest(record, 64)}, indent=1)
    write_atomic(target, lambda temporary: temporary.write_text(text))


def load(kind: str, key: str) -> Artefact | None:
    """The artefact; None if there is none or its checksum is wrong, which sets it aside as *.damaged."""
    found, target = _read(kind, key), location(kind, key)
    if found is None and target.is_file():
        set_aside(target, target.with_suffix(".safetensors"))
    return found


def _read(kind: str, key: str) -> Artefact | None:
    """The artefact; None if there is none, or none that is whole."""
    target = location(kind, key)
    tensors = target.with_suffix(".safetensors")
    try:
        record = json.loads(target.read_text())
        seal = record.pop("seal", None)  # None: of a cache that is older than the seal
        if sha256(tensors) == record["sha256"] and seal in (None, digest(record, 64)):
            return Artefact(load_file(tensors), record["meta"])
    except PermissionError as error:
        raise of_disk(target, error) from error  # no damage: another user's file, not to be set aside
    except tensorfiles.UNREADABLE:
        pass  # not there, or unreadable, which is the same as a wrong checksum
    return None


def get(kind: str, key: str, compute: Callable[[], Artefact]) -> Artefact:
    """The stored artefact, or `compute` it and store it; two processes that want it compute it once."""
    found = _read(kind, key)
    if found is None:
        with _alone(kind, key):
            found = load(kind, key)  # somebody else may have made it by now; what is damaged is ours to set aside
            if found is None:
                found = compute()
                save(kind, key, found)
    with suppress(OSError):  # it is in nobody's way; who is killed just before this leaves it to the next reader
        discard(partial(kind, key))
    return found


@contextmanager
def _alone(kind: str, key: str) -> Iterator[None]:
    """Hold the stage's lock, waiting for whoever has it.

    The lock is the kernel's (flock) on a file that stays: its owner's death, even by SIGKILL, releases it at once, so
    that no lock is ever stale, and no age or clock decides. On network folders the file server does the same (NFS
    since Linux 2.6.12). Where there is no flock at all it is refused: a lock that is only a file outlives its owner.
    """
    target = location(kind, key)
    lock = FileLock(target.with_suffix(".lock"), mode=0o666, fallback_to_soft=False)  # 0o666: every user's
    with on_disk(target.with_suffix(".lock")):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            print(f"waiting for another process that computes {kind} {key}", flush=True)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()
