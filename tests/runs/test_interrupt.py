"""Ctrl-C and SIGTERM end a run in seconds; workers end with their parent."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from repro import paths
from repro.errors import KilledError, ReproError
from repro.runs import cache
from repro.runs.workers import Processes

SECONDS = 5.0  # on a machine that imports torch in two; see `soon`
LONG = [
    "--tasks",
    "RTE",
    "--seeds",
    "1",
    "--set",
    "teacher.epochs=400",
]  # hours: it cannot end by itself


def alive(folder: Path) -> list[int]:
    """The living processes that were started with this test's folders, in whatever session."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                ours = f"REPRO_CACHE={folder}/cache".encode() in (process / "environ").read_bytes()
                ended = (process / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
            except OSError:  # it ended meanwhile, or is another user's
                continue
            if ours and not ended:
                found.append(int(process.name))
    return found


def _heeds_ctrl_c() -> None:
    """Undo the SIGINT setting of a shell that started the tests with `&`."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def start(own_folders):
    """Start `python -m repro` in a session of its own; return after its first checkpoint."""
    started = []

    def call(*arguments):
        environment = os.environ | {"PYTHONPATH": str(paths.ROOT), "REPRO_CHECKPOINT_STEPS": "1"}
        command = [sys.executable, "-m", "repro", *arguments, *LONG]
        program = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,
            cwd=own_folders,
            preexec_fn=_heeds_ctrl_c,
        )
        started.append(program)
        until(
            lambda: (
                list(own_folders.glob("cache/teacher/*.partial.safetensors"))
                or program.poll() is not None
            ),
            300,
        )
        assert program.poll() is None, program.communicate()
        return program

    yield call
    for program in started:
        for process in alive(own_folders):
            os.kill(process, signal.SIGKILL)
        program.communicate()


def until(condition, seconds: float) -> float:
    """Wait for the condition; returns the seconds it took."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < seconds, f"not within {seconds} seconds"
        time.sleep(0.05)
    return time.monotonic() - begin


def soon(seconds: float) -> bool:
    """Whether that is within SECONDS, scaled by how long this machine now takes to import torch."""
    if seconds < SECONDS:
        return True
    begin = time.monotonic()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    return seconds < SECONDS * (time.monotonic() - begin) / 2.0


@pytest.mark.parametrize(
    "command",
    [("run", "table4"), ("run", "table4", "--engine", "serial"), ("table", "table4")],
    ids=" ".join,
)
def test_ctrl_c_stops_within_five_seconds(start, own_folders, command):
    program = start(*command)
    begin = time.monotonic()
    os.killpg(program.pid, signal.SIGINT)  # as a terminal does: to every process of the job
    out, err = program.communicate(timeout=300)
    assert soon(time.monotonic() - begin)
    assert program.returncode == 130
    assert "stopped: 0 of 5 stages of this run are computed and kept" in out + err
    *folders, again = err.splitlines()[-1].partition("to resume, run: ")[2].split(" ", 3)
    assert folders == [
        f"REPRO_{name}={own_folders}/{name.lower()}" for name in ("CACHE", "RESULTS", "FIGURES")
    ]
    assert again == shlex.join([sys.executable, "-m", "repro", *command, *LONG])
    assert [word for word in ("Traceback", "Task was destroyed") if word in out + err] == []
    assert list(own_folders.glob("cache/teacher/*.partial.safetensors")) != []
    assert soon(until(lambda: alive(own_folders) == [], 60))


@pytest.mark.parametrize("command", ["run", "table"])
def test_sigterm_is_as_ctrl_c(start, own_folders, command):
    program = start(command, "table4")
    for process in alive(own_folders):  # as Slurm does; Kubernetes tells the first alone
        os.kill(process, signal.SIGTERM)
    out, err = program.communicate(timeout=300)
    assert program.returncode == 143
    assert "stopped: 0 of 5 stages of this run are computed and kept" in out + err
    again = shlex.join([sys.executable, "-m", "repro", command, "table4", *LONG])
    assert err.splitlines()[-1].startswith("stopped; finished stages are kept; to resume, run: ")
    assert err.splitlines()[-1].endswith(f" {again}")
    assert [
        word for word in ("Traceback", "Task was destroyed", "leaked") if word in out + err
    ] == []
    until(lambda: alive(own_folders) == [], 60)


@pytest.mark.parametrize("command", ["run", "table"])
def test_no_process_outlives_a_killed_run(start, own_folders, command):
    """Workers see the end of a pipe; a notebook's kernel looks for its parent every second."""
    program = start(command, "table4")
    assert len(alive(own_folders)) >= {"run": 2, "table": 3}[command]
    program.kill()
    program.wait()
    assert soon(until(lambda: alive(own_folders) == [], 60))


# workers


def double(value: int) -> int:
    return 2 * value


def sleep(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(0.05)


def die(stage: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_worker_costs_its_own_stage_alone():
    with Processes(2) as pool:
        dead, other = pool.submit(die, "student of cell-1"), pool.submit(sleep, 1.0)
        assert other.result() != os.getpid()
        with pytest.raises(
            KilledError,
            match=r"computed student of cell-1 was killed from outside \(out of memory\?",
        ):
            dead.result()
        assert [pool.submit(double, value).result() for value in (1, 2, 3)] == [
            2,
            4,
            6,
        ]  # in a new process


def test_what_waits_takes_the_first_process_that_is_free(tmp_path):
    with Processes(2) as pool:
        long, *short = (
            pool.submit(wait_for, tmp_path / "go"),
            *(pool.submit(double, n) for n in range(4)),
        )
        assert [future.result() for future in short] == [0, 2, 4, 6]
        assert not long.done()
        (tmp_path / "go").touch()
        assert long.exception() is None


def test_what_waits_is_not_lost_with_the_process_before_it():
    with Processes(1) as pool:
        dead, waiting = pool.submit(die, "student of cell-1"), pool.submit(double, 2)
        assert waiting.result() == 4
        assert isinstance(dead.exception(), KilledError)


def test_an_error_in_a_worker_comes_back():
    with Processes(1) as pool:
        assert isinstance(pool.submit(cache.location, "..", "k").exception(), ReproError)


def test_killing_the_workers_ends_what_they_do_now():
    pool = Processes(1)
    process = pool.submit(os.getpid).result()
    pool.submit(sleep, 600)
    pool.submit(sleep, 600)  # which waits for the first
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt), pool:
        raise KeyboardInterrupt
    assert soon(time.monotonic() - begin)
    assert not Path(f"/proc/{process}").exists()
