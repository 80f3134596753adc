"""A user's own data: what is read, what is refused in one line, and how it is stored."""

import json

import datasets
import numpy as np
import own_data
import pandas as pd
import pytest

from repro.config import tasks
from repro.data import own
from repro.errors import InputError, MissingError

TRAIN, DEV = own_data.three_classes(60), own_data.three_classes(20, seed=1)


def examples(frame, source="train.csv", text="review", label="colour"):
    return own.examples(frame, text, label, source)


def refused(words: tuple[str, ...], call, *arguments) -> None:
    with pytest.raises(InputError) as caught:
        call(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    assert [word for word in words if word not in message] == []


# files


@pytest.mark.parametrize(("name", "separator"), [("a.csv", ","), ("a.TSV", "\t")])
def test_every_value_of_a_table_is_text(tmp_path, name, separator):
    lines = [
        separator.join(line) for line in (("text", "label"), ("NA", "007"), ('"a\nb"', "null"))
    ]
    (tmp_path / name).write_text("\ufeff" + "\n".join(lines))
    frame = own.read_table(tmp_path / name)
    assert frame.to_dict("list") == {"text": ["NA", "a\nb"], "label": ["007", "null"]}


def test_json_lines_keep_their_types(tmp_path):
    (tmp_path / "a.jsonl").write_text(
        '{"text": "one", "label": 1}\n\n{"text": "two", "label": 2}\n'
    )
    frame = own.read_table(tmp_path / "a.jsonl")
    assert frame.to_dict("list") == {"text": ["one", "two"], "label": [1, 2]}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.xlsx", b"", ("'.xlsx'", ".csv, .tsv, .jsonl")),
        ("a.csv", b'text,label\n"a', ("a.csv as CSV",)),
        ("a.csv", b"text,label\na,b,c,d\ne,f\n", ("a.csv",)),
        ("a.csv", b"text,label\n\xff\xfe,1\n", ("a.csv as CSV", "utf-8")),
        ("a.csv", b"", ("a.csv as CSV", "No columns")),
        ("a.jsonl", b"{", ("a.jsonl as JSONL",)),
        ("a.jsonl", b"[1]\n2\n", ("a.jsonl", "object")),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    refused(words, lambda: examples(own.read_table(tmp_path / name), text="text", label="label"))


def test_a_missing_file_is_named(tmp_path):
    refused(("there is no file", "a.csv"), own.read_table, tmp_path / "a.csv")


# kinds of data


def test_all_kinds_of_data_give_the_same_examples():
    texts, labels = TRAIN["review"].tolist(), TRAIN["colour"].tolist()
    feature = datasets.ClassLabel(names=sorted(own_data.COLOURS))
    features = datasets.Features({"review": datasets.Value("string"), "colour": feature})
    dataset = datasets.Dataset.from_dict({"review": texts, "colour": labels}, features=features)
    expected = tuple((text,) for text in texts), tuple(labels)
    for data in (TRAIN, dataset, (texts, labels), (np.array(texts), pd.Series(labels))):
        found = examples(data)
        assert (found.texts, found.labels) == expected


def test_pairs_come_from_two_columns_or_from_pairs():
    frame = own_data.pairs(30)
    given = list(zip(frame["first"], frame["second"], strict=True))
    from_frame = own.examples(frame, ("first", "second"), "same", "train")
    from_pairs = own.examples((given, frame["same"]), "", "", "train")
    assert from_frame.texts == from_pairs.texts == tuple(given)
    assert from_frame.labels == from_pairs.labels
    assert {type(label) for label in from_frame.labels} == {int}


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ([1.0, 2.0], (1, 2)),
        ([True, False], ("True", "False")),
        (np.array([3, 4]), (3, 4)),
        (["1", "x"], ("1", "x")),
    ],
)
def test_labels_are_integers_or_strings(labels, found):
    given = own.examples((["a", "b"], labels), "", "", "train").labels
    assert given == found
    assert {type(label) for label in given} <= {int, str}


# what is refused


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"review": ["a", ""]}, ("train.csv, row 2", "review is ''")),
        ({"review": ["  ", "b"]}, ("train.csv, row 1", "review is '  '")),
        ({"review": ["a", None]}, ("row 2", "string")),
        ({"review": ["a", 5]}, ("row 2", "review is 5")),
        ({"colour": ["a", 5]}, ("mixed types", "'a' in row 1, 5 in row 2")),
        ({"colour": ["a", ""]}, ("row 2", "label ''")),
        ({"colour": ["a", float("nan")]}, ("row 2", "label nan")),
        ({"colour": [0.5, 1.0]}, ("row 1", "label 0.5", "whole number")),
    ],
)
def test_a_bad_value_is_refused_with_its_row(change, words):
    frame = pd.DataFrame({"review": ["a", "b"], "colour": ["x", "y"]} | change, dtype=object)
    refused(words, examples, frame)


