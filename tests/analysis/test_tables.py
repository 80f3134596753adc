"""Tables, CSVs and views from synthetic results: exact numbers by hand, and every error."""

import random
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from synthetic import finish, finished, gold, noisy, result

from repro import paths
from repro.analysis import tables
from repro.analysis.tables import COLUMNS, MORE_COLUMNS
from repro.config import printed
from repro.config.cells import plan
from repro.config.tables import TABLES
from repro.data import ptp_labels
from repro.errors import InputError, MissingError
from repro.report import text
from repro.runs import results as files


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_RESULTS", str(tmp_path))
    return tmp_path


def right(*counts):
    """Predict so that seed k gets the first counts[k] examples right and the others wrong."""

    def predict(cell, labels):
        told = np.where(np.arange(len(labels)) < counts[cell.seed], labels, 1 - labels)
        return np.eye(2)[told] * 4.0

    return predict


def row(frame, method, task):
    return frame[(frame["method"] == method) & (frame["task"] == task)].iloc[0]


def test_a_row_by_hand():
    frame = tables.aggregate(finish(plan("table4", "demo", "RTE", 2), right(8, 6), rows=10))
    found = row(frame, "SPS-1", "mini-RTE")
    assert (found["mean"], found["sd"], found["seeds"]) == (70.0, 14.1421, 2)
    assert (found["paper"], found["delta"]) == (63.5, 6.5)
    assert (found["metric"], found["split"], found["table"]) == ("accuracy", "dev", "table4")
    assert (found["layers"], found["parameters"], found["parameters_full"]) == (3, 300_000, 800_000)
    assert (found["effective_layers"], found["precision"], found["checkpoint"]) == (
        6,
        "float32",
        "best_dev",
    )
    assert (found["backbone"], found["data"], found["recipe"]) == (
        "embedded",
        "embedded miniature tasks",
        "authors",
    )
    assert 0 <= found["ci_low"] < 70 < found["ci_high"] <= 100


def test_f1_by_hand():
    def predict(cell, labels):
        return np.array([[0, 1]] * len(labels))  # everything is a paraphrase

    frame = tables.aggregate(finish(plan("table4", "demo", "MRPC", 1), predict, rows=40))
    positives = int(gold("mini-MRPC", 40).sum())
    assert row(frame, "BERT3", "mini-MRPC")["mean"] == pytest.approx(
        200 * positives / (positives + 40), abs=1e-4
    )


def test_average_pairs_the_seeds_and_averages_the_tasks():
    cells = plan("table4", "demo", "RTE,QNLI", 2)
    finish([c for c in cells if c.task == "mini-RTE"], right(8, 6), rows=10)
    finish([c for c in cells if c.task == "mini-QNLI"], right(6, 8), rows=10)
    found = row(tables.aggregate(cells), "BERT3", "Avg")
    assert (found["mean"], found["sd"], found["metric"]) == (70.0, 0.0, "mean of 2")
    assert found["paper"] == pytest.approx((61.4 + 84.8) / 2)


def test_the_printed_average_is_used_when_all_tasks_are_there():
    frame = tables.aggregate(finished("table2", seeds=1, rows=30))
    assert row(frame, "PeaBERT1", "Avg")["paper"] == 75.0  # its parts give 74.925
    assert row(frame, "PeaBERT1", "Avg")["metric"] == "mean of 4"
    assert frame["sd"].isna().all()


def test_order_and_columns():
    frame = tables.aggregate(finished("table2", "QNLI,RTE", 2, rows=20))
    assert tuple(frame.columns) == COLUMNS + MORE_COLUMNS
    assert list(dict.fromkeys(frame["method"])) == [line.name for line in TABLES["table2"].rows]
    assert list(frame["task"][:3]) == ["mini-RTE", "mini-QNLI", "Avg"]


def test_printed_rows_of_table_3():
    frame = tables.aggregate(finished("table3", "RTE,MRPC", 1, rows=20))
    found = row(frame, "TinyBERT", "mini-RTE")
    assert np.isnan(found["mean"])
    assert np.isnan(found["delta"])
    assert (found["paper"], found["parameters"], found["backbone"]) == (
        70.4,
        42_600_000,
        "as printed",
    )
    assert row(frame, "DistilBERT", "Avg")["paper"] == pytest.approx(73.7)


