"""Distillation on own data: from Python and from the command line, with two architectures."""

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import own_data
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score
from tiny_cells import tiny

import repro as package
from repro import paths
from repro.config import cells
from repro.config import own as configuration
from repro.config.profiles import PROFILES
from repro.config.recipe import parse
from repro.data import encoders
from repro.errors import InputError
from repro.runs import cache, distil, engine, results, specs, stages

ROWS = {"train": 60, "dev": 30}


@pytest.fixture
def reviews(own_folders) -> Path:
    """A folder with train.csv and dev.csv of three classes, and a tiny BERT."""
    for number, (split, rows) in enumerate(ROWS.items()):
        own_data.three_classes(rows, number).to_csv(own_folders / f"{split}.csv", index=False)
    own_data.encoder_folder(own_folders / "bert", "bert")
    return own_folders


def command(folder: Path, **changes: str) -> list[str]:
    """The arguments of a small `distill`; an option that is None is left out."""
    options: dict[str, str | None] = {
        "train": str(folder / "train.csv"),
        "dev": str(folder / "dev.csv"),
        "text": "review",
        "label": "colour",
        "encoder": str(folder / "bert"),
        "out": str(folder / "out"),
        "layers": "1",
        "epochs": "1",
    }
    options |= changes
    return [
        "distill",
        *(f"--{name}={value}" for name, value in options.items() if value is not None),
    ]


def frames(kind=own_data.three_classes) -> list[pd.DataFrame]:
    return [kind(rows, number) for number, rows in enumerate(ROWS.values())]


# from the command line


def test_three_classes_from_csv_to_predictions_without_the_cache(repro, reviews, monkeypatch):
    code, out, err = repro(*command(reviews))
    assert code == 0, err
    report = json.loads((reviews / "out" / "report.json").read_text())
    assert (reviews / "out" / "report.md").read_text() in out
    assert "4 of 4 stages" in err
    assert report["labels"] == ["blue", "green", "red"]
    assert report["effective_layers"] == 2
    for model in ("teacher", "student"):
        for score in report["scores"][model].values():
            assert 0 <= score["low"] <= score["score"] <= score["high"] <= 100
    for path in ("bert", "train.csv", "cache"):  # the student needs none of them
        (reviews / path).rename(reviews / f"away-{path}")
    target = reviews / "predictions.csv"
    arguments = ("--data", str(reviews / "dev.csv"), "--text", "review", "--out", str(target))
    code, _, err = repro("predict", str(reviews / "out"), *arguments)
    assert code == 0, err
    predicted, given = pd.read_csv(target), pd.read_csv(reviews / "dev.csv")
    assert list(predicted) == ["review", "colour", "prediction", "p(blue)", "p(green)", "p(red)"]
    assert predicted[["review", "colour"]].equals(given)
    columns = predicted[["p(blue)", "p(green)", "p(red)"]]
    assert columns.sum(axis=1).to_numpy() == pytest.approx(1.0, abs=1e-5)
    assert (columns.idxmax(axis=1) == "p(" + predicted["prediction"] + ")").all()
    accuracy = 100 * accuracy_score(given["colour"], predicted["prediction"])
    assert report["scores"]["student"]["accuracy"]["score"] == pytest.approx(accuracy)


def test_a_second_student_uses_the_same_teacher_and_the_same_run_nothing(repro, reviews):
    assert repro(*command(reviews))[0] == 0
    _, _, err = repro(*command(reviews, method="kd", out=str(reviews / "kd")))
    assert "1 of 1 stages" in err
    assert len(cache.finished("teacher")) == 1
    _, _, err = repro(*command(reviews, out=str(reviews / "again")))
    assert "stages" not in err
    models = [
        (reviews / name / "student" / "model.safetensors").read_bytes() for name in ("out", "again")
    ]
    assert models[0] == models[1]


