"""How a number in a table came to be, as plain text, from the files of its cells."""

import shlex
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from repro.analysis import tables
from repro.analysis.cell_checks import check_cell, damaged
from repro.analysis.tables import PRINTED
from repro.analysis.verification import check_table, plan_of
from repro.config.cells import Cell
from repro.config.profiles import profile
from repro.config.recipe import parse as parse_recipe
from repro.config.tables import TABLES, table
from repro.config.tasks import TASKS, task
from repro.errors import InputError, one_of
from repro.paths import shown
from repro.runs import results as files

_WIDTH = 100
# in the order of their computation
_STAGES = ("teacher", "outputs", "words", *files.OWN_STAGES)
_METRICS = {
    "share": "share of the training examples with this PTP label",
    "accuracy": "accuracy, the share of correct predictions",
    "f1": "F1 of class 1",
}


def parse(text: str) -> tuple[Path, str, str]:
    """(path, method, task) of "results/demo/table2.csv:PeaBERT3:mini-RTE"; InputError otherwise."""
    path, method, name = [*text.rsplit(":", 2), "", ""][:3]
    if not (path and method and name):
        raise InputError(
            "a number is given as FILE:METHOD:TASK, "
            f"e.g. results/demo/table2.csv:PeaBERT3:mini-RTE, got {text!r}"
        )
    return Path(path), method, name


@dataclass(frozen=True)
class Number:
    """A number in a table, and the files it was made from.

    Attributes:
        path: The CSV.
        row: Its row, by column.
        planned: The cells of the whole table.
        results: The cells behind the number, each with its result; None if that is missing.
    """

    path: Path
    row: dict[str, Any]
    planned: list[Cell]
    results: dict[Cell, dict[str, Any] | None]

    def findings(self) -> list[str]:
        """What disagrees in the table and its cells; [] if nothing does, or nothing was run."""
        if not self.planned:
            return []
        present = [files.path(cell) for cell in self.planned if files.path(cell).is_file()]
        of_cells = {file: check_cell(file) for file in present}
        findings = [line for lines in of_cells.values() for line in lines]
        return findings + check_table(self.path, damaged(of_cells))


def find(path: Path, method: str, name: str) -> Number:
    """Find a number and its cells; arguments and errors as `explain`."""
    row = _row(_read(path), path, method, name)
    if row["backbone"] == PRINTED:
        return Number(path, row, [], {})
    planned, _ = plan_of(path)
    # every row of Table 1 is a PTP label of the same cells
    own = [cell for cell in planned if row["table"] == "table1" or cell.row == row["method"]]
    own = [cell for cell in own if row["task"] in (cell.task, "Avg")]
    results = {cell: files.read(cell) if files.path(cell).is_file() else None for cell in own}
    return Number(path, row, planned, results)


def explain(path: Path, method: str, name: str) -> str:
    """Explain a number: its score and interval, what its cells have in common, then each cell.

    Args:
        path: The CSV of a table in the results folder.
        method: A method of the table.
        name: A task of the table, its name in the paper, or "Avg".

    Returns:
        Text of at most 100 columns. A cell without a result is listed with its command.

    Raises:
        MissingError: The CSV or its sidecar is missing.
        InputError: The file, method or task is unknown; the message names the allowed ones.
    """
    number = find(path, method, name)
    row = number.row
    title = f"{shown(path)}: {row['method']}, {row['task']}"
    if not number.planned:
        return (
            f"{title}\n\n  {row['paper']:g} is copied from the paper; the method is not run here."
        )
    finished = [result for result in number.results.values() if result is not None]
    lines = [title, "", *_number(row), "", *_common(row, finished)]
    for cell, result in number.results.items():
        lines += ["", f"cell {cell.id} (seed {cell.seed})", *_cell(cell, result)]
    wrapper = textwrap.TextWrapper(
        _WIDTH, subsequent_indent=" " * 14, break_on_hyphens=False, break_long_words=False
    )
    agrees = (
        f"verified: the table agrees with its {len(number.planned)} cells, "
        "and they with their predictions"
    )
    lines += ["", *(number.findings() or [agrees])]
    return "\n".join(
        "\n".join(wrapper.wrap(line)) if len(line) > _WIDTH else line for line in lines
    )


def _read(path: Path) -> pd.DataFrame:
    """The CSV, which must be a table in the results folder."""
    name, _, variant = path.name.removesuffix(".csv").partition(".")
    if name not in TABLES or path.suffix != ".csv":
        raise one_of("table", path.name, [f"{known}.csv" for known in TABLES])
    profile_name = path.resolve().parent.name
    target = tables.table_path(name, profile_name, variant)
    if path.is_file() and path.resolve() != target.resolve():
        raise InputError(
            f"{path} is not in the results folder, where its cells are; use {shown(target)}"
        )
    return tables.read_table(name, profile_name, variant)


def _row(frame: pd.DataFrame, path: Path, method: str, name: str) -> dict[str, Any]:
    """The first row of the method and task; in Table 1 it is the row of all gold classes."""
    methods, tasks = (list(dict.fromkeys(frame[column])) for column in ("method", "task"))
    if method not in methods:
        raise one_of(f"method of {path.name}", method, methods)
    by_name = {own: own for own in tasks}
    by_name |= {TASKS[own].paper_name: own for own in tasks if own in TASKS}
    if name not in by_name:
        raise one_of(f"task of {path.name}", name, by_name)
    return frame[(frame["method"] == method) & (frame["task"] == by_name[name])].iloc[0].to_dict()


