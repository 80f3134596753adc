"""Publish a run: copy its verified results and figures into the folders that git tracks.

results/published/<profile>/ gets table CSVs with their sidecars, the cells behind them, all
predictions in one Parquet file, finished sweeps, executed notebooks and exported models: whole for
the demo, otherwise only their checksums, since `models` can make them again.
figures/published/<profile>/ gets LaTeX, figures and the PDF.
"""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from repro import paths
from repro.analysis import sidecar, tables, verification
from repro.analysis.sidecar import Run
from repro.config.profiles import profile
from repro.errors import InputError, MissingError, on_disk
from repro.files import visible
from repro.paths import shown
from repro.runs.results import logits_sha256

LIMIT = 60  # MB, all profiles together, since every clone downloads them
_PICTURES = (".pdf", ".png", ".tex")


def publish(profile_name: str, replace: bool = False, allow_dirty: bool = False) -> list[str]:
    """Replace the published results of a profile by those of the run in results/<profile>.

    If it fails, the previously published results are unchanged.

    Args:
        profile_name: The profile.
        replace: Allow to replace a published table by one with fewer seeds or tasks, or to remove
            it.
        allow_dirty: Allow results of an unknown commit or of uncommitted code.

    Returns:
        Lines that say what was published and how large it is.

    Raises:
        MissingError: If there are no results.
        InputError: If the results fail `verify`, `replace` or `allow_dirty` is needed, or the
            published files would be larger than LIMIT.
        DiskError: If a file cannot be written.
    """
    source = paths.results(profile(profile_name).name)
    _require(verification.verify(profile_name), f"make verify PROFILE={profile_name}")
    runs = tables_of(source)
    if not runs:
        raise MissingError(f"no tables in {shown(source)}; run: make tables PROFILE={profile_name}")
    if not replace:
        _check_fuller(runs, paths.published_results() / profile_name)
    ids = sorted({cell_id for _, recorded in runs.values() for cell_id in recorded})
    if not allow_dirty:
        _check_commits(source, ids)
    results = paths.published_results() / f".{profile_name}.new" / profile_name
    figures = paths.published_figures() / f".{profile_name}.new" / profile_name
    try:
        with on_disk(results):
            for folder in (results, figures):
                shutil.rmtree(folder.parent, ignore_errors=True)
                folder.mkdir(parents=True)
            left_out = _fill(results, source, runs, ids)
            _copy_figures(paths.figures(profile_name), figures)
            with paths.results_in(results.parent):
                _require(verification.verify(profile_name), f"make publish PROFILE={profile_name}")
            sizes = _sizes(profile_name, results, figures)
            _swap(
                (results, paths.published_results() / profile_name),
                (figures, paths.published_figures() / profile_name),
            )
    finally:
        for folder in (results, figures):
            shutil.rmtree(folder.parent, ignore_errors=True)
    return [
        f"published: {len(runs)} tables and {len(ids)} cells, {sizes}",
        *(f"left out, it may show sentences of GLUE: {name}" for name in left_out),
        *_not_made(profile_name),
    ]


def _not_made(profile_name: str) -> list[str]:
    """Lines that name what the published run lacks, with the commands that make it."""
    lines = []
    if not any((paths.published_figures() / profile_name).rglob("paper.tex")):
        lines.append(f"no document was published; make it with: make paper PROFILE={profile_name}")
    if not (paths.published_results() / profile_name / "models").is_dir():
        lines.append(
            f"no models were published; make them with: make models PROFILE={profile_name}"
        )
    return lines


def tables_of(folder: Path) -> dict[str, tuple[Run, list[str]]]:
    """Read the sidecars of all CSVs of a profile that were made from cells.

    Args:
        folder: results/<profile>.

    Returns:
        Arguments and cell ids, by name of the CSV. Tables with fewer seeds or tasks than another
        (`sidecar.target`) are left out.
    """
    runs = {}
    for path in visible(folder.glob("*.csv")):
        name = path.name.partition(".")[0]
        if name != tables.LEDGER and not sidecar.is_partial(path):
            runs[path.name] = sidecar.read(path, tables.DERIVED.get(name, name))
    return runs


def _require(verdict: verification.Verdict, command: str) -> None:
    """Raise InputError if a verification has findings."""
    if verdict.findings:
        raise InputError(
            f"{len(verdict.findings)} of the results cannot be verified, nothing was published; "
            f"first: {verdict.findings[0]}; see all with: {command}"
        )


def _check_fuller(runs: dict[str, tuple[Run, list[str]]], folder: Path) -> None:
    """Raise InputError if a published table would lose seeds or tasks."""
    for name, (old, _) in tables_of(folder).items():
        new = runs[name][0] if name in runs else None
        if new is None or not new.covers(old):
            has = f"{new.seeds} seeds on {new.tasks}" if new else "none"
            raise InputError(
                f"the published {name} has {old.seeds} seeds on {old.tasks}, this run has {has}; "
                "nothing was published; compute the rest, or give --replace (REPLACE=1)"
            )


