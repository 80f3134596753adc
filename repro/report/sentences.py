"""Findings in sentences; every number is read from a table's rows."""

import pandas as pd

from repro.analysis import tables
from repro.analysis.decisions import acting, moved
from repro.analysis.inference import (
    ALPHA,
    FAMILIES,
    INCONCLUSIVE,
    NO_VERDICT,
    NOT_ADJUSTED,
    VERDICT_SEEDS,
)
from repro.config.tables import table
from repro.report.text import ONE_SEED, mixed_note, to_text


def table_with_differences(name: str, profile: str, variant: str = "") -> str:
    """Read a table and format it, followed by the differences that the paper claims.

    Args:
        name: "table1" to "table5".
        profile: Name of the profile.
        variant: Suffix of the CSV of a run with changed settings; "" for the plain table.

    Raises:
        MissingError: If a CSV does not exist.
    """
    formatted = to_text(tables.read_table(name, profile, variant))
    if not table(name).pairs:
        return formatted
    pairs = tables.read_table(table(name).comparisons, profile, variant)
    return "\n".join([formatted, *differences(pairs), ""])


def summary(frame: pd.DataFrame) -> str:
    """Summarise a table in Markdown: each method's average beside the paper's.

    Args:
        frame: A table as `tables.read_table` returns it. For Table 1, the summary is the share
            of each PTP label per task.
    """
    if frame["table"].iloc[0] == "table1":
        rows = frame[(frame["gold"] == "all") & (frame["task"] != "Avg")]
        lines = []
        for name, part in rows.groupby("task", sort=False):
            shares = [f"{row['method']} {row['mean']:.1f} %" for row in part.to_dict("records")]
            lines.append(f"- **{name}**: {', '.join(shares)}.")
        return "\n".join(["Share of the training examples:", "", *lines])
    run = frame[(frame["task"] == "Avg") & frame["mean"].notna()].to_dict("records")
    lines = [
        f"- **{row['method']}**: {row['mean']:.1f} (95 % interval {row['ci_low']:.1f} to "
        f"{row['ci_high']:.1f}){_paper(row['paper'], '.1f')}."
        for row in run
    ]
    first = run[0]
    paper_split = table(first["table"]).paper_split
    other_split = (
        f" The paper's scores are from the {paper_split} split."
        if paper_split not in ("dev", "")
        else ""
    )
    source = f"{_seeds(first['seeds'])}; {first['data']}, {first['split']} split.{other_split}"
    return "\n".join(["Mean over tasks, in percent:", "", *lines, "", source])


def differences(pairs: pd.DataFrame) -> list[str]:
    """Describe each average difference, one sentence per pair of methods, and the test.

    Args:
        pairs: Comparisons as `comparisons.of` returns them.
    """
    sentences = []
    for row in pairs[pairs["task"] == "Avg"].to_dict("records"):
        finding = row["verdict"]
        if finding in ("better", "worse", NOT_ADJUSTED):
            p = row["p_holm"]  # stored with four decimals
            finding += f" (adjusted p {f'= {p:.2g}' if p >= 1e-4 else '< 0.0001'})"
        elif finding == INCONCLUSIVE:
            finding += f" (minimum detectable difference {row['detectable']:.1f} points)"
        paper = _paper(row["paper"], "+.1f")
        if paper and not table(row["table"]).paper_split:
            paper = f"; published scores differ by {row['paper']:+.1f}"
        elif paper and row["compared_by"] != "paper":
            paper = f"; not compared in the paper, whose scores differ by {row['paper']:+.1f}"
        sentences.append(
            f"{row['method']} vs. {row['against']}: {row['difference']:+.1f} points, 95 % interval "
            f"{row['ci_low']:+.1f} to {row['ci_high']:+.1f}, {_seeds(row['seeds'])}: {finding}"
            f"{paper}."
        )
    if not sentences:
        return []
    family = f"p values are adjusted (Holm) over {FAMILIES['comparisons']}."
    return [*sentences, family, *mixed_note(pairs)]


def _paper(value: float, decimals: str) -> str:
    """The printed number, if there is one."""
    return "" if pd.isna(value) else f"; paper: {value:{decimals}}"


def _seeds(count: int) -> str:
    """The number of seeds; for one, that intervals cover the examples only."""
    return f"{count} seeds" if count > 1 else ONE_SEED


