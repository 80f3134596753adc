"""Interrupted and resumed trainings give bitwise the numbers of uninterrupted ones."""

import errno
import itertools
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_loop import DATA, LABELS, PLAN, ROWS, model
from tiny_cells import tiny

from repro.errors import DiskError, InputError
from repro.methods.finetune import FineTuning
from repro.models.classifier import Classifier
from repro.runs import cache, compute, stages
from repro.training import checkpoints
from repro.training.checkpoints import Checkpoint
from repro.training.loop import Evaluation, Training, fit, predict
from repro.training.states import state_of


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it, and all that is left is the file."""


@pytest.fixture(autouse=True)
def _at_every_step(monkeypatch):
    monkeypatch.setenv("REPRO_CHECKPOINT_STEPS", "1")
    monkeypatch.setattr(checkpoints, "_SHARE", 0)


def train(plan, checkpoint=None, stop_at=None, evaluate=True):
    """(progress, parameters, steps run) of a training, or Killed in step `stop_at`.

    Dropout draws random numbers.
    """
    trained = model()
    torch.manual_seed(5)
    steps = []
    terms = FineTuning().objective(torch.from_numpy(LABELS), {})

    def objective(output, rows):
        steps.append(1)
        if len(steps) == stop_at:
            raise Killed
        return terms(output, rows)

    def score(one: Classifier) -> float:
        return float((predict(one, DATA)[0].argmax(1) == LABELS).mean())

    callbacks = [Evaluation(score)] if evaluate else []
    callbacks += [checkpoint] if checkpoint else []
    progress = fit(trained, DATA, ROWS, objective, plan, callbacks)
    return progress, state_of(trained), len(steps)


@pytest.mark.parametrize("optimizer", ["bertadam", "adamw"])
@pytest.mark.parametrize(
    ("changes", "evaluate"),
    [
        ({}, True),
        ({"shuffle": False}, True),
        ({"patience": 3, "epochs": 9, "stop_epoch": 9}, True),
        ({"stop_epoch": 3}, False),
    ],
    ids=["shuffled", "in-order", "patience", "last-step"],
)
def test_resumed_is_bitwise_the_same(tmp_path, optimizer, changes, evaluate):
    plan = replace(PLAN, optimizer=optimizer, learning_rate=1e-3, **changes)
    expected, parameters, steps = train(plan, evaluate=evaluate)
    place = Checkpoint(tmp_path / "k.partial.safetensors")
    for stop_at in (
        2,
        5,
        1,
        4,
    ):  # within the first epoch, at its evaluation, at once again, in the second
        with pytest.raises(Killed):
            train(plan, place, stop_at, evaluate=evaluate)
    fitted, resumed, rest = train(plan, place, evaluate=evaluate)
    assert rest == steps - (
        1 + 4 + 0 + 3
    )  # nothing was computed twice, but the step that was killed
    np.testing.assert_equal(vars(fitted), vars(expected))  # NaN equals NaN here
    assert all(torch.equal(resumed[name], value) for name, value in parameters.items())


def test_the_time_of_processes_that_were_stopped_is_kept(tmp_path, monkeypatch):
    place, clock = tmp_path / "k.partial.safetensors", itertools.count(step=10)
    monkeypatch.setattr(checkpoints, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    told = [checkpoints.seconds(place)]
    for stop_at in (5, 4):
        with pytest.raises(Killed):
            train(PLAN, Checkpoint(place), stop_at)
        told.append(checkpoints.seconds(place))
    assert told[0] == 0 < told[1] < told[2]


def test_an_artefact_has_the_seconds_of_all_its_processes(own_folders, monkeypatch):
    (cell,) = tiny("table4")[:1]
    stage = stages.resolve(cell).stages[0]
    monkeypatch.setattr(
        checkpoints, "seconds", lambda path: 1000.0 * (path == cache.partial(stage.kind, stage.key))
    )
    compute.run_stage(stage)
    assert cache.meta(stage.kind, stage.key)["seconds"] > 1000


def test_dropout_would_tell_a_lost_random_state(tmp_path, monkeypatch):
    """The test above means something: without the random numbers the end is another."""
    place = Checkpoint(tmp_path / "k.partial.safetensors")
    with pytest.raises(Killed):
        train(PLAN, place, 5, evaluate=False)
    monkeypatch.setattr(checkpoints, "_restore_random", lambda states: None)
    parameters, expected = train(PLAN, place, evaluate=False)[1], train(PLAN, evaluate=False)[1]
    assert any(not torch.equal(parameters[name], value) for name, value in expected.items())


def flip(data: bytes) -> bytes:
    changed = bytearray(data)
    changed[-5] ^= 1
    return bytes(changed)


@pytest.mark.parametrize(
    "damage",
    [
        flip,
        lambda data: data[:-1],
        lambda data: data[:40],
        lambda data: b"",
        lambda data: data.replace(b"best_step", b"best_stop", 1),
    ],
    ids=["flipped", "truncated", "header", "empty", "progress"],
)
def test_a_damaged_one_is_set_aside_and_training_starts_over(tmp_path, damage, capsys):
    place = Checkpoint(tmp_path / "k.partial.safetensors")
    with pytest.raises(Killed):
        train(PLAN, place, 8)
    place.path.write_bytes(damage(place.path.read_bytes()))
    _, parameters, steps = train(PLAN, place)
    assert steps == 36
    assert "k.partial.safetensors.damaged" in capsys.readouterr().out
    assert (tmp_path / "k.partial.safetensors.damaged").is_file()
    assert all(torch.equal(parameters[name], value) for name, value in train(PLAN)[1].items())


def test_a_folder_in_its_place_is_set_aside(tmp_path):
    place = Checkpoint(tmp_path / "k.partial.safetensors")
    place.path.mkdir()
    assert train(PLAN, place)[2] == 36
    assert (tmp_path / "k.partial.safetensors.damaged").is_dir()


def test_one_that_may_not_be_read_is_no_damage(tmp_path, monkeypatch):
    place = Checkpoint(tmp_path / "k.partial.safetensors")
    with pytest.raises(Killed):
        train(PLAN, place, 3)

    def forbidden(*_):
        raise PermissionError(errno.EACCES, "")

    monkeypatch.setattr(
        Path, "open", forbidden
    )  # whoever runs this may be root, who reads everything
    with pytest.raises(
        DiskError, match=r"k\.partial\.safetensors: Permission denied; make it .* readable"
    ):
        place.on_start(Training(model(), 48, PLAN, []))
    assert [path.name for path in tmp_path.iterdir()] == ["k.partial.safetensors"]


def test_one_of_another_model_is_set_aside(tmp_path):
    place = Checkpoint(tmp_path / "k.partial.safetensors")
    with pytest.raises(Killed):
        train(PLAN, place, 3)
    training = Training(torch.nn.Linear(2, 2), 48, PLAN, [])
    place.on_start(training)
    assert (training.progress.step, training.best_state) == (0, {})
    assert Path(f"{place.path}.damaged").exists()


def test_writing_waits_until_it_costs_little(tmp_path, monkeypatch):
    """After one write that took a second by the clock, the next is 20 seconds away."""
    now = [0.0]
    monkeypatch.setattr(checkpoints, "_SHARE", 20)
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now[0])
    written = []

    def write(*_):
        written.append(now[0])
        now[0] += 1.0

    monkeypatch.setattr(checkpoints, "write_tensors", write)
    place, training = Checkpoint(tmp_path / "k"), Training(torch.nn.Linear(1, 1), 999, PLAN, [])
    for step in range(1, 61):
        training.progress.step = step
        place.on_step(training)
        now[0] += 1.0
    assert written == [0.0, 21.0, 42.0]


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5"])
def test_the_setting_is_checked(tmp_path, monkeypatch, text):
    monkeypatch.setenv("REPRO_CHECKPOINT_STEPS", text)
    with pytest.raises(InputError, match=f"from 1, got '{text}'"):
        Checkpoint(tmp_path / "k")
