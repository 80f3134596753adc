"""Finished models on test files: what is submitted, and MRPC's test score beside the dev score."""

import os
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pandas as pd
import pytest
from synthetic import finish, gold, noisy

from repro import paths
from repro.analysis import mrpc, tables
from repro.analysis.verification import verify
from repro.config import profiles
from repro.config.cells import plan
from repro.config.profiles import Budget, Setting
from repro.config.tasks import task
from repro.data import glue as data
from repro.data import metrics, mini
from repro.errors import InputError, MissingError
from repro.runs import engine, stages, submission, test_set
from repro.runs import results as cells

ONCE = Budget(4e-4, 16, 1)
TINY = Setting(
    "embedded", ONCE, ONCE, ONCE, max_length=64, precision="float32", train_cap=48, dev_cap=32
)
TEST_ROWS = 20


def write_glue(folder: Path, name: str) -> None:
    """A GLUE task's train, dev and test files with sentences of the embedded miniature."""
    rows, chosen = mini.rows(f"mini-{name}", "train"), task(name)
    header = "\t".join(["index", *chosen.tsv_columns])
    for split, start, stop in (("train", 0, 48), ("dev", 48, 80), ("test", 80, 80 + TEST_ROWS)):
        lines = [
            [str(n), *(row[c] for c in chosen.columns), chosen.label_strings[row["label"]]]
            for n, row in enumerate(rows[start:stop])
        ]
        path = folder / name / f"{split}.tsv"
        path.parent.mkdir(exist_ok=True, parents=True)
        head, width = (header, -1) if split == "test" else (f"{header}\t{chosen.tsv_label}", None)
        path.write_text("\n".join([head, *("\t".join(line[:width]) for line in lines)]) + "\n")
        if (
            split == "test" and name == "MRPC"
        ):  # as the corpus has it: label first, a byte-order mark, DOS line ends
            public = [
                "Quality\t#1 String\t#2 String",
                *(f"{line[-1]}\t{line[1]}\t{line[2]}" for line in lines),
            ]
            (folder / name / test_set.PUBLIC).write_text(
                "\ufeff" + "\r\n".join(public) + "\r\n", newline=""
            )


@pytest.fixture(scope="module")
def _world(tmp_path_factory):
    """Profile cpu with the embedded encoder and tiny GLUE files; folders of this module's own."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("cache", "results"):
            patch.setenv(f"REPRO_{name.upper()}", str(tmp_path_factory.mktemp(name)))
        glue = tmp_path_factory.mktemp("glue")
        for name in ("RTE", "MRPC"):
            write_glue(glue, name)
        patch.setitem(profiles.PROFILES, "cpu", replace(profiles.PROFILES["cpu"], setting=TINY))
        patch.setattr(
            submission, "FILES", tuple(replace(file, rows=TEST_ROWS) for file in submission.FILES)
        )
        stages._load_data.cache_clear()
        yield glue
        stages._load_data.cache_clear()


@pytest.fixture
def glue(_world, monkeypatch) -> Path:
    monkeypatch.setenv("GLUE_DIR", str(_world))
    return _world


@pytest.fixture(scope="module")
def trained(_world):
    """PeaBERT1 on both tasks, trained for an epoch on 48 examples."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLUE_DIR", str(_world))
        made = [cell for cell in plan("table2", "cpu", "RTE,MRPC", 1) if cell.row == "PeaBERT1"]
        engine.run_cells(made, "serial")
        yield made


# a submission


def test_the_model_gives_the_dev_predictions_of_its_result(glue, trained):
    for cell in trained:
        again = test_set.logits(cell, stages.load_data(cell).dev)
        np.testing.assert_allclose(again, cells.predictions(cell).filter(like="logit_"), atol=1e-4)


def test_the_submission_holds_the_models_predictions_in_the_order_of_the_test_file(glue, trained):
    target, made = test_set.submit("cpu", "PeaBERT1", 0, "RTE,MRPC")
    assert target == paths.results("cpu") / "submission-PeaBERT1-s0.zip"
    assert submission.validate(target) == []
    for cell in trained:
        one_by_one = [
            test_set.logits(cell, data.Split((texts,), np.array([-1]), "test", "")).argmax()
            for texts in data.load(task(cell.task), "test").texts[:5]
        ]
        expected = [task(cell.task).label_strings[label] for label in one_by_one]
        with ZipFile(target) as archive:
            lines = archive.read(f"{cell.task}.tsv").decode().splitlines()
        assert lines[1:6] == [f"{index}\t{label}" for index, label in enumerate(expected)]
        assert made[cell.task][:5] == expected and len(made[cell.task]) == TEST_ROWS