def _line(name: str, text: str) -> str:
    return f"  {name:11} {text}"


def _number(row: dict[str, Any]) -> list[str]:
    """The number with its spread, interval, printed counterpart and metric."""
    spread = "one seed: no sd"
    if pd.notna(row["sd"]):
        spread = f"sd {row['sd']:g} between {row['seeds']} seeds"
    paper = "prints no such number"
    if pd.notna(row["paper"]):
        split = table(row["table"]).paper_split or "own"
        paper = f"{row['paper']:g} on its {split} split; difference {row['delta']:+g}"
        if profile(row["profile"]).task_prefix:
            paper = f"{row['paper']:g} on GLUE's {split} split; not comparable with a miniature"
    average = row["task"] == "Avg"
    if average and row["metric"] != "share":
        metric = f"{row['metric']} tasks' scores within each seed, then the mean over seeds"
    else:
        runs = "seeds and tasks" if average else "seeds"
        metric = f"{_METRICS[row['metric']]}, in percent; the mean over {runs}"
    over = "seeds and examples" if row["seeds"] > 1 else "examples only, since there is one seed"
    interval = f"{row['ci_low']:g} to {row['ci_high']:g}, 95 % over {over}"
    model = (
        f"{row['layers']} stored layers, {row['effective_layers']} applied; {row['parameters']:,} "
        f"parameters in layers, {row['parameters_full']:,} with embeddings and pooler"
    )
    return [
        _line("number", f"{row['mean']:g} %, {spread}"),
        _line("interval", interval),
        _line("paper", paper),
        _line("metric", metric),
        _line("split", row["split"]),
        _line("model", model),
    ]


def _common(row: dict[str, Any], results: list[dict[str, Any]]) -> list[str]:
    """What the cells have in common: profile, recipe, settings, encoder, and the data by task."""
    changes = parse_recipe(row["recipe"]).changes
    options = ", ".join(f"{name}={value}" for name, value in changes.items())
    encoders, data = [], []
    for result in results:
        encoder, source = result["backbone"], result["data"]
        encoders.append(
            f"{encoder['name']}, weights SHA-256 {encoder['sha256']}, "
            f"all files {encoder['fingerprint']}"
        )
        splits = ", ".join(
            f"{split} {source[f'{split}_rows']:,} rows (fingerprint {source[split]})"
            for split in ("train", "dev")
        )
        data.append(f"{result['cell']['task']}, {splits}, from {source['source']}")
    return [
        _line("profile", f"{row['profile']}: {row['data']}"),
        _line("recipe", f"{row['recipe']}; differs from the authors' in: {options or 'nothing'}"),
        _line("settings", row["settings"] or "the profile's"),
        *(_line("encoder", text) for text in dict.fromkeys(encoders) or [row["backbone"]]),
        *(_line("data", text) for text in dict.fromkeys(data)),
    ]


def _cell(cell: Cell, result: dict[str, Any] | None) -> list[str]:
    """The score, stages, checkpoint, predictions and origin of one cell, and its command."""
    if result is None:
        missing = _line("score", f"missing: {shown(files.path(cell))} does not exist")
        return [missing, *_command(cell)]
    metric = task(cell.task).metric
    whose = " of the teacher on its training data" if cell.method.kind == "labels" else ""
    lines = [_line("score", f"{metric} {result['metrics'][metric]:.4f}{whose}")]
    for kind in (kind for kind in _STAGES if kind in result["stages"]):
        seconds = result["seconds"].get(kind)
        duration = "" if seconds is None else f"  {seconds:,.1f} s"
        lines.append(_line("stage", f"{kind:8} {result['stages'][kind]}{duration}"))
    selection = result["selection"]
    checkpoint = selection["rule"]
    if "best_step" in selection:
        checkpoint += f", step {selection['best_step']} of {selection['steps']}"
    if selection.get("best_score") is not None:
        on_loss = selection["rule"] == "lowest_dev_loss"  # whose score is minus the loss
        value = abs(selection["best_score"])
        checkpoint += f", {'dev loss' if on_loss else 'score'} {value:.4f}"
    if "last_score" in selection:
        checkpoint += f"; score of the last step: {selection['last_score']:.4f}"
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    threads = f"{result['threads']} thread{'s' if result['threads'] > 1 else ''}"
    made_by = f"commit {result['commit'] or 'unknown'}; {result['device']}, {threads}"
    return [
        *lines,
        _line("checkpoint", checkpoint),
        _line("predictions", f"SHA-256 {result['predictions_sha256']}"),
        _line("made by", f"{made_by}, {result['precision']}; {versions}"),
        *_command(cell),
    ]


def _command(cell: Cell) -> list[str]:
    """The command that makes the cell, to be pasted into a shell, wrapped with backslashes."""
    words = [shlex.quote(word) for word in shlex.split(files.command(cell))]
    unbroken = " ".join(word.replace(" ", "\0") for word in words)  # no line break within quotes
    lines = textwrap.wrap(unbroken, _WIDTH - 16, break_long_words=False, break_on_hyphens=False)
    text = " \\\n".join(lines).replace("\0", " ")
    return [_line("" if k else "command", line) for k, line in enumerate(text.split("\n"))]
