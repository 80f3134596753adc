"""Load the examples of a task: embedded in the package, from GLUE's TSV files, or from the hub.

The library `datasets` is imported only where it is used, since plans and reports do not need it.
"""

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd

from repro import paths
from repro.config.tasks import Task
from repro.data.hub import hub_answers, hub_missing
from repro.errors import InputError, MissingError, one_of
from repro.files import digest

SPLITS = ("train", "dev")
TEST = "test"  # GLUE only; its labels are not public
NO_LABEL = -1  # label of all test examples
HUB_DATASET = "nyu-mll/glue"
HUB_REVISION = "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"

Row = tuple[tuple[str, ...], int]  # the texts of an example, and the id of its label


@dataclass(frozen=True, eq=False)
class Split:
    """One split of one task, in the order of its source.

    Attributes:
        texts: One or two strings per example.
        labels: Label ids (examples,) as int64; NO_LABEL in the test split.
        name: "train", "dev" or "test".
        source: "embedded", "GLUE_DIR", "hub", "own data", or "typed" in a widget.
    """

    texts: tuple[tuple[str, ...], ...]
    labels: np.ndarray
    name: str
    source: str

    @cached_property
    def fingerprint(self) -> str:
        """First 16 hex digits of the SHA-256 of texts and labels; independent of the source."""
        return digest([self.texts, self.labels.tolist()], 16)


# Different from the seeds of trainings. A training with the same seed would draw the same
# permutation for the inner split and the order of examples, with the noisy labels first.
NOISE_SEED = 2**32


def load(task: Task, split: str, cap: int = 0, label_noise: float = 0.0) -> Split:
    """Load a split of a task.

    Embedded tasks are part of the package. GLUE is read from the folder GLUE_DIR if it is set, and
    from the hub otherwise.

    Args:
        task: The task.
        split: "train" or "dev"; for GLUE also "test", in the order of the index that GLUE's server
            expects.
        cap: Keep only the first `cap` examples; 0 for all.
        label_noise: Share of labels that are replaced by a wrong one; meant for the training split.

    Raises:
        InputError: If the split is unknown, the cap negative, or the source malformed or empty.
        MissingError: If the data are neither in GLUE_DIR nor on the hub.
    """
    allowed = SPLITS if task.embedded else (*SPLITS, TEST)
    if split not in allowed:
        raise one_of("split", split, allowed)
    if type(cap) is not int or cap < 0:
        raise InputError(
            f"the cap on {split} examples must be a whole number, 0 for all, got {cap!r}"
        )
    labelled, folder = split != TEST, paths.glue()
    if task.embedded:
        from repro.data import mini

        source = "embedded"
        rows = _from_records(mini.rows(task.name, split), task, "repro/data/mini")
    elif folder:
        source = "GLUE_DIR"
        rows = read_tsv(_tsv_path(folder, task, f"{split}.tsv"), task, labelled)
    else:
        source = "hub"
        name = f"{HUB_DATASET} {hub_config(task)}"
        rows = _from_records(_hub_records(task, split), task, name, labelled)
    if not rows:
        raise InputError(f"{task.name} {split} from {source} has no examples; at least 1 is needed")
    texts, labels = zip(*rows[: cap or None], strict=True)
    noisy = with_noise(np.array(labels, np.int64), len(task.labels), label_noise)
    return Split(texts, noisy, split, source)


def with_noise(labels: np.ndarray, classes: int, share: float) -> np.ndarray:
    """Replace a share of the labels by wrong ones; which ones depends only on their number.

    Args:
        labels: Label ids (examples,) in 0 .. classes - 1.
        classes: Number of classes.
        share: Share of labels to replace, in 0 .. 1; rounded to whole examples.

    Returns:
        A copy of the labels, with wrong ones in it.
    """
    rng, noisy = np.random.default_rng(NOISE_SEED), labels.copy()
    chosen = rng.permutation(len(labels))[: round(share * len(labels))]
    noisy[chosen] = (labels[chosen] + rng.integers(1, classes, len(chosen))) % classes
    return noisy


def _from_records(
    records: Iterable[Mapping[str, Any]], task: Task, source: str, labelled: bool = True
) -> list[Row]:
    """Check records with the columns of GLUE on the hub; messages count them from 0."""
    rows = []
    columns, label_ids = (*task.columns, *["label"] * labelled), range(len(task.labels))
    for number, record in enumerate(records):
        absent = [column for column in columns if column not in record]
        if absent:
            raise InputError(
                f"{source}: record {number} has no column {absent[0]!r}; "
                f"it has: {', '.join(record)}"
            )
        if labelled and record["label"] not in label_ids:
            raise InputError(
                f"{source}: record {number} has label {record['label']!r}; "
                f"use one of: {', '.join(map(str, label_ids))}"
            )
        texts = tuple(record[column] for column in task.columns)
        for column, text in zip(task.columns, texts, strict=True):
            if not isinstance(text, str) or not text.strip():
                raise InputError(
                    f"{source}: record {number} has {text!r} as its {column}; "
                    "it must be a non-empty text"
                )
        rows.append((texts, int(record["label"]) if labelled else NO_LABEL))
    return rows


# GLUE's TSV files


