"""Where a training stands, on disk: a killed one goes on from there, and on a CPU ends in bitwise the same numbers.

Kept are the parameters, the optimiser's state, the steps done (batches and learning rate follow from their number),
the evaluations, the best parameters so far and torch's random numbers (dropout). NumPy's generators need not be: those
of training are made anew from seed and epoch.
"""

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from repro import paths
from repro.errors import of_disk
from repro.files import set_aside
from repro.training import tensorfiles
from repro.training.states import load_state, state_of

_SHARE = 20  # writing may cost one part in so many of a training's time: the next waits for that


class Checkpoint:
    """The place of one training's state, and when it is due again."""

    def __init__(self, path: Path) -> None:
        self.path, self.every = path, paths.checkpoint_steps()
        self._not_before = -1.0  # on the monotonic clock, which no change of the time of day moves
        self._begun, self._earlier = time.monotonic(), 0.0

    def due(self, step: int) -> bool:
        """Whether to save after this step: at every so many, unless the last time took long and was just now."""
        return step % self.every == 0 and time.monotonic() >= self._not_before

    def save(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        progress: Mapping[str, Any],
        best: Mapping[str, Tensor],
    ) -> None:
        """Write where the training stands after progress["steps"] steps; DiskError as files.write_atomic.

        progress: what is to be given back, as JSON can hold it. best: the best parameters so far, or none.
        """
        start = time.monotonic()
        groups = {
            "model": state_of(model),
            "best": best,
            "optimizer": _moments(optimizer),
            "random": _random_states(),
        }
        tensors = {
            f"{group}.{name}": value
            for group, values in groups.items()
            for name, value in values.items()
        }
        text = json.dumps({**progress, "seconds": self._earlier + start - self._begun})
        tensorfiles.write(self.path, tensors, {"progress": text, "sha256": _digest(text, tensors)})
        self._not_before = time.monotonic() + _SHARE * (time.monotonic() - start)

    def resume(
        self, model: nn.Module, optimizer: torch.optim.Optimizer
    ) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Put model, optimiser and random numbers back as they were; return progress and best parameters.

        Both are empty, and nothing is changed, if there is no checkpoint; a damaged one, or one of another model, is
        set aside. Raises DiskError for one that we have no right to read: it may be another user's, and whole.
        """
        if not self.path.exists():
            return {}, {}
        try:
            progress, groups = _read(self.path)
            _check_fits(model, groups)
            self._begun, self._earlier = time.monotonic(), progress.pop("seconds")
        except PermissionError as error:
            raise of_disk(self.path, error) from error
        except tensorfiles.UNREADABLE:
            set_aside(self.path)
            return {}, {}
        load_state(model, groups["model"])
        _restore_moments(optimizer, groups["optimizer"])
        _restore_random(groups["random"])
        print(f"going on from step {progress['steps']} of a training that was stopped", flush=True)
        return progress, groups["best"]


def seconds(path: Path) -> float:
    """How long the training had taken when this checkpoint was written, in all processes; 0 if there is none."""
    try:
        with safe_open(path, "pt") as file:
            return json.loads(file.metadata()["progress"])["seconds"]
    except tensorfiles.UNREADABLE:
        return 0.0


def _read(path: Path) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    """Progress and the groups of tensors; ValueError if the checksum is wrong."""
    path.open("rb").close()  # safetensors calls a file that may not be read one that is not there
    with safe_open(path, "pt") as file:
        metadata, tensors = (
            file.metadata() or {},
            {name: file.get_tensor(name) for name in file.keys()},  # noqa: SIM118
        )
    if metadata["sha256"] != _digest(metadata["progress"], tensors):
        raise ValueError("wrong checksum")
    groups: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "optimizer": {}, "random": {}}
    for name, value in tensors.items():
        group, _, rest = name.partition(".")
        groups[group][rest] = value
    return json.loads(metadata["progress"]), groups


def _digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over the text and every tensor's name, type, shape and bytes: the metadata cannot hold the file's own."""
    digest = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _check_fits(model: nn.Module, groups: dict[str, dict[str, Tensor]]) -> None:
    """ValueError unless the parameters are this model's: the code may have changed in between."""
    wanted = {name: parameter.shape for name, parameter in model.named_parameters()}
    for name in ("model", "best"):
        if groups[name] and {key: value.shape for key, value in groups[name].items()} != wanted:
            raise ValueError(f"other parameters in {name}")


def _moments(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state, e.g. "3.exp_avg" of its third parameter, on the CPU."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": value.cpu()
        for index, values in state.items()
        for name, value in values.items()
    }


def _restore_moments(optimizer: torch.optim.Optimizer, moments: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in moments.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )


def _random_states() -> dict[str, Tensor]:
    """Of the CPU's generator and, where there are GPUs, of theirs."""
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state()} | {
        f"cuda{index}": state for index, state in enumerate(gpus)
    }


def _restore_random(states: dict[str, Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            if f"cuda{index}" in states:
                torch.cuda.set_rng_state(states[f"cuda{index}"], index)
