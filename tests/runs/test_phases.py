"""Methods that train in phases: their stages, what they start from, and what they share."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_cells import tiny

from repro import methods
from repro.config.tables import Method
from repro.data import encoders
from repro.data.encode import Encoded
from repro.errors import InputError
from repro.models import classifier
from repro.models.masked import WordHead
from repro.models.sps import layers_of
from repro.runs import cache, compute, costs, finish, phases, results, specs, stages

pytestmark = pytest.mark.usefixtures("module_folders")


LONG = {"student.epochs": 6}  # so many that TinyBERT has copies of the examples


def cell_of(row, recipe="authors", **changes):
    (cell,) = (cell for cell in tiny("related", recipe, **changes) if cell.row == row)
    return cell


def test_the_stages_of_each_method():
    kinds = {
        cell.row: [stage.kind for stage in stages.resolve(cell).stages] for cell in tiny("related")
    }
    assert kinds["TinyBERT4"] == ["teacher", "outputs", "phase", "phase"]  # too short for copies
    long = stages.resolve(cell_of("TinyBERT4", **LONG)).stages
    assert [stage.kind for stage in long] == ["teacher", "outputs", "words", "phase", "phase"]
    assert kinds["DistilBERT6"] == ["teacher", "outputs", "words", "phase", "phase"]
    assert kinds["MiniLM3"] == kinds["MiniLMv2-6"] == ["teacher", "outputs", "phase", "phase"]
    assert kinds["PeaBERT3"] == ["teacher", "outputs", "ptp", "student"]


def test_the_masked_language_head_is_shared():
    keys = {
        stage.key
        for row in ("TinyBERT3", "TinyBERT6", "DistilBERT3")
        for stage in stages.resolve(cell_of(row, **LONG)).stages
        if stage.kind == "words"
    }
    assert len(keys) == 1


def test_only_the_last_phase_chooses_its_checkpoint():
    *_, first, last = stages.resolve(cell_of("MiniLM3")).stages
    assert (first.spec.selection, last.spec.selection) == ("last", "best_dev")
    assert first in last.parents
    assert stages.resolve(cell_of("MiniLM3")).trained.key == last.key


def test_epochs_of_the_phases():
    """MiniLM: half of the student's, then all; TinyBERT: as its cost allows, on twice the data."""
    *_, first, last = stages.resolve(cell_of("MiniLM3", **LONG)).stages
    assert (first.spec.training.stop_epoch, last.spec.training.stop_epoch) == (3, 6)
    *_, first, last = stages.resolve(cell_of("TinyBERT6", **LONG)).stages
    assert (first.spec.training.stop_epoch, last.spec.training.stop_epoch) == (3, 2)
    assert first.spec.phase.copies == last.spec.phase.copies == 1


def test_distilbert_starts_from_every_other_layer(monkeypatch):
    stage = stages.resolve(cell_of("DistilBERT6")).stages[-2]
    student = compute.build(stage)
    phases._start(stage, student)
    whole = layers_of(encoders.load("embedded")[0])
    for own, layer in zip(layers_of(student.encoder), (0, 2, 4, 7, 9, 11), strict=True):
        for name, value in whole[layer].state_dict().items():
            assert torch.equal(own.state_dict()[name], value), name


@pytest.mark.parametrize("row", ["TinyBERT3", "MiniLM3"])
def test_the_others_start_from_the_lowest_layers(row):
    stage = stages.resolve(cell_of(row)).stages[-2]
    student = compute.build(stage)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    phases._start(stage, student)
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    lowest = layers_of(encoders.load("embedded", 3)[0])
    assert torch.equal(
        layers_of(student.encoder)[2].attention.self.query.weight,
        lowest[2].attention.self.query.weight,
    )


