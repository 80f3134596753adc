"""Two processes share a cache: stages are computed once, files stay whole, locks end with owner."""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import pytest
import torch

from repro import paths
from repro.errors import DiskError
from repro.runs import cache as store
from repro.runs.cache import Artefact

PROGRAM = """
import os, sys, killing
from pathlib import Path
folder = Path(sys.argv[1])
killing.prepare()
both = [killing.fork(folder / "both", killing.Watch(folder / "log")) for _ in range(2)]
assert [os.waitpid(child, 0)[1] for child in both] == [0, 0]
killing.finish(folder / "one", killing.Watch(folder / "log of one"))
"""


@pytest.fixture(scope="module")
def twice(tmp_path_factory):
    """FOLDER/both: a table computed by two processes at the same time; FOLDER/one: by one."""
    folder = tmp_path_factory.mktemp("twice")
    environment = os.environ | {"PYTHONPATH": f"{paths.ROOT}:{paths.ROOT}/tests"}
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env=environment,
    )
    assert process.returncode == 0, process.stderr[-2000:]
    return folder


def started(log: Path) -> Counter:
    return Counter(tuple(json.loads(line)) for line in log.read_text().splitlines())


def test_two_runs_compute_each_stage_once(twice):
    counts = started(twice / "log")
    assert set(counts.values()) == {1}
    assert counts == started(twice / "log of one")


def test_two_runs_write_the_same_table_as_one(twice):
    expected = sorted((twice / "one/results").rglob("*.[cp]*"))
    assert {path.suffix for path in expected} == {".csv", ".parquet"}
    for path in expected:
        assert (twice / "both" / path.relative_to(twice / "one")).read_bytes() == path.read_bytes()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def holder(release: Path, uid: int = 0) -> int:
    """Start a child that computes teacher k until the file exists; returns when it has the lock."""
    reader, writer = os.pipe()

    def compute() -> Artefact:
        os.write(writer, b"x")
        end = time.monotonic() + 600
        while not release.exists() and time.monotonic() < end:
            time.sleep(0.05)
        return Artefact({}, {"by": "the other"})

    child = os.fork()
    if child == 0:
        try:
            os.setuid(uid)
            store.get("teacher", "k", compute)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writer)
    assert select.select([reader], [], [], 300)[0], "the child did not get the lock"
    assert os.read(reader, 1) == b"x"
    return child


@pytest.fixture
def release(monkeypatch):
    """The file that ends a holder; it is created when a process prints that it waits."""
    with tempfile.TemporaryDirectory() as folder:  # every user may enter it
        Path(folder).chmod(0o755)
        file = Path(folder, "release")
        monkeypatch.setattr(
            store,
            "print",
            lambda *args, **kwargs: (print(*args, **kwargs), file.touch()),
            raising=False,
        )
        yield file


def mine() -> Artefact:
    return Artefact({"a": torch.ones(2)}, {"by": "me"})


def test_a_killed_owner_releases_its_lock_at_once(cache, release):
    child = holder(release)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert store.get("teacher", "k", mine).meta == {"by": "me"}
    assert not release.exists()  # no process waited
    assert (cache / "teacher/k.lock").is_file()  # the file is kept; only its lock matters


def test_a_waiting_process_says_so_and_uses_the_others_artefact(cache, release, capsys):
    child = holder(release)
    assert store.get("teacher", "k", mine).meta == {"by": "the other"}
    os.waitpid(child, 0)
    assert capsys.readouterr().out == "waiting for another process that computes teacher k\n"


def test_a_deleted_lock_file_damages_nothing(cache, release):
    child = holder(release)
    # The next process creates a new lock, so both compute; each writes whole files.
    (cache / "teacher/k.lock").unlink()
    assert store.get("teacher", "k", mine).meta == {"by": "me"}
    release.touch()
    os.waitpid(child, 0)
    assert store.get("teacher", "k", mine).meta["by"] in ("me", "the other")
    assert list(cache.rglob("*.damaged")) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can act as two users")
def test_two_users_share_a_cache(monkeypatch, release):
    """As with umask 002 in a folder of their group; here every user may write."""
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to other users
        monkeypatch.setenv("REPRO_CACHE", folder)
        store.get("teacher", "j", mine)
        Path(folder).chmod(0o755)
        Path(folder, "teacher").chmod(0o777)
        child = holder(release, uid=65534)
        # Written by user nobody, read by root.
        assert store.get("teacher", "k", mine).meta == {"by": "the other"}
        os.waitpid(child, 0)
        with store._lock("teacher", "i"):
            pass
        other = os.fork()
        if other == 0:  # user nobody takes a lock whose file belongs to root
            os.setuid(65534)
            os._exit(
                0 if store.get("teacher", "i", mine) and store.get("teacher", "j", mine) else 1
            )
        assert os.waitpid(other, 0)[1] == 0
        assert Path(folder, "teacher", "i.json").stat().st_uid == 65534


def test_a_folder_without_locks_is_refused(cache, monkeypatch):
    """A lock that is only a file would outlive a killed owner."""
    import fcntl

    def missing(*_):
        raise OSError(38, os.strerror(38))

    monkeypatch.setattr(fcntl, "flock", missing)
    with pytest.raises(
        DiskError, match=r"k\.lock: Function not implemented; .* no file locks; set REPRO_CACHE"
    ):
        store.get("teacher", "k", mine)


def test_times_do_not_matter(cache, monkeypatch):
    """Neither old or future file times nor a clock that jumps back change anything."""
    store.get("teacher", "k", mine)
    for moment in (1, 2**33):
        for path in (cache / "teacher").iterdir():
            os.utime(path, (moment, moment))
        monkeypatch.setattr(time, "time", lambda moment=moment: -moment)
        assert store.get("teacher", "k", lambda: pytest.fail("it was computed again")).meta == {
            "by": "me"
        }
        assert store.get("teacher", f"new{moment}", mine).meta == {"by": "me"}
