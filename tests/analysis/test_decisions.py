"""The headline difference under flipped decisions, from synthetic results."""

import numpy as np
import pandas as pd
import pytest
from synthetic import finish, noisy
from synthetic import result as synthetic_result

from repro.analysis import decisions, inference, tables
from repro.analysis.groups import groups
from repro.config.recipe import parse
from repro.report import sentences, study_figures
from repro.runs import stages

BATCH_ONLY = "D3 KL averaged over batch only"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_RESULTS", str(tmp_path))
    return tmp_path


def predict(cell, labels):
    """PeaBERT3 gets 60 right, 70 with the true KL; Patient KD 50; every example alike otherwise."""
    count = 50 if cell.row != "PeaBERT3" else 70 if cell.recipe.kl_reduction == "batchmean" else 60
    return np.eye(2)[np.where(np.arange(len(labels)) < count, labels, 1 - labels)] * 4.0


@pytest.fixture
def frame():
    return decisions.decision_effects(
        finish(decisions.plan("demo", "RTE,SST-2", 1), predict, rows=100)
    )


@pytest.fixture
def frame_of_five():
    return decisions.decision_effects(
        finish(decisions.plan("demo", "RTE,SST-2", 5), predict, rows=100)
    )


def of(frame, recipe, task="Avg"):
    return frame[(frame["recipe"] == recipe) & (frame["task"] == task)].iloc[0]


def test_every_alternative_of_every_decision_is_flipped_once():
    flips = decisions.flips()
    assert {decision for decision, _, _ in flips} == {"", *(f"D{k}" for k in range(1, 22))} - {
        "D14",
        "D17",
    }
    assert len({recipe for _, _, recipe in flips}) == len(flips)
    values = {(option, recipe.rpartition("=")[2]) for _, option, recipe in flips[1:]}
    assert ("layer_map", "none") in values and ("layer_map", "authors") not in values


def test_a_flip_changes_one_option():
    cells = decisions.plan("demo", "RTE", 1)
    for _, _, recipe in decisions.flips():
        own = [cell for cell in cells if cell.recipe == parse(recipe)]
        assert len(own[0].recipe.changes) == (recipe != "authors")
        assert [cell.row for cell in own] == ["BERT3-PatientKD", "PeaBERT3"]
    assert cells[0].recipe.name == "authors"


def test_flips_of_the_textbook_start_from_it():
    recipes = [recipe for _, _, recipe in decisions.flips("textbook")]
    assert "textbook+checkpoint=best_dev" in recipes and "textbook+checkpoint=last" not in recipes


def test_difference_and_change_by_hand(frame):
    base, flipped = of(frame, "authors"), of(frame, "authors+kl_reduction=batchmean")
    assert (base["difference"], flipped["difference"], flipped["change"]) == (10, 20, 10)
    assert flipped["change_low"] > 0
    assert base["change"] == 0


def test_the_change_is_a_difference_of_differences_over_seeds_and_examples():
    cells = finish(decisions.plan("demo", "RTE", 3), noisy, rows=60)
    row = of(decisions.decision_effects(cells), "authors+optimizer=adamw")
    members = {
        recipe: groups([cell for cell in cells if cell.recipe == parse(recipe)])
        for recipe in ("authors", "authors+optimizer=adamw")
    }
    gains = [
        own["PeaBERT3", "mini-RTE"].example_scores
        - own["BERT3-PatientKD", "mini-RTE"].example_scores
        for own in members.values()
    ]
    expected = inference.difference(*gains)
    assert [row["change"], row["change_low"], row["change_high"]] == pytest.approx(
        [expected.estimate, expected.low, expected.high], abs=1e-4
    )


def test_only_flips_that_act_are_tested_and_only_on_the_average(frame_of_five):
    tested = frame_of_five["p"].notna()
    acts = frame_of_five["acts"] == "yes"
    assert tested.equals(acts & (frame_of_five["task"] == "Avg"))
    assert (frame_of_five["verdict"] != "").equals(tested)
    p_values = frame_of_five.loc[tested, "p"]
    assert frame_of_five.loc[tested, "p_holm"].tolist() == pytest.approx(
        inference.holm(p_values).tolist(), abs=1e-3
    )


def test_verdicts_need_five_seeds(frame, frame_of_five):
    flip = "authors+kl_reduction=batchmean"
    assert of(frame, flip)["verdict"] == inference.NO_VERDICT
    assert of(frame_of_five, flip)["verdict"] == "better"
    assert decisions.view(frame_of_five).loc[BATCH_ONLY, "change of Avg"].endswith("*")
    assert not decisions.view(frame).loc[BATCH_ONLY, "change of Avg"].endswith("*")


def test_which_flips_can_act_is_that_of_the_resolved_plan(monkeypatch):
    """Flips of other rows' options, and of pairs of layers that are the same, do not act."""

    def stored(cell, labels, logits):
        keys = {stage.kind: stage.key for stage in stages.resolve(cell).stages}
        return synthetic_result(cell, labels, logits) | {"stages": keys}

    monkeypatch.setattr("synthetic.result", stored)
    frame = decisions.decision_effects(finish(decisions.plan("demo", "RTE", 1), predict, rows=20))
    idle = frame[(frame["acts"] == "no") & (frame["option"] != "none")]
    assert set(idle["option"]) - {"layer_map"} == {
        "sps6_order",
        "ptp2_threshold",
        "one_layer_patient",
        "ablation_loss",
    }
    # evenly spaced layers are the authors' for three layers of a teacher of twelve
    assert set(idle.loc[idle["option"] == "layer_map", "value"]) == {"uniform"}


def test_a_flip_that_cannot_act_is_a_dash(frame):
    assert of(frame, "authors+sps6_order=all_appended")["acts"] == "no"
    assert set(decisions.view(frame).loc["D6 6-layer SPS: all appended"]) == {"–"}


@pytest.mark.parametrize("base", ["authors", "textbook"])
def test_every_flip_has_a_name_of_its_own(base):
    flips = pd.DataFrame(decisions.flips(base), columns=["decision", "option", "recipe"])
    flips["value"] = flips["recipe"].str.rpartition("=")[2]
    assert decisions.flip_names(flips).is_unique


def test_written_and_read_again(frame):
    tables.write_table("decisions", "demo", frame, decisions.plan("demo", "RTE,SST-2", 1))
    assert tables.read_table("decisions", "demo").equals(frame)


def test_sentence_names_what_moves_the_difference(frame, frame_of_five):
    said = sentences.decisions(frame_of_five)
    assert "is +10.0 points" in said
    assert "D3 kl_reduction=batchmean (+10.0)" in said
    assert "ptp_thresholds" not in said
    assert "No verdict" in sentences.decisions(frame)


def test_figure_has_a_dash_for_each_flip_that_cannot_act(frame_of_five):
    left, right = study_figures.decisions(frame_of_five)
    average = frame_of_five[frame_of_five["task"] == "Avg"]
    assert [label.get_text() for label in left.get_yticklabels()] == decisions.flip_names(
        average
    ).tolist()
    marks = [line.get_marker() for line in right.lines]
    assert marks.count("_") == (average["acts"] == "no").sum() - 1  # without the base
    assert marks.count("s") == 1  # the one change that is significant
    assert "mini-RTE, mini-SST-2" in left.get_figure().get_suptitle()
