"""What fits into some minutes: the order of the work, the end of the time, and the packed file."""

import shutil
import signal
import time

import pytest
from synthetic import finish
from tiny_cells import tiny

from repro import paths
from repro.errors import InputError
from repro.runs import engine, results, within


def test_the_work_is_in_the_order_in_which_it_is_wanted():
    work = within.steps("demo")
    assert [(step.tasks, step.seeds) for step in work] == list(within.STEPS)
    first = work[0].cells
    assert {cell.table for cell in first} == set(within.TABLES)
    assert {cell.task for cell in first} == {"mini-RTE", "mini-MRPC"}
    assert {cell.seed for cell in first} == set(range(5))
    (own,) = within.steps("demo", "textbook", "QNLI", 2)
    assert {(cell.task, cell.seed) for cell in own.cells} == {("mini-QNLI", 0), ("mini-QNLI", 1)}


@pytest.mark.parametrize("minutes", [0, -1, float("nan"), 1e9])
def test_minutes_that_cannot_be_are_refused(minutes):
    with pytest.raises(InputError, match="minutes must be above 0 and at most 10080, got"):
        within.run_within(minutes, [], 1)


def test_the_run_stops_when_the_time_is_over_and_keeps_what_is_finished(own_folders, monkeypatch):
    quick, late = tiny("table5")[:1], tiny("table4")[:1]
    work = [within.Step("RTE", 1, quick), within.Step("RTE", 1, late)]

    def run_cells(cells, *arguments):
        if cells == late:
            signal.raise_signal(signal.SIGALRM)  # now the time is over
        engine.run_cells(cells, "serial")

    monkeypatch.setattr(within, "run_cells", run_cells)
    assert not within.run_within(60, work, 1)
    assert [step.finished for step in work] == [1, 0]
    assert within.run_within(60, work[:1], 1)


def test_the_time_ends_what_runs_and_leaves_no_alarm():
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(within.TimeUp), within._alarm(0.05):
        time.sleep(60)
    with within._alarm(60):
        pass
    assert signal.getsignal(signal.SIGALRM) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_packed_run_is_finished_where_it_is_unpacked(own_folders, monkeypatch, tmp_path):
    cells = tiny("table5")[:1]
    engine.run_cells(cells, "serial")
    packed = within.pack("demo")
    assert packed == paths.all_results() / "demo.zip"
    monkeypatch.setenv("REPRO_RESULTS", str(tmp_path / "elsewhere"))
    assert not results.done(cells[0])
    shutil.unpack_archive(packed, tmp_path / "elsewhere")
    assert results.done(cells[0])


def test_the_command_says_what_is_finished(repro, monkeypatch):
    monkeypatch.setattr(within, "run_within", lambda *arguments: False)
    words = ("within", "8", "--profile", "demo", "--tasks", "RTE", "--seeds", "1")
    code, out, err = repro(*words)
    assert code == 0, err
    assert out.splitlines()[0] == "the time is over"
    assert out.splitlines()[1].startswith("RTE, 1 seed: 0 of ")
    assert len(out.splitlines()) == 2 and not paths.results("demo").exists()
    (cell, *_) = within.steps("demo", "textbook", "RTE", 1)[0].cells
    finish([cell], rows=4)
    code, out, err = repro(*words)
    assert code == 0, err
    assert out.splitlines()[1].startswith("RTE, 1 seed: 1 of ")
    assert out.splitlines()[2].endswith("demo.zip")