def test_split_names_the_cap_if_it_left_examples_out():
    cells = plan("table4", "demo", "RTE", 1, overrides={"dev_cap": 20})
    assert (
        row(tables.aggregate(finish(cells, rows=20)), "BERT3", "mini-RTE")["split"]
        == "dev (first 20)"
    )
    assert row(tables.aggregate(finish(cells, rows=19)), "BERT3", "mini-RTE")["split"] == "dev"


def test_the_same_cells_give_the_same_bytes(folder):
    cells = finished("table4", "RTE,MRPC", 3, rows=40)
    first = tables.write_table("table4", "demo", tables.aggregate(cells), cells).read_bytes()
    random.Random(1).shuffle(cells)
    assert (
        tables.write_table("table4", "demo", tables.aggregate(cells), cells).read_bytes() == first
    )
    assert not [path for path in (folder / "demo").iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("name", ["table1", "table2", "table3"])
def test_a_table_reads_back_as_it_was_written(name):
    make = tables.table1 if name == "table1" else tables.aggregate
    cells = finished(name, "RTE", 2, rows=30)
    frame = make(cells)
    tables.write_table(name, "demo", frame, cells)
    pd.testing.assert_frame_equal(tables.read_table(name, "demo"), frame)


def test_a_task_s_interval_does_not_depend_on_the_other_tasks():
    finished("table4", "", 2, rows=50)
    alone, together = (
        tables.aggregate(plan("table4", "demo", tasks, 2)) for tasks in ("SST-2", "")
    )
    pd.testing.assert_series_equal(
        row(alone, "SPS-2", "mini-SST-2"), row(together, "SPS-2", "mini-SST-2"), check_names=False
    )


def test_every_missing_cell_is_named():
    cells = plan("table4", "demo", "RTE", 3)
    finish(cells[2:], rows=10)
    with pytest.raises(MissingError) as raised:
        tables.aggregate(cells)
    assert all(cell.id in str(raised.value) for cell in cells[:2])
    assert cells[2].id not in str(raised.value)
    assert "2 of 9" in str(raised.value)
    assert "make table4 PROFILE=demo TASKS=mini-RTE SEEDS=3" in str(raised.value)


def test_damaged_predictions_count_as_missing():
    cells = finished("table4", "RTE", 1, rows=10)
    files.predictions_path(cells[0]).write_bytes(b"")
    with pytest.raises(MissingError, match=cells[0].id):
        tables.aggregate(cells)


def rewrite(cell, rows=10, **changes):
    """The cell with other results."""
    labels = gold(cell.task, rows)
    logits = noisy(cell, labels)
    files.write(cell, result(cell, labels, logits) | changes, labels, logits)


def test_a_score_that_the_predictions_contradict_is_refused():
    cells = finished("table4", "RTE", 1, rows=10)
    for wrong in (float("nan"), 12.5):
        rewrite(cells[1], metrics={"accuracy": wrong, "f1": 50.0})
        with pytest.raises(InputError, match=f"{cells[1].id} has accuracy"):
            tables.aggregate(cells)


def test_logits_that_are_not_finite_are_an_error():
    cells = finish(
        plan("table4", "demo", "RTE", 1),
        lambda cell, labels: np.full((len(labels), 2), np.nan),
        rows=10,
    )
    with pytest.raises(InputError, match="has accuracy"):
        tables.aggregate(cells)


def test_results_of_different_data_are_refused():
    cells = finished("table4", "RTE", 1, rows=10)
    rewrite(cells[0], data={"train": "other", "dev": "b" * 8})
    with pytest.raises(InputError, match="2 versions"):
        tables.aggregate(cells)


def test_seeds_scored_on_different_examples_are_refused():
    cells = finished("table4", "RTE", 2, rows=10)
    rewrite(cells[1], rows=11)
    with pytest.raises(InputError, match="other examples"):
        tables.aggregate(cells)


def test_cells_of_different_plans_are_refused():
    first, other = (
        plan("table4", "demo", "RTE", 1),
        plan("table4", "demo", "RTE", 1, recipe="textbook"),
    )
    for mixed in (first + other[:1], [*first, *plan("table5", "demo", "RTE", 1)], []):
        with pytest.raises(InputError):
            tables.aggregate(mixed)
    with pytest.raises(InputError, match="same tasks and seeds"):
        tables.aggregate([*first, replace(first[0], seed=1)])


def test_a_plan_without_one_method_is_refused():
    cells = finished("table4", "RTE", 1, rows=10)
    with pytest.raises(InputError, match="BERT3"):
        tables.aggregate(cells[1:])


def test_changed_settings_need_a_variant_and_leave_the_table():
    plain = finished("table4", "RTE", 1, rows=10)
    tables.write_table("table4", "demo", tables.aggregate(plain), plain)
    before = tables.table_path("table4", "demo").read_bytes()
    changes = {"beta": 40.0, "student.epochs": 3}
    cells = finished("table4", "RTE", 1, rows=10, overrides=changes)
    frame = tables.aggregate(cells)
    assert set(frame["settings"]) == {"beta=40.0; student.epochs=3"}
    with pytest.raises(InputError, match="variant"):
        tables.write_table("table4", "demo", frame, cells)
    assert tables.write_table("table4", "demo", frame, cells, "beta40").name == "table4.beta40.csv"
    assert tables.table_path("table4", "demo").read_bytes() == before
    pd.testing.assert_frame_equal(tables.read_table("table4", "demo", "beta40"), frame)
    assert "Changed settings: beta=40.0" in text.to_text(frame)


@pytest.mark.parametrize(
    ("name", "profile", "variant", "message"),
    [
        ("table9", "demo", "", "table9"),
        ("table2", "laptop", "", "laptop"),
        ("table2", "demo", "../x", "variant"),
    ],
)
def test_unknown_names_are_refused(name, profile, variant, message):
    with pytest.raises(InputError, match=message):
        tables.table_path(name, profile, variant)


def test_missing_tables_are_named_with_the_command():
    with pytest.raises(MissingError, match=r"make table2 PROFILE=cpu RECIPE=textbook$"):
        tables.read_table("table2", "cpu", "textbook")
    with pytest.raises(MissingError, match=r"make claims PROFILE=cpu$"):
        tables.read_table("ledger", "cpu")
    with pytest.raises(
        MissingError, match=r"table1, table4, thresholds, comparisons4 .*make table1 table4 PROFILE"
    ):
        tables.read_all("demo", "1, 4")
    with pytest.raises(InputError, match="table7"):
        tables.read_all("demo", "7")


def hand_made(cell, labels):
    """4 confident and correct, 3 unconfident and correct, 2 confident and wrong, 1 neither."""
    sure = np.array([0.95] * 4 + [0.7] * 3 + [0.9] * 2 + [0.55])
    told = np.where(np.arange(10) < 7, labels, 1 - labels)
    logits = np.zeros((10, 2))
    logits[np.arange(10), told] = np.log(sure / (1 - sure))
    return logits


def test_table_1_by_hand():
    frame = tables.table1(finish(plan("table1", "demo", "RTE", 2), hand_made, rows=10))
    every = frame[(frame["gold"] == "all") & (frame["task"] == "mini-RTE")]
    assert list(every["method"]) == list(ptp_labels.LABELS)
    assert list(every["mean"]) == [40.0, 30.0, 20.0, 10.0]  # RTE: t1 0.80, t2 0.60
    assert list(every["count"]) == [4.0, 3.0, 2.0, 1.0]
    assert set(every["sd"]) == {0.0}
    assert set(every["layers"]) == {4}
    assert set(every["split"]) == {"train"}
    assert set(frame["gold"]) == {"all", "entailment", "not_entailment"}
    classes = frame[(frame["gold"] != "all")]
    assert classes["count"].sum() == 10
    assert list(classes.groupby("gold")["mean"].sum().round(3)) == [100.0, 100.0]
    assert list(frame.columns) == [*COLUMNS, *MORE_COLUMNS, "gold", "count"]
    assert frame["paper"].isna().all()
    assert list(frame[frame["task"] == "Avg"]["mean"]) == [40.0, 30.0, 20.0, 10.0]


def test_the_average_count_is_the_mean_of_the_tasks_counts():
    """Not the mean share times the mean size: the tasks differ in size."""
    small, large = plan("table1", "demo", "RTE,SST-2", 1)
    finish([small], lambda cell, labels: 20 * np.eye(2)[labels], rows=10)
    finish([large], lambda cell, labels: 20 * np.eye(2)[1 - labels], rows=30)
    frame = tables.table1([small, large])
    average = frame[frame["task"] == "Avg"].set_index("method")
    assert average.loc["confidently correct", ["mean", "count"]].tolist() == [50.0, 5.0]
    assert average.loc["confidently wrong", ["mean", "count"]].tolist() == [50.0, 15.0]


def test_the_sweep_agrees_with_the_labels_at_every_threshold():
    cells = finished("table1", "MRPC", 2, rows=60)
    sweep = tables.threshold_sweep(cells)
    assert sweep["t"].nunique() == 49
    assert sweep["t"].min() == 0.51
    assert sweep["t"].max() == 0.99
    for t, part in sweep.groupby("t"):
        shares = [
            np.bincount(
                ptp_labels.labels(f.filter(like="logit").to_numpy(), f["label"].to_numpy(), (t, t)),
                minlength=4,
            )
            for f in map(files.predictions, cells)
        ]
        np.testing.assert_allclose(part["share"], 100 * np.mean(shares, axis=0) / 60, atol=1e-3)


def test_table_1_is_not_made_by_aggregate():
    with pytest.raises(InputError, match="table1"):
        tables.aggregate(plan("table1", "demo", "RTE", 1))


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("recipe", ["authors", "textbook"])
def test_the_view_fits_a_terminal_and_says_what_it_is(name, recipe):
    make = tables.table1 if name == "table1" else tables.aggregate
    shown = text.to_text(make(finished(name, "", 2, rows=40, recipe=recipe)))
    assert max(map(len, shown.splitlines())) <= 120
    assert all(
        word in shown
        for word in ("mini-SST-2", "2 seeds", "float32", "encoder: embedded", "not GLUE", recipe)
    )
    assert ("†" in shown) == (name == "table3")


def test_view_by_hand():
    cells = finish(plan("table4", "demo", "RTE", 2), right(8, 6), rows=10)
    wide = text.beside_paper(tables.aggregate(cells))
    assert list(wide.columns) == ["mini-RTE (acc)", "params"]
    assert list(wide.loc["SPS-1"]) == ["70.0±14.1 (63.5)", "0.30M"]


def test_parameters_as_decision_d17_says():
    cells = finished("table3", "RTE", 1, rows=10, recipe="authors+parameter_count=both")
    assert list(text.beside_paper(tables.aggregate(cells))["params"]) == [
        "42.6M",
        "42.6M",
        "0.60M / 1.1M",
    ]


def test_printed_numbers_are_the_paper_s():
    assert len(printed.numbers()) == 17
    assert printed.paper("table5", "BERT3+SPS+PTP", ["Avg"]) == 84.5


def test_aggregation_is_quick():
    cells = finished("table2", "", 1, rows=500)
    start = time.process_time()
    tables.aggregate(cells)
    assert time.process_time() - start < 5  # 0.3 s on a free core


def test_no_torch():
    code = (
        "import sys; from repro.analysis import tables, verification; "
        "from repro.report import diagrams, document, figures, text; "
        "sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=paths.ROOT, check=False).returncode == 0


def test_a_row_has_the_scores_of_both_checkpoints():
    """The chosen checkpoint's score and the last step's, two points lower in synthetic results."""
    frame = tables.aggregate(finished("table4", "RTE,MRPC", 2, rows=60))
    assert (frame["mean"] - frame["last"]).tolist() == pytest.approx([2.0] * len(frame), abs=1e-3)
    assert "2.0 points above the last step" in " ".join(text.to_text(frame).split())


def test_the_score_of_the_last_step_is_not_called_optimistic():
    frame = tables.aggregate(
        finished("table4", "RTE", 1, rows=60, recipe="authors+checkpoint=last")
    )
    assert frame["last"].isna().all()
    assert "optimistic" not in text.to_text(frame)


def test_the_command_for_missing_cells_keeps_recipe_and_changes():
    with pytest.raises(
        MissingError, match=r"make table4 PROFILE=demo TASKS=mini-RTE SEEDS=1 RECIPE=textbook$"
    ):
        tables.aggregate(plan("table4", "demo", "RTE", 1, "textbook"))
    with pytest.raises(MissingError, match=r"--seeds 1 --set beta=40.0 --set student.epochs=3$"):
        tables.aggregate(
            plan("table4", "demo", "RTE", 1, overrides={"beta": 40.0, "student.epochs": 3})
        )


def test_a_collapsed_student_is_reported():
    """One class for every example is not the same as every prediction wrong."""

    def predict(cell, labels):
        told = np.ones_like(labels) if cell.row == "SPS-1" else labels
        return np.eye(2)[told] * 4.0

    frame = tables.aggregate(finish(plan("table4", "demo", "RTE,MRPC", 2), predict, rows=50))
    assert row(frame, "SPS-1", "mini-RTE")["one_class"] == 2
    assert row(frame, "SPS-1", "Avg")["one_class"] == 4
    assert row(frame, "SPS-2", "Avg")["one_class"] == 0
    said = " ".join(text.to_text(frame).split())
    assert (
        "Collapsed (one predicted class) in at least one seed: SPS-1 (mini-RTE, mini-MRPC)." in said
    )
