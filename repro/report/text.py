"""Tables as text for terminals and notebooks: our numbers beside the paper's, with notes below."""

import textwrap

import pandas as pd

from repro.analysis.inference import NOT_ADJUSTED
from repro.config.profiles import profile
from repro.config.recipe import Recipe, parse
from repro.config.tables import TABLES, table
from repro.data.ptp_labels import LABELS

PRINTED_MARK = "†"  # marks rows whose scores the paper copied from other papers
ONE_SEED = "1 seed (intervals cover the examples only)"
_WIDTH = 116  # characters per line of notes
_METRICS = {"accuracy": "acc", "f1": "F1"}
_PAPER_SPLITS = {
    "test": "from GLUE's test server",
    "dev": "on dev",
    "": "of several papers and splits, at the scale of BERT-base and Wikipedia, MRPC in F1 or "
    "accuracy (repro/config/printed/related.csv)",
}
_CHECKPOINTS = {
    "best_dev": "best dev score",
    "lowest_dev_loss": "lowest dev loss (teacher)",
    "last": "last step",
    "best_inner": "best score on a held-out tenth of train",
}
_MARKS = {"better": "*", "worse": "*", NOT_ADJUSTED: "?"}  # of verdicts on differences
_PARAMETERS = {
    "layers": "encoder layers only",
    "with_embeddings": "with embeddings and pooler",
    "both": "encoder layers / with embeddings and pooler",
}


def to_text(frame: pd.DataFrame) -> str:
    """Format a table for the terminal: title, scores and notes, at most 120 columns wide.

    Args:
        frame: A table as `tables.read_table` returns it.
    """
    wrapped = [
        line
        for note in notes(frame)
        for line in textwrap.wrap(note, _WIDTH, subsequent_indent="  ")
    ]
    return "\n".join([title(frame), "", beside_paper(frame).to_string(), "", *wrapped]) + "\n"


def title(frame: pd.DataFrame) -> str:
    """Return e.g. "Table 2, profile demo: PeaBERT beside Patient KD"."""
    name = frame["table"].iloc[0]
    number, caption = name.removeprefix("table"), table(name).caption
    heading = f"Table {number}" if number.isdigit() else name.capitalize()
    return f"{heading}, profile {frame['profile'].iloc[0]}: {caption}"


def beside_paper(frame: pd.DataFrame) -> pd.DataFrame:
    """Put our scores beside the paper's: one row per method, one column per task.

    Args:
        frame: A table as `tables.aggregate` or `tables.table1` returns it.

    Returns:
        Strings "mean±sd (paper)" in percent, with the average over tasks and the number of
        parameters. For Table 1, "share±sd % (count)" by task and gold class and by PTP label.
    """
    if frame["table"].iloc[0] == "table1":
        shares = [
            f"{with_spread(row['mean'], row['sd'])} % ({row['count']:,.0f})"
            for row in frame.to_dict("records")
        ]
        order = pd.MultiIndex.from_frame(frame[["task", "gold"]].drop_duplicates())
        wide = frame.assign(value=shares).pivot(
            index=["task", "gold"], columns="method", values="value"
        )
        return wide.reindex(index=order, columns=pd.Index(LABELS))
    methods = [marked(method) for method in dict.fromkeys(frame["method"])]
    wide = pd.DataFrame(index=pd.Index(methods, name="method"))
    for name in task_names(frame):
        part = frame[frame["task"] == name]
        wide[heading(part)] = [
            with_spread(mean, sd) + ("" if pd.isna(paper) else f" ({paper:.1f})")
            for mean, sd, paper in zip(part["mean"], part["sd"], part["paper"], strict=True)
        ]
        wide[heading(part)] = wide[heading(part)].str.strip()
    return wide.assign(params=parameter_counts(frame))


def task_names(frame: pd.DataFrame) -> list[str]:
    """Return the tasks in table order, "Avg" last; a single task has no average."""
    names = list(dict.fromkeys(frame["task"]))
    return names[:1] if names[1:] == ["Avg"] else names


