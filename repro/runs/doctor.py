"""What is here, what is missing and how to get it: one line each."""

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from repro import paths
from repro.config.tasks import GLUE
from repro.data.pypi_encoders import ENCODERS


def findings() -> Iterator[tuple[bool, str]]:
    """(whether it is fine, one line) for everything a run may need."""
    yield (
        sys.version_info[:2] in ((3, 11), (3, 12)),
        f"Python {platform.python_version()} (3.11 or 3.12)",
    )
    yield (
        True,
        ", ".join(
            f"{name} {version(name)}" for name in ("torch", "transformers", "datasets", "papermill")
        ),
    )
    yield _hardware()
    yield from _glue()
    yield from map(_encoder, ENCODERS)
    yield _tex()
    yield _disk()


def _hardware() -> tuple[bool, str]:
    import torch

    from repro.training.loop import resolve_precision

    gpu = (
        f", {torch.cuda.get_device_name()}"
        if torch.cuda.is_available()
        else ", no GPU (the paper profile wants one)"
    )
    return (
        True,
        f"{len(os.sched_getaffinity(0))} cores{gpu}; precision auto means {resolve_precision('auto')}",
    )


def _glue() -> Iterator[tuple[bool, str]]:
    folder = os.environ.get("GLUE_DIR")
    if not folder:
        yield True, "GLUE_DIR is not set: real GLUE comes from the hub; the demo profile needs none"
        return
    for task in GLUE:
        there = all(
            (Path(folder) / task.name / f"{split}.tsv").is_file() for split in ("train", "dev")
        )
        yield (
            there,
            f"GLUE_DIR: {task.name} {'is there' if there else 'lacks train.tsv or dev.tsv'}",
        )


def _encoder(name: str) -> tuple[bool, str]:
    from repro.data.encoders import locate
    from repro.errors import ReproError

    try:
        return True, f"encoder {name}, SHA-256 {locate(name).sha256[:16]}…"
    except ReproError as error:
        return False, str(error)


def _tex() -> tuple[bool, str]:
    there = shutil.which("latexmk") is not None
    return (
        there,
        "latexmk"
        if there
        else "no latexmk: make paper writes no PDF; install latexmk with a LaTeX",
    )


def _disk() -> tuple[bool, str]:
    folder = next(
        path for path in (paths.cache(), *paths.cache().resolve().parents) if path.exists()
    )
    free = shutil.disk_usage(folder).free / 2**30
    return free > 5, f"{free:.0f} GiB free for the cache (demo 0.2, cpu 5, paper 40 per seed)"
