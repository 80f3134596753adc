"""What a table says, in sentences whose every number is taken from its rows."""

import pandas as pd

from repro.analysis import tables
from repro.analysis.stats import LEAST_SEEDS
from repro.config.tables import table
from repro.report.text import to_text


def with_gains(name: str, profile: str, variant: str = "") -> str:
    """A table that is there as text and, under it, what the differences are worth that the paper claims."""
    text, pairs = (
        to_text(tables.read_table(name, profile, variant)),
        name.replace("table", "comparisons"),
    )
    if pairs not in tables.DERIVED:
        return text
    return "\n".join([text, *gains(tables.read_table(pairs, profile, variant)), ""])


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
        return f"{'better' if row['ci_low'] > 0 else 'worse'} with {_seeds(row['seeds'])}"
    return f"undecided: this sample shows differences from {row['detectable']:.1f} up"


def decisions(frame: pd.DataFrame) -> str:
    """Markdown: the headline difference under no flip, its range over all flips, and the flips that move it."""
    rows = frame[
        (frame["task"] == "Avg") & ((frame["acts"] == "yes") | (frame["option"] == "none"))
    ]
    base, flipped = rows.iloc[0], rows.iloc[1:]
    moved = flipped[(flipped["change_low"] > 0) | (flipped["change_high"] < 0)]
    named = [
        f"{r['decision']} {r['option']}={r['value']} ({r['change']:+.1f})"
        for r in moved.to_dict("records")
    ]
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
    return f"{_seeds(run[0]['seeds'])}; {run[0]['data']}, {run[0]['split']}{other}."


def _seeds(count: int) -> str:
    """The number, and what it is worth if that is little."""
    said = f"{count} seed{'s' * (count > 1)}"
    return (
        said if count >= LEAST_SEEDS else f"{said}, which say{'s' * (count == 1)} little of others"
    )


def _labels(frame: pd.DataFrame) -> str:
    rows = frame[(frame["gold"] == "all") & (frame["task"] != "Avg")]
    lines = [
        f"- **{name}**: "
        + ", ".join(f"{row['method']} {row['mean']:.1f} %" for row in part.to_dict("records"))
        + "."
        for name, part in rows.groupby("task", sort=False)
    ]
    return "\n".join(["Share of the training examples:", "", *lines])


def ptp(shares: pd.DataFrame, difficulty: pd.DataFrame, agreement: pd.DataFrame) -> str:
    """Markdown: how sure the teachers are, what the students know without and gain by PTP, whether teachers agree.

    The frames of ptp_labels.csv, ptp_difficulty.csv and ptp_agreement.csv.
    """
    parts = {
        "Training examples": _confidence(shares),
        "Dev examples": _gains(difficulty),
        "Two teachers": _agreement(agreement),
    }
    return "\n".join(
        line for title, lines in parts.items() for line in (f"{title}:", "", *lines, "")
    )


def _confidence(shares: pd.DataFrame) -> list[str]:
    every = shares[shares["gold"] == "all"]
    mean = every.pivot_table(index=["task", "rule"], columns="label", values="share", sort=False)
    lines = []
    for name, rows in mean.groupby(level="task", sort=False):
        wrong = rows.iloc[0][["confidently wrong", "unconfidently wrong"]].sum()
        rules = "; ".join(map(_sure, rows.reset_index().to_dict("records")))
        lines.append(f"- **{name}**: the teacher is wrong on {wrong:.1f} %; confident on {rules}.")
    return lines


def _sure(row: dict) -> str:
    """How many of the correct and of the wrong predictions are confident under one rule."""
    part = {
        kind: (row[f"confidently {kind}"], row[f"unconfidently {kind}"])
        for kind in ("correct", "wrong")
    }
    said = [
        f"{100 * sure / (sure + not_sure):.0f} % of the {kind} ones"
        if sure + not_sure
        else f"no {kind} one"
        for kind, (sure, not_sure) in part.items()
    ]
    return f"{' and '.join(said)} ({row['rule']})"


def _gains(difficulty: pd.DataFrame) -> list[str]:
    lines = []
    for name, rows in difficulty[difficulty["count"] > 0].groupby("task", sort=False):
        known = [f"{row['label']} {row['before']:.0f} %" for row in rows.to_dict("records")]
        clear = rows[(rows["ci_low"] > 0) | (rows["ci_high"] < 0)].to_dict("records")
        moved = [
            f"{r['label']} {r['difference']:+.1f} ({r['ci_low']:+.1f} to {r['ci_high']:+.1f})"
            for r in clear
        ]
        lines.append(
            f"- **{name}**: right without PTP: {', '.join(known)}. PTP's gain in points where the interval "
            f"leaves out zero: {', '.join(moved) or 'nowhere'}."
        )
    seeds = int(difficulty["seeds"].max())
    return [
        *lines,
        "",
        f"{len(difficulty)} intervals (95 %), not adjusted for their number; {_seeds(seeds)}.",
    ]


def _agreement(agreement: pd.DataFrame) -> list[str]:
    rows = agreement[(agreement["label"] == "all") & (agreement["pairs"] > 0)].to_dict("records")
    return [
        f"- **{row['task']}** ({row['rule']}): the same label for {row['agreement']:.1f} % (by chance "
        f"{row['chance']:.1f} %; kappa {row['kappa']:.2f}), mean over {row['pairs']} pairs."
        for row in rows
    ] or ["One teacher per task: nothing to compare. Two or more seeds are needed."]
