"""Artefacts of the stages, by the hash of their inputs: written whole, checked when read, computed once."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from safetensors.torch import load_file, save_file
from torch import Tensor

from repro import mirror, paths
from repro.files import sha256


@dataclass(frozen=True)
class Artefact:
    """Named tensors and plain data of one finished stage."""

    tensors: dict[str, Tensor]
    meta: dict[str, Any]


def location(kind: str, key: str) -> Path:
    """cache/<kind>/<key>.json; the tensors lie beside it as .safetensors."""
    return paths.cache() / kind / f"{key}.json"


def exists(kind: str, key: str) -> bool:
    """Whether the stage is finished: its JSON is written last."""
    return location(kind, key).is_file()


def finished(kind: str) -> set[str]:
    """The keys of all finished stages of that kind, here or at REPRO_REMOTE."""
    folder = location(kind, "").parent
    names = {*os.listdir(folder)} if folder.is_dir() else set()
    return {name.removesuffix(".json") for name in names | mirror.names(folder) if name.endswith(".json")}


def meta(kind: str, key: str) -> dict[str, Any] | None:
    """The artefact's plain data without its tensors, which are not read; None if it cannot be had so."""
    try:
        found: dict[str, Any] = json.loads(mirror.text(location(kind, key)))["meta"]
    except (OSError, ValueError, KeyError):
        return None  # `load` says what is wrong with it
    return found


def save(kind: str, key: str, artefact: Artefact) -> None:
    """Tensors first, then the JSON with their checksum; each written under another name and renamed.

    The copies at REPRO_REMOTE, if that is set, are there before the JSON stands here.
    """
    target = location(kind, key)
    tensors = target.with_suffix(".safetensors")
    contiguous = {name: tensor.contiguous() for name, tensor in artefact.tensors.items()}
    mirror.write(tensors, lambda temporary: save_file(contiguous, temporary))
    text = json.dumps({"sha256": sha256(tensors), "meta": artefact.meta}, indent=1)
    mirror.write(target, lambda temporary: temporary.write_text(text))


def load(kind: str, key: str) -> Artefact | None:
    """The artefact; None if there is none or its checksum is wrong, which sets it aside as *.damaged."""
    target = location(kind, key)
    tensors = target.with_suffix(".safetensors")
    if not target.is_file():
        return None
    try:
        record = json.loads(target.read_text())
        if sha256(tensors) == record["sha256"]:
            return Artefact(load_file(tensors), record["meta"])
    except (OSError, ValueError, KeyError):
        pass  # unreadable: the same as a wrong checksum
    _set_aside(target, tensors)
    return None


def _set_aside(*files: Path) -> None:
    for file in files:
        if file.exists():
            print(f"damaged artefact set aside, computing it again: {file.name}.damaged", flush=True)
            file.replace(file.with_name(f"{file.name}.damaged"))


def get(kind: str, key: str, compute: Callable[[], Artefact]) -> Artefact:
    """The stored artefact, or `compute` it and store it; two processes that want it compute it once."""
    found = load(kind, key)
    if found is not None:
        return found
    target = location(kind, key)
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_suffix(".lock")):
        found = load(kind, key)
        if found is None and mirror.pull(target.with_suffix(".safetensors"), target):
            found = load(kind, key)
        if found is None:
            found = compute()
            save(kind, key, found)
    return found
