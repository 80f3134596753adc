"""From cells to results on the embedded tasks, on a budget of seconds."""

from dataclasses import replace

import numpy as np
import pytest
from tiny_cells import tiny

from repro import paths
from repro.analysis import verification
from repro.data import metrics
from repro.errors import InputError, MissingError, ReproError
from repro.runs import cache, compute, engine, results, specs, stages

pytestmark = pytest.mark.usefixtures("module_folders")


@pytest.fixture(scope="module")
def table5(module_folders):
    made = tiny("table5")
    engine.run_cells(made, "serial")
    return made


def test_every_cell_has_its_result_and_predictions(table5):
    for cell in table5:
        row, predicted = results.read(cell), results.predictions(cell)
        logits = predicted.filter(like="logit_").to_numpy()
        assert len(predicted) == 32
        assert row["metrics"]["accuracy"] == metrics.accuracy(
            predicted["label"].to_numpy(), logits.argmax(1)
        )
        assert row["data"]["train_rows"] == 48
        assert row["effective_layers"] == 6
        assert row["cell"] == cell.as_dict()
        pretrained = {"ptp"} if cell.method.ptp != "none" else set()
        assert set(row["seconds"]) == {"teacher", "outputs", "student"} | pretrained
        assert not pretrained or sum(row["ptp"]["label_counts"]) == 48
        assert verification.check_cell(results.path(cell)) == []


def test_stages_are_shared_between_cells_and_tables(table5):
    kinds = ("teacher", "outputs", "ptp", "student")
    keys = {
        kind: {s.key for cell in table5 for s in stages.resolve(cell).stages if s.kind == kind}
        for kind in kinds
    }
    assert {kind: len(found) for kind, found in keys.items()} == {
        "teacher": 1,
        "outputs": 1,
        "ptp": 3,
        "student": 4,
    }
    sps2 = tiny("table4")[
        2
    ]  # SPS-2 of Table 4 is BERT3+SPS of Table 5, PeaBERT3 of Table 2 its last row
    assert {s.key for s in stages.resolve(sps2).stages} == {
        s.key for s in stages.resolve(table5[0]).stages
    }
    pea3 = next(cell for cell in tiny("table2") if cell.row == "PeaBERT3")
    assert {s.key for s in stages.resolve(pea3).stages} == {
        s.key for s in stages.resolve(table5[3]).stages
    }


def test_nothing_is_computed_twice(table5, monkeypatch, capsys):
    monkeypatch.setattr(compute, "COMPUTE", {})  # any computation would now be a KeyError
    engine.run_cells(table5, "serial")
    assert "4 cells, 4 already there, 0 to do" in capsys.readouterr().out
    engine.run_cells(tiny("table4")[2:], "serial")  # a new cell of stages that are all there
    assert results.done(tiny("table4")[2])


def test_a_finished_cell_of_other_code_is_computed_again(own_folders, monkeypatch, capsys):
    (cell,) = tiny("table1")
    engine.run_cells([cell], "serial")
    before = results.read(cell)["stages"]
    monkeypatch.setattr(stages, "code_version", lambda spec: "other code")
    engine.run_cells([cell], "serial")
    assert "1 of them again, since the code changed" in capsys.readouterr().out
    after = results.read(cell)["stages"]
    assert all(after[kind] != before[kind] for kind in before)


def test_a_result_reports_the_commit_that_trained_it(table5, monkeypatch):
    before = results.read(table5[0])["commit"]
    results.path(table5[0]).unlink()
    monkeypatch.setattr(paths, "commit", lambda: "another")
    engine.run_cells(table5[:1], "serial")
    assert results.read(table5[0])["commit"] == before != "another"


def test_the_cost_of_a_search_includes_its_candidates():
    (cell,) = tiny("table5", "authors+hyperparameters=searched")[:1]
    engine.run_cells([cell], "serial")
    trained = [stage for stage in stages.resolve(cell).stages if stage.kind == "student"]
    costs = [cache.meta("student", stage.key)["seconds"] for stage in trained]
    assert len(costs) == 4  # three candidates, and the student itself
    assert results.read(cell)["seconds"]["student"] == pytest.approx(sum(costs))


def test_two_processes_give_the_same_as_one_and_store_its_stages_only(
    table5, tmp_path, monkeypatch
):
    def logits(cell):
        return results.predictions(cell).filter(like="logit_").to_numpy()

    pair = table5[2:]
    expected = [logits(cell) for cell in pair]
    assert np.abs(expected[0] - expected[1]).max() > 0.02  # so that exchanged cells are noticed
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("REPRO_RESULTS", str(tmp_path / "results"))
    engine.run_cells(pair, "processes", 2)
    for cell, alone in zip(pair, expected, strict=True):
        np.testing.assert_allclose(logits(cell), alone, rtol=0, atol=1e-3)
    needed = {(stage.kind, stage.key) for cell in pair for stage in stages.resolve(cell).stages}
    stored = {(path.parent.name, path.stem) for path in tmp_path.glob("cache/*/*.safetensors")}
    assert stored == needed