def marked(method: str) -> str:
    """Return the method's name, with a dagger if the paper copied its scores from elsewhere."""
    printed = {
        row.name for entry in TABLES.values() for row in entry.rows if row.method.kind == "printed"
    }
    return method + PRINTED_MARK if method in printed else method


def heading(part: pd.DataFrame) -> str:
    """Return the heading of one task's rows: "mini-RTE (acc)", "Avg" or "Avg of 2"."""
    name, metric = part["task"].iloc[0], part["metric"].iloc[0]
    if name == "Avg":
        return "Avg" if metric == "mean of 4" else f"Avg of {metric.split()[-1]}"
    return f"{name} ({_METRICS[metric]})"


def with_spread(mean: float, sd: float) -> str:
    """Format a mean with its standard deviation: "58.4±1.2", "58.4" for one seed, "" for NaN."""
    if pd.isna(mean):
        return ""
    return f"{mean:.1f}" if pd.isna(sd) else f"{mean:.1f}±{sd:.1f}"


def interval(low: float, high: float) -> str:
    """Format the ends of an interval of differences, in points: "[-0.3, +2.7]"."""
    return f"[{low:+.1f}, {high:+.1f}]"


def parameter_counts(frame: pd.DataFrame) -> list[str]:
    """Format each method's parameters as decision D17 says: "21.3M" or "21.3M / 45.7M"."""
    columns = {
        "layers": ["parameters"],
        "with_embeddings": ["parameters_full"],
        "both": ["parameters", "parameters_full"],
    }[recipe_of(frame).parameter_count]
    return [
        " / ".join(
            f"{row[column] / 1e6:.{1 if row[column] >= 1e6 else 2}f}M"
            for column in columns
            if not pd.isna(row[column])
        )
        for row in frame[frame["task"] == "Avg"].to_dict("records")
    ]


def recipe_of(frame: pd.DataFrame) -> Recipe:
    """Return the recipe of the rows that were run."""
    return parse(frame.loc[frame["mean"].notna(), "recipe"].iloc[0])


def notes(
    frame: pd.DataFrame, paper_scores: str = "the paper's scores in parentheses"
) -> list[str]:
    """List what a reader must know about the numbers, one sentence each.

    Args:
        frame: A table as `tables.read_table` returns it.
        paper_scores: Where the reader finds the paper's scores.
    """
    run = frame[frame["mean"].notna()]
    per_task = run[run["task"] != "Avg"]
    first = run.iloc[0]
    sentences = [
        _values(frame, paper_scores),
        _splits(per_task),
        f"Data: {first['data']}; encoder: {first['backbone']} ({first['precision']}); "
        f"recipe: {first['recipe']}.",
        _checkpoints(per_task),
    ]
    one_class = per_task[per_task["one_class"] > 0]
    if first["table"] == "table1":  # its rows are labels of the same teachers
        one_class = one_class.assign(method="the teacher").drop_duplicates("task")
    collapsed = [
        f"{method} ({', '.join(part['task'])})"
        for method, part in one_class.groupby("method", sort=False)
    ]
    if collapsed:
        sentences.append(
            f"Collapsed (one predicted class) in at least one seed: {'; '.join(collapsed)}."
        )
    if first["settings"]:
        sentences.append(f"Changed settings: {first['settings']}.")
    if len(run) < len(frame):
        sentences.append(f"{PRINTED_MARK} Copied from the paper, not run here.")
    sentences += mixed_note(run)
    return [*sentences, f"Profile {first['profile']}: {profile(first['profile']).note}."]


def mixed_note(frame: pd.DataFrame) -> list[str]:
    """Say so if the compared cells differ in commit, versions, precision or device; else [].

    Args:
        frame: A table or comparisons, with the column `computed`.
    """
    combinations = sorted(set("; ".join(frame["computed"]).split("; ")))
    if len(combinations) == 1:
        return []
    return [
        f"Cells were computed in {len(combinations)} ways, which may add to the differences: "
        f"{'; '.join(combinations)}."
    ]


