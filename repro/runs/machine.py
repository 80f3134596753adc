"""What a number was made on and with: hardware, versions, and the code itself."""

import hashlib
import platform
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import torch

from repro import paths
from repro.training.loop import device


def hardware() -> dict[str, Any]:
    """The device's name and the number of threads."""
    name = torch.cuda.get_device_name() if device().type == "cuda" else "cpu"
    return {"device": name, "threads": torch.get_num_threads()}


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Of Python and of the libraries that decide a number."""
    return {"python": platform.python_version()} | {
        name: version(name) for name in ("torch", "transformers")
    }


@lru_cache(maxsize=1)
def code() -> str:
    """One checksum of this package's modules and the versions: two machines with the same compute the same."""
    total = hashlib.sha256(repr(versions()).encode())
    for module in sorted((paths.ROOT / "repro").rglob("*.py")):
        total.update(module.read_bytes())
    return total.hexdigest()