def test_the_teacher_can_be_submitted(glue, trained):
    teacher = next(cell for cell in plan("table2", "cpu", "RTE", 1) if cell.row == "BERT-base")
    engine.run_cells([teacher], "serial")
    _, made = test_set.submit("cpu", "BERT-base", 0, "RTE")
    assert set(made) == {"RTE"} and set(made["RTE"]) <= {"entailment", "not_entailment"}


def test_the_command_says_what_is_in_the_zip(glue, trained, monkeypatch, capsys):
    from repro import cli

    monkeypatch.setattr(
        "sys.argv", "repro submission --profile cpu --method PeaBERT1 --tasks RTE".split()
    )
    with pytest.raises(SystemExit) as stop:
        cli.main()
    out = capsys.readouterr().out.splitlines()
    assert not stop.value.code and len(out) == 12
    assert "not run: constant 1" in next(line for line in out if line.startswith("MRPC.tsv"))
    assert "entailment x" in next(line for line in out if line.startswith("RTE.tsv"))
    assert out[-1].startswith("written, and valid: ") and out[-1].endswith(
        "submission-PeaBERT1-s0.zip"
    )


def test_a_cell_without_result_is_told_with_its_command(glue, trained):
    with pytest.raises(MissingError) as caught:
        test_set.submit("cpu", "PeaBERT2", 0, "RTE,MRPC")
    text = str(caught.value)
    assert text.startswith("2 of 2 cells have no result") and "\n" not in text
    assert [
        text.count(f"--method PeaBERT2 --task {name} --seed 0") for name in ("RTE", "MRPC")
    ] == [1, 1]


def test_a_model_that_is_not_the_results_is_refused(glue, trained):
    cell = trained[0]
    row, frame = cells.read(cell), cells.predictions(cell)
    logits = frame.filter(like="logit_").to_numpy()
    try:
        cells.write(cell, row, frame["label"].to_numpy(), -logits)
        with pytest.raises(
            InputError, match=r"not that of cell .*: 32 of 32 dev predictions differ; remove"
        ):
            test_set.submit("cpu", "PeaBERT1", 0, cell.task)
    finally:
        cells.write(cell, row, frame["label"].to_numpy(), logits)


# MRPC's public labels


def test_the_public_labels_are_those_of_the_test_pairs(glue):
    labels = test_set.public_labels(data.load(task("MRPC"), "test"))
    assert labels.tolist() == [
        row["label"] for row in mini.rows("mini-MRPC", "train")[80 : 80 + TEST_ROWS]
    ]


def test_other_pairs_than_the_test_files_are_refused(glue, tmp_path, monkeypatch):
    split, text = data.load(task("MRPC"), "test"), (glue / "MRPC" / test_set.PUBLIC).read_text()
    path = tmp_path / "MRPC" / test_set.PUBLIC
    path.parent.mkdir()
    monkeypatch.setenv("GLUE_DIR", str(tmp_path))
    header, *lines = text.split("\n")
    path.write_text("\n".join([header, lines[1], lines[0], *lines[2:]]))
    with pytest.raises(InputError, match="line 2: not the pair of index 0 of MRPC's test split"):
        test_set.public_labels(split)
    path.write_text("\n".join([header, *lines[1:]]))
    with pytest.raises(
        InputError, match=f"has {TEST_ROWS - 1} pairs, MRPC's test split {TEST_ROWS};"
    ):
        test_set.public_labels(split)
    path.unlink()
    with pytest.raises(MissingError, match=r"msr_paraphrase_test\.txt, which is not in GLUE_DIR"):
        test_set.public_labels(split)


def test_the_real_files_agree(monkeypatch):
    folder = Path(os.environ.get("GLUE_DIR") or paths.ROOT.parent / "shared" / "glue")
    if not (folder / "MRPC" / test_set.PUBLIC).is_file():
        pytest.skip(f"no {test_set.PUBLIC} in {folder}: set GLUE_DIR")
    monkeypatch.setenv("GLUE_DIR", str(folder))
    labels = test_set.public_labels(data.load(task("MRPC"), "test"))
    assert (len(labels), int(labels.sum())) == (1725, 1147)