def test_a_given_teacher_is_not_trained(repro, reviews):
    """Here the teacher is an exported MPNet, whose labels are in another order than the data's."""
    encoder = own_data.encoder_folder(reviews / "mpnet", "mpnet", layers=4)
    teacher = package.distill(
        *frames(), encoder, "fine-tuning", layers=4, text="review", label="colour", epochs=1
    )
    order = [2, 0, 1]
    for linear in (
        teacher.model.classifier.out_proj.weight,
        teacher.model.classifier.out_proj.bias,
    ):
        linear.data = linear.data[order]
    labels = [teacher.report["labels"][column] for column in order]
    teacher.model.config.id2label = dict(enumerate(labels))
    teacher.model.config.label2id = {label: number for number, label in enumerate(labels)}
    teacher.export(reviews / "teacher")
    trained = cache.finished("teacher")
    code, _, err = repro(*command(reviews, teacher=str(reviews / "teacher")))
    assert code == 0, err
    assert cache.finished("teacher") == trained
    report = json.loads((reviews / "out" / "report.json").read_text())
    assert report["given_teacher"] == "teacher"
    assert report["scores"]["teacher"] == teacher.report["scores"]["student"]
    (reviews / "out2").mkdir()
    code, _, err = repro(
        *command(reviews, teacher=str(reviews / "teacher"), encoder=None, out=str(reviews / "out2"))
    )
    assert code == 0, err


def test_bad_input_is_one_line_before_training(repro, reviews):
    train = pd.read_csv(reviews / "train.csv")
    bad = {
        "empty": train.assign(review=[" ", *train["review"][1:]]),
        "one": train.assign(colour="red"),
        "ten": train[:10],
        "unseen": pd.read_csv(reviews / "dev.csv").assign(colour="pink"),
    }
    for name, frame in bad.items():
        frame.to_csv(reviews / f"{name}.csv", index=False)
    shutil.copytree(reviews / "bert", reviews / "gpt2")
    (reviews / "gpt2" / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    (reviews / "full").mkdir()
    (reviews / "full" / "thesis.tex").touch()
    before = sorted(reviews.rglob("*"))
    for changes, words in [
        ({"train": str(reviews / "empty.csv")}, ("empty.csv, row 1", "review is ' '")),
        ({"train": str(reviews / "one.csv")}, ("one class, 'red'", "at least 2")),
        ({"train": str(reviews / "ten.csv")}, ("10 rows", "at least 50")),
        (
            {"dev": str(reviews / "unseen.csv")},
            ("unseen.csv, row 1: label 'pink'", "'blue', 'green', 'red'"),
        ),
        ({"text": "txt"}, ("no column 'txt'", "review, colour")),
        ({"label": "class"}, ("no column 'class'", "review, colour")),
        ({"train": str(reviews / "no.csv")}, ("there is no file", "no.csv")),
        ({"encoder": str(reviews / "nowhere")}, ("nowhere", "model.safetensors")),
        ({"encoder": str(reviews / "gpt2")}, ("'gpt2'", "bert, roberta")),
        ({"encoder": None}, ("encoder is missing",)),
        ({"method": "peakd"}, ("'peakd'", "fine-tuning, kd, patient-kd, sps, ptp, pea-kd")),
        ({"layers": "9"}, ("9 layers", "use 1 .. 3")),
        ({"layers": "0"}, ("layers", "from 1, got 0")),
        ({"epochs": "-1"}, ("epochs", "from 0, got -1")),
        ({"seed": "x"}, ("'x'",)),
        ({"recipe": "mine"}, ("'mine'", "authors, textbook")),
        ({"set": "max_length=900"}, ("max_length", "900")),
        ({"out": str(reviews / "train.csv")}, ("train.csv is a file",)),
        ({"out": str(reviews / "full")}, ("full has other files",)),
        ({"teacher": str(reviews / "bert")}, ("labels", "blue, green, red")),
    ]:
        code, out, err = repro(*command(reviews, **changes))
        assert code == 2, (changes, err)
        assert err.startswith("error: ") and err.count("\n") == 1 and out == "", (changes, err)
        assert [word for word in words if word not in err] == [], (changes, err)
        assert sorted(reviews.rglob("*")) == before, changes


def test_states_of_another_width_are_refused_for_methods_that_compare_them(repro, reviews):
    teacher = package.distill(
        *frames(), "embedded", "fine-tuning", layers=1, text="review", label="colour", epochs=1
    )
    teacher.export(reviews / "teacher")
    given = {"teacher": str(reviews / "teacher")}
    code, _, err = repro(*command(reviews, **given))
    assert code == 2
    assert "have 64 dimensions and those of the encoder" in err and "--method kd" in err
    assert repro(*command(reviews, method="kd", **given))[0] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("predict", "nowhere", "--data", "{}/dev.csv"), ("'nowhere'", "no column")),
        (("predict", "nowhere", "--data", "{}/dev.csv", "--text", "review"), ("'nowhere'",)),
        (("predict", "nowhere", "--data", "{}/dev.csv", "--out", "p.json"), ("'.json'", ".csv")),
        (
            ("predict", "nowhere", "--data", "{}/dev.csv", "--out", "{}/dev.csv/p.csv"),
            ("dev.csv is a file",),
        ),
        (("export", "table9-x", "--to", "{}/to"), ("'table9-x'", "repro list")),
        (("export", "../cells", "--to", "{}/bert"), ("bert has other files",)),
    ],
)
def test_misuse_of_predict_and_export_is_one_line(repro, reviews, arguments, words):
    code, out, err = repro(*(word.format(reviews) for word in arguments))
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1
    assert any(word in err for word in words)


