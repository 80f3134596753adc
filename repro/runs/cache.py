"""Artefacts of the stages, by the hash of their inputs: written whole, checked when read, computed once."""

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
from repro.files import set_aside, sha256, verified
from repro.runs import remote
from repro.training.states import UNREADABLE, write_tensors


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


def finished(kind: str) -> set[str]:
    """The keys of all finished stages of that kind, here or at REPRO_REMOTE."""
    folder = location(kind, "").parent
    with on_disk(folder):
        names = {*os.listdir(folder)} if folder.is_dir() else set()
    return {
        name.removesuffix(".json")
        for name in names | remote.names(folder)
        if name.endswith(".json")
    }


def damaged(kind: str, key: str) -> bool:
    """Whether the artefact lies here and is not as it was written. Its tensors are hashed, once per process."""
    target = location(kind, key)
    return (
        target.exists() and _record(target, verified) is None
    )  # what does not lie here may be at REPRO_REMOTE


def meta(kind: str, key: str) -> dict[str, Any] | None:
    """The artefact's plain data without its tensors, which are not read; None if it is not there or not whole."""
    try:
        record: dict[str, Any] = json.loads(remote.text(location(kind, key)))
        return record["meta"] if _unaltered(record) else None
    except UNREADABLE:
        return None  # `load` says what is wrong with it


def save(kind: str, key: str, artefact: Artefact) -> None:
    """Tensors first, then the JSON with their checksum; each written under another name and renamed.

    The copies at REPRO_REMOTE, if that is set, are there before the JSON stands here.
    """
    target = location(kind, key)
    tensors = target.with_suffix(".safetensors")
    write_tensors(tensors, artefact.tensors, write=remote.write)
    record = {"sha256": sha256(tensors), "meta": artefact.meta}
    text = json.dumps(record | {"seal": digest(record, 64)}, indent=1)
    remote.write(target, lambda temporary: temporary.write_text(text))


def load(kind: str, key: str) -> Artefact | None:
    """The artefact; None if there is none or its checksum is wrong, which sets it aside as *.damaged."""
    found, target = _read(kind, key), location(kind, key)
    if found is None and target.exists():
        set_aside(target, target.with_suffix(".safetensors"))
    return found


def _read(kind: str, key: str) -> Artefact | None:
    """The artefact; None if there is none, or none that is whole."""
    target = location(kind, key)
    try:
        record = _record(target, sha256)
        return (
            Artefact(load_file(target.with_suffix(".safetensors")), record["meta"])
            if record
            else None
        )
    except UNREADABLE:
        return None


def _record(target: Path, hashed: Callable[[Path], str]) -> dict[str, Any] | None:
    """The JSON of an artefact, if that and the tensors beside it are as they were written."""
    try:
        record: dict[str, Any] = json.loads(target.read_text())
        whole = hashed(target.with_suffix(".safetensors")) == record["sha256"] and _unaltered(
            record
        )
    except PermissionError as error:
        raise of_disk(
            target, error
        ) from error  # no damage: another user's file, not to be set aside
    except UNREADABLE:
        return None  # not there, or unreadable, which is the same as a wrong checksum
    return record if whole else None


def _unaltered(record: dict[str, Any]) -> bool:
    """Whether the JSON is as it was written; takes its seal off."""
    return record.pop("seal", None) == digest(record, 64)


def get(kind: str, key: str, compute: Callable[[], Artefact]) -> Artefact:
    """The stored artefact, or `compute` it and store it; two processes that want it compute it once."""
    found, target = _read(kind, key), location(kind, key)
    if found is None:
        with _alone(kind, key):
            found = load(
                kind, key
            )  # somebody else may have made it by now; what is damaged is ours to set aside
            if found is None and remote.pull(target.with_suffix(".safetensors"), target):
                found = load(kind, key)
            if found is None:
                found = compute()
                save(kind, key, found)
    with suppress(
        OSError
    ):  # it is in nobody's way; who is killed just before this leaves it to the next reader
        partial(kind, key).unlink(missing_ok=True)
    return found


@contextmanager
def _alone(kind: str, key: str) -> Iterator[None]:
    """Hold the stage's lock, waiting for whoever has it.

    The lock is the kernel's (flock) on a file that stays: its owner's death, even by SIGKILL, releases it at once, so
    that no lock is ever stale, and no age or clock decides. On network folders the file server does the same (NFS
    since Linux 2.6.12). Where there is no flock at all it is refused: a lock that is only a file outlives its owner.
    """
    target = location(kind, key)
    lock = FileLock(
        target.with_suffix(".lock"), mode=0o666, fallback_to_soft=False
    )  # 0o666: every user's
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