# the score


@pytest.fixture
def scored(own_folders):
    """Two made-up seeds of every method of Table 2, scored on 60 made-up test pairs."""
    made = finish(plan("table2", "cpu", "MRPC", 2))
    labels = gold("RTE", 60)
    for cell in made:
        cells.write_test(cell, labels, noisy(cell, labels))
    return made


def test_the_test_score_is_that_of_the_stored_predictions(scored):
    frame = mrpc.of(scored)
    assert list(frame["method"].unique()) == list(dict.fromkeys(cell.row for cell in scored))
    assert frame.groupby("method").size().eq(4).all()
    labels = gold("RTE", 60)
    for row in frame[frame["split"] == "test"].to_dict("records"):
        expected = np.mean(
            [
                metrics.score(row["metric"], labels, noisy(cell, labels).argmax(1))
                for cell in scored
                if cell.row == row["method"]
            ]
        )
        assert row["mean"] == pytest.approx(expected, abs=1e-4)
        assert row["ci_low"] <= row["mean"] <= row["ci_high"] and row["seeds"] == 2
        ones = metrics.score(row["metric"], labels, np.ones(60, int))
        assert row["constant"] == pytest.approx(ones, abs=1e-4)


def test_the_dev_score_is_that_of_table_2(scored):
    ours, table = mrpc.of(scored), tables.aggregate(scored)
    dev = ours[(ours["split"] == "dev") & (ours["metric"] == "f1")].set_index("method")
    expected = table[table["task"] == "MRPC"].set_index("method")
    names = ["mean", "sd", "ci_low", "ci_high", "seeds", "parameters"]
    pd.testing.assert_frame_equal(dev[names], expected[names])


def test_only_the_test_f1_stands_beside_the_papers(scored):
    frame = mrpc.of(scored)
    beside = frame[frame["paper"].notna()]
    assert set(zip(beside["split"], beside["metric"], strict=True)) == {("test", "f1")}
    assert dict(zip(beside["method"], beside["paper"], strict=True))["PeaBERT3"] == 85.0
    np.testing.assert_allclose(beside["delta"], beside["mean"] - beside["paper"], atol=1e-4)


def test_missing_or_contradicting_test_predictions_are_refused(scored):
    cells.write_test(scored[0], 1 - gold("RTE", 60), np.zeros((60, 2)))
    with pytest.raises(
        InputError, match=r"seeds of BERT-base have different test labels; .*--seeds 2"
    ):
        mrpc.of(scored)
    cells.test_path(scored[0]).unlink()
    with pytest.raises(
        MissingError,
        match=r"no test predictions for cell table2-bert-base.*mrpc-test --profile cpu",
    ):
        mrpc.of(scored)


def test_other_tasks_are_refused(own_folders):
    with pytest.raises(InputError, match="cells of MRPC alone"):
        mrpc.of(finish(plan("table2", "cpu", "RTE", 1)))


def test_the_command_writes_a_table_that_verifies(glue, repro, monkeypatch):
    monkeypatch.setenv("GLUE_DIR", str(glue))
    made = finish(plan("table2", "cpu", "MRPC", 1))
    monkeypatch.setattr(
        test_set, "logits", lambda cell, split: noisy(cell, test_set.public_labels(split))
    )
    code, out, err = repro("mrpc-test", "--profile", "cpu")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert max(map(len, lines[:-1])) <= 120
    assert len([line for line in lines if line.startswith(("BERT", "PeaBERT"))]) == len(made) == 7
    assert (
        "always equivalent" in out and "optimistic" in out and lines[-1].endswith("mrpc_test.csv")
    )
    verdict = verify("cpu")
    assert (verdict.findings, verdict.tables) == ([], 1)
    labels = test_set.public_labels(data.load(task("MRPC"), "test"))
    cells.write_test(made[-1], labels, np.stack([labels, 1 - labels], axis=1).astype(float))
    assert any(
        "mrpc_test.csv: row (PeaBERT3, test, f1), column mean" in line
        for line in verify("cpu").findings
    )
