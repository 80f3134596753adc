"""Artefacts and results that machines exchange through a folder or an fsspec URL."""

import errno
import os
import shutil
from pathlib import Path

import fsspec
import pytest
import torch

from repro import paths
from repro.config.cells import plan
from repro.errors import DiskError, MissingError
from repro.runs import cache, results
from repro.runs import remote as remote_files
from repro.runs.cache import Artefact

ARTEFACT = Artefact({"w": torch.arange(3.0)}, {"steps": 2})


@pytest.fixture(params=["memory://peakd", "folder"])
def remote(request, own_folders, monkeypatch):
    """An empty REPRO_REMOTE; returns its file system and root."""
    place = request.param if "://" in request.param else str(own_folders / "remote")
    monkeypatch.setenv("REPRO_REMOTE", place)
    system, root = fsspec.url_to_fs(place)
    if system.exists(root):
        system.rm(root, recursive=True)
    return system, root


def another_machine():
    """Simulate another machine: this one without its cache."""
    shutil.rmtree(paths.cache())


def never():
    raise AssertionError("computed again")


def test_another_machine_finds_an_artefact(remote):
    cache.save("teacher", "k", ARTEFACT)
    another_machine()
    assert not cache.exists("teacher", "k")
    artefact = cache.get("teacher", "k", never)
    assert artefact.meta == ARTEFACT.meta
    assert torch.equal(artefact.tensors["w"], ARTEFACT.tensors["w"])
    assert cache.exists("teacher", "k")  # the next reader needs no network


def test_a_missing_artefact_is_computed_and_uploaded(remote):
    system, root = remote
    assert cache.get("teacher", "k", lambda: ARTEFACT).meta == ARTEFACT.meta
    assert sorted(
        name.rpartition("/")[2] for name in system.ls(f"{root}/cache/teacher", detail=False)
    ) == ["k.json", "k.safetensors"]


def test_a_damaged_copy_is_set_aside_and_computed_again(remote):
    system, root = remote
    cache.save("teacher", "k", ARTEFACT)
    another_machine()
    system.pipe_file(f"{root}/cache/teacher/k.safetensors", b"half")
    assert cache.get(
        "teacher", "k", lambda: Artefact(ARTEFACT.tensors, {"computed": "again"})
    ).meta == {"computed": "again"}
    another_machine()
    assert cache.get("teacher", "k", never).meta == {"computed": "again"}  # the copy was replaced


def test_an_edited_copy_is_computed_again(remote):
    system, root = remote
    cache.save("teacher", "k", ARTEFACT)
    another_machine()
    name = f"{root}/cache/teacher/k.json"
    system.pipe_file(name, system.cat_file(name).replace(b'"steps": 2', b'"steps": 3'))
    assert cache.meta("teacher", "k") is None
    assert cache.get(
        "teacher", "k", lambda: Artefact(ARTEFACT.tensors, {"computed": "again"})
    ).meta == {"computed": "again"}


def test_finding_out_what_is_there_downloads_no_tensors(remote):
    cache.save("teacher", "k", ARTEFACT)
    another_machine()
    cache.save("teacher", "local", ARTEFACT)
    assert cache.finished("teacher") == {"k", "local"}
    assert cache.finished("student") == set()
    assert cache.meta("teacher", "k") == {"steps": 2}
    assert not cache.exists("teacher", "k")


def test_a_failed_upload_leaves_nothing_that_looks_finished(remote, monkeypatch):
    def refuse(*_):
        raise OSError("no space left")

    monkeypatch.setattr(type(remote[0]), "put_file", refuse)
    with pytest.raises(
        MissingError, match=r"REPRO_REMOTE=\S+ cannot be used: no space left; check"
    ):
        cache.save("teacher", "k", ARTEFACT)
    assert not cache.exists("teacher", "k")


