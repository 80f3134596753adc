"""The compact wide view of a table, ours beside the paper's, for terminals and notebooks; and the notes under it."""

import textwrap

import pandas as pd

from repro.config.profiles import profile
from repro.config.recipe import Recipe, parse
from repro.config.tables import table
from repro.config.tasks import TASKS, task
from repro.data.ptp_labels import LABELS

PRINTED_MARK = "†"  # behind the name of a method copied from the paper
_WIDTH = 116
_METRICS = {"accuracy": "acc", "f1": "F1"}
_SPLITS = {"test": "GLUE's test server", "dev": "dev", "train": "train"}
_RULES = {
    "best_dev": "best score on dev among its evaluations",
    "lowest_dev_loss": "the teacher's lowest loss on dev",
    "last": "last step",
    "best_inner": "best score on an inner tenth of train",
}


def beside_paper(frame: pd.DataFrame) -> pd.DataFrame:
    """Methods by tasks: "ours±sd (paper's)" in percent, the average, parameters. Table 1: tasks and classes by labels.

    frame: as made by results.aggregate or results.table1. Every value is text.
    """
    if frame["table"].iloc[0] == "table1":
        return _label_view(frame)
    wide = pd.DataFrame(
        index=pd.Index([marked(method) for method in _methods(frame)], name="method")
    )
    for name in task_names(frame):
        part = frame[frame["task"] == name]
        wide[heading(part)] = [_cell(row) for row in part.to_dict("records")]
    return wide.assign(params=parameter_counts(frame))


def task_names(frame: pd.DataFrame) -> list[str]:
    """The frame's tasks in its order, "Avg" last; of a single task no average is shown."""
    names = list(dict.fromkeys(frame["task"]))
    return names[:1] if names[1:] == ["Avg"] else names


def _methods(frame: pd.DataFrame) -> list[str]:
    """The frame's methods in its order."""
    return list(dict.fromkeys(frame["method"]))


def marked(method: str) -> str:
    """The method's name, with a dagger behind it if the paper's table only copies it from elsewhere."""
    kinds = {
        row.name: row.method.kind
        for name in ("table2", "table3", "table4", "table5")
        for row in table(name).rows
    }
    return method + PRINTED_MARK if kinds.get(method) == "printed" else method


def heading(part: pd.DataFrame) -> str:
    """The heading of one task's rows, e.g. "mini-RTE (acc)"; of the average, "Avg" or "Avg of 2"."""
    name, metric = part["task"].iloc[0], part["metric"].iloc[0]
    if name == "Avg":
        return "Avg" if metric == "mean of 4" else f"Avg of {metric.split()[-1]}"
    return f"{name} ({_METRICS[metric]})"


def with_spread(mean: float, sd: float, plus_minus: str = "±") -> str:
    """ "58.4±1.2", "58.4" for one seed, "" where there is no number."""
    if pd.isna(mean):
        return ""
    return f"{mean:.1f}" if pd.isna(sd) else f"{mean:.1f}{plus_minus}{sd:.1f}"


def _cell(row: dict) -> str:
    paper = "" if pd.isna(row["paper"]) else f"({row['paper']:.1f})"
    return f"{with_spread(row['mean'], row['sd'])} {paper}".strip()


def parameter_counts(frame: pd.DataFrame) -> list[str]:
    """Parameters of each method as decision D17 of the frame's recipe says, e.g. "21.3M" or "21.3M / 45.7M"."""
    rows = frame[frame["task"] == "Avg"]
    rule = recipe_of(frame).parameter_count
    both = ["parameters", "parameters_full"]
    columns = {"layers": both[:1], "with_embeddings": both[1:], "both": both}[rule]
    return [
        " / ".join(millions(row[c]) for c in columns if not pd.isna(row[c]))
        for row in rows.to_dict("records")
    ]


def millions(count: int) -> str:
    """ "21.3M"; below a million "0.13M"."""
    return f"{count / 1e6:.1f}M" if count >= 1e6 else f"{count / 1e6:.2f}M"


def recipe_of(frame: pd.DataFrame) -> Recipe:
    """The recipe of the rows that were run."""
    return parse(frame.loc[frame["mean"].notna(), "recipe"].iloc[0])


def _label_view(frame: pd.DataFrame) -> pd.DataFrame:
    """Table 1: one row per task and gold class, "share±sd % (count)" per PTP label."""
    values = [
        f"{with_spread(row['mean'], row['sd'])} % ({row['count']:,.0f})"
        for row in frame.to_dict("records")
    ]
    filled = frame.assign(value=values)
    order = pd.MultiIndex.from_frame(filled[["task", "gold"]].drop_duplicates())
    wide = filled.pivot(index=["task", "gold"], columns="method", values="value")
    return wide.reindex(index=order, columns=pd.Index(LABELS))


def pair_view(pairs: pd.DataFrame) -> pd.DataFrame:
    """Pairs of methods by tasks: "difference [95 % interval] (the paper's)" in points, * if p is under 0.05 after Holm.

    pairs: as made by comparisons.of. Every value is text.
    """
    values = [
        f"{row['difference']:+.1f} [{row['ci_low']:+.1f}, {row['ci_high']:+.1f}]{'*' if row['p_holm'] < 0.05 else ''} "
        f"({row['paper']:+.1f})"
        for row in pairs.to_dict("records")
    ]
    named = pairs.assign(pair=pairs["method"] + " – " + pairs["against"], value=values)
    wide = named.pivot(index="pair", columns="task", values="value")
    return wide.reindex(index=list(dict.fromkeys(named["pair"])), columns=task_names(pairs))


