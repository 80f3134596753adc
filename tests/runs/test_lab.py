"""`make lab`: working copies, private folders, the command. tests/lab opens it in a browser."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from repro import paths
from repro.errors import InputError
from repro.runs import notebooks


def test_every_notebook_gets_a_working_copy_once(tmp_path):
    assert notebooks.working_copies(tmp_path) == []
    sources = {path.name: path.read_bytes() for path in paths.NOTEBOOKS.glob("*.ipynb")}
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.ipynb")} == sources

    copy = tmp_path / "table4.ipynb"
    notebook = nbformat.read(copy, as_version=4)
    notebook.cells[-1].execution_count = 3  # outputs are no change
    nbformat.write(notebook, copy)
    assert notebooks.working_copies(tmp_path) == []
    notebook.cells[-1].source = "my own work"
    nbformat.write(notebook, copy)
    assert notebooks.working_copies(tmp_path) == ["table4.ipynb"]
    assert nbformat.read(copy, as_version=4).cells[-1].source == "my own work"
    assert {path.name: path.read_bytes() for path in paths.NOTEBOOKS.glob("*.ipynb")} == sources


def test_the_masters_of_the_course_are_not_copied(tmp_path):
    """They have the solutions and the hidden tests."""
    notebooks.working_copies(tmp_path)
    assert list((paths.NOTEBOOKS / "course" / "source").rglob("*.ipynb"))
    assert not list(tmp_path.rglob("source/**/*.ipynb"))


def test_a_damaged_copy_is_kept_and_named(tmp_path):
    (tmp_path / "table1.ipynb").write_text("{")
    assert notebooks.working_copies(tmp_path) == ["table1.ipynb"]
    assert (tmp_path / "table1.ipynb").read_text() == "{"


def test_the_copies_are_ignored_by_git():
    if not (paths.ROOT / ".git").exists():
        pytest.skip("not a checkout")
    name = ["git", "check-ignore", "--quiet", "lab/table4.ipynb"]
    assert subprocess.run(name, cwd=paths.ROOT).returncode == 0
    source = ["git", "check-ignore", "--quiet", "tests/lab/test_browser.py"]
    assert subprocess.run(source, cwd=paths.ROOT).returncode == 1


def test_everything_that_jupyter_writes_is_in_the_cache(own_folders):
    variables = notebooks.lab_environment()
    assert set(variables) >= {"JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"}
    cache = own_folders / "cache"
    assert all(Path(folder).is_relative_to(cache) for folder in variables.values())


@pytest.mark.parametrize("port", ["0", "65536", "-1", "80a", "²", " "])
def test_a_wrong_port_is_refused(port):
    with pytest.raises(InputError, match="PORT must be from 1 to 65535, got"):
        notebooks.lab_command(Path("lab"), port)


def test_a_port_is_used_as_given():
    assert "--ServerApp.port=8899" in notebooks.lab_command(Path("lab"), "8899")
    assert not [word for word in notebooks.lab_command(Path("lab")) if "port" in word]


@pytest.mark.parametrize("found", [True, False])
def test_without_a_browser_none_is_started(monkeypatch, found):
    def get():
        if not found:
            raise notebooks.webbrowser.Error

    monkeypatch.setattr(notebooks.webbrowser, "get", get)
    words = notebooks.lab_command(Path("lab"))
    assert ("--no-browser" in words) is not found
    assert "--allow-root" in words and words[0] == sys.executable


def test_the_process_becomes_jupyterlab(own_folders, monkeypatch, capsys):
    monkeypatch.setattr(notebooks.paths, "base", lambda: own_folders)
    monkeypatch.chdir(own_folders)
    before = dict(os.environ)
    started = []
    monkeypatch.setattr(notebooks.os, "execv", lambda path, words: started.append(words))
    try:
        notebooks.start_lab("8899")
    finally:
        os.environ.clear()
        os.environ.update(before)
    assert f"--ServerApp.root_dir={own_folders / 'lab'}" in started[0]
    assert Path.cwd() == own_folders / "lab"
    assert (own_folders / "lab" / "explore.ipynb").exists()
    assert "working copies of the notebooks" in capsys.readouterr().out


def test_a_wrong_port_is_one_line():
    done = subprocess.run(
        [sys.executable, "-m", "repro.runs.notebooks", "http"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(paths.ROOT)},
    )
    assert done.returncode == 2
    assert done.stderr == "error: PORT must be from 1 to 65535, got 'http'\n"
