"""Comparisons of two methods from synthetic results: numbers by hand, and their sentences."""

import numpy as np
import pytest
from synthetic import finish, finished, right

from repro.analysis import comparisons, tables
from repro.config import cells as experiments
from repro.config import printed
from repro.config.tables import TABLES
from repro.errors import InputError, MissingError
from repro.report import sentences, text


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
    assert row["mcnemar"] == f"{2 / 2**10:.2g}"  # ten examples mended, none broken
    assert row["improvement"] == 1.0
    assert row["ci_low"] > 0
    assert row["paper"] == pytest.approx(63.5 - 61.4)
    assert np.isnan(row["p_seeds"])


def test_equal_methods_differ_by_nothing():
    row = of(ablation(3, BERT3=60, SPS1=60, SPS2=60), "SPS-2", "BERT3", "Avg")
    assert (row["difference"], row["ci_low"], row["ci_high"], row["p_permutation"]) == (0, 0, 0, 1)
    assert row["improvement"] == 0.5


def test_average_has_the_printed_difference_of_its_tasks():
    row = of(ablation(BERT3=60, SPS1=70, SPS2=75), "SPS-2", "BERT3", "Avg")
    assert row["difference"] == 15.0
    columns = ["RTE", "SST-2"]
    expected = printed.paper("table4", "SPS-2", columns) - printed.paper("table4", "BERT3", columns)
    assert row["paper"] == pytest.approx(expected)
    assert row["examples"] == 200


def test_holm_is_over_the_tasks():
    frame = comparisons.of(finished("table4", "", 2, rows=60))
    part = frame[
        (frame["method"] == "SPS-2") & (frame["against"] == "SPS-1") & (frame["task"] != "Avg")
    ]
    smallest = part["p_permutation"].idxmin()
    assert part["p_holm"][smallest] == pytest.approx(
        min(1, 4 * part["p_permutation"][smallest]), abs=1e-3
    )
    assert (part["p_holm"] >= part["p_permutation"] - 1e-9).all()


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
    better = sentences.differences(ablation(3, BERT3=60, SPS1=80, SPS2=80))
    assert (
        better[0].startswith("SPS-1 vs. BERT3: +20.0 points")
        and ", better with 3 seeds;" in better[0]
    )
    assert "identical predictions on every example" in better[1]


def test_worse_is_called_worse():
    assert (
        ", worse with 3 seeds;" in sentences.differences(ablation(3, BERT3=80, SPS1=50, SPS2=50))[0]
    )


@pytest.mark.parametrize(("seeds", "counted"), [(1, "1 seed"), (2, "2 seeds")])
def test_few_seeds_come_with_a_warning(seeds, counted):
    sentence = sentences.differences(ablation(seeds, BERT3=60, SPS1=80, SPS2=80))[0]
    assert f", better with {counted} (too few to generalise to other seeds);" in sentence


def test_view_marks_what_holds_after_holm():
    view = text.pair_view(ablation(BERT3=60, SPS1=80, SPS2=80))
    assert (
        view.loc["SPS-1 – BERT3", "mini-RTE"].startswith("+20.0 [")
        and "*" in view.loc["SPS-1 – BERT3", "mini-RTE"]
    )
    assert "*" not in view.loc["SPS-2 – SPS-1", "mini-RTE"]
    assert list(view.columns) == ["mini-RTE", "mini-SST-2", "Avg"]
