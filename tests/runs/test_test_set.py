"""Predictions of trained models for test files, as a submission and beside MRPC's public labels."""

import os
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from synthetic import finish, noisy

from repro import paths
from repro.analysis import glue_test
from repro.analysis.verification import verify
from repro.config import profiles
from repro.config.cells import plan
from repro.config.profiles import Budget, Setting
from repro.config.tasks import task
from repro.data import glue as data
from repro.data import mini
from repro.errors import InputError, MissingError
from repro.runs import compute, engine, results, stages, test_set

ONCE = Budget(4e-4, 16, 1)
TINY = Setting(
    "embedded", ONCE, ONCE, ONCE, max_length=64, precision="float32", train_cap=48, dev_cap=32
)
TEST_ROWS = 20


def write_glue(folder: Path, name: str) -> None:
    """Write a GLUE task's train, dev and test files with sentences of the embedded task."""
    rows, glue_task = mini.rows(f"mini-{name}", "train"), task(name)
    header = "\t".join(["index", *glue_task.tsv_columns])
    (folder / name).mkdir(parents=True)
    for split, start, stop in (("train", 0, 48), ("dev", 48, 80), ("test", 80, 80 + TEST_ROWS)):
        lines = [
            [str(n), *(row[c] for c in glue_task.columns), glue_task.label_strings[row["label"]]]
            for n, row in enumerate(rows[start:stop])
        ]
        labelled = split != "test"
        first = f"{header}\t{glue_task.tsv_label}" if labelled else header
        kept = lines if labelled else [line[:-1] for line in lines]
        (folder / name / f"{split}.tsv").write_text(
            "\n".join([first, *("\t".join(line) for line in kept)]) + "\n"
        )
    if name == "MRPC":  # the corpus has the label first, a byte-order mark and DOS line ends
        public = ["Quality\t#1 String\t#2 String"]
        public += [f"{line[-1]}\t{line[1]}\t{line[2]}" for line in lines]
        text = "\ufeff" + "\r\n".join(public) + "\r\n"
        (folder / name / test_set.PUBLIC).write_text(text, newline="")


@pytest.fixture(scope="module")
def _world(tmp_path_factory):
    """Profile cpu with the embedded encoder and tiny GLUE files, in this module's own folders."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("cache", "results"):
            patch.setenv(f"REPRO_{name.upper()}", str(tmp_path_factory.mktemp(name)))
        folder = tmp_path_factory.mktemp("glue")
        for name in ("RTE", "MRPC"):
            write_glue(folder, name)
        patch.setitem(profiles.PROFILES, "cpu", replace(profiles.PROFILES["cpu"], setting=TINY))
        files = tuple(replace(file, rows=TEST_ROWS) for file in glue_test.FILES)
        patch.setattr(glue_test, "FILES", files)
        yield folder


@pytest.fixture
def glue(_world, monkeypatch) -> Path:
    monkeypatch.setenv("GLUE_DIR", str(_world))
    return _world


@pytest.fixture(scope="module")
def trained(_world):
    """PeaBERT1 on both tasks, trained for an epoch on 48 examples."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLUE_DIR", str(_world))
        cells = [cell for cell in plan("table2", "cpu", "RTE,MRPC", 1) if cell.row == "PeaBERT1"]
        engine.run_cells(cells, "serial")
        yield cells


# submission


def test_the_model_gives_the_dev_predictions_of_its_result(glue, trained):
    for cell in trained:
        dev = compute.load_data(stages.resolve(cell).trained.spec.inputs).dev
        stored = results.predictions(cell).filter(like="logit_")
        np.testing.assert_allclose(test_set.logits(cell, dev), stored, atol=1e-4)


def test_a_submission_has_the_predictions_in_the_order_of_the_test_file(glue, trained):
    zip_path, predictions = glue_test.submit("cpu", "PeaBERT1", 0, "RTE,MRPC")
    assert zip_path == paths.results("cpu") / "submission-PeaBERT1-s0.zip"
    for cell in trained:
        one_by_one = [
            test_set.logits(cell, data.Split((texts,), np.array([-1]), "test", "")).argmax()
            for texts in data.load(task(cell.task), "test").texts[:5]
        ]
        expected = [task(cell.task).label_strings[label] for label in one_by_one]
        with ZipFile(zip_path) as archive:
            lines = archive.read(f"{cell.task}.tsv").decode().splitlines()
        assert lines[1:6] == [f"{index}\t{label}" for index, label in enumerate(expected)]
        assert len(lines) == 1 + TEST_ROWS
        assert predictions[cell.task][:5] == expected and len(predictions[cell.task]) == TEST_ROWS