@pytest.mark.parametrize(
    "recipe",
    [
        "textbook",
        "authors+ptp_thresholds=median+sps6_order=top_interleaved",
        "authors+hyperparameters=searched+ptp_class_weights=balanced+ptp_pooler=reset",
        "authors+teacher_checkpoint=best_dev+ptp_stop=patience+ptp_selection=last",
    ],
)
def test_other_recipes_run(recipe):
    made = tiny("table5", recipe)[-1:]
    engine.run_cells(made, "serial")
    row = results.read(made[0])
    assert 0 <= row["metrics"]["accuracy"] <= 100
    if made[0].recipe.hyperparameters == "searched":
        assert {stage.kind for stage in stages.resolve(made[0]).stages} == {
            "teacher",
            "outputs",
            "ptp",
            "search",
            "student",
        }


def test_a_damaged_prediction_file_is_made_again(table5):
    target = results.predictions_path(table5[0])
    target.write_bytes(target.read_bytes()[:-1])
    assert not results.done(table5[0])
    engine.run_cells(table5[:1], "serial")
    assert results.done(table5[0])


def test_a_failed_cell_is_named_and_the_others_finish(monkeypatch):
    made = tiny("table4", **{"student.learning_rate": 2e-3})
    good = compute._student

    def fail(stage):
        if "SPS-1" in str(stage):
            raise ReproError("the loss is not finite at step 3, learning rate 0.002")
        return good(stage)

    monkeypatch.setitem(compute.COMPUTE, "student", fail)
    with pytest.raises(
        ReproError, match=r"1 of 3 cells failed; table4-sps-1-.*at step 3.*python -m repro run"
    ):
        engine.run_cells(made, "serial")
    assert [results.done(cell) for cell in made] == [True, False, True]
    with pytest.raises(MissingError, match="no result for cell table4-sps-1"):
        results.read(made[1])


def test_a_student_deeper_than_its_teacher_is_refused():
    deep = replace(tiny("table3")[0], layers=13)
    with pytest.raises(
        InputError, match=r"has 13 layers, more than the 12 of its teacher embedded; use 1 \.\. 12"
    ):
        engine.run_cells([deep], "serial")


def test_a_worker_with_other_data_than_the_plan_s_stores_nothing(table5):
    teacher = stages.resolve(table5[0]).stages[0]
    other = replace(teacher.spec.inputs, train="the fingerprint of other data")
    planned = replace(teacher, spec=replace(teacher.spec, inputs=other))
    with pytest.raises(InputError, match=r"has other data of mini-RTE or another encoder embedded"):
        compute.run_stage(planned)
    assert not cache.exists("teacher", planned.key)


def test_a_stage_has_the_precision_of_where_it_was_planned(monkeypatch):
    (cell,) = tiny("table1", precision="auto")
    monkeypatch.setattr(specs, "resolve_precision", lambda precision: "bfloat16")
    planned = stages.resolve(cell)
    monkeypatch.setattr(specs, "resolve_precision", lambda precision: "float32")
    assert planned.trained.spec.training.precision == "bfloat16"
    assert planned.trained.key != stages.resolve(cell).trained.key


SHARED = [  # a decision that a student cannot notice: (table, row, recipe)
    ("table4", "SPS-2", "authors+sps6_order=all_appended"),
    ("table4", "BERT3", "authors+layer_map=uniform"),
    ("table4", "SPS-2", "authors+layer_map=uniform"),
    ("table4", "BERT3", "authors+swap_biases=False"),
    ("table4", "SPS-1", "authors+swap_biases=False"),
    ("table5", "BERT3+SPS", "authors+ptp_thresholds=one"),
    ("table5", "BERT3+SPS+PTP", "authors+ptp2_threshold=t2_when_wrong"),
    ("table5", "BERT3+SPS+PTP-1", "authors+ptp_thresholds=median"),
    ("table5", "BERT3+SPS+PTP-2", "authors+ptp_thresholds=one"),
    ("table2", "PeaBERT1", "authors+one_layer_patient=match"),
    ("table2", "BERT3-PatientKD", "authors+one_layer_patient=match"),
    ("table2", "BERT1-PatientKD", "authors+hidden_match=sum"),
    ("table2", "BERT1-PatientKD", "authors+ablation_loss=kd"),
]
ACTING = [
    ("table3", "PeaBERT", "authors+sps6_order=all_appended"),
    ("table4", "SPS-2", "authors+layer_map=last"),
    ("table4", "SPS-2", "authors+swap_biases=False"),
    ("table5", "BERT3+SPS+PTP", "authors+ptp_thresholds=one"),
    ("table5", "BERT3+SPS+PTP-2", "authors+ptp2_threshold=t2_when_wrong"),
    ("table5", "BERT3+SPS+PTP-2", "authors+ptp_thresholds=median"),
    ("table2", "BERT1-PatientKD", "authors+one_layer_patient=match"),
    ("table4", "BERT3", "authors+ablation_loss=kd"),
]


def key(table, row, recipe):
    (cell,) = (cell for cell in tiny(table, recipe) if cell.row == row)
    return stages.resolve(cell).trained.key


@pytest.mark.parametrize(("table", "row", "recipe"), SHARED)
def test_options_with_the_same_effect_share_one_training(table, row, recipe):
    assert key(table, row, recipe) == key(table, row, "authors")


@pytest.mark.parametrize(("table", "row", "recipe"), ACTING)
def test_options_that_act_do_not(table, row, recipe):
    assert key(table, row, recipe) != key(table, row, "authors")


def test_unknown_engine():
    with pytest.raises(
        InputError, match="unknown engine 'slurm'; use one of: processes, serial, ray"
    ):
        engine.run_cells(tiny("table2"), "slurm")
