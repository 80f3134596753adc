"""How a number in a table's CSV came to be, from the files of its cells, as plain text. No torch here."""

import shlex
import textwrap
from pathlib import Path
from typing import Any

import pandas as pd

from repro.analysis import derivation, tables, verification
from repro.analysis.rows import PRINTED
from repro.config.cells import Cell
from repro.config.recipe import parse as parse_recipe
from repro.config.tables import TABLES, table
from repro.config.tasks import TASKS, task
from repro.errors import InputError, one_of
from repro.paths import shown
from repro.runs import results as files

_WIDTH = 100
_STAGES = ("teacher", "outputs", "ptp", "search", "student")  # in the order in which they are made


def parse(text: str) -> tuple[Path, str, str]:
    """(path, method, task) of "results/demo/table2.csv:PeaBERT3:mini-RTE"; InputError for another form."""
    path, method, name = [*text.rsplit(":", 2), "", ""][:3]
    if not (path and method and name):
        raise InputError(
            f"a number is named FILE:METHOD:TASK, e.g. results/demo/table2.csv:PeaBERT3:mini-RTE, "
            f"got {text!r}"
        )
    return Path(path), method, name


def explain(path: Path, method: str, name: str) -> str:
    """How the number came to be: score, interval, what is the same for all its cells, then each cell. For 100 columns.

    path: a table's CSV under the results folder. name: the task as the CSV has it, the paper's name of it, or "Avg".
    Raises MissingError if the file is not there, InputError for a file, method or task that is none, each with those
    allowed. A cell that is not here is named, with the command that makes it.
    """
    frame = _table(path)
    row = _row(frame, path, method, name)
    head = f"{shown(path)}: {row['method']}, {row['task']}"
    if row["backbone"] == PRINTED:
        return _text(
            head,
            "",
            f"  {row['paper']:g} is copied from the paper, where it is printed; it is not run here.",
        )
    chosen = _cells(path, row)
    here = {cell: files.read(cell) for cell in chosen if files.path(cell).is_file()}
    cells = [line for cell in chosen for line in _cell(cell, here)]
    return _text(head, "", *_number(row), "", *_common(row, here), *cells, "", *_verified(path))


def _text(*lines: str) -> str:
    """The lines, those that are too long wrapped where they may be."""
    wrapper = textwrap.TextWrapper(
        _WIDTH, subsequent_indent=" " * 14, break_on_hyphens=False, break_long_words=False
    )
    parts = [[line] if len(line) <= _WIDTH else wrapper.wrap(line) for line in lines]
    return "\n".join(line for part in parts for line in part)


def _table(path: Path) -> pd.DataFrame:
    """The CSV with its types, if it is a table of the results folder."""
    name, _, variant = path.name.removesuffix(".csv").partition(".")
    if name not in TABLES or path.suffix != ".csv":
        raise one_of("table", path.name, [f"{known}.csv" for known in TABLES])
    target = tables.table_path(name, path.resolve().parent.name, variant)
    if path.is_file() and path.resolve() != target.resolve():
        raise InputError(
            f"{path} does not lie in the results folder, where its cells are; use {shown(target)}"
        )
    return tables.read_table(name, path.resolve().parent.name, variant)


def _row(frame: pd.DataFrame, path: Path, method: str, name: str) -> dict[str, Any]:
    """The row as a dict; of table 1, where a method is a PTP label, the row about all gold classes."""
    methods, names = (list(dict.fromkeys(frame[column])) for column in ("method", "task"))
    if method not in methods:
        raise one_of(f"method of {path.name}", method, methods)
    own = {known: known for known in names} | {
        TASKS[known].paper_name: known for known in names if known in TASKS
    }
    if name not in own:
        raise one_of(f"task of {path.name}", name, own)
    return frame[(frame["method"] == method) & (frame["task"] == own[name])].iloc[0].to_dict()


def _cells(path: Path, row: dict[str, Any]) -> list[Cell]:
    """The row's cells, task by task; in table 1 every row is of the one method that is run."""
    plan = [cell for cells in derivation.plans_of(path).values() for cell in cells]
    methods = {cell.row for cell in plan} if row["table"] == "table1" else {row["method"]}
    return [cell for cell in plan if cell.row in methods and row["task"] in (cell.task, "Avg")]


def _number(row: dict[str, Any]) -> list[str]:
    """The number with its spread, its interval and the paper's, and how it is averaged."""
    seeds = f"{row['seeds']} seed{'s' if row['seeds'] > 1 else ''}"
    spread = "one seed: no sd" if pd.isna(row["sd"]) else f"sd {row['sd']:g} between {seeds}"
    paper = f"{row['paper']:g} on its {table(row['table']).paper_split} split; difference {row['delta']:+g}"
    return [
        _line("number", f"{row['mean']:g} %, {spread}"),
        _line(
            "interval",
            f"{row['ci_low']:g} to {row['ci_high']:g}, 95 % bootstrap over seeds and examples",
        ),
        _line("paper", "prints no such number" if pd.isna(row["paper"]) else paper),
        _line("metric", _metric(row)),
        _line("split", row["split"]),
        _line("model", _model(row)),
    ]


