"""What a number was computed on and with: hardware, versions, and the code itself."""

import ctypes
import hashlib
import platform
from functools import lru_cache
from importlib.metadata import version
from typing import Any

from repro import paths

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of mallopt(3)


def description() -> dict[str, Any]:
    """What this process computes on and with: device, threads, commit and versions."""
    import torch

    return {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
        "commit": paths.commit(),
        "versions": versions(),
    }


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that determine a number."""
    return {"python": platform.python_version()} | {
        name: version(name) for name in ("torch", "transformers")
    }


@lru_cache(maxsize=1)
def code() -> str:
    """One checksum of this package's modules and the versions: equal on equal installations."""
    total = hashlib.sha256(repr(versions()).encode())
    for module in sorted((paths.ROOT / "repro").rglob("*.py")):
        total.update(module.read_bytes())
    return total.hexdigest()


def keep_memory() -> None:
    """Let glibc keep freed memory instead of returning it to the kernel.

    Otherwise every large tensor of every step is mapped anew, page by page, which takes a sixth of
    a step on short sentences. Does nothing with another C library.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_THRESHOLD, 32 << 20)  # the largest value allowed
        library.mallopt(_TRIM_THRESHOLD, (2 << 30) - 1)