@pytest.mark.parametrize("row", ["TinyBERT3", "DistilBERT3"])
def test_a_finished_cell(row):
    plan = stages.resolve(cell_of(row, **LONG))
    for stage in plan.stages:
        compute.run_stage(stage)
    finish.finish(plan)
    result = results.read(plan.cell)
    assert set(result["seconds"]) == {"teacher", "outputs", "words", "phase"}
    assert result["stages"]["phase"] == plan.trained.key
    assert result["effective_layers"] == 3
    artefact = compute.read(plan.trained)
    model = compute.load_model(plan.trained)
    data = compute.load_data(plan.trained.spec.inputs)
    logits, _ = compute.predict(model, data.dev_tokens)
    assert np.allclose(logits, artefact.tensors["dev.logits"].numpy(), atol=1e-5)
    assert not any(name.startswith(("student.", "projection")) for name in artefact.tensors)
    assert artefact.meta["examples"] == (96 if row == "TinyBERT3" else 48)
    assert finish.outdated(plan) == ""


def test_the_teacher_beside_the_student_does_not_change():
    plan = stages.resolve(cell_of("TinyBERT3"))
    teacher_stage = plan.stage("outputs").parent("teacher")
    before = {k: v.clone() for k, v in compute.read(teacher_stage).tensors.items()}
    compute.function_of("phase")(plan.stages[-2])
    after = compute.load_model(teacher_stage)
    for name, value in after.named_parameters():
        assert torch.equal(value, before[name]), name


def test_the_encoder_or_the_fine_tuned_teacher_stands_beside(monkeypatch):
    beside = {}

    class Stop(Exception):
        pass

    def pair(student, teacher, *_):
        beside["state"] = {n: p.clone() for n, p in teacher.named_parameters()}
        raise Stop

    monkeypatch.setattr(phases, "Pair", pair)
    query = "encoder.encoder.layer.11.attention.self.query.weight"
    plain = classifier.teacher("embedded", 2).state_dict()[query]
    for row, same in (("MiniLM3", True), ("TinyBERT3", False)):
        stage = stages.resolve(cell_of(row)).stages[-2]
        with pytest.raises(Stop):
            compute.function_of("phase")(stage)
        assert torch.equal(beside["state"][query], plain) == same
    tuned = compute.read(stage.parent("outputs").parent("teacher")).tensors[query]
    assert torch.equal(beside["state"][query], tuned)


def test_best_inner_leaves_the_copies_of_held_out_examples_out(monkeypatch):
    stage = stages.resolve(cell_of("TinyBERT3", "authors+checkpoint=best_inner", **LONG)).trained
    seen = {}

    class Stop(Exception):
        pass

    def fit(model, tokens, rows, *_):
        seen["rows"] = rows
        raise Stop

    for parent in stage.parents:
        compute.read(parent)
    monkeypatch.setattr(compute, "fit", fit)
    with pytest.raises(Stop):
        compute.function_of("phase")(stage)
    rows = seen["rows"]
    assert len(rows) == 2 * (48 - 4)
    assert np.array_equal(rows[44:], rows[:44] + 48)
    inner = np.random.default_rng(0).permutation(48)[:4]
    assert not {*(rows % 48)} & {*inner}


def test_the_most_probable_words_come_first(monkeypatch):
    stage = stages.resolve(cell_of("TinyBERT3", **LONG)).trained
    data = compute.load_data(stage.spec.inputs)
    words = phases.masking(stage.spec.inputs, data).words

    def head(stage, model):
        """A word's logit is its place."""
        made = WordHead(model, len(words))
        torch.nn.init.zeros_(made.norm.weight)
        made.bias.data = torch.arange(float(len(words)))
        return made

    monkeypatch.setattr(phases, "_head", head)
    # the function that predicts words, in place of the copies that it helps to make
    monkeypatch.setattr(phases, "augment", lambda *given: given[5])
    masked = Encoded([{"input_ids": [2, 4, 3], "token_type_ids": [0, 0, 0]}], 0)
    candidates = words[10:60].numpy()
    best = phases.augmented(stage, data)(masked, candidates)
    assert best.tolist() == [candidates[::-1][:15].tolist()]