def _metric(row: dict[str, Any]) -> str:
    """What is counted, and over what it is averaged."""
    if row["metric"] == "share":
        what = "share of the training examples that the teacher's predictions give this PTP label"
    elif row["task"] == "Avg":
        return f"{row['metric']} tasks' scores within each seed, then the mean over seeds"
    else:
        what = {"accuracy": "accuracy, the share of right predictions", "f1": "F1 of class 1"}[
            row["metric"]
        ]
    return f"{what}, in percent; the mean over seeds" + (
        " and tasks" if row["task"] == "Avg" else ""
    )


def _model(row: dict[str, Any]) -> str:
    return (
        f"{row['layers']} stored layers, {row['effective_layers']} applied; {row['parameters']:,} parameters in "
        f"layers, {row['parameters_full']:,} with embeddings and pooler"
    )


def _common(row: dict[str, Any], here: dict[Cell, dict[str, Any]]) -> list[str]:
    """What is the same for all cells: recipe, settings, encoder, and each task's data."""
    options = ", ".join(
        f"{name}={value}" for name, value in parse_recipe(row["recipe"]).changes.items()
    )
    data = dict.fromkeys(f"{cell.task}, {_data(found['data'])}" for cell, found in here.items())
    encoders = dict.fromkeys(_encoder(found["backbone"]) for found in here.values()) or [
        row["backbone"]
    ]
    return [
        _line("profile", f"{row['profile']}: {row['data']}"),
        _line("recipe", f"{row['recipe']}; differs from the authors' in: {options or 'nothing'}"),
        _line("settings", row["settings"] or "the profile's"),
        *(_line("encoder", text) for text in encoders),
        *(_line("data", text) for text in data),
    ]


def _data(data: dict[str, Any]) -> str:
    splits = [
        f"{split} {data[f'{split}_rows']:,} rows (fingerprint {data[split]})"
        for split in ("train", "dev")
    ]
    return f"{', '.join(splits)}, from {data['source']}"


def _encoder(backbone: dict[str, Any]) -> str:
    return f"{backbone['name']}, weights SHA-256 {backbone['sha256']}, all files {backbone['fingerprint']}"


def _cell(cell: Cell, here: dict[Cell, dict[str, Any]]) -> list[str]:
    """One cell: its score, stages, checkpoint, predictions, where it was made, and how to make it again."""
    lines = ["", f"cell {cell.id} (seed {cell.seed})"]
    again = _commands(cell)
    if cell not in here:
        return [
            *lines,
            _line("score", f"not here: {shown(files.path(cell))} does not exist"),
            *again,
        ]
    row, metric = here[cell], task(cell.task).metric
    whose = " of the teacher on its training data" if cell.method.kind == "labels" else ""
    versions = ", ".join(f"{name} {number}" for name, number in row["versions"].items())
    return [
        *lines,
        _line("score", f"{metric} {row['metrics'][metric]:.4f}{whose}"),
        *(_line("stage", _stage(kind, row)) for kind in _STAGES if kind in row["stages"]),
        _line("checkpoint", _checkpoint(row["selection"])),
        _line("predictions", f"SHA-256 {row['predictions_sha256']}"),
        _line(
            "made by",
            f"commit {row['commit'] or 'unknown'}; {row['device']}, {row['threads']} "
            f"thread{'s' if row['threads'] > 1 else ''}, {row['precision']}; {versions}",
        ),
        *again,
    ]


def _commands(cell: Cell) -> list[str]:
    """The command that makes the cell, to be pasted into a shell as it stands, over as many lines as it needs."""
    words = [
        shlex.quote(word).replace(" ", "\0") for word in shlex.split(files.command(cell))
    ]  # no break in a quote
    lines = textwrap.wrap(
        " ".join(words), _WIDTH - 16, break_long_words=False, break_on_hyphens=False
    )
    ends = [" \\"] * (len(lines) - 1) + [""]
    names = ["again"] + [""] * (len(lines) - 1)
    return [
        _line(name, line.replace("\0", " ") + end)
        for name, line, end in zip(names, lines, ends, strict=True)
    ]


def _stage(kind: str, row: dict[str, Any]) -> str:
    seconds = row["seconds"].get(kind)
    return f"{kind:8} {row['stages'][kind]}" + ("" if seconds is None else f"  {seconds:,.1f} s")


def _checkpoint(chosen: dict[str, Any]) -> str:
    """The rule, and the step it picked."""
    step = f", step {chosen['best_step']} of {chosen['steps']}" if "best_step" in chosen else ""
    best = f", score {chosen['best_score']:.4f}" if chosen.get("best_score") is not None else ""
    last = f"; the last step's: {chosen['last_score']:.4f}" if "last_score" in chosen else ""
    return f"{chosen['rule']}{step}{best}{last}"


def _verified(path: Path) -> list[str]:
    """Whether the CSV is what its cells give, and these what their predictions give."""
    needed = [files.path(cell) for cells in derivation.plans_of(path).values() for cell in cells]
    found = {place: verification.check_cell(place) for place in needed if place.is_file()}
    wrong = [line for lines in found.values() for line in lines]
    wrong += verification.check_table(path, verification.damaged(found))[1]
    return wrong or [
        f"verified: the table is what its {len(needed)} cells give, and these what their predictions give"
    ]


def _line(name: str, text: str) -> str:
    return f"  {name:11} {text}"
