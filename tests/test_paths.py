"""A wrong environment is reported in one line before a run starts."""

import os
import shutil
import subprocess
import sys
import tomllib

import pytest

from repro import errors, paths
from repro.runs import machine, remote

RUN = ("run", "table4", "--tasks", "RTE", "--seeds", "1", "--engine", "serial")


def refused(repro, own_folders) -> str:
    """The message of a run that is refused before it computes anything."""
    code, _, err = repro(*RUN)
    assert code == 2
    assert err.count("\n") == 1
    assert list(own_folders.rglob("*.safetensors")) == []
    return err


def test_a_wrong_number_of_checkpoint_steps_is_refused_once(repro, own_folders, monkeypatch):
    monkeypatch.setenv("REPRO_CHECKPOINT_STEPS", "abc")
    message = "error: REPRO_CHECKPOINT_STEPS must be a whole number of steps from 1, got 'abc'\n"
    assert refused(repro, own_folders) == message


def test_an_unknown_form_of_progress_is_refused_once(repro, own_folders, monkeypatch):
    monkeypatch.setenv("REPRO_PROGRESS", "none")
    assert (
        refused(repro, own_folders)
        == "error: unknown REPRO_PROGRESS 'none'; use one of: terminal, notebook, lines\n"
    )


def test_a_file_in_place_of_the_results_folder_is_reported_before_any_training(repro, own_folders):
    (own_folders / "results").touch()
    assert "results: File exists; move away what is in the way" in refused(repro, own_folders)


def test_an_impossible_cache_folder_is_reported_in_one_line(repro, own_folders, monkeypatch):
    (own_folders / "loop").symlink_to("loop")
    for place, words in [
        ("long" * 75, "File name too long; use a shorter path"),
        ("loop/cache", "symbolic links; fix the links"),
    ]:
        monkeypatch.setenv("REPRO_CACHE", str(own_folders / place))
        assert words in refused(repro, own_folders)


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        ("ENOENT", "create its folder"),
        ("ESTALE", "mount its file system again"),
        ("EMFILE", r"raise the limit of open files \(ulimit -n\)"),
    ],
)
def test_an_error_that_a_user_can_fix_has_its_remedy(number, advice):
    with (
        pytest.raises(errors.DiskError, match=f"cannot use f: .*; {advice}.*; then run"),
        errors.on_disk(),
    ):
        raise OSError(getattr(errors.errno, number), "", "f")


def test_folders_are_absolute_and_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for name, text in [("GLUE_DIR", "~/glue"), ("REPRO_CACHE", "a/../c"), ("REPRO_REMOTE", "~/r")]:
        monkeypatch.setenv(name, text)
    assert paths.glue() == tmp_path / "home" / "glue"
    assert paths.cache() == tmp_path / "c"
    assert remote.remote() == str(tmp_path / "home" / "r")
    paths.use_absolute_folders()
    assert os.environ["REPRO_CACHE"] == str(tmp_path / "c")
    monkeypatch.setenv("REPRO_REMOTE", "s3://bucket/~/a")
    assert remote.remote() == "s3://bucket/~/a"


def test_doctor_finds_the_files_that_a_run_reads(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GLUE_DIR", "~/glue")
    for split in ("train", "dev"):
        (tmp_path / "glue" / "RTE").mkdir(parents=True, exist_ok=True)
        (tmp_path / "glue" / "RTE" / f"{split}.tsv").touch()
    assert next(machine._check_glue()) == (True, "GLUE_DIR: RTE is there")


def test_the_commit_is_never_that_of_another_repository(tmp_path, monkeypatch):
    ours = paths.commit.__wrapped__()
    (tmp_path / "vendor").mkdir()
    (tmp_path / ".gitignore").write_text("vendor/")
    settings = ("-c", "user.name=n", "-c", "user.email=a@b.invalid")
    for words in (["init", "-q"], ["add", "."], [*settings, "commit", "-qm", "first"]):
        subprocess.run(["git", "-C", tmp_path, *words], check=True)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))  # as in a hook of that repository
    assert paths.commit.__wrapped__() == ours
    monkeypatch.delenv("GIT_DIR")
    monkeypatch.setattr(paths, "ROOT", tmp_path / "vendor")
    assert paths.commit.__wrapped__() == "unknown"


def test_an_installed_package_finds_its_notebooks_and_writes_to_the_current_folder(tmp_path):
    site = tmp_path / "lib" / "site-packages"
    (tmp_path / "share" / "repro" / "notebooks").mkdir(parents=True)
    (site / "repro").mkdir(parents=True)
    for name in ("__init__.py", "errors.py", "paths.py"):
        shutil.copy(paths.ROOT / "repro" / name, site / "repro")
    code = "from repro import paths; print(paths.NOTEBOOKS, paths.all_results(), sep='\\n')"
    environment = {"PYTHONPATH": str(site), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout.split() == [f"{tmp_path}/share/repro/notebooks", f"{tmp_path}/results"]
    declared = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert declared["data-files"] == {"share/repro/notebooks": ["notebooks/*.ipynb"]}