# from Python


def test_pairs_with_an_mpnet(own_folders, capsys):
    train, dev = frames(own_data.pairs)
    encoder = own_data.encoder_folder(own_folders / "mpnet", "mpnet")
    student = package.distill(
        train, dev, encoder, layers=2, text=("first", "second"), label="same", epochs=1
    )
    assert type(student.model).__name__ == "MPNetForSequenceClassification"
    assert student.model.config.num_hidden_layers == 4
    texts = list(zip(dev["first"], dev["second"], strict=True))
    predicted = student.predict(texts)
    assert {type(label) for label in predicted} == {int}
    scores = student.report["scores"]["student"]
    assert scores["accuracy"]["score"] == pytest.approx(
        100 * accuracy_score(dev["same"], predicted)
    )
    macro = 100 * f1_score(dev["same"], predicted, average="macro")
    assert scores["macro_f1"]["score"] == pytest.approx(macro)
    with pytest.raises(InputError, match="takes 2 texts per row"):
        student.predict(["one text"])
    student.save(own_folders / "out")
    again = package.load_student(own_folders / "out")
    assert again.report == student.report
    assert again.probabilities(texts) == pytest.approx(student.probabilities(texts), abs=1e-5)


@pytest.mark.usefixtures("own_folders")
def test_dev_texts_that_are_in_train_are_reported():
    train, dev = frames()
    dev.loc[:4, "review"] = train["review"][0]
    student = package.distill(
        train, dev, "embedded", "fine-tuning", 1, text="review", label="colour", epochs=1
    )
    assert student.report["dev"]["also_in_train"] == dev["review"].isin(train["review"]).sum() >= 5
    assert "of the dev texts are also in train" in str(student)


