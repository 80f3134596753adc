"""Who looks sees what is running, how far it is and what failed; and TensorBoard gets every training's scalars."""

import os
import signal
import struct
import subprocess
import sys
import time

import pytest
from rich.console import Console
from tensorboardX.proto.event_pb2 import Event

from repro import paths
from repro.config.cells import plan
from repro.errors import ReproError, TrainingError
from repro.runs import compute, engine, scalars, stages, watching
from repro.runs.watching import Note, notes

BUDGET = {
    "train_cap": 48,
    "dev_cap": 32,
    "teacher.epochs": 1,
    "ptp.epochs": 1,
    "student.epochs": 2,
    "student.batch_size": 16,
    "teacher.batch_size": 16,
    "ptp.batch_size": 16,
}
WRITER = """
import time
from repro.runs.watching import Note
with Note("run", what="table2", workers=2, stages=3, ended=1, work=6.0, work_done=2.0, failed=[]):
    print("there", flush=True)
    time.sleep(600)
"""


def cells(table: str = "table5"):
    return plan(table, "demo", "RTE", 1, "authors", BUDGET)


def seen() -> str:
    """The view, as text."""
    console = Console(width=160, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(watching.view())
    return console.export_text()


def events(stage) -> list[Event]:
    """All events of the stage's training; each record is its length, a checksum, the event, a checksum."""
    found = []
    for file in sorted(scalars.folder(stage).iterdir()):
        content = file.read_bytes()
        while content:
            (size,) = struct.unpack("<Q", content[:8])
            found.append(Event.FromString(content[12 : 12 + size]))
            content = content[12 + size + 4 :]
    return found


def drawn(stage) -> dict[str, dict[int, float]]:
    """Each tag's points, by step."""
    tags: dict[str, dict[int, float]] = {}
    for event in events(stage):
        for value in event.summary.value:
            tags.setdefault(value.tag, {})[event.step] = value.simple_value
    return tags


@pytest.mark.usefixtures("own_folders")
def test_a_note_lasts_as_long_as_its_writer(monkeypatch):
    monkeypatch.setattr(watching, "_EVERY", 600.0)  # however long this process is kept waiting
    with Note("run", what="this") as note:
        assert [found["what"] for found in notes("run")] == ["this"] and notes("stage") == []
        note.say(what="too soon after the first to be written")
        assert notes("run")[0]["what"] == "this"
    assert notes("run") == [] and list((paths.cache() / "notes").iterdir()) == []
    assert "nothing is running" in seen()


def test_a_killed_writers_note_is_void(own_folders):
    environment = os.environ | {"PYTHONPATH": str(paths.ROOT)}
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert writer.stdout.readline() == "there\n"
    assert [note["where"].rpartition(":")[2] for note in notes("run")] == [str(writer.pid)]
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    assert notes("run") == [] and list((own_folders / "cache/notes").iterdir()) == []


@pytest.mark.usefixtures("own_folders")
@pytest.mark.parametrize("text", ["[]", "null", "{}", '{"since": "now"}', '{"since": 1.0}'])
def test_a_note_that_tells_nothing_is_passed_over(text):
    with Note("run", what="this") as run, Note("stage", what="teacher of BERT3") as stage:
        run._path.write_text(text)
        assert "teacher of BERT3" in seen()
        stage._path.write_text(text)
        assert "this" not in seen()


@pytest.mark.usefixtures("own_folders")
def test_a_clock_that_was_set_back_makes_no_negative_times():
    with (
        Note(
            "run",
            what="this",
            workers=1,
            stages=9,
            ended=3,
            work=9.0,
            work_done=3.0,
            failed=[],
            since=time.time() + 3600,
        ),
        Note("stage", what="that", since=time.time() + 3600),
    ):
        assert "3 of 9 stages done, 0 failed, 0:00 gone, 0:00 left, 180.0 stages a minute" in seen()
        assert "-" not in seen().replace(os.uname().nodename, "")


def test_where_no_note_can_be_written_nothing_fails(own_folders):
    (own_folders / "cache").mkdir(exist_ok=True)
    (own_folders / "cache/notes").write_text("a file where the folder should be")
    with Note("run", what="this") as note:
        note.say(what="that")


def test_a_run_tells_how_far_it_is_and_what_failed(own_folders, monkeypatch):
    """Looked at after each stage: counts, the stage that failed with its reason, and who is at work."""
    views, wanted = [], compute._COMPUTE["ptp"]

    def fails(stage, log):
        views.append(seen())
        if len(views) == 1:
            raise TrainingError("the loss is not finite")
        return wanted(stage, log)

    monkeypatch.setitem(compute._COMPUTE, "ptp", fails)
    monkeypatch.setattr(watching, "_EVERY", 0.0)
    with pytest.raises(ReproError, match="1 of 4 cells failed"):
        engine.run_cells(cells(), "serial")
    assert (
        len(views) == 3
        and "3 of 9 stages done, 0 failed" in views[0]
        and "table5, profile demo" in views[0]
    )
    assert any(
        line.startswith("running") for line in views[0].splitlines()
    )  # below the bar, not behind it
    assert "ptp of BERT3" in views[0] and "left" in views[1] and "stages a minute" in views[1]
    assert (
        "2 failed" in views[1]
        and "failed: ptp of BERT3" in views[1]
        and "the loss is not finite" in views[1]
    )
    assert notes("run") == [] and notes("stage") == []


@pytest.mark.usefixtures("own_folders")
def test_a_worker_tells_its_step(monkeypatch):
    told = []
    monkeypatch.setattr(Note, "say", lambda note, **facts: told.append(facts))
    compute.run_stage(stages.stages(cells()[0])[0])
    steps = [facts for facts in told if facts]
    assert [(facts["step"], facts["steps"]) for facts in steps][-1] == (3, 3) and steps[-1][
        "rate"
    ] > 0


@pytest.mark.usefixtures("own_folders")
def test_every_trainings_terms_rate_and_score_go_to_tensorboard():
    made = cells()[-1]
    for stage in stages.stages(made):
        compute.run_stage(stage)
    by_kind = {stage.kind: drawn(stage) for stage in stages.stages(made) if stage.kind != "outputs"}
    assert all(
        {"learning_rate", "score"} < found.keys()
        for kind, found in by_kind.items()
        if kind != "ptp"
    )
    student, artefact = by_kind["student"], compute.read(stages.stages(made)[-1])
    terms = {tag for tag in student if tag.startswith("loss/")}
    assert len(terms) == 3 and all(
        list(student[term]) == list(range(1, 7)) for term in terms
    )  # 48 / 16 x 2 epochs
    for entry in artefact.meta["history"]:
        assert student["score"][entry["step"]] == pytest.approx(entry["score"])
        assert student["learning_rate"][entry["step"]] == pytest.approx(entry["learning_rate"])
    assert list(student["dev"]) == [6]


@pytest.mark.usefixtures("own_folders")
def test_a_training_that_goes_on_says_where():
    """TensorBoard drops what a session of a stopped process wrote from the step at which a new one starts."""
    stage = stages.stages(cells()[0])[0]
    for first in (1, 3):
        with Note("stage", what="x") as note, scalars.Scalars(stage, note) as log:
            log({first: {"kd": 1.0}}, 9)
        time.sleep(1.1)  # a session's file is named by the second
    starts = [event.step for event in events(stage) if event.session_log.status]
    assert starts == [1, 3] and list(drawn(stage)["loss/kd"]) == [1, 3]


@pytest.mark.usefixtures("own_folders")
def test_a_disk_that_takes_no_scalars_stops_no_training():
    (paths.cache() / "tensorboard").parent.mkdir(parents=True, exist_ok=True)
    (paths.cache() / "tensorboard").write_text("a file where the folder should be")
    stage = stages.stages(cells()[0])[0]
    compute.run_stage(stage)
    assert compute.read(stage).meta["steps"] == 3


def test_status_shows_what_runs_until_it_ends(own_folders):
    """`status --live` in one process while another one runs."""
    environment = os.environ | {"PYTHONPATH": str(paths.ROOT), "TERM": "dumb"}
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert writer.stdout.readline() == "there\n"
    command = [sys.executable, "-m", "repro", "status", "--task", "RTE", "--live"]
    live = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment, cwd=own_folders
    )
    while "table5" not in live.stdout.readline():  # the last line before it looks at what runs
        assert live.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):  # it stays
        live.wait(3)
    writer.kill()
    writer.communicate()
    out, _ = live.communicate(timeout=300)
    assert live.returncode == 0 and "nothing is running" in out
