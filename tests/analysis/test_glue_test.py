"""The zip for GLUE's test server, in its documented format, and the table of MRPC's test scores."""

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pandas as pd
import pytest
from synthetic import finish, gold, noisy

from repro import paths
from repro.analysis import glue_test, tables
from repro.analysis.glue_test import FILES
from repro.config.cells import plan
from repro.data import metrics
from repro.errors import InputError, MissingError
from repro.report import glue_text
from repro.runs import results

REAL = Path(os.environ.get("GLUE_DIR") or paths.ROOT.parent / "shared" / "glue")
ROWS = {
    "AX": 1104,
    "CoLA": 1063,
    "MNLI-m": 9796,
    "MNLI-mm": 9847,
    "MRPC": 1725,
    "QNLI": 5463,
    "QQP": 390965,
    "RTE": 3000,
    "SST-2": 1821,
    "STS-B": 1379,
    "WNLI": 146,
}
TWO, THREE = {"entailment", "not_entailment"}, {"entailment", "neutral", "contradiction"}
LABELS = {
    "AX": THREE,
    "CoLA": {"0", "1"},
    "MNLI-m": THREE,
    "MNLI-mm": THREE,
    "MRPC": {"0", "1"},
    "QNLI": TWO,
    "QQP": {"0", "1"},
    "RTE": TWO,
    "SST-2": {"0", "1"},
    "STS-B": {"2.701"},
    "WNLI": {"0", "1"},
}
REAL_TASKS = [name for name in ROWS if name not in ("MNLI-m", "MNLI-mm", "QQP")]


def real_file(name: str, split: str) -> list[list[str]]:
    """The fields of each line of a GLUE file, without the package's own reader."""
    path = REAL / name / ("diagnostic.tsv" if name == "AX" else f"{split}.tsv")
    if not path.is_file():
        pytest.skip(f"no {path}: set GLUE_DIR")
    text = path.read_bytes().decode("utf-8-sig").rstrip("\n")
    return [line.split("\t") for line in text.split("\n")]


def read_submission(path: Path, rows: dict[str, int]) -> dict[str, list[str]]:
    """The predictions of each file; every rule of the format is asserted."""
    predictions = {}
    with ZipFile(path) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert sorted(names) == sorted(f"{name}.tsv" for name in rows)  # no folder, no duplicate
        for name in rows:
            text = archive.read(f"{name}.tsv").decode("ascii")
            assert text.endswith("\n")
            assert "\r" not in text
            header, *lines = text[:-1].split("\n")
            assert header == "index\tprediction"
            pairs = [line.split("\t") for line in lines]
            assert [index for index, _ in pairs] == [str(number) for number in range(rows[name])]
            predictions[name] = [label for _, label in pairs]
            assert set(predictions[name]) <= LABELS[name]
    return predictions


@pytest.fixture
def small(monkeypatch):
    """Every file has twelve rows only."""
    monkeypatch.setattr(glue_test, "FILES", tuple(replace(file, rows=12) for file in FILES))
    return dict.fromkeys(ROWS, 12)


# format


def test_files_and_labels_are_those_of_the_server():
    assert {file.name: file.rows for file in FILES} == {f"{n}.tsv": r for n, r in ROWS.items()}
    labels = {file.task: set(file.labels) for file in FILES}
    assert labels == LABELS | {"STS-B": set()}


@pytest.mark.parametrize("name", REAL_TASKS)
def test_row_counts_and_indices_are_those_of_the_test_files(name):
    header, *rows = real_file(name, "test")
    column = header.index("index")
    assert [row[column] for row in rows] == [str(number) for number in range(ROWS[name])]


@pytest.mark.parametrize("name", [name for name in REAL_TASKS if name not in ("AX", "STS-B")])
def test_the_constant_is_the_most_frequent_label_of_the_training_file(name):
    rows = real_file(name, "train")
    column = 1 if name == "CoLA" else rows[0].index("Quality" if name == "MRPC" else "label")
    counts = Counter(row[column] for row in (rows if name == "CoLA" else rows[1:]))
    assert counts.most_common(1)[0][0] == next(file.constant for file in FILES if file.task == name)


def test_the_constant_of_sts_b_is_its_mean():
    mean = np.mean([float(row[-1]) for row in real_file("STS-B", "train")[1:]])
    constant = next(file.constant for file in FILES if file.task == "STS-B")
    assert float(constant) == pytest.approx(mean, abs=5e-4)


# writing


def test_a_full_submission_has_predictions_and_constants(tmp_path):
    path, rte = tmp_path / "results" / "submission.zip", ["not_entailment"] + ["entailment"] * 2999
    glue_test.write_zip(path, {"RTE": rte})
    written = read_submission(path, ROWS)
    assert written.pop("RTE") == rte
    assert written == {f.task: [f.constant] * f.rows for f in FILES if f.task != "RTE"}


def test_the_bytes_depend_on_the_predictions_only(small, tmp_path):
    rte, mrpc = ["entailment", "not_entailment"] * 6, ["0", "1"] * 6
    glue_test.write_zip(tmp_path / "a.zip", {"RTE": rte, "MRPC": mrpc})
    glue_test.write_zip(tmp_path / "b.zip", {"MRPC": mrpc, "RTE": rte})
    glue_test.write_zip(tmp_path / "c.zip", {"MRPC": mrpc, "RTE": rte[::-1]})
    a, b, c = ((tmp_path / f"{name}.zip").read_bytes() for name in "abc")
    assert a == b != c
    assert read_submission(tmp_path / "a.zip", small)["MRPC"] == mrpc


