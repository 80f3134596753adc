"""Training checkpoints; interrupted runs resume bit-identically on a CPU.

A checkpoint holds the parameters, the best parameters so far, the optimiser's state, torch's random
state (for dropout) and the progress, since the number of steps determines batches and learning
rate. NumPy's generators are not stored; training derives them from seed and epoch.
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
from repro.training.loop import Callback, Progress, Training
from repro.training.states import UNREADABLE, load_state, state_of, write_tensors

_SHARE = 20  # at most a twentieth of the time is spent on writing


class Checkpoint(Callback):
    """Write the state of a training at intervals; restore it when the training starts again.

    Args:
        path: File of the checkpoint.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.every = path, paths.checkpoint_steps()
        self._not_before = -1.0  # earliest time of the next write, on the monotonic clock
        self._begun, self._earlier = time.monotonic(), 0.0

    def on_start(self, training: Training) -> None:
        """Restore the state of an interrupted training, if there is one.

        A checkpoint that is damaged or belongs to another model is set aside.

        Raises:
            DiskError: If there is no permission to read the checkpoint. It is not set aside, since
                it may be another user's and intact.
        """
        if not self.path.exists():
            return
        try:
            stored, groups = _read(self.path)
            _check_fits(training.model, groups)
            progress = Progress(**stored["progress"])
            self._begun, self._earlier = time.monotonic(), stored["seconds"]
        except PermissionError as error:
            raise of_disk(self.path, error) from error
        except UNREADABLE:
            set_aside(self.path)
            return
        load_state(training.model, groups["model"])
        _restore_moments(training.optimizer, groups["optimizer"])
        _restore_random(groups["random"])
        training.progress, training.best_state = progress, groups["best"]
        print(f"resuming an interrupted training at step {progress.step}", flush=True)

    def on_step(self, training: Training) -> None:
        """Save if a write is due and the training continues."""
        step = training.progress.step
        if training.stop or step == training.last_step or not self.due(step):
            return
        training.read_losses()  # raises an error if a loss is not finite, before anything is saved
        self.save(training)

    def due(self, step: int) -> bool:
        """Return whether to save after a step: at intervals, longer ones if writing is slow."""
        return step % self.every == 0 and time.monotonic() >= self._not_before

    def save(self, training: Training) -> None:
        """Write the state of a training atomically.

        Raises:
            DiskError: If the file cannot be written.
        """
        start = time.monotonic()
        groups: dict[str, Mapping[str, Tensor]] = {
            "model": state_of(training.model),
            "best": training.best_state,
            "optimizer": _moments(training.optimizer),
            "random": _random_states(),
        }
        tensors = {
            f"{group}.{name}": tensor
            for group, members in groups.items()
            for name, tensor in members.items()
        }
        seconds = self._earlier + start - self._begun
        text = json.dumps({"progress": vars(training.progress), "seconds": seconds})
        write_tensors(self.path, tensors, {"progress": text, "sha256": _digest(text, tensors)})
        self._not_before = time.monotonic() + _SHARE * (time.monotonic() - start)


def seconds(path: Path) -> float:
    """Return the training time in seconds until the checkpoint was written; 0 if there is none."""
    try:
        with safe_open(path, "pt") as file:
            return json.loads(file.metadata()["progress"])["seconds"]
    except UNREADABLE:
        return 0.0


def _read(path: Path) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    """Read the stored JSON and the groups of tensors; ValueError if the checksum is wrong."""
    path.open("rb").close()  # safetensors reports an unreadable file as a missing one
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if metadata["sha256"] != _digest(metadata["progress"], tensors):
        raise ValueError("wrong checksum")
    groups: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "optimizer": {}, "random": {}}
    for name, value in tensors.items():
        group, _, rest = name.partition(".")
        groups[group][rest] = value
    return json.loads(metadata["progress"]), groups


def _digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over the text and the name, type, shape and bytes of every tensor."""
    digest = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _check_fits(model: nn.Module, groups: dict[str, dict[str, Tensor]]) -> None:
    """Raise ValueError unless names and shapes are the model's; the code may have changed."""
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    for name in ("model", "best"):
        if groups[name] and {key: value.shape for key, value in groups[name].items()} != shapes:
            raise ValueError(f"{name} has the parameters of another model")


def _moments(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state on the CPU; e.g. "3.exp_avg" belongs to its fourth parameter."""
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
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _random_states() -> dict[str, Tensor]:
    """Random states of the CPU and of every GPU."""
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state()} | {f"cuda{k}": state for k, state in enumerate(gpus)}


def _restore_random(states: dict[str, Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    if torch.cuda.is_available():
        for k in range(torch.cuda.device_count()):
            if f"cuda{k}" in states:
                torch.cuda.set_rng_state(states[f"cuda{k}"], k)
