"""The zip that GLUE's test server takes: its files as data, writing it, and what is wrong with one. No torch here.

The server wants one tab-separated file per task, at the top of the zip, with the header "index<tab>prediction" and one
row per test example, in the order of the test file's index. All files must be there, so that a task which was not run
is filled with a constant: no number of the server for it means anything. Source: names, header and labels as public
submission scripts write them; rows, and constants where a training file is here, as counted in GLUE's files. No zip of
this package has been uploaded yet.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile, ZipFile, ZipInfo

from repro import paths
from repro.config.tasks import task
from repro.errors import InputError
from repro.files import write_atomic

HEADER = "index\tprediction"


@dataclass(frozen=True)
class File:
    """One file of the zip. labels: the strings allowed; () for a number from 0 to 5.

    constant: what fills it if the task is not run: the training file's most frequent label, for numbers its mean.
    """

    task: str
    rows: int
    labels: tuple[str, ...]
    constant: str

    @property
    def name(self) -> str:
        """The file's name in the zip."""
        return f"{self.task}.tsv"


_BINARY, _NLI = ("0", "1"), ("entailment", "neutral", "contradiction")
FILES = (
    File("AX", 1_104, _NLI, "entailment"),  # no training file: MNLI's, whose models are run on it
    File("CoLA", 1_063, _BINARY, "1"),  # 6,023 of 8,551
    File("MNLI-m", 9_796, _NLI, "entailment"),  # about a third each; not counted here, as QQP's
    File("MNLI-mm", 9_847, _NLI, "entailment"),
    File("MRPC", 1_725, task("MRPC").label_strings, "1"),  # 2,474 of 3,668
    File("QNLI", 5_463, task("QNLI").label_strings, "entailment"),  # half and half
    File("QQP", 390_965, _BINARY, "0"),  # most questions are no duplicates
    File("RTE", 3_000, task("RTE").label_strings, "entailment"),  # 1,249 of 2,490
    File("SST-2", 1_821, task("SST-2").label_strings, "1"),  # 37,569 of 67,349
    File(
        "STS-B", 1_379, (), "2.701"
    ),  # the mean of 5,749; no correlation is defined for a constant
    File("WNLI", 146, _BINARY, "0"),  # 323 of 635
)


def path(profile_name: str, method: str, seed: int) -> Path:
    """results/<profile>/submission-<method>-s<seed>.zip"""
    return paths.results(profile_name) / f"submission-{method}-s{seed}.zip"


def write(target: Path, predictions: dict[str, list[str]]) -> None:
    """Write the zip atomically: these predictions, constants for every other task.

    predictions: by GLUE's name of the task, label strings in the order of its test file. The bytes depend on these
    alone (sorted, fixed dates, not compressed). Raises InputError, and leaves what was there, if `validate` objects.
    """
    filled = {file.task: predictions.get(file.task, [file.constant] * file.rows) for file in FILES}

    def fill(temporary: Path) -> None:
        with ZipFile(temporary, "w") as archive:
            for name, rows in sorted((predictions | filled).items()):
                lines = [HEADER, *(f"{index}\t{label}" for index, label in enumerate(rows))]
                archive.writestr(ZipInfo(f"{name}.tsv"), "\n".join(lines) + "\n")
        if problems := validate(temporary):
            raise InputError(
                f"not a submission that GLUE takes, {target.name} was not written: {'; '.join(problems)}"
            )

    write_atomic(target, fill)


def summary(predictions: dict[str, list[str]]) -> list[str]:
    """One line per file of the zip: how often which label was predicted, or the constant that fills it."""
    return [
        f"{file.name:12}{file.rows:8,}  {_said(file, predictions.get(file.task, []))}"
        for file in FILES
    ]


def _said(file: File, predicted: list[str]) -> str:
    counts = Counter(predicted)
    if not counts:
        return f"not run: constant {file.constant}"
    said = ", ".join(f"{label} x {counts[label]:,}" for label in file.labels)
    return said if len(counts) > 1 else f"{said}: the model gives one answer to everything"


def validate(zip_path: Path) -> list[str]:
    """What the server would refuse or misread, one line each with the file's name; empty for a good submission."""
    try:
        with ZipFile(zip_path) as archive:
            contents = [(name, archive.read(name)) for name in archive.namelist()]
    except (OSError, BadZipFile) as error:
        return [f"{zip_path.name} cannot be read as a zip: {error}"]
    names, wanted = Counter(name for name, _ in contents), {file.name: file for file in FILES}
    return [
        *(f"{name}: missing" for name in wanted if name not in names),
        *(f"{name}: not one of {', '.join(wanted)}" for name in names if name not in wanted),
        *(f"{name}: there {count} times" for name, count in names.items() if count > 1),
        *(
            f"{name}: {line}"
            for name, content in contents
            if name in wanted
            for line in _problems(wanted[name], content)
        ),
    ]


def _problems(file: File, content: bytes) -> Iterator[str]:
    """What is wrong with one file: of each kind the first line that has it."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        yield f"not UTF-8 at byte {error.start}"
        return
    header, *lines = text.removesuffix("\n").split("\n")
    if header != HEADER:
        yield f"header {header[:40]!r}; it must be {HEADER!r}"
    if len(lines) != file.rows:
        yield f"{len(lines)} rows; it must have {file.rows}"
    rows = [line.split("\t") for line in lines]
    narrow = [number for number, row in enumerate(rows) if len(row) != 2]
    if narrow:
        yield f"line {narrow[0] + 2} has {len(rows[narrow[0]])} columns; it must have 2"
        return
    yield from _wrong_values(file, rows)


def _wrong_values(file: File, rows: list[list[str]]) -> Iterator[str]:
    """The first index and the first prediction that are not allowed. rows: [index, prediction] each."""
    for number, (index, _) in enumerate(rows):
        if index != str(number):
            yield f"line {number + 2} has index {index[:40]!r}; it must be {number}"
            break
    for number, (_, label) in enumerate(rows):
        if not (label in file.labels if file.labels else _is_score(label)):
            allowed = f"one of {', '.join(file.labels)}" if file.labels else "a number from 0 to 5"
            yield f"line {number + 2} has prediction {label[:40]!r}; it must be {allowed}"
            break


def _is_score(text: str) -> bool:
    """Whether the text is a plain number from 0 to 5, as STS-B's similarities are."""
    return (
        re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII) is not None
        and math.isfinite(float(text))
        and float(text) <= 5
    )
