"""TensorBoard logs: their values, resumed trainings, and disks that cannot be written."""

import resource
import struct
import time
from types import SimpleNamespace

import pytest
from tensorboardX.proto.event_pb2 import Event
from tiny_cells import tiny

from repro import paths
from repro.runs import compute, stages
from repro.runs.callbacks import TensorBoard
from repro.training.loop import Progress


class Stage:
    """A stand-in for `stages.Stage`."""

    profile, key = "demo", "0123456789abcdef"

    def __str__(self):
        return "student of PeaBERT3 on mini-RTE, seed 0"


@pytest.fixture
def callback(own_folders):
    return TensorBoard(Stage())


def training(step=0):
    """A stand-in for `loop.Training` after so many steps."""
    return SimpleNamespace(progress=Progress(step=step))


def events(folder):
    """All events of a folder; each record is a length, its checksum, the event and its checksum."""
    read = []
    for file in sorted(folder.iterdir()):
        content = file.read_bytes()
        while content:
            (size,) = struct.unpack("<Q", content[:8])
            read.append(Event.FromString(content[12 : 12 + size]))
            content = content[12 + size + 4 :]
    return read


def scalars(folder):
    """(tag, step) -> value"""
    return {(v.tag, e.step): v.simple_value for e in events(folder) for v in e.summary.value}


def test_loss_terms_learning_rate_and_score_are_written_by_step(callback):
    callback.on_log(training(2), {1: {"learning_rate": 0.5, "ce": 2.0}, 2: {"ce": 1.0}})
    callback.on_log(training(2), {2: {"score": 70.0}})
    callback.on_end(training(2))
    assert callback.folder == (
        paths.cache() / "tensorboard/demo/student of PeaBERT3 on mini-RTE, seed 0, 01234567"
    )
    assert scalars(callback.folder) == {
        ("learning_rate", 1): 0.5,
        ("loss/ce", 1): 2.0,
        ("loss/ce", 2): 1.0,
        ("score", 2): 70.0,
    }


def test_a_resumed_training_marks_its_first_step(callback):
    """TensorBoard discards what earlier sessions wrote from that step on."""
    for step in (0, 2):
        callback.on_log(training(step + 1), {step + 1: {"ce": 1.0}})
        callback.on_end(training(step + 1))
        time.sleep(1.1)  # the time in a file's name is in seconds
    starts = [event.step for event in events(callback.folder) if event.session_log.status]
    assert starts == [1, 3]
    assert list(scalars(callback.folder)) == [("loss/ce", 1), ("loss/ce", 3)]


@pytest.mark.usefixtures("own_folders")
def test_every_training_of_a_cell_is_logged():
    plan = stages.resolve(tiny("table5", **{"student.epochs": 2})[-1])
    logs = {}
    for stage in plan.stages:
        compute.run_stage(stage)
        if stage.kind != "outputs":
            logs[stage.kind] = scalars(TensorBoard(stage).folder)
    assert logs.keys() == {"teacher", "ptp", "student"}
    for log in logs.values():
        assert ("learning_rate", 1) in log
    student = logs["student"]
    terms = {tag for tag, _ in student if tag.startswith("loss/")}
    assert terms == {"loss/ce", "loss/kl", "loss/patience"}
    for term in terms:  # 48 examples in batches of 16, 2 epochs
        assert [step for tag, step in student if tag == term] == [1, 2, 3, 4, 5, 6]
    history = compute.read(plan.trained).meta["history"]
    assert history
    for entry in history:
        assert student["score", entry["step"]] == pytest.approx(entry["score"])
        assert student["learning_rate", entry["step"]] == pytest.approx(entry["learning_rate"])


def run_a_long_training(callback):
    for step in range(1, 2001):
        callback.on_log(training(step), {step: {"ce": 1.0}})
    callback.on_end(training(2000))


def test_a_folder_that_cannot_be_made_stops_no_training(callback):
    paths.cache().mkdir(parents=True)
    (paths.cache() / "tensorboard").write_text("a file where the folder should be")
    run_a_long_training(callback)


def test_a_disk_that_becomes_full_stops_no_training(callback):
    """The kernel refuses to write more than 4,096 bytes to a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        run_a_long_training(callback)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    (file,) = callback.folder.iterdir()
    assert 0 < file.stat().st_size <= 4096
