"""What `pip install .` installs works from any folder and writes to that folder only."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import own_data
import pytest

from repro import paths


def run(*words: str, folder: Path, **environment: str) -> str:
    """The output of a command of this Python, in a folder."""
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder into which pip has installed the wheel, without its dependencies."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("repro", "notebooks"):  # setuptools leaves files beside what it builds
        shutil.copytree(
            paths.ROOT / name,
            folder / "source" / name,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(paths.ROOT / name, folder / "source")
    pip = ("pip", "--disable-pip-version-check", "--quiet")
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "./source", folder=folder)
    (wheel,) = folder.glob("*.whl")
    run(*pip, "install", "--no-deps", "--no-index", "--target", "site", wheel.name, folder=folder)
    return folder / "site"


def test_everything_that_is_no_code_is_installed(site):
    def below(folder: Path) -> set[str]:
        return {
            str(path.relative_to(folder))
            for path in folder.rglob("*")
            if path.suffix != ".pyc" and path.is_file()
        }

    assert below(site / "repro") == below(paths.ROOT / "repro")
    notebooks = {path.name for path in (paths.ROOT / "notebooks").glob("*.ipynb")}
    assert below(site / "share" / "repro" / "notebooks") == notebooks


def test_it_runs_in_another_folder_and_writes_only_there(site, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in site.rglob("*") if path.suffix != ".pyc"}
    work, environment = tmp_path / "work", {"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
    work.mkdir()
    where = "from repro import paths; print(paths.NOTEBOOKS.joinpath('table2.ipynb').is_file())"
    done = subprocess.run(
        [sys.executable, "-c", where], cwd=work, env=environment, capture_output=True, text=True
    )
    assert done.stdout == "True\n", done.stderr
    assert "to do  table2-peabert3-mini-rte" in run(
        "repro", "list", "table2", folder=work, **environment
    )
    assert list(work.iterdir()) == []
    for number, (split, rows) in enumerate((("train", 50), ("dev", 20))):
        own_data.three_classes(rows, number).to_csv(work / f"{split}.csv", index=False)
    words = ["repro", "distill", "--train", "train.csv", "--dev", "dev.csv", "--text", "review"]
    words += ["--label", "colour", "--encoder", "embedded", "--layers", "1", "--epochs", "1"]
    out = run(*words, "--out", "student", folder=work, **environment)
    assert out.endswith("written: student\n")
    assert {path.name for path in work.iterdir()} == {"train.csv", "dev.csv", "student", "cache"}
    after = {path: path.stat().st_mtime_ns for path in site.rglob("*") if path.suffix != ".pyc"}
    assert after == before