def _tsv_path(folder: Path, task: Task, name: str) -> Path:
    advice = (
        f"set GLUE_DIR to the folder that holds {task.name}/{name}, "
        "or unset it to read GLUE from the hub"
    )
    path = folder / task.name / name
    if not folder.is_dir():
        raise MissingError(f"GLUE_DIR is {str(folder)!r}, which is not a folder; {advice}")
    if not path.is_file():
        raise MissingError(f"there is no file {path}; {advice}")
    return path


def read_tsv(path: Path, task: Task, labelled: bool = True) -> list[Row]:
    """Read one of GLUE's TSV files.

    Columns are identified by their names in the first line. Quotes and carriage returns within a
    line are part of the data; only a carriage return at the end of a line is removed.

    Args:
        path: The file.
        task: The task, which declares the names of columns and labels.
        labelled: False for a test file, which has an index, starting with 0, instead of labels.

    Returns:
        The texts and the label id of each example, in the order of the file.

    Raises:
        InputError: If the file is malformed; the message names the file and the line.
    """
    text = _decode(path)
    wanted = (*task.tsv_columns, task.tsv_label if labelled else "index")
    if not text:
        raise InputError(
            f"{path} is empty; its first line must name the columns: {', '.join(wanted)}"
        )
    # pandas silently pads short lines and reads an extra field as an index: check widths first
    lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
    header = lines[0].split("\t")
    for column in wanted:
        if column not in header:
            allowed = f"the columns here are: {_shorten(', '.join(header))}"
            _refuse(path, 1, f"no column {column!r}", allowed)
    for number, line in enumerate(lines[1:], start=2):
        if (width := line.count("\t") + 1) != len(header):
            received = f"{width} tab-separated columns in {_shorten(line)}"
            _refuse(path, number, received, f"the first line has {len(header)}")
    table = pd.read_csv(
        io.StringIO("\n".join(lines)),
        sep="\t",
        quoting=csv.QUOTE_NONE,
        lineterminator="\n",
        skip_blank_lines=False,
        dtype=str,
        keep_default_na=False,
    )
    *texts, last = (table.iloc[:, header.index(column)] for column in wanted)
    for column, values in zip(wanted, texts, strict=False):
        for number, text in enumerate(values, start=2):
            if not text.strip():
                _refuse(path, number, f"{column} is {_shorten(text)}", "each text must have a word")
    labels = _label_ids(path, task, last) if labelled else _check_index(path, last)
    return list(zip(zip(*texts, strict=True), labels, strict=True))


def _decode(path: Path) -> str:
    """Read a file as text, without the byte-order mark that some editions have."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        content, start = error.object, error.start
        position = start - (content.rfind(b"\n", 0, start) + 1)
        received = f"byte {content[start : error.end]!r} at position {position}"
        _refuse(path, content.count(b"\n", 0, start) + 1, received, "the file must be UTF-8 text")


def _label_ids(path: Path, task: Task, labels: pd.Series) -> list[int]:
    ids = {label: number for number, label in enumerate(task.label_strings)}
    for number, label in enumerate(labels, start=2):
        if label not in ids:
            _refuse(path, number, f"label {_shorten(label)}", f"use one of: {', '.join(ids)}")
    return [ids[label] for label in labels]


def _check_index(path: Path, index: pd.Series) -> list[int]:
    """Check that rows are in the order of their index, since GLUE's server scores by row."""
    for number, value in enumerate(index):
        if value != str(number):
            received = f"index {_shorten(value)}"
            _refuse(path, number + 2, received, f"the rows must be in order, here {number}")
    return [NO_LABEL] * len(index)


def _refuse(path: Path, line: int, received: str, allowed: str) -> NoReturn:
    """Raise InputError for a line, counted from 1."""
    raise InputError(f"{path}, line {line}: {received}; {allowed}")


def _shorten(text: str, length: int = 60) -> str:
    """Quote a text for a message: as a literal without line breaks, at most `length` characters."""
    return repr(text if len(text) <= length else f"{text[:length]}...")


# GLUE from the hub


def hub_config(task: Task) -> str:
    """Return the name of a task in the hub's data set, e.g. "sst2"."""
    return task.name.lower().replace("-", "")


def _hub_records(task: Task, split: str) -> Iterable[Mapping[str, Any]]:
    """Load the records of a split from the hub, or from its local cache if it does not answer."""
    import datasets

    offline, refusal = datasets.config.HF_HUB_OFFLINE, None
    try:
        hub_answers("dataset", HUB_DATASET)
    except Exception as error:  # of the hub's client or its HTTP library
        refusal = error
        datasets.config.HF_HUB_OFFLINE = True  # read the local cache without 23 seconds of retries
    try:
        name = "validation" if split == "dev" else split
        loaded = datasets.load_dataset(
            HUB_DATASET, hub_config(task), split=name, revision=HUB_REVISION
        )
    except Exception as error:  # of five libraries; all mean that the data cannot be loaded
        advice = (
            "or GLUE_DIR to a folder of GLUE's TSV files, or use PROFILE=demo, "
            "which needs no network"
        )
        raise hub_missing(f"{HUB_DATASET} {hub_config(task)}", advice, refusal or error) from error
    finally:
        datasets.config.HF_HUB_OFFLINE = offline
    names = getattr(loaded.features.get("label"), "names", list(task.labels))
    if tuple(names) != task.labels:
        raise InputError(
            f"{HUB_DATASET} {hub_config(task)} has the labels {', '.join(names)}; "
            f"expected {', '.join(task.labels)}, in this order"
        )
    return loaded.to_list()
