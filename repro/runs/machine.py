"""What a number was computed on and with: hardware, versions, and the code itself."""

import ctypes
import hashlib
import os
import platform
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from repro import files, paths

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of mallopt(3)
_CGROUPS, _OWN_CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def cores() -> int:
    """How many cores this process may use: its CPU affinity and its container's CPU quota count."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    available = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, int(min([available, *_quotas()])))


def _quotas() -> Iterator[float]:
    """CPU quotas, in cores, of this process's control groups and of the groups above them."""
    try:
        groups = _OWN_CGROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = _CGROUPS / "cpu" if controllers else _CGROUPS  # version 1 or 2
        group = top / path.lstrip("/")
        for folder in (group, *group.parents):
            if not folder.is_relative_to(top):
                break
            try:
                if controllers:
                    quota = (folder / "cpu.cfs_quota_us").read_text(encoding="utf-8")
                    period = (folder / "cpu.cfs_period_us").read_text(encoding="utf-8")
                else:
                    quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
                if quota != "max" and int(quota) > 0:  # -1: no quota
                    yield int(quota) / int(period)
            except (OSError, ValueError):  # a group above the container's is not visible in it
                continue


def description() -> dict[str, Any]:
    """What this process computes on and with: processor, device, threads, commit and versions."""
    import torch

    return {
        "processor": processor(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
        "commit": paths.commit(),
        "versions": versions(),
    }


@lru_cache(maxsize=1)
def processor() -> str:
    """The type of processor, e.g. "AMD EPYC 7B13": other types round differently."""
    with suppress(OSError):  # not Linux
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        if names:
            return names[0]
    return platform.processor() or platform.machine()


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
    for module in files.visible((paths.ROOT / "repro").rglob("*.py")):
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