def test_the_teacher_can_be_submitted(glue, trained):
    teacher = next(cell for cell in plan("table2", "cpu", "RTE", 1) if cell.row == "BERT-base")
    engine.run_cells([teacher], "serial")
    _, predictions = glue_test.submit("cpu", "BERT-base", 0, "RTE")
    assert set(predictions) == {"RTE"}
    assert set(predictions["RTE"]) <= {"entailment", "not_entailment"}


def test_the_command_prints_what_is_in_the_zip(glue, trained, monkeypatch, capsys):
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
    assert out[-1].startswith("written: ") and out[-1].endswith("submission-PeaBERT1-s0.zip")


def test_cells_without_result_are_named_with_their_commands(glue, trained):
    with pytest.raises(MissingError) as caught:
        glue_test.submit("cpu", "PeaBERT2", 0, "RTE,MRPC")
    text = str(caught.value)
    assert text.startswith("2 of 2 cells have no result") and "\n" not in text
    for name in ("RTE", "MRPC"):
        assert text.count(f"--method PeaBERT2 --tasks {name} --seed 0") == 1


def test_a_model_that_does_not_match_the_result_is_refused(glue, trained):
    cell = trained[0]
    row, frame = results.read(cell), results.predictions(cell)
    logits = frame.filter(like="logit_").to_numpy()
    message = r"not that of cell .*: 1 of 32 dev predictions differ; remove"
    one_other = np.concatenate([logits[:5], -logits[5:6], logits[6:]])
    try:
        results.write(cell, row, frame["label"].to_numpy(), one_other)
        with pytest.raises(InputError, match=message):
            glue_test.submit("cpu", "PeaBERT1", 0, cell.task)
    finally:
        results.write(cell, row, frame["label"].to_numpy(), logits)


# MRPC's public labels


def test_the_public_labels_are_those_of_the_test_pairs(glue):
    labels = test_set.public_labels(data.load(task("MRPC"), "test"))
    test_rows = mini.rows("mini-MRPC", "train")[80 : 80 + TEST_ROWS]
    assert labels.tolist() == [row["label"] for row in test_rows]


def test_public_labels_of_other_pairs_are_refused(glue, tmp_path, monkeypatch):
    split, text = data.load(task("MRPC"), "test"), (glue / "MRPC" / test_set.PUBLIC).read_text()
    path = tmp_path / "MRPC" / test_set.PUBLIC
    path.parent.mkdir()
    monkeypatch.setenv("GLUE_DIR", str(tmp_path))
    header, *lines = text.split("\n")
    path.write_text("\n".join([header, lines[1], lines[0], *lines[2:]]))
    with pytest.raises(InputError, match="line 2: not the pair of index 0 of MRPC's test split"):
        test_set.public_labels(split)
    path.write_text("\n".join([header, *lines[1:]]))
    message = f"has {TEST_ROWS - 1} pairs, MRPC's test split {TEST_ROWS};"
    with pytest.raises(InputError, match=message):
        test_set.public_labels(split)
    path.unlink()
    with pytest.raises(MissingError, match=r"msr_paraphrase_test\.txt, are not in GLUE_DIR"):
        test_set.public_labels(split)


def test_the_real_files_agree(monkeypatch):
    folder = Path(os.environ.get("GLUE_DIR") or paths.ROOT.parent / "shared" / "glue")
    if not (folder / "MRPC" / test_set.PUBLIC).is_file():
        pytest.skip(f"no {test_set.PUBLIC} in {folder}: set GLUE_DIR")
    monkeypatch.setenv("GLUE_DIR", str(folder))
    labels = test_set.public_labels(data.load(task("MRPC"), "test"))
    assert (len(labels), int(labels.sum())) == (1725, 1147)


@pytest.mark.parametrize(
    ("recipe", "name"), [("authors", "mrpc_test.csv"), ("textbook", "mrpc_test.textbook.csv")]
)
def test_the_command_writes_a_table_that_verifies(glue, repro, monkeypatch, recipe, name):
    monkeypatch.setenv("GLUE_DIR", str(glue))
    cells = finish(plan("table2", "cpu", "MRPC", 1, recipe))
    monkeypatch.setattr(
        test_set, "logits", lambda cell, split: noisy(cell, test_set.public_labels(split))
    )
    code, out, err = repro("mrpc-test", "--profile", "cpu", "--seeds", "1", "--recipe", recipe)
    assert (code, err) == (0, "")
    assert "always equivalent" in out and out.splitlines()[-1].endswith(name)
    verdict = verify("cpu")
    assert (verdict.findings, verdict.tables) == ([], 1)
    labels = test_set.public_labels(data.load(task("MRPC"), "test"))
    results.write_test(cells[-1], labels, np.stack([labels, 1 - labels], axis=1).astype(float))
    assert any(
        f"{name}: row (PeaBERT3, test, f1), column mean" in line for line in verify("cpu").findings
    )