def test_a_seed_determines_the_masked_language_head():
    stage = next(s for s in stages.resolve(cell_of("DistilBERT3")).stages if s.kind == "words")
    assert stage.spec.training.learning_rate == 1e-3
    first, again = (compute.function_of("words")(stage).tensors for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_ptp_can_start_a_phased_method():
    cell = cell_of("MiniLM3")
    plan = stages.resolve(replace(cell, method=Method(ptp="both", loss="minilm")))
    assert [stage.kind for stage in plan.stages][2:] == ["ptp", "phase", "phase"]
    stage = plan.stages[-2]
    student = compute.build(stage)
    phases._start(stage, student)
    pretrained = compute.read(stage.parent("ptp")).tensors
    name = "encoder.encoder.layer.0.attention.self.query.weight"
    assert torch.equal(student.state_dict()[name], pretrained[name])
    assert student.classifier.out_features == 2


def test_the_learning_rate_of_the_last_phase_is_searched():
    plan = stages.resolve(cell_of("MiniLM3", "authors+hyperparameters=searched"))
    assert [stage.kind for stage in plan.stages][3:] == ["phase"] * 3 + ["search", "phase"]
    for stage in plan.stages:
        compute.run_stage(stage)
    rate = cache.meta("search", plan.stage("search").key)["learning_rate"]
    assert cache.meta("phase", plan.trained.key)["learning_rate"] == rate


def test_every_kind_of_stage_has_a_function():
    classes = [entry for entry in vars(specs).values() if hasattr(entry, "kind")]
    kinds = {entry.kind for entry in classes}
    assert len(classes) == 9 and len(kinds) == 8  # given outputs are outputs
    assert all(callable(compute.function_of(kind)) for kind in kinds)
    assert compute.function_of("phase") is phases._phase


def test_an_unknown_method_is_refused():
    with pytest.raises(InputError, match="tinybert"):
        methods.phases("tinybird", cell_of("MiniLM3").setting, 3, 12)


# costs


def test_operations_of_a_layer():
    """Two tokens, H 3, F 5: 2 * (4 * 9 + 2 * 15) per token, and 4 * 2 * 3 for attention."""
    assert costs.layer_flops(2, 3, 5) == 2 * (132 + 24)


def test_training_operations_count_ptp():
    patient, pea = (
        costs.training_flops(stages.resolve(cell_of(row)))
        for row in ("BERT3-PatientKD", "PeaBERT3")
    )
    # three layers once; then six layers, which run twice, in PTP and in distillation
    assert pea / patient == pytest.approx((6 + 6) / 3)


def test_costs_of_finished_cells(monkeypatch):
    cells = [c for c in tiny("related") if c.row in ("BERT-base", "BERT3-PatientKD", "MiniLM3")]
    for cell in cells:
        plan = stages.resolve(cell)
        for stage in plan.stages:
            compute.run_stage(stage)
        finish.finish(plan)
    ticks = itertools.count()  # every answer takes a second, to one example or to a batch
    with monkeypatch.context() as patch:
        patch.setattr(costs.time, "perf_counter", lambda: float(next(ticks)))
        frame = costs.measure(cells).set_index("method")
    flops = frame["training_flops"]
    assert flops["BERT-base"] == 0
    # 3 layers, once; then half an epoch is one, beside 12 layers forward, and once more
    assert flops["MiniLM3"] / flops["BERT3-PatientKD"] == pytest.approx((3 + 4 + 3) / 3)
    data = compute.load_data(stages.resolve(cells[0]).trained.spec.inputs)
    mean = np.mean([len(row["input_ids"]) for row in data.train_tokens.examples])
    expected = 3 * 3 * 48 * mean * (8 * 64**2 + 4 * 64 * 256 + 4 * mean * 64)
    assert flops["BERT3-PatientKD"] == pytest.approx(expected)
    assert frame["latency_ms"].tolist() == [1000.0] * 3
    assert frame["throughput"].tolist() == [32.0] * 3
    head = 2 * 64 + 2
    stored = 4 * (frame["parameters"] + head) / 1e6
    assert frame["megabytes"].tolist() == pytest.approx(stored.tolist(), abs=1e-3)
    layer = 12 * 64**2 + 13 * 64
    assert frame["parameters"]["BERT-base"] - frame["parameters"]["MiniLM3"] == 9 * layer
    assert (frame["trained"] == frame["parameters"]).all()