@pytest.mark.parametrize(
    ("predictions", "message"),
    [
        ({"RTE": ["entailment"] * 11}, "RTE has 11 predictions; its test file has 12 rows"),
        ({"RTE": []}, "RTE has 0 predictions; its test file has 12 rows"),
        (
            {"MRPC": ["equivalent"] * 12},
            "unknown prediction of MRPC 'equivalent'; use one of: 0, 1",
        ),
        ({"rte": ["entailment"] * 12}, "unknown GLUE task 'rte'; use one of: AX, CoLA"),
    ],
)
def test_wrong_predictions_are_refused_and_the_old_zip_stays(small, tmp_path, predictions, message):
    path = tmp_path / "submission.zip"
    glue_test.write_zip(path, {"RTE": ["not_entailment", "entailment"] * 6})
    before = path.read_bytes()
    with pytest.raises(InputError) as caught:
        glue_test.write_zip(path, predictions)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_the_text_tells_predictions_from_constants(small):
    rte = ["entailment"] * 7 + ["not_entailment"] * 5
    text = glue_text.submission_text({"RTE": rte, "MRPC": ["1"] * 12})
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in text.splitlines()}
    assert lines["RTE.tsv"] == "12 entailment x 7, not_entailment x 5"
    assert lines["MRPC.tsv"] == "12 0 x 0, 1 x 12: the model predicts one label only"
    assert lines["QQP.tsv"] == "12 not run: constant 0"
    assert len(lines) == 11


# MRPC's test score


@pytest.fixture
def scored(own_folders):
    """Two made-up seeds of every row of Table 2, with predictions for 60 made-up test pairs."""
    cells = finish(plan("table2", "cpu", "MRPC", 2))
    labels = gold("RTE", 60)
    for cell in cells:
        results.write_test(cell, labels, noisy(cell, labels))
    return cells


def test_the_test_score_is_that_of_the_stored_predictions(scored):
    frame = glue_test.mrpc_table(scored)
    assert list(frame["method"].unique()) == list(dict.fromkeys(cell.row for cell in scored))
    assert frame.groupby("method").size().eq(4).all()
    labels = gold("RTE", 60)
    for row in frame[frame["split"] == "test"].to_dict("records"):
        scores = [
            metrics.score(row["metric"], labels, noisy(cell, labels).argmax(1))
            for cell in scored
            if cell.row == row["method"]
        ]
        assert row["mean"] == pytest.approx(np.mean(scores), abs=1e-4)
        assert row["ci_low"] <= row["mean"] <= row["ci_high"] and row["seeds"] == 2
        ones = metrics.score(row["metric"], labels, np.ones(60, int))
        assert row["constant"] == pytest.approx(ones, abs=1e-4)


def test_the_dev_score_is_that_of_table_2(scored):
    frame, table2 = glue_test.mrpc_table(scored), tables.aggregate(scored)
    dev = frame[(frame["split"] == "dev") & (frame["metric"] == "f1")].set_index("method")
    expected = table2[table2["task"] == "MRPC"].set_index("method")
    names = ["mean", "sd", "ci_low", "ci_high", "seeds", "parameters"]
    pd.testing.assert_frame_equal(dev[names], expected[names])


def test_only_the_test_f1_is_compared_with_the_paper(scored):
    frame = glue_test.mrpc_table(scored)
    compared = frame[frame["paper"].notna()]
    assert set(zip(compared["split"], compared["metric"], strict=True)) == {("test", "f1")}
    assert dict(zip(compared["method"], compared["paper"], strict=True))["PeaBERT3"] == 85.0
    np.testing.assert_allclose(compared["delta"], compared["mean"] - compared["paper"], atol=1e-4)


@pytest.mark.parametrize("number", [0, -1], ids=["seeds of one row", "rows"])
def test_different_test_labels_are_refused(scored, number):
    cell = scored[number]
    others = [cell] if number == 0 else [other for other in scored if other.row == cell.row]
    for other in others:
        results.write_test(other, 1 - gold("RTE", 60), np.zeros((60, 2)))
    message = rf"cells of {cell.row} have different test labels; run: .*mrpc-test .*--seeds 2"
    with pytest.raises(InputError, match=message):
        glue_test.mrpc_table(scored)


def test_missing_test_predictions_are_named_with_the_command(scored):
    results.test_path(scored[0]).unlink()
    with pytest.raises(
        MissingError,
        match=r"no test predictions for cell table2-bert-base.*mrpc-test --profile cpu",
    ):
        glue_test.mrpc_table(scored)


def test_the_command_names_the_recipe():
    cell = plan("table2", "cpu", "MRPC", 2, "textbook")[-1]
    expected = "python -m repro mrpc-test --profile cpu --seeds 2 --recipe textbook"
    assert results.test_command(cell) == expected


def test_other_tasks_are_refused(own_folders):
    with pytest.raises(InputError, match="cells of MRPC only"):
        glue_test.mrpc_table(finish(plan("table2", "cpu", "RTE", 1)))


def test_the_text_has_every_method_and_the_constant_baseline(scored):
    lines = glue_text.mrpc_text(glue_test.mrpc_table(scored)).splitlines()
    assert max(map(len, lines)) <= 120
    assert len([line for line in lines if line.startswith(("BERT", "PeaBERT"))]) == 7
    assert any(line.startswith("always equivalent") for line in lines)
    assert "the dev score is optimistic" in " ".join(map(str.strip, lines))
