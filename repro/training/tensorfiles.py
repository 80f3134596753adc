"""Tensors in files: safetensors and nothing else, so that no file of a cache can run code."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from repro.files import write_atomic

# what reading a damaged file can raise
UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError)


def write(
    path: Path,
    tensors: Mapping[str, Tensor],
    metadata: dict[str, str] | None = None,
    through: Callable[[Path, Callable[[Path], object]], None] = write_atomic,
) -> None:
    """Write named tensors whole. Raises DiskError as files.write_atomic does.

    through: write_atomic, or what else writes whole (mirror.write: with a copy).
    """
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    through(path, lambda temporary: _save(contiguous, temporary, metadata))


def _save(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None) -> None:
    try:
        save_file(tensors, path, metadata)
    except SafetensorError as error:  # it tells a full disk's number in its text alone
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), str(error)) from error