def test_finished_cells_are_downloaded(remote):
    first, second = plan("table4", "demo", "RTE", 1)[:2]
    labels, logits = torch.tensor([0, 1]).numpy(), torch.eye(2).numpy()
    results.write(first, {"metrics": {"accuracy": 100.0}}, labels, logits)
    expected = results.path(first).read_bytes()
    shutil.rmtree(paths.results("demo"))
    results.fetch([first, second])
    assert [results.done(first), results.done(second)] == [True, False]
    assert results.path(first).read_bytes() == expected


def test_without_a_remote_no_file_system_is_opened(own_folders, monkeypatch):
    monkeypatch.delenv("REPRO_REMOTE", raising=False)
    monkeypatch.setattr(fsspec, "url_to_fs", lambda *_: never())
    cache.save("teacher", "k", ARTEFACT)
    assert cache.finished("teacher") == {"k"}
    assert not remote_files.pull(paths.cache() / "teacher" / "other.json")


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("nowhere://x", "Protocol not known"),
        ("gdrive://x", "gdrive"),
        ("ftp://127.0.0.1:1/x", "refused"),
        ("file", "Not a directory|File exists"),
        ("data://x", r"\w+"),
    ],
)
@pytest.mark.parametrize(
    "use",
    [
        lambda: cache.save("teacher", "k", ARTEFACT),
        lambda: cache.finished("teacher"),
        lambda: cache.get("teacher", "k", lambda: ARTEFACT),
    ],
)
def test_a_remote_that_cannot_be_used_is_named(own_folders, monkeypatch, place, reason, use):
    if place == "file":
        place = str(own_folders / "file")
        Path(place).touch()
    monkeypatch.setenv("REPRO_REMOTE", place)
    with pytest.raises(
        MissingError, match=f"REPRO_REMOTE={place} cannot be used: .*({reason})"
    ) as raised:
        use()
    assert "\n" not in str(raised.value)


def test_a_half_copied_artefact_is_computed(remote, monkeypatch):
    system, root = remote
    cache.save("teacher", "k", ARTEFACT)
    another_machine()
    system.rm_file(f"{root}/cache/teacher/k.safetensors")

    def refuse(_, source, target):  # with an error number, as some packages do
        raise FileNotFoundError(errno.ENOENT, "no such key", source)

    with monkeypatch.context() as patch:
        patch.setattr(type(system), "get_file", refuse)
        assert cache.get(
            "teacher", "k", lambda: Artefact(ARTEFACT.tensors, {"computed": "again"})
        ).meta == {"computed": "again"}
    another_machine()
    assert cache.get("teacher", "k", never).meta == {"computed": "again"}


def test_a_half_copied_cell_is_not_downloaded(remote):
    system, root = remote
    (cell,) = plan("table4", "demo", "RTE", 1)[:1]
    results.write(cell, {"metrics": {}}, torch.tensor([0, 1]).numpy(), torch.eye(2).numpy())
    shutil.rmtree(paths.results("demo"))
    system.rm_file(f"{root}/results/demo/predictions/{cell.id}.parquet")
    results.fetch([cell])
    assert not results.path(cell).exists()


def test_a_full_local_disk_is_not_reported_as_the_remote(remote, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    cache.save("teacher", "k", ARTEFACT)
    another_machine()
    monkeypatch.setattr(type(remote[0]), "get_file", refuse)
    with pytest.raises(
        DiskError, match=r"k\.safetensors: No space left on device; free some space"
    ):
        cache.get("teacher", "k", never)


def test_the_path_of_a_copy_does_not_depend_on_the_local_folders(remote, monkeypatch):
    """One machine has its results inside the cache, another beside it."""
    (cell,) = plan("table4", "demo", "RTE", 1)[:1]
    with monkeypatch.context() as patch:
        patch.setenv("REPRO_RESULTS", str(paths.cache() / "results"))
        results.write(cell, {"metrics": {}}, torch.tensor([0, 1]).numpy(), torch.eye(2).numpy())
    results.fetch([cell])
    assert results.done(cell)


def test_a_folder_is_made_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REPRO_REMOTE", "shared")
    assert remote_files.remote() == str(tmp_path / "shared")
    monkeypatch.setenv("REPRO_REMOTE", "s3://bucket/peakd")
    assert remote_files.remote() == "s3://bucket/peakd"
