"""Figures of the studies: the 21 decisions, the paper's claims, and PTP.

Each plotting function takes a frame of `analysis` and, optionally, axes to draw into; it returns
the axes.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from repro import paths
from repro.analysis.decisions import acting, flip_names, moved
from repro.analysis.inference import NOT_ADJUSTED
from repro.analysis.ptp_study import ALL
from repro.config.profiles import profile
from repro.config.tasks import task
from repro.data.ptp_labels import LABELS
from repro.report.figures import (
    GREY,
    LABEL_COLOURS,
    OURS,
    THEIRS,
    WIDE,
    figure_of,
    label_legend,
    new,
    save,
)

_VERDICTS: dict[str, dict[str, Any]] = {
    "reproduced": {"color": "#00795B", "marker": "o"},
    "not reproduced": {"color": "#A63C00", "marker": "X"},
    NOT_ADJUSTED: {"color": "#B08900", "marker": "^"},
    "inconclusive": {"color": GREY, "marker": "s"},
}
_MOVES: dict[str, Any] = {"color": OURS, "marker": "s", "ms": 4.5}
_UNMOVED: dict[str, Any] = {"color": GREY, "marker": "o", "ms": 4, "mfc": "white"}
_RULES = {"two": "two thresholds (authors)", "one": "one threshold (textbook)", "median": "medians"}
# Labels with fewer examples do not determine the range of the axis: their intervals are very wide
_MIN_EXAMPLES = 10


def decisions(frame: pd.DataFrame, axes: np.ndarray | None = None) -> np.ndarray:
    """Plot the headline difference, mean over tasks, with each decision changed alone.

    Args:
        frame: The table "decisions".
        axes: Two axes, for the difference and for its change; new ones by default.

    Returns:
        The axes, with one line per changed decision and its 95 % interval. The dashed line marks
        the unchanged recipe. A filled square is a significant change after Holm's adjustment, a
        dash a decision that cannot act on the two students.
    """
    rows = frame[frame["task"] == "Avg"].assign(name=flip_names, acts=acting, moved=moved)
    if axes is None:
        height = 1.1 + 0.155 * len(rows)
        axes = new(WIDE, height, 1, 2, sharey=True, width_ratios=(1.15, 1))
    left, right = panels = np.asarray(axes, dtype=object)
    for place, row in enumerate(rows.to_dict("records")):
        for ax, middle, (low, high) in (
            (left, "difference", ("ci_low", "ci_high")),
            (right, "change", ("change_low", "change_high")),
        ):
            if not row["acts"]:
                ax.plot(0.97, -place, "_", color=GREY, ms=6, transform=ax.get_yaxis_transform())
            elif ax is left or row["option"] != "none":
                style = _MOVES if row["moved"] else _UNMOVED
                ax.plot([row[low], row[high]], [-place] * 2, color=style["color"], lw=1.3)
                ax.plot(row[middle], -place, ls="", **style)
    base, tasks = rows.iloc[0], [name for name in dict.fromkeys(frame["task"]) if name != "Avg"]
    left.set_yticks(-np.arange(len(rows)), rows["name"])
    left.axvline(base["difference"], color=OURS, ls=(0, (4, 3)), lw=0.8, zorder=0)
    for ax in panels:
        ax.axvline(0, color="black", lw=0.6, zorder=0)
        ax.set_ylim(0.7 - len(rows), 0.7)
        ax.grid(axis="x")
    left.set(xlabel="points", title="PeaBERT3 minus BERT3-PatientKD")
    right.set(xlabel="points", title="change from the unchanged recipe")
    mean = f"{'mean of ' * (len(tasks) > 1)}{', '.join(tasks)}"
    seeds = f"{base['seeds']} seed{'s' if base['seeds'] > 1 else ''}"
    figure = figure_of(panels)
    figure.suptitle(f"{mean}; {seeds}, 95 % intervals", fontsize=9)
    handles = _decision_marks(rows["acts"], rows["moved"])
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return panels


def _decision_marks(acts: pd.Series, is_moved: pd.Series) -> list[Line2D]:
    """The entries of the legend of `decisions`: only marks that were drawn."""
    marks = {
        "significant change (Holm)": ({"lw": 1.3} | _MOVES, (acts & is_moved).any()),
        "no significant change": ({"lw": 1.3} | _UNMOVED, (acts & ~is_moved).any()),
        "cannot act here": ({"marker": "_", "color": GREY, "ls": ""}, (~acts).any()),
        "unchanged recipe": ({"color": OURS, "ls": (0, (4, 3)), "lw": 0.8}, True),
    }
    return [Line2D([], [], label=name, **mark) for name, (mark, drawn) in marks.items() if drawn]


def claims(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Plot the claims about differences: our values with 95 % intervals, and the paper's.

    Args:
        frame: The table "ledger". Claims without an interval in points (scores, counts, claims
            that cannot be tested here) are left out.
        ax: Axes to draw into; new ones by default.

    Returns:
        The axes, with one line per claim, coloured by the verdict on its direction. Diamonds are
        the paper's differences. If ours are measured on miniature tasks, the paper's are printed
        on the right instead, since the two are not comparable.
    """
    rows = frame[(frame["unit"] == "points") & frame["ci_low"].notna()]
    miniature = bool(profile(frame["profile"].iloc[0]).task_prefix)
    ax = new(WIDE, 1.0 + 0.165 * len(rows)) if ax is None else ax
    for place, row in enumerate(rows.to_dict("records")):
        style = _VERDICTS[row["direction"]]
        ax.plot([row["ci_low"], row["ci_high"]], [-place] * 2, color=style["color"], lw=1.3)
        ax.plot(row["ours"], -place, ls="", ms=4.5, **style)
        if miniature:
            at: dict[str, Any] = {"xycoords": ax.get_yaxis_transform(), "va": "center"}
            ax.annotate(f"{row['printed']:+.1f}", (1.1, -place), ha="right", **at)
        else:
            ax.plot(row["printed"], -place, "D", mfc="white", mec=THEIRS, ms=4, mew=1.0, zorder=1)
    names = [f"{row.statement} ({row.section})" for row in rows.itertuples()]
    ax.set_yticks(-np.arange(len(rows)), names)
    ax.axvline(0, color="black", lw=0.6, zorder=0)
    ax.set(xlabel="difference (points)", ylim=(0.7 - len(rows), 0.7))
    ax.grid(axis="x")
    handles = [
        Line2D([], [], ms=4.5, lw=1.3, label=verdict, **style)
        for verdict, style in _VERDICTS.items()
        if verdict in set(rows["direction"])
    ]
    if miniature:
        ax.set_xlabel("difference on miniature tasks (points)")
        ax.set_title("paper, GLUE", loc="right", fontsize=8.5, x=1.12, pad=3)
    else:
        style = {"mfc": "white", "mec": THEIRS, "ms": 4, "mew": 1.0}
        handles.append(Line2D([], [], ls="", marker="D", label="paper", **style))
    figure_of(ax).legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return ax