def claims_view(frame: pd.DataFrame) -> pd.DataFrame:
    """The ledger as text: statement by section, printed, recomputed (! where it does not add up), ours, verdict."""
    rows = frame.to_dict("records")
    return pd.DataFrame(
        {
            "section": frame["section"].tolist(),
            "printed": [_number(row["printed"], row["unit"]) for row in rows],
            "recomputed": [
                _number(row["recomputed"], row["unit"]) + " !" * (row["adds_up"] == "no")
                for row in rows
            ],
            "ours [95 %]": [_value(row) for row in rows],
            "verdict": [_verdict(row) for row in rows],
        },
        index=pd.Index(frame["statement"], name="claim"),
    )


def _verdict(row: dict) -> str:
    size = row["verdict"] == "reproduced" and row["size_in_interval"] == "yes"
    return f"{row['verdict']}, size too" if size else row["verdict"]


def _number(value: float, unit: str) -> str:
    if pd.isna(value):
        return ""
    return format(value, {"points": "+.1f", "cells": ".0f", "parameters": ".0f"}.get(unit, ".1f"))


def _value(row: dict) -> str:
    value = _number(row["ours"], row["unit"])
    if pd.isna(row["ci_low"]) or row["ci_low"] == row["ci_high"]:
        return value
    return (
        f"{value} [{_number(row['ci_low'], row['unit'])}, {_number(row['ci_high'], row['unit'])}]"
    )


def title(frame: pd.DataFrame) -> str:
    """E.g. "Table 2, profile demo: PeaBERT beside Patient KD"."""
    name = frame["table"].iloc[0]
    return f"Table {name.removeprefix('table')}, profile {frame['profile'].iloc[0]}: {table(name).caption}"


def notes(frame: pd.DataFrame) -> list[str]:
    """What a reader must know to read the numbers: one sentence each, the same under a view and in a caption."""
    run = frame[frame["mean"].notna()]
    first = run.iloc[0]
    seeds = f"{first['seeds']} seed{'s' if first['seeds'] > 1 else ''}"
    said = [
        _what(frame, seeds),
        _splits(run),
        f"Data: {first['data']}; encoder: {first['backbone']} "
        f"({first['precision']}); recipe: {first['recipe']}.",
        _checkpoints(run),
    ]
    said += _collapsed(run)
    said += [f"Changed settings: {first['settings']}."] if first["settings"] else []
    said += (
        [f"{PRINTED_MARK} as printed in the paper; not run here."] if len(run) < len(frame) else []
    )
    said += [
        f"{name}: {task(name).training_note}."
        for name in task_names(run)
        if name in TASKS and task(name).training_note
    ]
    return [*said, f"Profile {first['profile']}: {profile(first['profile']).note}."]


def _collapsed(run: pd.DataFrame) -> list[str]:
    """The runs that answer one class throughout: their score is that of a guess."""
    rows = run[(run["one_class"] > 0) & (run["task"] != "Avg")]
    named = [
        f"{method} ({', '.join(part['task'])})"
        for method, part in rows.groupby("method", sort=False)
    ]
    return (
        [f"One class for every example, in at least one seed: {'; '.join(named)}."] if named else []
    )


def _what(frame: pd.DataFrame, seeds: str) -> str:
    spread = "mean ± standard deviation over" if int(frame["seeds"].max()) > 1 else "from"
    if frame["table"].iloc[0] == "table1":
        return f"Share of each PTP label in percent, {spread} {seeds}, and (number of examples); the paper prints none."
    rule = {
        "layers": "of the encoder's layers alone",
        "with_embeddings": "with embeddings and pooler",
        "both": "of the layers / with embeddings and pooler",
    }[recipe_of(frame).parameter_count]
    return f"Percent, {spread} {seeds}, the paper's number in parentheses. Parameters: {rule}."


def _splits(run: pd.DataFrame) -> str:
    """Which split was scored for which tasks, beside the paper's."""
    parts = run[run["task"] != "Avg"].groupby("split", sort=False)["task"].unique()
    ours = "; ".join(
        f"{s} ({', '.join(names)})" if len(parts) > 1 else str(s) for s, names in parts.items()
    )
    paper = table(run["table"].iloc[0]).paper_split
    return f"Split: {ours}" + (
        f"; the paper's: {_SPLITS[paper]}." if run["table"].iloc[0] != "table1" else "."
    )


def _checkpoints(run: pd.DataFrame) -> str:
    rules = set("; ".join(run["checkpoint"]).split("; "))
    said = "; ".join(_RULES.get(rule, rule) for rule in sorted(rules))
    return f"Checkpoint: {said}{_optimism(run)}."


def _optimism(run: pd.DataFrame) -> str:
    """By how much the chosen checkpoints of the students score higher than their last steps, on average."""
    students = run[run["last"].notna() & (run["task"] != "Avg")]
    if students.empty:
        return ""
    gap = (students["mean"] - students["last"]).mean()
    return f" (optimistic, chosen on the examples that are scored: {gap:.1f} points above the last step on average)"


def to_text(frame: pd.DataFrame) -> str:
    """Title, the wide view and the notes, at most 120 columns."""
    lines = [
        line
        for note in notes(frame)
        for line in textwrap.wrap(note, _WIDTH, subsequent_indent="  ")
    ]
    return "\n".join([title(frame), "", beside_paper(frame).to_string(), "", *lines]) + "\n"
