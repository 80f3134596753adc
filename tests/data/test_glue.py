"""Loading a split: every source, every way a file can be wrong."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from repro import paths
from repro.config.profiles import PROFILES
from repro.config.tasks import GLUE, TASKS
from repro.data import glue as data
from repro.data import mini
from repro.data.glue import Split
from repro.errors import InputError, MissingError, ReproError
from repro.runs import specs

RTE, MRPC, SST2, QNLI = GLUE
REAL = Path(os.environ.get("GLUE_DIR") or paths.ROOT.parent / "shared" / "glue")
HEADER = b"index\tsentence1\tsentence2\tlabel\n"
GOOD = HEADER + b"0\tA dog sees.\tA dog.\tentailment\n1\tNo bird.\tA bird.\tnot_entailment\n"
REAL_COUNTS = {  # shared/glue/README.md: examples, and those of class 1
    ("RTE", "train"): (2490, 1241),
    ("RTE", "dev"): (277, 131),
    ("MRPC", "train"): (3668, 2474),
    ("MRPC", "dev"): (408, 279),
    ("SST-2", "train"): (67349, 37569),
    ("SST-2", "dev"): (872, 444),
    ("QNLI", "train"): (12096, 6004),
    ("QNLI", "dev"): (5463, 2761),
}


@pytest.fixture
def glue(tmp_path, monkeypatch):
    """Writes one TSV file below GLUE_DIR and returns its path."""
    monkeypatch.setenv("GLUE_DIR", str(tmp_path))

    def write(content: bytes, task: str = "RTE", split: str = "train") -> Path:
        path = tmp_path / task / f"{split}.tsv"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return path

    return write


def one_line(caught: pytest.ExceptionInfo[ReproError]) -> str:
    text = str(caught.value)
    assert "\n" not in text and "\r" not in text
    return text


def split_of(*texts: tuple[str, ...], labels: tuple[int, ...] = ()) -> Split:
    return Split(texts, np.array(labels or [0] * len(texts), np.int64), "train", "embedded")


# TSV files


def test_a_good_file_gives_texts_and_label_ids_in_its_order(glue):
    glue(GOOD)
    split = data.load(RTE, "train")
    assert split.texts == (("A dog sees.", "A dog."), ("No bird.", "A bird."))
    assert split.labels.tolist() == [0, 1] and split.labels.dtype == np.int64
    assert (split.name, split.source) == ("train", "GLUE_DIR")


def test_quotes_carriage_returns_and_other_breaks_are_data(glue):
    glue(
        "sentence\tlabel\n\"open quote\t1\nlone\rreturn \u2028 here \t0\r\n''\t1".encode(), "SST-2"
    )
    split = data.load(SST2, "train")
    assert split.texts == (('"open quote',), ("lone\rreturn \u2028 here ",), ("''",))
    assert split.labels.tolist() == [1, 0, 1]


def test_columns_are_found_by_name_behind_a_byte_order_mark(glue):
    glue(b"\xef\xbb\xbf#2 String\tQuality\t#2 ID\t#1 String\nsecond\t1\t7\tfirst\n", "MRPC")
    split = data.load(MRPC, "train")
    assert split.texts == (("first", "second"),) and split.labels.tolist() == [1]


def test_a_field_may_be_longer_than_the_csv_modules_limit(glue):
    glue(b"sentence\tlabel\n" + b"a " * 100_000 + b"\t1\n", "SST-2")
    assert len(data.load(SST2, "train").texts[0][0]) == 200_000


def test_a_cap_keeps_the_first_examples_and_still_checks_the_whole_file(glue):
    glue(GOOD)
    assert data.load(RTE, "train", 1).texts == (("A dog sees.", "A dog."),)
    assert len(data.load(RTE, "train", 99).texts) == 2
    glue(GOOD + b"2\ta\tb\tmaybe\n")
    with pytest.raises(InputError, match="line 4"):
        data.load(RTE, "train", 1)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            HEADER + b"0\ta\tb\tentailment\n1\ta\tentailment\n",
            ["line 3", "3 tab-separated", "'1\\ta\\tent", "has 4"],
        ),
        (HEADER + b"0\ta\tb\tc\tentailment\n", ["line 2", "5 tab-separated", "has 4"]),
        (HEADER + b"\n0\ta\tb\tentailment\n", ["line 2", "1 tab-separated", "has 4"]),
        (HEADER + b"0\ta\tb\tmaybe\n", ["line 2", "label 'maybe'", "entailment, not_entailment"]),
        (HEADER + b"0\ta\tb\t\n", ["line 2", "label ''", "entailment, not_entailment"]),
        (HEADER + b"0\ta\tb\tx\ry\n", ["line 2", "label 'x\\ry'"]),
        (HEADER + b"0\ta\t\tentailment\n", ["line 2", "sentence2 is ''", "must have a word"]),
        (HEADER + b"0\ta\tb\t" + b"z" * 5000 + b"\n", ["line 2", "zzz...'"]),
        (
            HEADER + b"0\ta\tb\tentailment\n1\tcaf\xe9\tb\tentailment\n",
            ["line 3", "b'\\xe9' at position 5", "UTF-8"],
        ),
        (GOOD.decode().encode("utf-16"), ["line 1", "b'\\xff'", "UTF-8"]),
        (
            b"index\tsentence1\tsentence2\n0\ta\tb\n",
            ["line 1", "'label'", "index, sentence1, sentence2"],
        ),
        (b"index\tquestion\tsentence2\tlabel\n", ["line 1", "'sentence1'", "question"]),
        (b"\n" + GOOD, ["line 1", "'sentence1'"]),
        (b"", ["is empty", "sentence1, sentence2, label"]),
        (HEADER, ["RTE train", "no examples", "at least 1"]),
    ],
)
def test_a_malformed_file_is_refused_with_file_line_value_and_what_is_allowed(glue, content, told):
    path = glue(content)
    with pytest.raises(InputError) as caught:
        data.load(RTE, "train")
    text = one_line(caught)
    assert [
        part for part in [*told, "" if "RTE train" in told else str(path)] if part not in text
    ] == []
    assert len(text) < 400


@pytest.mark.parametrize("split", ["train", "dev"])
def test_an_empty_split_is_refused(glue, split):
    glue(HEADER, split=split)
    with pytest.raises(InputError, match=f"RTE {split} from GLUE_DIR has no examples"):
        data.load(RTE, split)


def test_a_missing_folder_or_file_tells_what_to_set(tmp_path, monkeypatch):
    monkeypatch.setenv("GLUE_DIR", str(tmp_path))
    with pytest.raises(MissingError) as caught:
        data.load(RTE, "dev")
    assert str(tmp_path / "RTE" / "dev.tsv") in one_line(caught) and "set GLUE_DIR" in str(
        caught.value
    )
    monkeypatch.setenv("GLUE_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(MissingError) as caught:
        data.load(RTE, "dev")
    assert "nowhere" in one_line(caught) and "which is not a folder" in str(caught.value)


def test_a_tsv_path_that_is_a_folder_is_missing(glue, tmp_path):
    (tmp_path / "RTE" / "train.tsv").mkdir(parents=True)
    with pytest.raises(MissingError, match=r"no file .*train\.tsv"):
        data.load(RTE, "train")


@pytest.mark.parametrize(
    ("split", "cap"), [("exam", 0), ("", 0), ("train", -1), ("train", 1.5), ("train", True)]
)
def test_an_unknown_split_or_cap_is_refused(glue, split, cap):
    glue(GOOD)
    with pytest.raises(InputError) as caught:
        data.load(RTE, split, cap)
    assert repr(split if split != "train" else cap) in one_line(caught)


def test_a_test_file_has_no_labels_and_its_index_is_its_order(glue):
    glue(b"index\tsentence1\tsentence2\n0\ta\tb\n1\tc\td\n", split="test")
    split = data.load(RTE, "test")
    assert (
        split.texts == (("a", "b"), ("c", "d"))
        and split.labels.tolist() == [-1, -1]
        and split.name == "test"
    )


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"index\tsentence1\tsentence2\n1\ta\tb\n", ["line 2", "index '1'", "in order, here 0"]),
        (
            b"index\tsentence1\tsentence2\n0\ta\tb\n0\tc\td\n",
            ["line 3", "index '0'", "in order, here 1"],
        ),
        (b"index\tsentence1\tsentence2\n0\ta\n", ["line 2", "2 tab-separated", "has 3"]),
        (b"sentence1\tsentence2\na\tb\n", ["line 1", "'index'", "sentence1, sentence2"]),
    ],
)
def test_a_malformed_test_file_is_refused(glue, content, told):
    glue(content, split="test")
    with pytest.raises(InputError) as caught:
        data.load(RTE, "test")
    assert [part for part in told if part not in one_line(caught)] == []


def test_the_hubs_test_split_is_read_without_its_labels(monkeypatch):
    records = [
        {"sentence1": "a", "sentence2": "b", "label": -1, "idx": 0},
        {"sentence1": "c", "sentence2": "d"},
    ]
    monkeypatch.setattr(
        data, "_hub_records", lambda task, split: records if split == "test" else []
    )
    split = data.load(RTE, "test")
    assert split.texts == (("a", "b"), ("c", "d")) and split.labels.tolist() == [-1, -1]


def test_an_embedded_task_has_no_test_split():
    with pytest.raises(InputError, match=r"unknown split 'test'; use one of: train, dev$"):
        data.load(TASKS["mini-RTE"], "test")


@pytest.mark.parametrize(("name", "split"), REAL_COUNTS)
def test_the_real_files_have_the_documented_counts(monkeypatch, name, split):
    if not (REAL / name / f"{split}.tsv").is_file():
        pytest.skip(f"no GLUE files in {REAL}: set GLUE_DIR")
    monkeypatch.setenv("GLUE_DIR", str(REAL))
    loaded = data.load(TASKS[name], split)
    assert (len(loaded.texts), int(loaded.labels.sum())) == REAL_COUNTS[name, split]
    assert {len(texts) for texts in loaded.texts} == {len(TASKS[name].columns)}


# embedded rows, the hub's failures


def test_an_embedded_task_needs_neither_files_nor_network(monkeypatch, tmp_path):
    monkeypatch.setenv("GLUE_DIR", str(tmp_path / "nowhere"))
    for name, task in TASKS.items():
        if task.embedded:
            train, dev = (data.load(task, split) for split in data.SPLITS)
            assert train.source == "embedded" and len(dev.texts[0]) == len(task.columns)
            assert set(train.labels) == {0, 1} and not set(train.texts) & set(dev.texts), name


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"sentence1": "a", "sentence2": "b", "label": 2}, ["record 0", "label 2", "0, 1"]),
        ({"sentence1": "a", "sentence2": "b", "label": "1"}, ["record 0", "label '1'", "0, 1"]),
        ({"sentence1": "a", "label": 1}, ["record 0", "'sentence2'", "sentence1, label"]),
        ({"sentence1": None, "sentence2": "b", "label": 1}, ["record 0", "None as its sentence1"]),
        ({"sentence1": "a", "sentence2": " ", "label": 1}, ["record 0", "' ' as its sentence2"]),
    ],
)
def test_a_record_without_the_tasks_columns_or_labels_is_refused(monkeypatch, record, told):
    from repro.data import mini

    monkeypatch.setattr(mini, "rows", lambda task, split: [record])
    with pytest.raises(InputError) as caught:
        data.load(TASKS["mini-RTE"], "train")
    assert [part for part in told if part not in one_line(caught)] == []


def test_a_missing_hub_is_reported_in_one_line_with_a_remedy(monkeypatch):
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    error = data.hub_missing("the thing", "or do that", ConnectionError("refused\nand more"))
    assert str(error) == (
        "the Hugging Face hub did not give the thing (refused); "
        "set HF_ENDPOINT to a hub that has it, or do that"
    )
    monkeypatch.setenv("HF_ENDPOINT", "http://here:1")
    assert str(data.hub_missing("x", "y", ValueError())).startswith(
        "http://here:1 did not give x (ValueError)"
    )


# fingerprints


def test_the_fingerprint_depends_on_texts_and_labels_only():
    first = split_of(("a", "b"), ("c", "d"), labels=(0, 1))
    again = replace(first, name="dev", source="hub")
    assert first.fingerprint == again.fingerprint and len(first.fingerprint) == 16
    others = [
        split_of(("c", "d"), ("a", "b"), labels=(0, 1)),
        split_of(("a", "b"), ("c", "d"), labels=(1, 0)),
        split_of(("ab", ""), ("c", "d"), labels=(0, 1)),
        split_of(("a", "b"), labels=(0,)),
    ]
    assert len({first.fingerprint, *(other.fingerprint for other in others)}) == 5


def test_importing_data_loads_no_heavy_library():
    code = "import sys, repro.data; print({'torch', 'transformers', 'datasets'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=paths.ROOT, check=True
    )
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("classes", [2, 3])
def test_label_noise_replaces_a_share_of_the_labels_by_wrong_ones(classes):
    labels = np.arange(100) % classes
    noisy = data.with_noise(labels, classes, 0.04)
    assert np.sum(noisy != labels) == 4
    assert set(noisy) <= set(range(classes))
    assert np.array_equal(noisy, data.with_noise(labels, classes, 0.04))
    assert np.array_equal(data.with_noise(labels, classes, 0.0), labels)


def test_noisy_labels_are_in_no_inner_split_in_particular():
    labels = np.arange(1000) % 2
    noisy = np.flatnonzero(data.with_noise(labels, 2, 0.04) != labels)
    for seed in range(100):  # as `compute.select` and `loop.batches` draw, with any seed
        first = np.random.default_rng(seed).permutation(1000)[:100]
        assert np.isin(noisy, first).mean() < 0.4, seed


def test_only_training_labels_are_noisy():
    clean = [row["label"] for row in mini.rows("mini-RTE", "train")]
    train, dev = specs.load_splits("mini-RTE", PROFILES["demo"].setting)
    assert np.sum(train.labels != clean) == 240
    assert dev.labels.tolist() == [row["label"] for row in mini.rows("mini-RTE", "dev")]
