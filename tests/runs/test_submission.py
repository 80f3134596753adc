"""The zip for GLUE's test server: its documented format, and that each way to spoil it is found by name."""

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest

from repro import paths
from repro.errors import InputError
from repro.runs import submission
from repro.runs.submission import FILES, validate

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
HERE = [
    name for name in ROWS if name not in ("MNLI-m", "MNLI-mm", "QQP")
]  # those are not in shared/glue
TWO, THREE = {"entailment", "not_entailment"}, {"entailment", "neutral", "contradiction"}


def real(name: str, split: str) -> list[list[str]]:
    """The fields of a real file's lines, read without the package's own reader."""
    path = REAL / name / ("diagnostic.tsv" if name == "AX" else f"{split}.tsv")
    if not path.is_file():
        pytest.skip(f"no {path}: set GLUE_DIR")
    return [
        line.split("\t") for line in path.read_bytes().decode("utf-8-sig").rstrip("\n").split("\n")
    ]


@pytest.fixture
def small(monkeypatch):
    """Every file cut to twelve rows, so that a test takes no time."""
    monkeypatch.setattr(submission, "FILES", tuple(replace(file, rows=12) for file in FILES))


@pytest.fixture
def good(small, tmp_path) -> Path:
    submission.write(tmp_path / "good.zip", {"RTE": ["not_entailment", "entailment"] * 6})
    return tmp_path / "good.zip"


# the format


def test_the_files_are_those_of_the_server():
    assert {file.name: file.rows for file in FILES} == {
        f"{name}.tsv": rows for name, rows in ROWS.items()
    }
    labels = {file.task: set(file.labels) for file in FILES}
    assert [labels[name] for name in ("RTE", "QNLI")] == [TWO, TWO]
    assert [labels[name] for name in ("AX", "MNLI-m", "MNLI-mm")] == [THREE] * 3
    assert [labels[name] for name in ("CoLA", "MRPC", "QQP", "SST-2", "WNLI")] == [{"0", "1"}] * 5
    assert labels["STS-B"] == set()


@pytest.mark.parametrize("name", HERE)
def test_the_row_counts_and_indices_are_those_of_the_test_files(name):
    header, *rows = real(name, "test")
    place = header.index("index")
    assert len(rows) == ROWS[name]
    assert [row[place] for row in rows] == [str(number) for number in range(ROWS[name])]


@pytest.mark.parametrize("name", [name for name in HERE if name not in ("AX", "STS-B")])
def test_the_constant_is_the_training_files_most_frequent_label(name):
    rows = real(name, "train")
    place = 1 if name == "CoLA" else rows[0].index("Quality" if name == "MRPC" else "label")
    counts = Counter(row[place] for row in (rows if name == "CoLA" else rows[1:]))
    assert counts.most_common(1)[0][0] == next(file.constant for file in FILES if file.task == name)


def test_the_constant_of_the_similarities_is_their_mean():
    mean = np.mean([float(row[-1]) for row in real("STS-B", "train")[1:]])
    assert float(next(file.constant for file in FILES if file.task == "STS-B")) == pytest.approx(
        mean, abs=5e-4
    )


# writing


def test_a_whole_submission_is_valid_and_has_predictions_and_constants(tmp_path):
    target = tmp_path / "results" / "submission.zip"
    submission.write(target, {"RTE": ["not_entailment"] + ["entailment"] * 2999})
    assert validate(target) == []
    with ZipFile(target) as archive:
        assert sorted(archive.namelist()) == sorted(f"{name}.tsv" for name in ROWS)
        assert archive.read("RTE.tsv").startswith(
            b"index\tprediction\n0\tnot_entailment\n1\tentailment\n2\tent"
        )
        assert archive.read("MNLI-mm.tsv").endswith(b"\n9846\tentailment\n")
        assert archive.read("QQP.tsv").count(b"\t0\n") == 390965


def test_the_bytes_depend_on_the_predictions_alone(small, tmp_path):
    rte, mrpc = ["entailment", "not_entailment"] * 6, ["0", "1"] * 6
    submission.write(tmp_path / "a.zip", {"RTE": rte, "MRPC": mrpc})
    submission.write(tmp_path / "b.zip", {"MRPC": mrpc, "RTE": rte})
    submission.write(tmp_path / "c.zip", {"MRPC": mrpc, "RTE": rte[::-1]})
    a, b, c = ((tmp_path / f"{name}.zip").read_bytes() for name in "abc")
    assert a == b != c


@pytest.mark.parametrize(
    ("predictions", "told"),
    [
        ({"RTE": ["entailment"] * 11}, "RTE.tsv: 11 rows; it must have 12"),
        (
            {"MRPC": ["equivalent"] * 12},
            "MRPC.tsv: line 2 has prediction 'equivalent'; it must be one of 0, 1",
        ),
        ({"rte": ["entailment"] * 12}, "rte.tsv: not one of AX.tsv, CoLA.tsv"),
        ({"RTE": []}, "RTE.tsv: 0 rows; it must have 12"),
    ],
)
def test_a_bad_submission_is_refused_and_the_old_one_stays(good, predictions, told):
    before = good.read_bytes()
    with pytest.raises(InputError, match=r"good\.zip was not written") as caught:
        submission.write(good, predictions)
    assert told in str(caught.value) and "\n" not in str(caught.value)
    assert good.read_bytes() == before and list(good.parent.iterdir()) == [good]


