"""Parameters as named tensors, and safetensors files of them."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from repro.files import write_atomic

# What reading a damaged file can raise.
UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError)


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """Copy every distinct parameter to the CPU; a shared one is listed under its first name."""
    return {
        name: parameter.detach().to("cpu", copy=True)
        for name, parameter in model.named_parameters()
    }


def load_state(
    model: nn.Module, state: Mapping[str, Tensor], without: tuple[str, ...] = ()
) -> None:
    """Load the output of `state_of`, except parameters whose names start with one of `without`."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.startswith(without):
                parameter.copy_(state[name])


def write_tensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    metadata: dict[str, str] | None = None,
    write: Callable[[Path, Callable[[Path], object]], None] = write_atomic,
) -> None:
    """Write named tensors as safetensors.

    Args:
        path: The file.
        tensors: What to write.
        metadata: Text stored in the file's header.
        write: `files.write_atomic`, or `remote.write`, which keeps a remote copy too.

    Raises:
        DiskError: If the file cannot be written.
    """
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}

    def save(temporary: Path) -> None:
        try:
            save_file(contiguous, temporary, metadata)
        except SafetensorError as error:  # the number of an OS error is only in its text
            number = re.search(r"os error (\d+)", str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), str(error)) from error

    write(path, save)
