"""What a table says, in sentences whose every number is taken from its rows."""

import itertools

import pandas as pd

from repro.experiments import table


def of(frame: pd.DataFrame) -> str:
    """Markdown: ours and the paper's average of each method, and the gain of each method over the row above it."""
    if frame["table"].iloc[0] == "table1":
        return _labels(frame)
    run = frame[(frame["task"] == "Avg") & frame["mean"].notna()].to_dict("records")
    lines = [_average(row) for row in run]
    gains = [_gain(before, row) for before, row in _pairs(run)]
    return "\n".join(["On average:", "", *(f"- {line}" for line in lines + gains), "", _caution(run)])


def _average(row: dict) -> str:
    spread = f", 95 % interval {row['ci_low']:.1f} to {row['ci_high']:.1f}"
    return f"**{row['method']}**: {row['mean']:.1f}{spread}; the paper {row['paper']:.1f}."


def _pairs(run: list[dict]) -> list[tuple[dict, dict]]:
    """Rows to compare: in Table 2 PeaBERT with Patient KD of as many layers, else each row with the one above."""
    if run[0]["table"] == "table2":
        students = [row for row in run if row["method"] != "BERT-base"]
        return list(zip(students[::2], students[1::2], strict=True))
    return list(itertools.pairwise(run))


def _gain(before: dict, row: dict) -> str:
    ours, paper = row["mean"] - before["mean"], row["paper"] - before["paper"]
    return f"{row['method']} against {before['method']}: {ours:+.1f}; the paper {paper:+.1f}."


def _caution(run: list[dict]) -> str:
    split = table(run[0]["table"]).paper_split
    other = f"; the paper's are from {split}" if split != "dev" else ""
    seeds = run[0]["seeds"]
    few = " One seed: a difference within the intervals says little." if seeds == 1 else ""
    return f"{seeds} seed{'s' if seeds > 1 else ''}, {run[0]['data']}, {run[0]['split']}{other}.{few}"


def _labels(frame: pd.DataFrame) -> str:
    rows = frame[(frame["gold"] == "all") & (frame["task"] != "Avg")]
    lines = [
        f"- **{name}**: " + ", ".join(f"{row['method']} {row['mean']:.1f} %" for row in part.to_dict("records")) + "."
        for name, part in rows.groupby("task", sort=False)
    ]
    return "\n".join(["Share of the training examples:", "", *lines])
