"""What a changed setting does to each row of a table."""

import numpy as np
import pytest
from tiny_cells import BUDGET

from repro.analysis import changes, inference
from repro.analysis.example_scores import example_scores
from repro.analysis.groups import groups
from repro.config.cells import plan
from repro.errors import MissingError
from repro.report import notebook
from repro.runs import results

SEEDS = 2


def write(cells, rng, examples=40):
    """Results with random predictions, as a run writes them."""
    labels = np.arange(examples) % 2
    for cell in cells:
        logits = rng.normal(size=(examples, 2)).astype(np.float32)
        accuracy = 100.0 * (logits.argmax(axis=1) == labels).mean()
        result = {
            "metrics": {"accuracy": accuracy, "f1": 0.0},
            "data": {"train": "t", "dev": "d"},
            "backbone": {"sha256": "s"},
        }
        results.write(cell, result, labels, logits)


@pytest.fixture
def cells(own_folders):
    """Table 4 with a changed beta, and the plain table, with random predictions."""
    changed = plan("table4", "demo", "RTE,QNLI", SEEDS, overrides={"beta": 0.0})
    rng = np.random.default_rng(0)
    write(changed, rng)
    write(changes.plain_cells(changed), rng)
    return changed


def test_the_plain_cells_are_those_of_the_same_table_tasks_and_seeds(cells):
    assert changes.plain_cells(cells) == plan("table4", "demo", "RTE,QNLI", SEEDS)
    assert changes.changed(cells)
    assert not changes.changed(changes.plain_cells(cells))


def test_a_changed_recipe_is_a_change():
    assert changes.changed(plan("table4", "demo", "RTE", 1, "authors+layer_map=uniform"))


def test_each_row_is_compared_with_itself_on_the_same_examples(cells):
    frame = changes.of(cells)
    assert frame["method"].unique().tolist() == ["BERT3", "SPS-1", "SPS-2"]
    assert frame["task"].unique().tolist() == ["mini-RTE", "mini-QNLI", "Avg"]
    after, before = groups(cells), groups(changes.plain_cells(cells))
    key = ("SPS-2", "mini-QNLI")
    scores = [
        example_scores("accuracy", group.labels, group.predicted)
        for group in (before[key], after[key])
    ]
    expected = inference.difference(*scores)
    (row,) = frame[(frame["method"] == key[0]) & (frame["task"] == key[1])].to_dict("records")
    assert row["difference"] == pytest.approx(row["changed"] - row["plain"])
    assert (row["ci_low"], row["ci_high"]) == (expected.low, expected.high)
    average = frame[(frame["method"] == "SPS-2")].set_index("task")["difference"]
    assert average["Avg"] == pytest.approx((average["mini-RTE"] + average["mini-QNLI"]) / 2)


def test_other_examples_give_no_difference(own_folders):
    changed = plan("table4", "demo", "RTE", 1, overrides=BUDGET)
    rng = np.random.default_rng(0)
    write(changed, rng)
    write(changes.plain_cells(changed), rng, examples=30)
    frame = changes.of(changed)
    assert frame["difference"].isna().all() and frame["plain"].notna().all()
    assert "other examples are scored" in notebook.change(changed).data


def test_the_notebook_shows_plain_changed_and_difference(cells):
    page = notebook.change(cells).data
    for words in ("plain", "changed", "difference [95 % interval]", "2 seeds", "SPS-2"):
        assert words in page


def test_the_notebook_says_what_to_do_without_a_comparison(own_folders):
    changed = plan("table4", "demo", "RTE", 1, overrides={"beta": 0.0})
    assert "Nothing is changed" in notebook.change(changes.plain_cells(changed)).data
    assert "The plain table is not there" in notebook.change(changed).data
    with pytest.raises(MissingError):
        changes.of(changed)
