"""Comparisons from synthetic results: numbers by hand, their sentences, changed tables."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t
from synthetic import finish, finished, right
from tiny_cells import BUDGET

from repro.analysis import comparisons, tables
from repro.analysis.example_scores import example_scores
from repro.analysis.groups import groups
from repro.analysis.inference import combine, difference, holm
from repro.config import cells as experiments
from repro.config import printed
from repro.config.tables import TABLES
from repro.errors import InputError, MissingError
from repro.report import costs, latex, notebook, sentences, text
from repro.runs import results


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_RESULTS", str(tmp_path))
    return tmp_path


def ablation(seeds=1, **counts):
    cells = experiments.plan("table4", "demo", "RTE,SST-2", seeds)
    return comparisons.of(finish(cells, right(**counts), rows=100))


def of(frame, method, against, task="mini-RTE"):
    chosen = frame[
        (frame["method"] == method) & (frame["against"] == against) & (frame["task"] == task)
    ]
    assert len(chosen) == 1
    return chosen.iloc[0]


def test_every_declared_pair_on_every_task_and_on_average():
    frame = comparisons.of(finished("table5", "", 2, rows=40))
    assert len(frame) == len(TABLES["table5"].pairs) * 5
    assert tuple(frame.columns) == comparisons.COLUMNS
    assert set(frame["seeds"]) == {2}


def test_pairs_name_rows_of_their_table():
    for table in TABLES.values():
        names = {row.name for row in table.rows}
        assert {name for pair in table.pairs for name in pair} <= names


def test_difference_by_hand():
    row = of(ablation(BERT3=60, SPS1=70, SPS2=75), "SPS-1", "BERT3")
    assert row["difference"] == 10.0
    # of one seed: the standard error of 100 examples, ten of them +100
    half_width = t.ppf(0.975, 99) * np.sqrt(0.1 * 0.9 / 99) * 100
    assert row["ci_low"] == pytest.approx(10 - half_width, abs=1e-3)
    assert row["ci_high"] == pytest.approx(10 + half_width, abs=1e-3)
    assert row["paper"] == pytest.approx(63.5 - 61.4)


def test_equal_methods_differ_by_nothing():
    row = of(ablation(5, BERT3=60, SPS1=60, SPS2=60), "SPS-2", "BERT3", "Avg")
    assert (row["difference"], row["p"], row["verdict"]) == (0, 1, "inconclusive")
    assert row["ci_low"] == -row["ci_high"] < 0


def test_the_interval_and_the_test_agree():
    frame = comparisons.of(finished("table4", "", 5, rows=80))
    excludes = (frame["ci_low"] > 0) | (frame["ci_high"] < 0)
    assert ((frame["p"] < 0.05) == excludes).all()
    assert excludes.any() and not excludes.all()
    decided = frame["verdict"].isin(["better", "worse"])
    assert ((frame["p_holm"] < 0.05) == decided).all()
    assert (excludes | ~decided).all()  # a verdict never stands beside an interval with 0


def test_the_average_combines_its_tasks():
    cells = finished("table4", "RTE,SST-2", 5, rows=60)
    row = of(comparisons.of(cells), "SPS-1", "BERT3", "Avg")
    by_key = groups(cells)
    gains = [
        difference(by_key["BERT3", name].example_scores, by_key["SPS-1", name].example_scores)
        for name in ("mini-RTE", "mini-SST-2")
    ]
    expected = combine(gains)
    assert (row["ci_low"], row["ci_high"], row["p"]) == pytest.approx(
        (expected.low, expected.high, expected.p), abs=1e-4
    )


def test_pairs_that_the_paper_does_not_compare_are_ours():
    frame = comparisons.of(finished("table2", "RTE", 1, rows=20))
    ours = frame[frame["compared_by"] == "us"]
    assert set(zip(ours["method"], ours["against"], strict=True)) == {
        ("PeaBERT1", "BERT2-PatientKD"),
        ("PeaBERT2", "BERT3-PatientKD"),
    }
    assert "PeaBERT1 – BERT2-PatientKD [ours]" in text.pair_view(frame).index
    assert any("not compared in the paper" in line for line in sentences.differences(frame))


def test_average_has_the_printed_difference_of_its_tasks():
    row = of(ablation(BERT3=60, SPS1=70, SPS2=75), "SPS-2", "BERT3", "Avg")
    assert row["difference"] == 15.0
    columns = ["RTE", "SST-2"]
    expected = printed.paper("table4", "SPS-2", columns) - printed.paper("table4", "BERT3", columns)
    assert row["paper"] == pytest.approx(expected)
    assert row["examples"] == 200


def test_holm_is_over_all_rows_of_the_table():
    frame = comparisons.of(finished("table4", "", 2, rows=60))
    assert len(frame) == 15
    assert frame["p_holm"].min() == pytest.approx(min(1, 15 * frame["p"].min()), abs=2e-3)
    assert (frame["p_holm"] >= frame["p"]).all()


def test_the_average_of_one_task_is_not_a_second_comparison():
    cells = experiments.plan("table4", "demo", "RTE", 5)
    frame = comparisons.of(finish(cells, right(BERT3=60, SPS1=70, SPS2=75), rows=100))
    of_task, average = (frame[frame["task"] == name] for name in ("mini-RTE", "Avg"))
    assert list(of_task["p_holm"]) == list(average["p_holm"])
    assert of_task["p_holm"].max() <= 3 * of_task["p"].max()  # three pairs
    assert np.allclose(of_task["p_holm"], holm(of_task["p"].tolist()), atol=1e-3)


def test_the_same_cells_give_the_same_bytes(folder):
    cells = finished("table2", "RTE", 2, rows=50)
    first = tables.write_table("comparisons2", "demo", comparisons.of(cells), cells).read_bytes()
    assert (
        tables.write_table("comparisons2", "demo", comparisons.of(cells[::-1]), cells).read_bytes()
        == first
    )
    again = tables.read_table("comparisons2", "demo")
    assert again.equals(comparisons.of(cells))


def test_a_table_without_pairs_has_none():
    assert comparisons.of(finished("table3", "RTE", 1, rows=20)).empty
    with pytest.raises(InputError, match="comparisons3"):
        tables.table_path("comparisons3", "demo")


def test_missing_comparisons_name_the_table_to_make():
    with pytest.raises(MissingError, match="make table4 PROFILE=demo"):
        tables.read_table("comparisons4", "demo")


def test_sentences_say_what_a_difference_is_worth():
    first, second, *_, family = sentences.differences(ablation(5, BERT3=40, SPS1=80, SPS2=80))
    assert first.startswith("SPS-1 vs. BERT3: +40.0 points")
    assert ", 5 seeds: better (adjusted p < 0.0001)" in first
    assert "inconclusive (minimum detectable difference" in second
    assert "all comparisons of the table" in family


def test_worse_is_called_worse():
    assert ": worse (" in sentences.differences(ablation(5, BERT3=90, SPS1=50, SPS2=50))[0]


@pytest.mark.parametrize(
    ("seeds", "counted"), [(1, "1 seed (intervals cover the examples only)"), (4, "4 seeds")]
)
def test_under_five_seeds_there_is_no_verdict(seeds, counted):
    frame = ablation(seeds, BERT3=40, SPS1=80, SPS2=80)
    sentence = sentences.differences(frame)[0]
    assert f", {counted}: no verdict: fewer than 5 seeds;" in sentence
    assert not any("*" in value for value in text.pair_view(frame).to_numpy().ravel())
    assert "No verdicts: fewer than 5 seeds." in latex.latex("comparisons4", frame)


def test_differences_stand_beside_what_they_cost():
    pairs = ablation(5, BERT3=40, SPS1=80, SPS2=80)
    spent = {
        "method": ["BERT3", "SPS-1", "SPS-2"] * 2,  # on two tasks
        "parameters": [4.0, 4.0, 2.0] * 2,
        "training_flops": [0.0, 3.0, 6.0] * 2,
        "latency_ms": [1.0, 2.0, 2.0, 3.0, 6.0, 6.0],
    }
    view = costs.beside_differences(pairs, pd.DataFrame(spent))
    assert view["difference"].tolist() == text.pair_view(pairs)["Avg"].tolist()
    assert list(view.index) == ["SPS-1 – BERT3", "SPS-2 – SPS-1", "SPS-2 – BERT3"]
    assert view["parameters"].tolist() == ["×1.00", "×0.50", "×0.50"]
    assert view["training"].tolist() == ["", "×2.00", ""]  # BERT3 has none
    assert view["latency"].tolist() == ["×2.00", "×1.00", "×2.00"]


def test_marks_follow_the_verdicts():
    frame = ablation(5, BERT3=40, SPS1=80, SPS2=80)
    view = text.pair_view(frame)
    assert view.loc["SPS-1 – BERT3", "mini-RTE"].startswith("+40.0 [")
    assert "]*" in view.loc["SPS-1 – BERT3", "mini-RTE"]
    assert "]*" not in view.loc["SPS-2 – SPS-1", "mini-RTE"]
    assert list(view.columns) == ["mini-RTE", "mini-SST-2", "Avg"]
    adjusted = text.pair_view(frame.assign(verdict="inconclusive after adjustment"))
    assert "]?" in adjusted.loc["SPS-1 – BERT3", "mini-RTE"]


def test_mixed_precision_is_noted():
    frame = ablation(BERT3=40, SPS1=80, SPS2=80)
    assert text.mixed_note(frame) == []
    frame.loc[0, "computed"] = frame["computed"][0].replace("float32", "bfloat16")
    (note,) = text.mixed_note(frame)
    assert "2 ways" in note and "bfloat16" in note and note in sentences.differences(frame)
    assert "bfloat16" in latex.latex("comparisons4", frame)


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
def changed_table(own_folders):
    """Table 4 with a changed beta, and the plain table, with random predictions."""
    changed = experiments.plan("table4", "demo", "RTE,QNLI", 2, overrides={"beta": 0.0})
    rng = np.random.default_rng(0)
    write(changed, rng)
    write(comparisons.plain_cells(changed), rng)
    return changed


def test_the_plain_cells_are_those_of_the_same_table_tasks_and_seeds(changed_table):
    assert comparisons.plain_cells(changed_table) == experiments.plan(
        "table4", "demo", "RTE,QNLI", 2
    )
    assert comparisons.is_changed(changed_table)
    assert not comparisons.is_changed(comparisons.plain_cells(changed_table))


def test_a_changed_recipe_is_a_change():
    assert comparisons.is_changed(
        experiments.plan("table4", "demo", "RTE", 1, "authors+layer_map=uniform")
    )


def test_each_row_is_compared_with_itself_on_the_same_examples(changed_table):
    frame = comparisons.compare_with_plain(changed_table)
    assert frame["method"].unique().tolist() == ["BERT3", "SPS-1", "SPS-2"]
    assert frame["task"].unique().tolist() == ["mini-RTE", "mini-QNLI", "Avg"]
    after, before = groups(changed_table), groups(comparisons.plain_cells(changed_table))
    key = ("SPS-2", "mini-QNLI")
    scores = [
        example_scores("accuracy", group.labels, group.predicted)
        for group in (before[key], after[key])
    ]
    expected = difference(*scores)
    (row,) = frame[(frame["method"] == key[0]) & (frame["task"] == key[1])].to_dict("records")
    assert row["difference"] == pytest.approx(row["changed"] - row["plain"])
    assert (row["ci_low"], row["ci_high"]) == (expected.low, expected.high)
    average = frame[(frame["method"] == "SPS-2")].set_index("task")["difference"]
    assert average["Avg"] == pytest.approx((average["mini-RTE"] + average["mini-QNLI"]) / 2)


def test_other_examples_give_no_difference(own_folders):
    changed = experiments.plan("table4", "demo", "RTE", 1, overrides=BUDGET)
    rng = np.random.default_rng(0)
    write(changed, rng)
    write(comparisons.plain_cells(changed), rng, examples=30)
    frame = comparisons.compare_with_plain(changed)
    assert frame["difference"].isna().all() and frame["plain"].notna().all()
    assert "other examples are scored" in notebook.change(changed).data


def test_the_notebook_shows_plain_changed_and_difference(changed_table):
    page = notebook.change(changed_table).data
    for words in ("plain", "changed", "difference [95 % interval]", "2 seeds", "SPS-2"):
        assert words in page


def test_the_notebook_says_what_to_do_without_a_comparison(own_folders):
    changed = experiments.plan("table4", "demo", "RTE", 1, overrides={"beta": 0.0})
    assert "Nothing is changed" in notebook.change(comparisons.plain_cells(changed)).data
    assert "The plain table is not there" in notebook.change(changed).data
    with pytest.raises(MissingError):
        comparisons.compare_with_plain(changed)