def test_the_package_itself_loads_nothing_heavy():
    code = (
        "import sys, repro; print(repro.__version__, {'torch', 'pandas'} & set(sys.modules));"
        "print(hasattr(repro, 'no_such_name'), repro.distill.__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.splitlines() == [f"{package.__version__} set()", "False distill"]


# exporting a cell of a table


def test_a_cell_can_be_exported(repro, own_folders):
    (cell,) = [cell for cell in tiny("table5") if cell.row == "BERT3+SPS+PTP"]
    engine.run_cells([cell], "serial")
    code, _, err = repro("export", cell.id, "--to", str(own_folders / "model"))
    assert code == 0, err
    student = package.load_student(own_folders / "model")
    dev = specs.load_splits(cell.task, cell.setting)[1]
    found = student.probabilities(dev.texts)
    logits = results.predictions(cell).filter(regex=r"^logit_").to_numpy()
    exact = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert found == pytest.approx(exact, abs=1e-5)
    score = student.report["scores"]["student"]["accuracy"]["score"]
    assert score == pytest.approx(results.read(cell)["metrics"]["accuracy"])


@pytest.mark.usefixtures("own_folders")
def test_an_exported_tokenizer_cuts_texts_where_training_did():
    (cell,) = [cell for cell in tiny("table2", max_length=24) if cell.row == "BERT-base"]
    engine.run_cells([cell], "serial")
    _, tokenizer = distil.stock_model(stages.resolve(cell))
    assert tokenizer.model_max_length == 24


def test_the_models_of_table_2_are_exported_with_their_checksums(repro, monkeypatch):
    wanted = {"BERT-base", "BERT3-PatientKD", "PeaBERT3"}
    run = [cell for cell in tiny("table2") if cell.row in wanted]
    monkeypatch.setattr(cells, "plan", lambda *arguments: tiny("table2"))
    code, _, err = repro("models", "--tasks", "RTE")
    assert code == 2 and err.startswith("error: no result for cell table2-bert-base-mini-rte-s0-")
    assert not (paths.results("demo") / "models").exists()
    engine.run_cells(run, "serial")
    code, _, err = repro("models", "--tasks", "RTE")
    assert code == 0, err
    folder = paths.results("demo") / "models"
    frame = pd.read_csv(folder / "models.csv")
    assert set(frame["method"]) == wanted
    for row, cell in zip(frame.itertuples(), run, strict=True):
        weights = (folder / row.model / "model.safetensors").read_bytes()
        assert row.sha256 == hashlib.sha256(weights).hexdigest()
        assert row.accuracy == round(results.read(cell)["metrics"]["accuracy"], 2)
        rate = cell.setting.teacher if row.method == "BERT-base" else cell.setting.student
        card = (folder / row.model / "README.md").read_text()
        assert (
            f"{'student' if cell.layers else 'teacher'} 1 epochs at {rate.learning_rate:g}" in card
        )


# defaults


def test_the_recipe_for_own_data_never_chooses_on_dev():
    chosen = parse(configuration.RECIPE)
    assert chosen.shuffle
    assert (chosen.checkpoint, chosen.teacher_checkpoint, chosen.ptp_selection) == (
        "last",
        "last",
        "best_inner",
    )
    assert chosen.ptp_thresholds == "median"


@pytest.mark.parametrize(
    ("encoder", "hidden", "profile"),
    [
        ("embedded", 64, "demo"),
        ("all-mpnet-base-v2", 768, "base"),
        ("/mine", 128, "demo"),
        ("/mine", 384, "cpu"),
        ("/mine", 768, "paper"),
        ("/mine", 1024, "paper"),
    ],
)
def test_settings_suit_the_width_of_the_encoder(encoder, hidden, profile):
    cell = configuration.cell("own-1", encoder, hidden, 100, examples=100_000)
    assert cell.profile == profile
    assert cell.setting.student == PROFILES[profile].setting_for(cell.recipe).student
    assert cell.setting.max_length == 100
    assert cell.setting.beta == pytest.approx(100 * hidden / 768, abs=0.01)
    assert configuration.cell("own-1", encoder, hidden, 900, examples=9).setting.max_length == 128


@pytest.mark.parametrize(
    ("examples", "epochs", "student", "teacher"),
    [(10, 0, 30, 30), (2000, 0, 7, 7), (50_000, 0, 2, 4), (2000, 3, 3, 3)],
)
def test_few_examples_are_seen_more_often_by_student_and_teacher(
    examples, epochs, student, teacher
):
    cell = configuration.cell("own-1", "embedded", 64, 100, epochs=epochs, examples=examples)
    assert cell.setting.student.epochs == cell.setting.student.run_epochs == student
    assert cell.setting.teacher.run_epochs == teacher


@pytest.mark.parametrize(("examples", "epochs", "stop"), [(10, 0, 20), (50_000, 0, 2), (10, 1, 1)])
def test_pretraining_stops_after_the_same_part_of_its_schedule(examples, epochs, stop):
    cell = configuration.cell("own-1", "embedded", 64, 100, epochs=epochs, examples=examples)
    assert cell.setting.ptp.run_epochs == stop  # two thirds of it in the profile


def test_a_teacher_without_names_of_labels_has_them_in_order(monkeypatch):
    monkeypatch.setattr(encoders, "teacher_labels", lambda folder: ["LABEL_0", "LABEL_1"])
    assert distil.given_teacher("teacher", ["no", "yes"]) == ("teacher", (0, 1))
    monkeypatch.setattr(encoders, "teacher_labels", lambda folder: ["1", "0"])
    assert distil.given_teacher("teacher", [0, 1]) == ("teacher", (1, 0))


# the documentation


def test_the_quick_start_runs(repro, own_folders, monkeypatch):
    """With fewer examples and epochs, and without the network."""
    page = (paths.ROOT / "docs" / "own-data.md").read_text()
    first, second = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    commands = [
        shlex.split(line)[3:]
        for block in re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
        for line in block.replace("\\\n", "").splitlines()
    ]
    monkeypatch.chdir(own_folders)
    exec(first, {})
    for split, rows in ROWS.items():
        pd.read_csv(f"{split}.csv")[:rows].to_csv(f"{split}.csv", index=False)
    for words in commands:
        code, _, err = repro(*(word if word != "6" else "1" for word in words))
        assert code == 0, err
    assert {"distilled", "predictions.csv", "unrolled", "small"} <= set(os.listdir())
    exec(second.replace("epochs=6", "epochs=1"), {})
