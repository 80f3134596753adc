"""Artefacts: written whole, found damaged, computed once."""

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
import torch

from repro import files
from repro.errors import DiskError
from repro.runs import cache
from repro.runs.cache import Artefact

MADE = Artefact({"a": torch.arange(6.0).reshape(2, 3).T}, {"seconds": 1.5})


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path))


def test_round_trip():
    cache.save("teacher", "k", MADE)
    found = cache.load("teacher", "k")
    assert torch.equal(found.tensors["a"], MADE.tensors["a"])
    assert found.meta == MADE.meta
    assert cache.exists("teacher", "k")
    assert cache.load("teacher", "other") is None


def damage_tensors(target):
    data = bytearray(target.with_suffix(".safetensors").read_bytes())
    data[-1] ^= 1
    target.with_suffix(".safetensors").write_bytes(data)


def drop_seal(target):
    record = json.loads(target.read_text())
    del record["seal"]
    target.write_text(json.dumps(record))


@pytest.mark.parametrize(
    "damage",
    [
        damage_tensors,
        lambda t: t.with_suffix(".safetensors").write_bytes(b""),
        lambda t: t.write_text("{"),
        lambda t: t.with_suffix(".safetensors").unlink(),
        drop_seal,
    ],
)
def test_damage_is_found_named_set_aside_and_computed_again(damage, capsys):
    cache.save("teacher", "k", MADE)
    damage(cache.location("teacher", "k"))
    again = cache.get("teacher", "k", lambda: Artefact({}, {"again": True}))
    assert again.meta == {"again": True}
    assert "k.json.damaged" in capsys.readouterr().out
    assert cache.location("teacher", "k").with_suffix(".json.damaged").exists()


def test_what_a_killed_writer_left_goes_and_what_a_living_one_writes_stays(tmp_path):
    (tmp_path / "teacher").mkdir()
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True
    )
    names = {
        f".{key}.json.{files.process_space()}.{pid.strip()}.a_1b"
        for key, pid in (("x", dead.stdout), ("y", str(os.getpid())))
    }
    # a container may have this host's name, and other processes
    elsewhere = f".x.json.{socket.gethostname()}-0123456789ab.{dead.stdout.strip()}.ab"
    other = {elsewhere, ".x.json.another-host.1.ab", ".hidden", "x.json"}
    for name in names | other:
        (tmp_path / "teacher" / name).touch()
    cache.save("teacher", "k", MADE)
    left = {path.name for path in (tmp_path / "teacher").iterdir()} - {"k.json", "k.safetensors"}
    assert left == other | {name for name in names if name.startswith(".y")}


def test_computed_once_by_two_at_the_same_time(monkeypatch):
    calls, waiting = [], Event()
    monkeypatch.setattr(cache, "print", lambda *said, **how: waiting.set(), raising=False)

    def compute() -> Artefact:
        calls.append(1)
        assert waiting.wait(60)  # the other one wants it too
        return MADE

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: cache.get("teacher", "k", compute), range(2)))
    assert len(calls) == 1
    assert all(torch.equal(one.tensors["a"], MADE.tensors["a"]) for one in found)


def test_a_failed_computation_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError, match="no"):
        cache.get("teacher", "k", lambda: (_ for _ in ()).throw(RuntimeError("no")))
    assert not cache.exists("teacher", "k")
    assert {path.suffix for path in (tmp_path / "teacher").iterdir()} <= {".lock"}


def test_a_mount_without_modes_keeps_what_is_written(monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "chmod", refuse)
    monkeypatch.setattr(os, "fchmod", refuse)
    assert cache.get("teacher", "k", lambda: MADE).meta == MADE.meta
    assert cache.exists("teacher", "k")


def test_a_folder_without_locks_is_refused_before_the_first_training(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_RESULTS", str(tmp_path / "results"))
    cache.check()
    assert [path.name for path in tmp_path.rglob("*")] == ["results"]

    def refuse(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(DiskError, match="has no file locks; set REPRO_CACHE"):
        cache.check()


def test_files_that_macos_writes_beside_artefacts_are_none():
    cache.save("teacher", "k", MADE)
    cache.location("teacher", "._k").touch()
    assert cache.finished("teacher") == {"k"}
