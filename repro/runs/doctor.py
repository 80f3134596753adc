"""Checks of this machine: what a run needs, what is missing and how to get it."""

import platform
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import version

from repro import paths
from repro.config.tasks import GLUE
from repro.data.pypi_encoders import ENCODERS
from repro.errors import ReproError
from repro.runs import machine


def findings() -> Iterator[tuple[bool, str]]:
    """Yield (whether it is fine, one line) for everything that a run may need."""
    fine = sys.version_info[:2] in ((3, 11), (3, 12))
    yield fine, f"Python {platform.python_version()} (3.11 or 3.12)"
    libraries = ("torch", "transformers", "datasets", "papermill")
    yield True, ", ".join(f"{name} {version(name)}" for name in libraries)
    yield True, _hardware()
    yield from _glue()
    yield from map(_encoder, ENCODERS)
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
    cores, precision = machine.cores(), resolve_precision("auto")
    return f"{platform.system()}, {cores} cores, {gpu}; precision auto means {precision}"


def _glue() -> Iterator[tuple[bool, str]]:
    folder = paths.glue()
    if folder is None:
        yield True, "GLUE_DIR is not set: real GLUE comes from the hub; the demo profile needs none"
        return
    for task in GLUE:
        files = [folder / task.name / f"{split}.tsv" for split in ("train", "dev")]
        complete = all(file.is_file() for file in files)
        state = "is there" if complete else "lacks train.tsv or dev.tsv"
        yield complete, f"GLUE_DIR: {task.name} {state}"


def _encoder(name: str) -> tuple[bool, str]:
    from repro.data.encoders import locate

    try:
        return True, f"encoder {name}, SHA-256 {locate(name).sha256[:16]}…"
    except ReproError as error:
        return False, str(error)