def _check_commits(source: Path, ids: list[str]) -> None:
    """Raise InputError unless every cell was computed by committed code."""
    for cell_id in ids:
        commit = _read(source / "cells" / f"{cell_id}.json")["commit"]
        if commit in ("", "unknown") or commit.endswith("-dirty"):
            raise InputError(
                f"cell {cell_id} was computed by commit {commit or 'unknown'}, which cannot be "
                "checked out; nothing was published; commit the code and run again, or give "
                "--allow-dirty (ALLOW_DIRTY=1)"
            )


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def _fill(
    target: Path, source: Path, runs: dict[str, tuple[Run, list[str]]], ids: list[str]
) -> list[str]:
    """Copy a run's results into a new folder; returns the names of notebooks that are left out."""
    csv_paths = [source / name for name in runs]
    _copy([*csv_paths, *map(sidecar.path, csv_paths)], target)
    _copy(visible(source.glob(f"{tables.LEDGER}*.csv")), target)
    _copy([source / "cells" / f"{cell_id}.json" for cell_id in ids], target / "cells")
    for kind in ("predictions", "test_predictions"):
        _pack([source / kind / f"{cell_id}.parquet" for cell_id in ids], target / f"{kind}.parquet")
    if any(run.tuned for run, _ in runs.values()):  # a tuned plan reads its sweeps
        _copy(visible((source / "sweeps").glob("*.log")), target / "sweeps")
    for path in visible((source / "models").glob("*")):
        if path.suffix == ".csv":
            _copy([path], target / "models")
        elif source.name == "demo":
            shutil.copytree(path, target / "models" / path.name)
    shown_variants = {"", *(Path(name).stem.partition(".")[2] for name in runs)}
    notebooks = [
        path
        for path in visible((source / "notebooks").glob("*.ipynb"))
        if path.name.removesuffix(".ipynb").partition(".")[2] in shown_variants
    ]
    folder = target / "notebooks"
    return [path.name for path in notebooks if not _copy_notebook(path, folder, source.name)]


def _copy_figures(source: Path, target: Path) -> None:
    """Copy pictures and LaTeX, including those of the recipes in subfolders."""
    for folder in (source, *filter(Path.is_dir, visible(source.glob("*")))):
        pictures = [path for path in visible(folder.glob("*")) if path.suffix in _PICTURES]
        _copy(pictures, target / folder.relative_to(source))


def _copy(sources: Iterable[Path], folder: Path) -> None:
    for path in sources:
        folder.mkdir(exist_ok=True)
        shutil.copyfile(path, folder / path.name)


def _pack(parts: list[Path], target: Path) -> None:
    """Write the predictions of many cells into one file; `results.packed` reads it.

    Predictions that cells share are stored once: half the cells share a training with a cell of
    another table.
    """
    shared: dict[str, tuple[pd.DataFrame, list[str]]] = {}
    for path in filter(Path.is_file, parts):
        frame = pd.read_parquet(path)
        shared.setdefault(logits_sha256(frame), (frame, []))[1].append(path.stem)
    if not shared:
        return
    frames = [frame.assign(cells=" ".join(cell_ids)) for frame, cell_ids in shared.values()]
    table = pd.concat(frames, ignore_index=True).astype({"cells": "category"})
    logits = list(table.filter(like="logit_"))
    table[["cells", *table.columns.drop("cells")]].to_parquet(
        target,
        index=False,
        compression="zstd",
        use_dictionary=["cells", "label"],
        column_encoding=dict.fromkeys(logits, "BYTE_STREAM_SPLIT"),  # a fifth smaller
    )


def _copy_notebook(path: Path, folder: Path, profile_name: str) -> bool:
    """Copy an executed notebook without sentences of GLUE, whose licences forbid copies.

    The demo's sentences are generated. On real GLUE, cells that call `explore`, except for training
    curves, lose their outputs, and a notebook that reads a task's data itself or has widgets is not
    copied.

    Returns:
        Whether it was copied.
    """
    notebook = _read(path)
    if profile_name != "demo":
        sources = ["".join(cell["source"]) for cell in notebook["cells"]]
        if any(name in source for source in sources for name in ("repro.data", "widgets")):
            return False
        for cell, source in zip(notebook["cells"], sources, strict=True):
            if "explore." in source.replace("explore.curves", "") and cell["cell_type"] == "code":
                note = ["Not published: this output shows sentences of GLUE.\n"]
                cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": note}]
    folder.mkdir(exist_ok=True)
    (folder / path.name).write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
    return True


def _sizes(profile_name: str, results: Path, figures: Path) -> str:
    """Describe the size of the published files; InputError if all profiles exceed LIMIT."""
    new = sum(map(_megabytes, (results, figures)))
    total = new + sum(
        _megabytes(folder)
        for root in (paths.published_results(), paths.published_figures())
        for folder in root.glob("[!.]*")
        if folder.name != profile_name
    )
    if total > LIMIT:
        raise InputError(
            f"the published files would have {total:.1f} MB, {new:.1f} MB of them for "
            f"{profile_name}; at most {LIMIT} MB are allowed; nothing was published; publish fewer "
            "tables or seeds"
        )
    return f"{new:.1f} MB; all profiles: {total:.1f} of {LIMIT} MB"


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def _swap(*pairs: tuple[Path, Path]) -> None:
    """Replace old folders by new ones: all of them, or none if a rename fails."""
    kept = [(final.with_name(f".{final.name}.old"), final) for _, final in pairs]
    for old, final in kept:
        if old.exists() and not final.exists():  # an earlier publish was killed here
            old.rename(final)
        shutil.rmtree(old, ignore_errors=True)
    try:
        for (new, final), (old, _) in zip(pairs, kept, strict=True):
            if final.exists():
                final.rename(old)
            new.rename(final)
    except OSError:
        for (new, final), (old, _) in zip(pairs, kept, strict=True):
            if not new.exists():  # already renamed
                final.rename(new)
            if old.exists():
                old.rename(final)
        raise
    for old, _ in kept:
        shutil.rmtree(old, ignore_errors=True)