def test_the_summary_says_what_is_real_and_what_is_not(small):
    said = submission.summary(
        {"RTE": ["entailment"] * 7 + ["not_entailment"] * 5, "MRPC": ["1"] * 12}
    )
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in said}
    assert lines["RTE.tsv"] == "12 entailment x 7, not_entailment x 5"
    assert lines["MRPC.tsv"] == "12 0 x 0, 1 x 12: the model gives one answer to everything"
    assert lines["QQP.tsv"] == "12 not run: constant 0"
    assert len(said) == 11


# what is found


def tampered(good: Path, name: str, change) -> Path:
    """The same zip with one file's text changed (None: left out)."""
    with ZipFile(good) as archive:
        contents = {member: archive.read(member) for member in archive.namelist()}
    contents[name] = change(contents.get(name, b""))
    path = good.with_name("tampered.zip")
    with ZipFile(path, "w") as archive:
        for member, content in contents.items():
            if content is not None:
                archive.writestr(member, content)
    return path


CASES = [
    ("CoLA.tsv", lambda text: None, "CoLA.tsv: missing"),
    ("notes.txt", lambda text: b"hello", "notes.txt: not one of AX.tsv"),
    (
        "RTE.tsv",
        lambda text: text.replace(b"prediction", b"label"),
        "header 'index\\tlabel'; it must be",
    ),
    ("RTE.tsv", lambda text: text.replace(b"\t", b","), "header 'index,prediction'; it must be"),
    (
        "RTE.tsv",
        lambda text: text.replace(b"\n5\t", b"\n6\t"),
        "line 7 has index '6'; it must be 5",
    ),
    ("RTE.tsv", lambda text: text.replace(b"\n11\tentailment", b""), "11 rows; it must have 12"),
    ("RTE.tsv", lambda text: text + b"12\tentailment\n", "13 rows; it must have 12"),
    (
        "RTE.tsv",
        lambda text: text.replace(b"\n3\t", b"\n3\tx\t"),
        "line 5 has 3 columns; it must have 2",
    ),
    (
        "RTE.tsv",
        lambda text: text.replace(b"\n", b"\r\n"),
        "header 'index\\tprediction\\r'; it must be",
    ),
    (
        "RTE.tsv",
        lambda text: text.replace(b"0\tnot_e", b"0\tneutral_e"),
        "line 2 has prediction 'neutral_entailment'",
    ),
    ("RTE.tsv", lambda text: text + b"\xff", "not UTF-8 at byte"),
    ("RTE.tsv", lambda text: b"", "0 rows; it must have 12"),
    (
        "RTE.tsv",
        lambda text: b"\xef\xbb\xbf" + text,
        "header '\\ufeffindex\\tprediction'; it must be",
    ),
    (
        "SST-2.tsv",
        lambda text: text.replace(b"4\t1", b"4\tpositive"),
        "line 6 has prediction 'positive'; it must be",
    ),
    (
        "AX.tsv",
        lambda text: text.replace(b"1\tent", b"1\tnot_ent"),
        "'not_entailment'; it must be one of ent",
    ),
    (
        "STS-B.tsv",
        lambda text: text.replace(b"4\t2.701", b"4\t5.1"),
        "prediction '5.1'; it must be a number from 0 to",
    ),
    (
        "STS-B.tsv",
        lambda text: text.replace(b"4\t2.701", b"4\tnan"),
        "prediction 'nan'; it must be a number from 0 to",
    ),
]


@pytest.mark.parametrize(
    ("name", "change", "told"), CASES, ids=[f"{case[0]} {case[2]}"[:60] for case in CASES]
)
def test_each_violation_is_named(good, name, change, told):
    problems = validate(tampered(good, name, change))
    assert any(line.startswith(f"{name}: ") and told in line for line in problems), problems
    assert all(line.startswith(f"{name}: ") for line in problems)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_file_that_is_there_twice_is_named(good):
    with ZipFile(good, "a") as archive:
        archive.writestr("WNLI.tsv", archive.read("WNLI.tsv"))
    assert validate(good) == ["WNLI.tsv: there 2 times"]


def test_a_file_in_a_folder_does_not_count(good):
    with ZipFile(good) as archive:
        content = archive.read("RTE.tsv")
    path = tampered(good, "RTE.tsv", lambda text: None)
    with ZipFile(path, "a") as archive:
        archive.writestr("glue/RTE.tsv", content)
    missing, extra = validate(path)
    assert missing == "RTE.tsv: missing" and extra.startswith("glue/RTE.tsv: not one of")


def test_damage_is_told(good, tmp_path):
    raw = bytearray(good.read_bytes())
    raw[raw.index(b"entailment")] ^= 1
    good.write_bytes(raw)
    assert "cannot be read as a zip" in validate(good)[0]
    good.write_text("no zip")
    assert "cannot be read as a zip" in validate(good)[0]
    assert "cannot be read as a zip" in validate(tmp_path / "nowhere.zip")[0]