def write_ptp(
    profile: str, shares: pd.DataFrame, difficulty: pd.DataFrame, variant: str = ""
) -> list[Path]:
    """Save both figures of the PTP study to figures/<profile>.

    Args:
        profile: Name of the profile.
        shares: The table "ptp_labels".
        difficulty: The table "ptp_difficulty".
        variant: Suffix of a run with changed settings, as in its CSVs.

    Returns:
        The paths of ptp_labels and ptp_difficulty, each as PDF and PNG.
    """
    folder, suffix = paths.figures(profile), f".{variant}" if variant else ""
    return [
        *save(ptp_labels(shares), folder, f"ptp_labels{suffix}"),
        *save(ptp_difficulty(difficulty), folder, f"ptp_difficulty{suffix}"),
    ]


def ptp_labels(frame: pd.DataFrame, axes: np.ndarray | None = None) -> np.ndarray:
    """Plot the PTP labels of the training data by gold class, one bar per teacher.

    Args:
        frame: The table "ptp_labels".
        axes: Axes (tasks, threshold rules) to draw into; new ones by default.

    Returns:
        The axes.
    """
    names, rules = (list(dict.fromkeys(frame[column])) for column in ("task", "rule"))
    if axes is None:
        size = (WIDE, 0.95 + 0.68 * len(names), len(names), len(rules))
        axes = new(*size, sharex=True, squeeze=False)
    panels = np.asarray(axes, dtype=object)
    heading: dict[str, Any] = {
        "xycoords": "axes fraction",
        "textcoords": "offset points",
        "va": "bottom",
        "fontsize": 9.5,
    }
    for row, name in zip(panels, names, strict=True):
        for ax, rule in zip(row, rules, strict=True):
            part = frame[(frame["task"] == name) & (frame["rule"] == rule)]
            by_class = part[part["gold"] != ALL]
            golds = [gold for gold in task(name).labels if gold in set(by_class["gold"])]
            _teacher_bars(ax, by_class, golds)
            ranges = f"$t_1$ {_range(part['t1'])}, $t_2$ {_range(part['t2'])}"
            ax.set_title(ranges, fontsize=8, color=GREY, pad=2)
            ax.tick_params(labelleft=ax is row[0])
        row[0].annotate(name, (0, 1), (-4, 2), ha="right", weight="bold", **heading)
    for ax, rule in zip(panels[0], rules, strict=True):
        ax.annotate(_RULES[rule], (0.5, 1), (0, 14), ha="center", **heading)
    teachers = frame["seed"].nunique()
    bars = f" (one bar per teacher, {teachers} teachers)" if teachers > 1 else ""
    panels[-1][len(rules) // 2].set_xlabel(f"% of the class's training examples{bars}")
    label_legend(panels)
    return panels


def _teacher_bars(ax: Axes, part: pd.DataFrame, classes: list[str]) -> None:
    """Draw the stacked bars of one task and rule: a group per class, a bar per teacher seed."""
    seeds = list(dict.fromkeys(part["seed"]))
    height = 0.8 / len(seeds)
    wide = part.pivot(index=["gold", "seed"], columns="label", values="share")[list(LABELS)]
    for place, gold in enumerate(classes):
        ends = wide.loc[gold].loc[seeds].to_numpy().cumsum(axis=1)  # (seeds, labels)
        places = [-place + 0.4 - height * (k + 0.5) for k in range(len(seeds))]
        for k, colour in enumerate(LABEL_COLOURS.values()):
            left = ends[:, k - 1] if k else np.zeros(len(seeds))
            ax.barh(places, ends[:, k] - left, left=left, height=0.92 * height, color=colour, lw=0)
    sizes = part.groupby("gold")["count"].sum() / len(seeds)
    names = [f"{name.replace('_', ' ')} ({sizes[name]:,.0f})" for name in classes]
    ax.set_yticks(-np.arange(len(classes)), names)
    ax.set(xlim=(0, 100), ylim=(0.5 - len(classes), 0.5), xticks=range(0, 101, 25))
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.tick_params(length=0)


def _range(thresholds: pd.Series) -> str:
    """Format the teachers' thresholds: "0.80" if they are equal, else "0.93–0.96"."""
    low, high = f"{thresholds.min():.2f}", f"{thresholds.max():.2f}"
    return low if low == high else f"{low}–{high}"


def ptp_difficulty(frame: pd.DataFrame, axes: np.ndarray | None = None) -> np.ndarray:
    """Plot the student's dev accuracy by PTP label, before and after PTP, and the differences.

    Args:
        frame: The table "ptp_difficulty".
        axes: Axes (tasks, 2) to draw into; new ones by default.

    Returns:
        The axes, accuracies on the left and differences on the right. A label without examples has
        no marks.
    """
    names = list(dict.fromkeys(frame["task"]))
    if axes is None:
        options: dict[str, Any] = {"sharex": "col", "sharey": "row", "width_ratios": (1.25, 1)}
        axes = new(WIDE, 0.9 + 0.9 * len(names), len(names), 2, squeeze=False, **options)
    panels = np.asarray(axes, dtype=object)
    widest = frame.loc[frame["count"] >= _MIN_EXAMPLES, ["ci_low", "ci_high"]].abs().max().max()
    limit = 1.05 * widest if widest > 0 else 105.0  # points, of the differences' axis
    for (left, right), name in zip(panels, names, strict=True):
        part = frame[frame["task"] == name]
        _accuracies(left, part)
        _differences(right, part, limit)
        left.set_title(name, loc="left")
    panels[-1][0].set_xlabel("dev accuracy (%); number of examples in parentheses")
    panels[-1][1].set_xlabel("difference (points), 95 % interval")
    first = frame.iloc[0]
    seeds = f"{first['seeds']} seed{'s' if first['seeds'] > 1 else ''}"
    labels = [f"{when}: {first[f'method_{when}']} ({seeds})" for when in ("before", "after")]
    marks: list[dict[str, Any]] = [
        {"marker": "o", "ls": "", "mec": THEIRS, "mfc": "none", "mew": 1.3, "ms": 6.5},
        {"marker": "o", "ls": "", "color": OURS, "ms": 5},
    ]
    decided = frame["verdict"].isin(["better", "worse"])
    if decided.any():
        labels.append("difference with a verdict")
        marks.append({"marker": "o", "color": OURS, "lw": 1.3, "ms": 3.6})
    if not decided.all():
        labels.append("difference without a verdict")
        marks.append({"marker": "o", "color": GREY, "lw": 1.3, "ms": 3.6})
    if (frame["ci_low"] < -limit).any() or (frame["ci_high"] > limit).any():
        labels.append("interval continues")
        marks.append({"marker": ">", "color": GREY, "lw": 1.3, "ms": 4.5})
    handles = [Line2D([], [], **mark) for mark in marks]
    figure_of(panels).legend(handles, labels, loc="outside upper center", ncols=3)
    return panels


def _accuracies(ax: Axes, part: pd.DataFrame) -> None:
    """Draw accuracies before and after PTP, joined by a line; one row per label."""
    places = -np.arange(len(part))
    ax.hlines(places, part["before"], part["after"], color=GREY, lw=1.4, zorder=1)
    ax.plot(part["after"], places, "o", color=OURS, ms=5, zorder=2)
    ax.plot(part["before"], places, "o", mfc="none", mec=THEIRS, mew=1.3, ms=6.5, zorder=3)
    names = [  # a mean over seeds need not be a whole number
        f"{label} ({count:,.{0 if count == round(count) else 1}f})"
        for label, count in zip(part["label"], part["count"], strict=True)
    ]
    ax.set_yticks(places, names)
    ax.set(xlim=(-3, 103), ylim=(0.5 - len(part), 0.5))
    ax.grid(axis="x")


def _differences(ax: Axes, part: pd.DataFrame, limit: float) -> None:
    """Draw the differences, blue if there is a verdict; arrows mark intervals that are cut off."""
    for place, row in zip(-np.arange(len(part)), part.to_dict("records"), strict=True):
        colour = OURS if row["verdict"] in ("better", "worse") else GREY
        ax.plot([row["ci_low"], row["ci_high"]], [place, place], color=colour, lw=1.3)
        ax.plot(row["difference"], place, "o", color=colour, ms=3.6)
        if row["ci_low"] < -limit:
            ax.plot(-limit, place, "<", color=colour, ms=4.5, clip_on=False)
        if row["ci_high"] > limit:
            ax.plot(limit, place, ">", color=colour, ms=4.5, clip_on=False)
    ax.axvline(0, color="black", lw=0.6, zorder=0)
    ax.set_xlim(-limit, limit)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")
