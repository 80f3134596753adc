"""The machine: what a number was computed on and with, and what a run would miss here."""

import ctypes
import hashlib
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from repro import files, paths
from repro.errors import ReproError

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


def check_installation() -> Iterator[tuple[bool, str]]:
    """Yield (whether it is fine, one line) for everything that a run may need: `make doctor`."""
    from repro.data.pypi_encoders import ENCODERS

    fine = sys.version_info[:2] in ((3, 11), (3, 12))
    yield fine, f"Python {platform.python_version()} (3.11 or 3.12)"
    libraries = ("torch", "transformers", "datasets", "papermill")
    yield True, ", ".join(f"{name} {version(name)}" for name in libraries)
    yield True, _hardware()
    yield from _check_glue()
    yield from map(_check_encoder, ENCODERS)
    if shutil.which("latexmk"):
        yield True, "latexmk"
    else:
        yield False, "no latexmk: make paper writes no PDF; install latexmk with a LaTeX"
    cache = paths.cache().resolve()
    folder = next(path for path in (cache, *cache.parents) if path.exists())
    free = shutil.disk_usage(folder).free / 2**30
    yield free > 5, f"{free:.0f} GiB free for the cache (demo 0.2, cpu 5, paper 40 per seed)"


def _hardware() -> str:
    import torch

    from repro.training.loop import resolve_precision

    gpu = "no GPU (the paper profile wants one)"
    if torch.cuda.is_available():
        gpu = torch.cuda.get_device_name()
    precision = resolve_precision("auto")
    return f"{platform.system()}, {cores()} cores, {gpu}; precision auto means {precision}"


def _check_glue() -> Iterator[tuple[bool, str]]:
    from repro.config.tasks import GLUE

    folder = paths.glue()
    if folder is None:
        yield True, "GLUE_DIR is not set: real GLUE comes from the hub; the demo profile needs none"
        return
    for task in GLUE:
        splits = [folder / task.name / f"{split}.tsv" for split in ("train", "dev")]
        complete = all(path.is_file() for path in splits)
        state = "is there" if complete else "lacks train.tsv or dev.tsv"
        yield complete, f"GLUE_DIR: {task.name} {state}"


def _check_encoder(name: str) -> tuple[bool, str]:
    from repro.data.encoders import locate
    from repro.data.pypi_encoders import ENCODERS

    try:
        sha256, licence = locate(name).sha256, ENCODERS[name].licence
        return True, f"encoder {name}, licence {licence}, SHA-256 {sha256[:16]}…"
    except ReproError as error:
        return False, str(error)