def _values(frame: pd.DataFrame, paper_scores: str) -> str:
    """What the numbers are, over how many seeds."""
    seeds = int(frame["seeds"].max())
    spread = f"mean ± standard deviation over {seeds} seeds" if seeds > 1 else ONE_SEED
    if frame["table"].iloc[0] == "table1":
        return (
            f"Share of each PTP label in percent, {spread}; number of examples in parentheses. "
            "The paper prints no shares."
        )
    counted = _PARAMETERS[recipe_of(frame).parameter_count]
    if frame["paper"].isna().all():
        paper_scores = "no published scores to compare with"
    return f"Scores in percent, {spread}; {paper_scores}. Parameters: {counted}."


def _splits(per_task: pd.DataFrame) -> str:
    """The split of our scores, by task if there are several, and of the paper's."""
    tasks_by_split = per_task.groupby("split", sort=False)["task"].unique()
    ours = "; ".join(
        f"{split} ({', '.join(tasks)})" if len(tasks_by_split) > 1 else str(split)
        for split, tasks in tasks_by_split.items()
    )
    if per_task["paper"].isna().all():
        return f"Split: {ours}."
    of_paper = _PAPER_SPLITS[table(per_task["table"].iloc[0]).paper_split]
    return f"Split: {ours}; the paper's scores are {of_paper}."


def _checkpoints(per_task: pd.DataFrame) -> str:
    """Which checkpoints were scored, and how much selecting them on dev raises the scores."""
    rules = sorted(set("; ".join(per_task["checkpoint"]).split("; ")))
    selected = f"Checkpoint: {'; '.join(_CHECKPOINTS.get(rule, rule) for rule in rules)}."
    on_dev = per_task[per_task["last"].notna()]
    if on_dev.empty:
        return selected
    gap = (on_dev["mean"] - on_dev["last"]).mean()
    return (
        f"{selected} Checkpoints selected on the scored examples are optimistic: {gap:.1f} points "
        "above the last step on average."
    )


def pair_view(pairs: pd.DataFrame) -> pd.DataFrame:
    """Show the differences between methods: one row per pair, one column per task.

    Args:
        pairs: Comparisons as `comparisons.of` returns them.

    Returns:
        Strings "difference [95 % interval] (paper)" in points. Marks, after the same test: * for a
        verdict (adjusted p < 0.05), ? where the interval excludes 0 but the adjusted p does not
        reach 0.05. Under five seeds there are no marks. "[ours]": not compared in the paper.
    """
    values = [
        f"{row['difference']:+.1f} {interval(row['ci_low'], row['ci_high'])}"
        + _MARKS.get(row["verdict"], "")
        + ("" if pd.isna(row["paper"]) else f" ({row['paper']:+.1f})")
        for row in pairs.to_dict("records")
    ]
    names = pairs["method"] + " – " + pairs["against"]
    named = pairs.assign(
        pair=names.where(pairs["compared_by"] == "paper", names + " [ours]"), value=values
    )
    wide = named.pivot(index="pair", columns="task", values="value")
    return wide.reindex(index=list(dict.fromkeys(named["pair"])), columns=task_names(pairs))


def claims_view(frame: pd.DataFrame) -> pd.DataFrame:
    """Show the paper's claims: section, printed, recomputed and own value, direction and size.

    Args:
        frame: Claims as `claims.judge_claims` returns them.

    Returns:
        Strings, one row per claim; "!" where the recomputed value differs from the printed one.
    """
    rows = []
    for row in frame.to_dict("records"):
        decimals = {"points": "+.1f", "cells": ".0f", "parameters": ".0f"}.get(row["unit"], ".1f")
        printed, recomputed, ours, low, high = (
            "" if pd.isna(row[column]) else format(row[column], decimals)
            for column in ("printed", "recomputed", "ours", "ci_low", "ci_high")
        )
        exact = pd.isna(row["ci_low"]) or row["ci_low"] == row["ci_high"]
        rows.append(
            {
                "section": row["section"],
                "printed": printed,
                "recomputed": recomputed + (" !" if row["adds_up"] == "no" else ""),
                "ours [95 %]": ours if exact else f"{ours} [{low}, {high}]",
                "direction": row["direction"],
                "size": row["size"],
            }
        )
    return pd.DataFrame(rows, index=pd.Index(frame["statement"], name="claim"))
