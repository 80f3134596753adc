"""The progress bar: steps travel from trainings to the bar, and no number depends on it."""

import os
import time

import pytest
import torch
from tiny_cells import tiny

from repro.errors import InputError
from repro.runs import callbacks, compute, progress, stages
from repro.runs.progress import Progress, Report

pytestmark = pytest.mark.usefixtures("own_folders")


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr(progress, "INTERVAL", 0.01)
    monkeypatch.setattr(progress, "_LINES_INTERVAL", 0.02)


class Clock:
    """A clock that the test sets."""

    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    own = Clock()
    monkeypatch.setattr(progress.time, "monotonic", own)
    return own


def report(step, last=100, first=0, loss=0.5):
    return Report(first, step, last, 3e-4, loss)


def test_the_bar_counts_the_steps_of_parts_that_run(capsys):
    with Progress("table4", 40.0, 2, slots=2) as bar:
        bar.start("a", "student of SPS-1", 30.0)
        bar.start("b", "teacher", 10.0)
        progress.write_report("a", report(50))
        now = bar.snapshot()
        assert now.share == pytest.approx(15 / 40)
        assert now.running == [
            "student of SPS-1: step 50 of 100, loss 0.5, learning rate 3.0e-04",
            "teacher",
        ]
        bar.finish("a", 30.0)
        bar.finish("b", 10.0, failed=True)
        assert (bar.snapshot().share, bar.snapshot().running) == (1.0, [])
        assert bar.snapshot().count == "2 of 2 stages, 1 failed"
    assert "table4 100%" in capsys.readouterr().err


def test_the_estimate_is_corrected_by_what_is_measured(clock):
    with Progress("table4", 100.0, 1, seconds=50.0) as bar:
        assert "about 0:50 left" in bar.snapshot().times
        bar.start("a", "teacher", 100.0)
        clock.now = 30.0  # imports
        progress.write_report("a", report(1, loss=None))
        assert "about 0:50 left" in bar.snapshot().times
        clock.now = 130.0
        progress.write_report("a", report(51))
        seconds = bar._left(51.0, 51.0)
        assert 85 < seconds < 100  # 2 seconds for each of the 49 steps left


def test_the_steps_of_an_earlier_process_are_done_but_not_measured(clock):
    with Progress("table4", 100.0, 1) as bar:
        bar.start("a", "teacher", 100.0)
        progress.write_report("a", report(80, first=80))
        assert "left" not in bar.snapshot().times
        progress.write_report("a", report(81, first=80))
        bar.snapshot()
        clock.now = 10.0
        progress.write_report("a", report(91, first=80))
        now = bar.snapshot()
        assert now.share == pytest.approx(0.91)
        assert "about 0:09 left" in now.times


def test_a_report_of_a_killed_process_is_not_shown():
    progress.write_report("a", report(99))
    with Progress("table4", 1.0, 1) as bar:
        bar.start("a", "teacher", 1.0)
        assert bar.snapshot().share == 0.0


def test_a_damaged_report_is_ignored():
    progress.write_report("a", report(1))
    progress.report_path("a").write_text('{"first": 1}')
    assert progress.read_report("a") is None
    progress.report_path("a").write_text("{")
    assert progress.read_report("a") is None


@pytest.mark.usefixtures("fast")
def test_a_log_gets_whole_lines_now_and_then(monkeypatch, capsys):
    monkeypatch.setenv("REPRO_PROGRESS", "lines")
    with Progress("table4", 2.0, 1) as bar:
        bar.start("a", "teacher", 2.0)
        time.sleep(0.1)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) > 1
    assert all(line.startswith("table4 0% | 0:00 elapsed | 0 of 1 stages") for line in lines)
    assert "\r" not in "".join(lines)


def test_a_log_is_quiet_for_half_a_minute(monkeypatch, capsys):
    monkeypatch.setenv("REPRO_PROGRESS", "lines")
    monkeypatch.setattr(progress, "INTERVAL", 0.01)
    with Progress("table4", 2.0, 1):
        time.sleep(0.1)
        assert capsys.readouterr().err == ""


def test_an_unknown_mode_is_refused(monkeypatch):
    monkeypatch.setenv("REPRO_PROGRESS", "bar")
    with pytest.raises(InputError, match="'bar'; use one of: terminal, notebook, lines"):
        Progress("table4", 1.0, 1)


def test_a_terminal_shows_what_runs(monkeypatch):
    """A real terminal: the bar is drawn on its file descriptor."""
    monkeypatch.setenv("REPRO_PROGRESS", "terminal")
    monkeypatch.setattr(progress, "INTERVAL", 0.01)
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(progress.sys, "__stderr__", terminal)
        with Progress("table4", 2.0, 1) as bar:
            bar.start("a", "teacher on mini-RTE", 2.0)
            progress.write_report("a", report(50))
            time.sleep(0.2)
        drawn = os.read(ours, 100_000).decode()
    os.close(ours)
    assert "table4  50%" in drawn
    assert "teacher on mini-RTE: step 50 of 100, loss 0.5" in drawn


def test_a_training_reports_its_steps_and_its_numbers_do_not_depend_on_it(monkeypatch):
    cells = [cell for cell in tiny("table5") if cell.row == "BERT3+SPS"]
    reports = []
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    monkeypatch.setattr(progress, "write_report", lambda key, report: reports.append((key, report)))
    plan = stages.resolve(cells[0])
    reported = compute._compute(plan.trained).tensors
    mine = [report for key, report in reports if key == plan.trained.key]
    assert [report.step for report in mine] == [1, 2, 3]  # 48 examples in batches of 16
    assert mine[-1].last == 3 and mine[-1].learning_rate >= 0
    assert mine[-1].loss is None or mine[-1].loss > 0
    without = callbacks.usual_callbacks

    monkeypatch.setattr(compute, "usual_callbacks", lambda stage: without(stage)[:-1])
    silent = compute._compute(plan.trained).tensors
    assert reported.keys() == silent.keys()
    assert all(torch.equal(reported[name], silent[name]) for name in reported)


def test_a_full_disk_stops_no_training(own_folders):
    (own_folders / "cache").write_text("a file where the folder should be")
    progress.write_report("a", report(1))
    assert progress.read_report("a") is None
