"""After forty SIGKILLs at different places the table equals, byte by byte, an uninterrupted one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from killing import KINDS, PLACES

from repro import paths
from repro.runs.results import sealed

SEED = 20


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """The attempts' folder, and their log: ("killed", kind, place) or ("again", kind, key)."""
    folder = tmp_path_factory.mktemp("killed")
    program = [sys.executable, str(paths.ROOT / "tests" / "killing.py"), str(folder), str(SEED)]
    environment = os.environ | {"PYTHONPATH": str(paths.ROOT)}
    process = subprocess.run(
        program, capture_output=True, text=True, timeout=900, check=False, env=environment
    )
    assert process.returncode == 0, process.stderr[-2000:]
    return folder, [tuple(words) for words in json.loads(process.stdout)]


def test_it_was_killed_at_every_place(killed):
    kills = [words[1:] for words in killed[1] if words[0] == "killed"]
    writing = {(kind, place) for kind in KINDS for place in PLACES[1:]}
    steps = {(kind, "step") for kind in ("teacher", "ptp", "student")}
    assert (writing | steps) - set(kills) == set()
    assert len(kills) >= 40
    assert ("any", "time") in kills


def test_no_finished_stage_was_computed_again(killed):
    assert [words for words in killed[1] if words[0] == "again"] == []


@pytest.mark.parametrize("name", ["named", "timed"])
def test_the_table_equals_the_uninterrupted_one(killed, name):
    folder, _ = killed
    expected = sorted(
        path.relative_to(folder / "whole") for path in (folder / "whole/results").rglob("*.*")
    )
    assert (
        sorted(path.relative_to(folder / name) for path in (folder / name / "results").rglob("*.*"))
        == expected
    )
    assert {path.suffix for path in expected} == {".csv", ".json", ".parquet"}
    for path in expected:
        interrupted, whole = folder / name / path, folder / "whole" / path
        if path.suffix == ".json":
            assert without_times(interrupted) == without_times(whole)
        else:
            assert interrupted.read_bytes() == whole.read_bytes()


def without_times(path: Path) -> dict:
    row = json.loads(path.read_text())
    if path.parent.name == "cells":
        assert sealed(row) == row
    return {key: value for key, value in row.items() if key not in ("seconds", "sha256")}


@pytest.mark.parametrize("name", ["named", "timed"])
def test_no_temporary_or_damaged_file_is_left(killed, name):
    left = [path.name for path in (killed[0] / name).rglob("*") if path.is_file()]
    assert [
        path for path in left if path.startswith(".") or "partial" in path or "damaged" in path
    ] == []
