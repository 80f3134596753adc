"""The headline difference under flipped decisions, from synthetic results."""

import numpy as np
import pytest
from synthetic import finish

from repro.analysis import decisions, tables
from repro.config.recipe import Recipe, parse
from repro.report import sentences, study_figures


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
    return decisions.of(finish(decisions.plan("demo", "RTE,SST-2", 1), predict, rows=100))


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


def test_a_flip_that_changes_no_training_does_not_act(frame):
    assert of(frame, "authors+kl_reduction=batchmean")["acts"] == "yes"
    assert (
        of(frame, "authors+ptp_thresholds=one")["acts"] == "yes"
    )  # by the stages of PeaBERT3 alone
    assert of(frame, "authors+sps6_order=all_appended")["acts"] == "no"
    assert decisions.view(frame).loc["authors+sps6_order=all_appended", "Avg"] == "–"


def test_written_and_read_again(frame):
    tables.write_table("decisions", "demo", frame, decisions.plan("demo", "RTE,SST-2", 1))
    assert tables.read_table("decisions", "demo").equals(frame)


def test_sentence_names_what_moves_the_difference(frame):
    said = sentences.decisions(frame)
    assert (
        "is +10.0 points" in said
        and "D3 kl_reduction=batchmean (+10.0)" in said
        and "ptp_thresholds" not in said
    )


def test_figure_has_a_line_per_acting_flip(frame):
    ax = study_figures.decisions(frame)
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == [
        "authors (unchanged)",
        "D1 ptp thresholds: one",
        "D1 ptp thresholds: median",
        "D3 kl reduction: batchmean",
    ]
    assert Recipe().kl_reduction == "mean"  # else the flips above are not flips