def decisions(frame: pd.DataFrame) -> str:
    """Summarise in Markdown how the headline difference depends on the 21 decisions.

    Args:
        frame: Differences as `decisions.decision_effects` returns them.
    """
    rows = frame[(frame["task"] == "Avg") & acting(frame)]
    base, changed = rows.iloc[0], rows.iloc[1:]
    named = [
        f"{row['decision']} {row['option']}={row['value']} ({row['change']:+.1f})"
        for row in changed[moved(changed)].to_dict("records")
    ]
    finding = f"Changes with an adjusted p below {ALPHA:.2f}: {', '.join(named) or 'none'}"
    if base["seeds"] < VERDICT_SEEDS:
        finding = NO_VERDICT.capitalize()
    low, high = changed["difference"].min(), changed["difference"].max()
    return (
        f"With the {base['recipe']} recipe the difference is {base['difference']:+.1f} points, "
        f"{_seeds(base['seeds'])}. With one decision changed at a time ({len(changed)} variants "
        f"that can act) it ranges from {low:+.1f} to {high:+.1f}. {finding}. p values are adjusted "
        f"(Holm) over {FAMILIES['decisions']}."
    )


def claims(frame: pd.DataFrame) -> str:
    """Summarise the verdicts on the paper's claims: direction, then size.

    Args:
        frame: Claims as `claims.judge_claims` returns them.
    """
    direction, size = (
        ", ".join(f"{n} {value}" for value, n in column[column != ""].value_counts().items())
        for column in (frame["direction"], frame["size"])
    )
    mismatches = (frame["adds_up"] == "no").sum()
    return (
        f"{len(frame)} claims. Direction: {direction}. Size: {size or 'none tested'}. Printed "
        f"values that differ from the paper's own tables: {mismatches}. p values are adjusted "
        f"(Holm) over {FAMILIES['ledger']}."
    )


def ptp(shares: pd.DataFrame, difficulty: pd.DataFrame, agreement: pd.DataFrame) -> str:
    """Summarise the PTP study in Markdown.

    Args:
        shares: How confident the teachers are, as `ptp_study.shares` returns it.
        difficulty: Accuracy by PTP label without and with PTP, as `ptp_study.difficulty`
            returns it.
        agreement: How often two teachers agree, as `ptp_study.agreement` returns it.
    """
    parts = {
        "Labels of the training examples": _confidence(shares),
        "Student accuracy on dev, by label": _accuracy_by_label(difficulty),
        "Agreement between two teachers": _agreement(agreement),
    }
    return "\n".join(
        line for title, lines in parts.items() for line in (f"{title}:", "", *lines, "")
    )


def _confidence(shares: pd.DataFrame) -> list[str]:
    """Per task: how often the teacher is wrong, and how often it is confident under each rule."""
    every = shares[shares["gold"] == "all"]
    mean = every.pivot_table(index=["task", "rule"], columns="label", values="share", sort=False)
    lines = []
    for name, rows in mean.groupby(level="task", sort=False):
        wrong = rows.iloc[0][["confidently wrong", "unconfidently wrong"]].sum()
        rules = []
        for row in rows.reset_index().to_dict("records"):
            confident = []
            for kind in ("correct", "wrong"):
                sure, unsure = row[f"confidently {kind}"], row[f"unconfidently {kind}"]
                if sure + unsure:
                    confident.append(f"{100 * sure / (sure + unsure):.0f} % of the {kind}")
            rules.append(f"{' and '.join(confident)} predictions (rule {row['rule']})")
        lines.append(
            f"- **{name}**: the teacher is wrong on {wrong:.1f} %; confident on {'; '.join(rules)}."
        )
    return lines


def _accuracy_by_label(difficulty: pd.DataFrame) -> list[str]:
    """Per task: the accuracy without PTP, and the changes with PTP that pass the test."""
    lines = []
    for name, rows in difficulty[difficulty["count"] > 0].groupby("task", sort=False):
        accuracies = [f"{row['label']} {row['before']:.0f} %" for row in rows.to_dict("records")]
        clear = rows[(rows["ci_low"] > 0) | (rows["ci_high"] < 0)]
        changes = [
            f"{row['label']} {row['difference']:+.1f} ({row['ci_low']:+.1f} to "
            f"{row['ci_high']:+.1f}; {row['verdict']})"
            for row in clear.to_dict("records")
        ]
        lines.append(
            f"- **{name}**: without PTP {', '.join(accuracies)}. Changes with PTP whose interval "
            f"excludes 0, in points: {', '.join(changes) or 'none'}."
        )
    seeds = _seeds(int(difficulty["seeds"].max()))
    tested = (
        f"95 % intervals, {seeds}. Verdicts: adjusted (Holm) over {FAMILIES['ptp_difficulty']}."
    )
    return [*lines, "", tested]


def _agreement(agreement: pd.DataFrame) -> list[str]:
    """Per task and rule: how often two teachers give an example the same label."""
    rows = agreement[(agreement["label"] == "all") & (agreement["pairs"] > 0)].to_dict("records")
    return [
        f"- **{row['task']}** (rule {row['rule']}): same label on {row['agreement']:.1f} % of the "
        f"examples (chance {row['chance']:.1f} %; kappa {row['kappa']:.2f}), mean over "
        f"{row['pairs']} pair{'s' if row['pairs'] > 1 else ''} of teachers."
        for row in rows
    ] or ["Not available: each task has one teacher. Use two or more seeds."]
