"""What a table says, in sentences whose every number is taken from its rows."""

import pandas as pd

from repro.experiments import table


def of(frame: pd.DataFrame) -> str:
    """Markdown: ours and the paper's average of each method; Table 1: the share of each label."""
    if frame["table"].iloc[0] == "table1":
        return _labels(frame)
    run = frame[(frame["task"] == "Avg") & frame["mean"].notna()].to_dict("records")
    lines = [f"- {_average(row)}" for row in run]
    return "\n".join(["On average:", "", *lines, "", _caution(run)])


def _average(row: dict) -> str:
    spread = f", 95 % interval {row['ci_low']:.1f} to {row['ci_high']:.1f}"
    return f"**{row['method']}**: {row['mean']:.1f}{spread}; the paper {row['paper']:.1f}."


def gains(pairs: pd.DataFrame) -> list[str]:
    """One sentence for each pair of methods that the paper compares: the difference on average, and what it is worth.

    pairs: as made by comparisons.of.
    """
    rows = pairs[pairs["task"] == "Avg"].to_dict("records")
    return [
        f"{row['method']} against {row['against']}: {row['difference']:+.1f} points, 95 % interval "
        f"{row['ci_low']:+.1f} to {row['ci_high']:+.1f} ({_worth(row)}); the paper {row['paper']:+.1f}."
        for row in rows
    ]


def _worth(row: dict) -> str:
    """What the interval says; if nothing, how large a difference it could have seen."""
    if row["detectable"] == 0:
        return "the same answers on every example"
    if row["ci_low"] > 0 or row["ci_high"] < 0:
        return "better" if row["ci_low"] > 0 else "worse"
    return f"undecided: this sample shows differences from {row['detectable']:.1f} up"


def decisions(frame: pd.DataFrame) -> str:
    """Markdown: the headline difference under no flip, its range over all flips, and the flips that move it."""
    rows = frame[(frame["task"] == "Avg") & ((frame["acts"] == "yes") | (frame["option"] == "none"))]
    base, flipped = rows.iloc[0], rows.iloc[1:]
    moved = flipped[(flipped["change_low"] > 0) | (flipped["change_high"] < 0)]
    named = [f"{r['decision']} {r['option']}={r['value']} ({r['change']:+.1f})" for r in moved.to_dict("records")]
    low, high = flipped["difference"].min(), flipped["difference"].max()
    ahead, behind = (flipped["ci_low"] > 0).sum(), (flipped["ci_high"] < 0).sum()
    return (
        f"Under the {base['recipe']} recipe the difference is {base['difference']:+.1f} points; over {len(flipped)} "
        f"flips it runs from {low:+.1f} to {high:+.1f}. Beyond chance on these examples: {', '.join(named) or 'none'}. "
        f"{ahead} flips put PeaBERT3 clearly ahead, {behind} clearly behind."
    )


def claims(frame: pd.DataFrame) -> str:
    """Markdown: how many claims have which verdict, and how many do not add up. frame: as made by claims.of."""
    counts = frame["verdict"].value_counts()
    said = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    return f"{len(frame)} claims: {said}. {(frame['adds_up'] == 'no').sum()} do not add up in the paper's own tables."


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