@pytest.mark.parametrize("unlabelled", [-1, None])
def test_an_unlabelled_row_of_a_dataset_is_refused(unlabelled):
    feature = datasets.ClassLabel(names=["no", "yes"])
    features = datasets.Features({"review": datasets.Value("string"), "colour": feature})
    dataset = datasets.Dataset.from_dict(
        {"review": ["a", "b"], "colour": [1, unlabelled]}, features=features
    )
    refused(("train.csv, row 2: label", "must be a whole number"), examples, dataset)


def test_a_missing_column_is_refused_with_those_there_are():
    for options in ({"text": "txt"}, {"label": "txt"}):
        message = ("train.csv has no column 'txt'; its columns are: review, colour",)
        refused(message, lambda options=options: examples(TRAIN, **options))
    refused(("one column, or two", "a, b, c"), lambda: examples(TRAIN, text=("a", "b", "c")))


def test_other_kinds_of_data_are_refused():
    refused(("DataFrame", "got dict"), examples, {"review": []})
    refused(("2 texts and 1 labels",), examples, (["a", "b"], [1]))
    refused(("only pairs", "[1, 2]"), examples, ([("a", "b"), "c"], [0, 1]))


@pytest.mark.parametrize(
    ("train", "dev", "words"),
    [
        (TRAIN[:10], DEV, ("train.csv has 10 rows", "at least 50")),
        (TRAIN, DEV[:10], ("dev.csv has 10 rows", "at least 20")),
        (TRAIN.assign(colour="red"), DEV, ("train.csv has one class, 'red'", "at least 2")),
        (
            TRAIN,
            DEV.assign(colour="pink"),
            ("dev.csv, row 1: label 'pink'", "'blue', 'green', 'red'"),
        ),
        (TRAIN.assign(colour=range(60)), DEV, ("60 different labels in 60 rows",)),
    ],
)
def test_splits_that_cannot_work_are_refused_and_nothing_is_stored(own_folders, train, dev, words):
    refused(words, own.store, examples(train), examples(dev, "dev.csv"))
    assert list(own_folders.iterdir()) == []


def test_splits_of_different_kinds_are_refused():
    two = own.examples(own_data.pairs(30), ("first", "second"), "same", "dev.csv")
    refused(("train.csv has 1 texts per row and dev.csv 2",), own.store, examples(TRAIN), two)


# storing


@pytest.mark.usefixtures("own_folders")
def test_stored_data_are_a_task():
    name = own.store(examples(TRAIN), examples(DEV, "dev.csv"))
    task = tasks.task(name)
    assert task.labels == ("blue", "green", "red")
    assert (task.columns, task.metric) == (("review",), "accuracy")
    for split, frame in (("train", TRAIN), ("dev", DEV)):
        loaded = own.load(name, split)
        assert [text for (text,) in loaded.texts] == frame["review"].tolist()
        assert [task.labels[number] for number in loaded.labels] == frame["colour"].tolist()


@pytest.mark.usefixtures("own_folders")
def test_the_name_is_a_hash_of_both_splits_and_the_columns():
    train, dev = examples(TRAIN), examples(DEV)
    other_label = {"blue": "red", "green": "blue", "red": "green"}
    names = [
        own.store(train, dev),
        own.store(examples(TRAIN[::-1]), dev),
        own.store(train, examples(DEV[::-1])),
        own.store(train, examples(DEV.assign(colour=DEV["colour"].map(other_label)))),
        own.store(examples(TRAIN.replace("red", "rosy")), examples(DEV.replace("red", "rosy"))),
        own.store(examples(TRAIN.rename(columns={"review": "text"}), text="text"), dev),
    ]
    assert len(set(names)) == len(names)
    assert own.store(train, dev) == names[0]


@pytest.mark.usefixtures("own_folders")
def test_numbers_are_in_their_order_and_keep_their_type():
    numbers = {"red": 10, "green": 2, "blue": -1}
    for kind in (int, str):
        frames = [
            frame.assign(colour=[kind(numbers[c]) for c in frame["colour"]])
            for frame in (TRAIN, DEV)
        ]
        name = own.store(*map(examples, frames))
        assert own.classes(name) == [kind(-1), kind(2), kind(10)]


def test_data_that_are_no_longer_there_are_named(own_folders):
    with pytest.raises(MissingError, match=r"own-0123 are not in .*run distill again"):
        tasks.task("own-0123")
    path = tasks.own_path("own-0124")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"labels": ["a", "b"], "columns": ["t"]}))
    with pytest.raises(MissingError, match=r"no .*own-0124\.parquet"):
        own.load("own-0124", "train")
