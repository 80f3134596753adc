"""GLUE's TSV files: where a task's file lies, and its rows, with an error that names the line that does not fit."""

from pathlib import Path
from typing import NoReturn

from repro.config.tasks import Task
from repro.errors import InputError, MissingError

Row = tuple[tuple[str, ...], int]  # the example's texts and its label's id
NO_LABEL = -1  # the label's id in a test file


def tsv_path(folder: Path, task: Task, name: str) -> Path:
    """A file of a task in GLUE_DIR, e.g. "dev.tsv"; MissingError with what to do if it is not there."""
    advice = f"set GLUE_DIR to the folder that holds {task.name}/{name}, or unset it to read GLUE from the hub"
    path = folder / task.name / name
    if not folder.is_dir():
        raise MissingError(f"GLUE_DIR is {str(folder)!r}, which is no folder; {advice}")
    if not path.is_file():
        raise MissingError(f"there is no file {path}; {advice}")
    return path


def read_tsv(path: Path, task: Task, labelled: bool = True) -> list[Row]:
    """All rows of one TSV file, its columns found by the names in its first line.

    labelled: False for a test file, which has an index column, counted from 0, instead of a label; each label is then
    NO_LABEL. A line is split at every tab and quotes are data (what csv calls QUOTE_NONE), so that a field may be of
    any size and hold a lone carriage return. Raises InputError with file and line on a line that does not fit.
    """
    lines = _lines(path)
    wanted = (*task.tsv_columns, task.tsv_label if labelled else "index")
    if not lines:
        raise InputError(
            f"{path} is empty; its first line must name the columns: {', '.join(wanted)}"
        )
    header = lines[0]
    for column in wanted:
        if column not in header:
            _refuse(
                path,
                1,
                f"no column {column!r}",
                f"the columns here are: {_short(', '.join(header))}",
            )
    places = [header.index(column) for column in wanted]
    labels = {label: number for number, label in enumerate(task.label_strings)} if labelled else {}
    return [
        _row(path, number, fields, len(header), places, labels)
        for number, fields in enumerate(lines[1:], 2)
    ]


def _lines(path: Path) -> list[list[str]]:
    """The fields of every line; InputError with the line's number if it is not UTF-8."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    lines = []
    for number, line in enumerate(raw.removesuffix(b"\n").split(b"\n") if raw else [], 1):
        try:  # utf-8-sig: some editions begin with a byte-order mark
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            bad = line[error.start : error.end]
            _refuse(
                path,
                number,
                f"byte {bad!r} at position {error.start}",
                "the file must be UTF-8 text",
            )
        lines.append(text.removesuffix("\r").split("\t"))
    return lines


def _row(
    path: Path,
    number: int,
    fields: list[str],
    width: int,
    places: list[int],
    labels: dict[str, int],
) -> Row:
    """One line's texts and label. width: the number of columns; places: those of the texts, then the label's."""
    if len(fields) != width:
        received = f"{len(fields)} tab-separated columns in {_short(chr(9).join(fields))}"
        _refuse(path, number, received, f"the first line has {width}")
    *texts, last = (fields[place] for place in places)
    if not labels:
        _check_index(path, number, last)
    elif last not in labels:
        _refuse(path, number, f"label {_short(last)}", f"use one of: {', '.join(labels)}")
    return tuple(texts), labels.get(last, NO_LABEL)


def _check_index(path: Path, number: int, index: str) -> None:
    """GLUE's server scores by row: a test file whose rows are not in the order of their index is refused."""
    if index != str(number - 2):
        _refuse(
            path, number, f"index {_short(index)}", f"the rows must be in order, here {number - 2}"
        )


def _refuse(path: Path, number: int, received: str, allowed: str) -> NoReturn:
    raise InputError(f"{path}, line {number}: {received}; {allowed}")


def _short(text: str, length: int = 60) -> str:
    """The text as a literal without line breaks, cut to `length` characters."""
    return repr(text if len(text) <= length else f"{text[:length]}...")
