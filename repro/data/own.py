"""Read, check and store a user's own labelled texts as a task.

Examples are stored in cache/own under a name that is a hash of them, so that worker processes and
later runs on the same data can load them by name, like a task of GLUE.
"""

import json
import numbers
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.errors import ParserWarning

from repro.config.tasks import OWN, own_path
from repro.data.glue import Split
from repro.errors import InputError, MissingError, one_of
from repro.files import digest, write_atomic

# With fewer training examples there are not two full batches; with fewer dev examples, a single one
# counts for more than 5 points.
MINIMUM = {"train": 50, "dev": 20}
FORMATS = (".csv", ".tsv", ".jsonl")
Label = int | str


@dataclass(frozen=True)
class Examples:
    """Labelled texts as the user gave them, checked.

    Attributes:
        texts: One or two strings per example.
        labels: One integer or string per example, all of one type.
        columns: Names of the one or two text columns.
        source: Name of the data in messages, such as "train.csv".
    """

    texts: tuple[tuple[str, ...], ...]
    labels: tuple[Label, ...]
    columns: tuple[str, ...]
    source: str


# reading


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV, TSV or JSONL file; the extension determines the format.

    In CSV and TSV files every value is read as text: "NA" and "007" stay as they are.

    Raises:
        InputError: If the file is missing or malformed, or has another extension.
    """
    if path.suffix.lower() not in FORMATS:
        raise one_of(f"format of {path}", path.suffix, FORMATS)
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    try:
        if path.suffix.lower() == ".jsonl":
            lines = path.read_text(encoding="utf-8-sig").split("\n")
            rows = [json.loads(line) for line in lines if line.strip()]
            if not all(isinstance(row, dict) for row in rows):
                raise ValueError('each line must be an object, such as {"text": ...}')
            return pd.DataFrame(rows, dtype=object)
        separator = "\t" if path.suffix.lower() == ".tsv" else ","
        with warnings.catch_warnings(action="error"):  # pandas only warns of rows with extra fields
            return pd.read_csv(
                path,
                sep=separator,
                index_col=False,
                dtype=str,
                keep_default_na=False,
                encoding="utf-8-sig",
            )
    except (OSError, ValueError, ParserWarning) as error:  # ValueError: pandas, json, decoding
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"cannot read {path} as {path.suffix[1:].upper()}: {reason}") from error


def examples(data: Any, text: str | Sequence[str], label: str, source: str) -> Examples:
    """Check labelled texts.

    Args:
        data: A pandas DataFrame, a `datasets.Dataset`, or a pair (texts, labels) of sequences,
            where each text is a string or a pair of strings.
        text: Names of one or two text columns; not used for a pair of sequences.
        label: Name of the label column; not used for a pair of sequences.
        source: Name of the data in messages.

    Returns:
        The checked examples; a float that is a whole number becomes an int, a bool a string.

    Raises:
        InputError: If a column is missing, a text empty, or a label missing or of another type.
    """
    if isinstance(data, tuple) and len(data) == 2:
        columns, texts, labels = _from_sequences(*data, source)
    else:
        frame = _frame(data, label, source)
        columns = _columns(text)
        for column in (*columns, label):
            if column not in frame.columns:
                has = ", ".join(map(str, frame.columns))
                raise InputError(f"{source} has no column {column!r}; its columns are: {has}")
        texts = list(zip(*(frame[column] for column in columns), strict=True))
        labels = list(frame[label])
    _check_texts(texts, columns, source)
    return Examples(tuple(texts), _check_labels(labels, source), columns, source)


def texts_of(data: Any, text: str | Sequence[str], source: str) -> list[tuple[str, ...]]:
    """Check texts without labels.

    Args:
        data: A pandas DataFrame, a `datasets.Dataset`, or a list of strings or pairs of strings.
        text: Names of one or two text columns; not used for a list.
        source: Name of the data in messages.

    Returns:
        One or two strings per example.

    Raises:
        InputError: If a column is missing or a text empty.
    """
    if isinstance(data, list | tuple):
        columns, texts, _ = _from_sequences(data, [""] * len(data), source)
    else:
        frame, columns = _frame(data, "", source), _columns(text)
        missing = [column for column in columns if column not in frame.columns]
        if missing:
            has = ", ".join(map(str, frame.columns))
            raise InputError(f"{source} has no column {missing[0]!r}; its columns are: {has}")
        texts = list(zip(*(frame[column] for column in columns), strict=True))
    _check_texts(texts, columns, source)
    return texts


def _columns(text: str | Sequence[str]) -> tuple[str, ...]:
    columns = (text,) if isinstance(text, str) else tuple(text)
    if len(columns) not in (1, 2) or not all(columns):
        raise InputError(
            f"text must name one column, or two for pairs, got {', '.join(columns) or 'none'}"
        )
    return columns


def _frame(data: Any, label: str, source: str) -> pd.DataFrame:
    if isinstance(data, pd.DataFrame):
        return data
    if hasattr(data, "to_pandas") and hasattr(data, "features"):  # datasets.Dataset
        frame: pd.DataFrame = data.to_pandas()
        names = getattr(data.features.get(label), "names", None)  # of a ClassLabel
        if names:
            # -1 and null are no class; a column with nulls arrives as floats
            frame[label] = [names[int(k)] if k >= 0 else None for k in frame[label]]
        return frame
    raise InputError(
        f"{source} must be a pandas DataFrame, a datasets.Dataset or a tuple (texts, labels), "
        f"got {type(data).__name__}"
    )


def _from_sequences(
    texts: Any, labels: Any, source: str
) -> tuple[tuple[str, ...], list[tuple[Any, ...]], list[Any]]:
    texts, labels = list(texts), list(labels)
    if len(texts) != len(labels):
        raise InputError(f"{source} has {len(texts)} texts and {len(labels)} labels")
    rows = [tuple(text) if isinstance(text, list | tuple) else (text,) for text in texts]
    widths = {len(row) for row in rows}
    if len(widths) > 1 or widths - {1, 2}:
        raise InputError(
            f"{source} must have only texts or only pairs of texts, got {sorted(widths)} per row"
        )
    columns = ("text",) if widths != {2} else ("text_a", "text_b")
    return columns, rows, labels


def _check_texts(texts: list[tuple[Any, ...]], columns: tuple[str, ...], source: str) -> None:
    for number, row in enumerate(texts, start=1):
        for column, text in zip(columns, row, strict=True):
            if not isinstance(text, str) or not text.strip():
                raise InputError(
                    f"{source}, row {number}: {column} is {text!r}; each text must be a "
                    "non-empty string"
                )


def _check_labels(values: list[Any], source: str) -> tuple[Label, ...]:
    """Convert labels to int or str, all of one type; messages count rows from 1."""
    labels: list[Label] = []
    for number, value in enumerate(values, start=1):
        if isinstance(value, bool | np.bool_) or (isinstance(value, str) and value.strip()):
            labels.append(str(value))
        elif isinstance(value, numbers.Integral | float) and float(value).is_integer():
            labels.append(int(value))
        else:
            raise InputError(
                f"{source}, row {number}: label {value!r}; a label must be a whole number or a "
                "non-empty string"
            )
        if type(labels[-1]) is not type(labels[0]):
            raise InputError(
                f"{source} has labels of mixed types: {labels[0]!r} in row 1, {labels[-1]!r} in "
                f"row {number}; use only numbers or only strings"
            )
    return tuple(labels)


# storing as a task


def store(train: Examples, dev: Examples) -> str:
    """Check two splits against each other and store them as a task.

    Args:
        train: The training examples.
        dev: The dev examples.

    Returns:
        Name of the task, "own-" and a hash of texts and labels.

    Raises:
        InputError: As `check_splits`.
        DiskError: If the cache cannot be written.
    """
    classes = check_splits(train, dev)
    ids = {label: number for number, label in enumerate(classes)}
    rows = [
        (split, *texts, ids[label])
        for split, given in (("train", train), ("dev", dev))
        for texts, label in zip(given.texts, given.labels, strict=True)
    ]
    declared = {"labels": classes, "columns": list(train.columns)}
    name = OWN + digest([declared, rows], 12)
    columns = ["split", *(f"text{side}" for side in range(len(train.columns))), "label"]
    frame = pd.DataFrame(rows, columns=columns)
    target = own_path(name)
    write_atomic(target.with_suffix(".parquet"), lambda path: frame.to_parquet(path, index=False))
    text = json.dumps(declared, ensure_ascii=False) + "\n"
    write_atomic(target, lambda path: path.write_text(text, encoding="utf-8"))
    return name


def check_splits(train: Examples, dev: Examples) -> list[Label]:
    """Check two splits against each other.

    Args:
        train: The training examples.
        dev: The dev examples.

    Returns:
        The classes, in the order of their ids.

    Raises:
        InputError: If there are too few examples, fewer than two classes, or so many that the
            labels cannot be classes, or if dev has other columns or a label that train lacks.
    """
    for name, split in (("train", train), ("dev", dev)):
        if len(split.texts) < MINIMUM[name]:
            raise InputError(
                f"{split.source} has {len(split.texts)} rows, too few for {name}; "
                f"at least {MINIMUM[name]} are needed"
            )
    if len(train.columns) != len(dev.columns):
        raise InputError(
            f"{train.source} has {len(train.columns)} texts per row and {dev.source} "
            f"{len(dev.columns)}; the numbers must be equal"
        )
    classes = sorted(set(train.labels), key=_order)
    if len(classes) < 2:
        raise InputError(f"{train.source} has one class, {classes[0]!r}; at least 2 are needed")
    if len(classes) > len(train.labels) // 2:
        raise InputError(
            f"{train.source} has {len(classes)} different labels in {len(train.labels)} rows; "
            "name the column of the classes"
        )
    for number, label in enumerate(dev.labels, start=1):
        if label not in classes:
            known = ", ".join(map(repr, classes[:10])) + ", ..." * (len(classes) > 10)
            raise InputError(
                f"{dev.source}, row {number}: label {label!r} is not in {train.source}, "
                f"which has: {known}"
            )
    return classes


def _order(label: Label) -> tuple[bool, int, str]:
    """Sort key of a label: numbers by value, also as strings, then other strings."""
    text = str(label)
    number = text.removeprefix("-").isdecimal()
    return not number, int(text) if number else 0, text


def load(name: str, split: str) -> Split:
    """Load a split of a stored task.

    Args:
        name: Name of the task, the output of `store`.
        split: "train" or "dev".

    Raises:
        MissingError: If the task is no longer in the cache.
    """
    path = own_path(name).with_suffix(".parquet")
    if not path.is_file():
        raise MissingError(f"there is no {path}; run distill again with the data's files")
    frame = pd.read_parquet(path)
    rows = frame[frame["split"] == split]
    texts = rows.filter(regex=r"^text\d$").itertuples(index=False, name=None)
    return Split(tuple(texts), np.array(rows["label"], np.int64), split, "own data")


def classes(name: str) -> list[Label]:
    """Return the labels of a stored task as the user wrote them, in the order of their ids."""
    labels: list[Label] = json.loads(own_path(name).read_text(encoding="utf-8"))["labels"]
    return labels
