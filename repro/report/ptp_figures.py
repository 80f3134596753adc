"""Pictures of the PTP study: its labels under every threshold rule, and accuracy by label before and after PTP.

The frames are those of `ptp_study`. Each function draws into `axes` and returns it. No torch here.
"""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from repro import paths
from repro.analysis.ptp_study import ALL
from repro.config.tasks import task
from repro.data.ptp_labels import LABELS
from repro.report.figures import GREY, LABEL_COLOURS, OURS, THEIRS, WIDE, figure_of, new, save

_ENOUGH = 10  # examples: of fewer, the interval may leave the panel, rather than make all others unreadable
_RULES = {"two": "two thresholds (authors)", "one": "one threshold (textbook)", "median": "medians"}


def write(
    profile: str, shares: pd.DataFrame, difficulty: pd.DataFrame, variant: str = ""
) -> list[Path]:
    """Draw and save both pictures as figures/<profile>/ptp_labels and ptp_difficulty, PDF and PNG; return the paths.

    variant: of a run with changed settings, put behind the name as in its CSVs.
    """
    folder, behind = paths.figures(profile), f".{variant}" if variant else ""
    return [
        *save(label_shares(shares), folder, f"ptp_labels{behind}"),
        *save(accuracies(difficulty), folder, f"ptp_difficulty{behind}"),
    ]


def label_shares(frame: pd.DataFrame, axes: np.ndarray | None = None) -> np.ndarray:
    """A row of panels per task, a column per threshold rule: one bundle of bars per gold class, one bar per teacher.

    frame: ptp_labels.csv. axes: (tasks, rules).
    """
    names, rules = (list(dict.fromkeys(frame[column])) for column in ("task", "rule"))
    size = (WIDE, 0.95 + 0.75 * len(names), len(names), len(rules))
    panels = np.asarray(
        new(*size, sharex=True, squeeze=False) if axes is None else axes, dtype=object
    )
    for row, name in zip(panels, names, strict=True):
        for ax, rule in zip(row, rules, strict=True):
            part = frame[(frame["task"] == name) & (frame["rule"] == rule)]
            _bundles(
                ax,
                part[part["gold"] != ALL],
                [gold for gold in task(name).labels if gold in set(part["gold"])],
            )
            ax.set_title(
                f"$t_1$ {_span(part['t1'])}, $t_2$ {_span(part['t2'])}",
                fontsize=8,
                color=GREY,
                pad=2,
            )
            ax.tick_params(labelleft=ax is row[0])
        _beside(row[0], name, (0, 1), (-4, 2), "right")
    for ax, rule in zip(panels[0], rules, strict=True):
        _beside(ax, _RULES[rule], (0.5, 1), (0, 14), "center")
    panels[-1][len(rules) // 2].set_xlabel("% of the class's training examples" + _bars(frame))
    handles = [plt.Rectangle((0, 0), 1, 1, color=colour) for colour in LABEL_COLOURS.values()]
    figure_of(panels).legend(
        handles, LABELS, loc="outside upper center", ncols=4, handlelength=1.0, columnspacing=1.4
    )
    return panels


def _beside(
    ax: Axes, text: str, corner: tuple[float, float], offset: tuple[int, int], side: str
) -> None:
    """A heading at a place of the panel's frame (0 to 1), moved by so many points."""
    ax.annotate(
        text, corner, offset, "axes fraction", "offset points", ha=side, va="bottom", fontsize=9.5
    )


def _bundles(ax: Axes, part: pd.DataFrame, classes: list[str]) -> None:
    """A stacked bar per teacher seed, those of one gold class together. part: one task, one rule."""
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
    ax.set_yticks(
        -np.arange(len(classes)),
        [f"{name.replace('_', ' ')} ({sizes[name]:,.0f})" for name in classes],
    )
    ax.set(xlim=(0, 100), ylim=(0.5 - len(classes), 0.5), xticks=range(0, 101, 25))
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.tick_params(length=0)


def _span(values: pd.Series) -> str:
    """ "0.80", or "0.93–0.96" where the teachers' differ."""
    low, high = f"{values.min():.2f}", f"{values.max():.2f}"
    return low if low == high else f"{low}–{high}"


def _bars(frame: pd.DataFrame) -> str:
    seeds = frame["seed"].nunique()
    return f" (one bar for each of {seeds} teachers)" if seeds > 1 else ""


def accuracies(frame: pd.DataFrame, axes: np.ndarray | None = None) -> np.ndarray:
    """A row of panels per task: the accuracy on each label's dev examples before and after PTP, and the difference.

    frame: ptp_difficulty.csv. axes: (tasks, 2). A label without examples has a name and no mark.
    """
    names = list(dict.fromkeys(frame["task"]))
    options: dict[str, Any] = {
        "sharex": "col",
        "sharey": "row",
        "squeeze": False,
        "width_ratios": (1.25, 1),
    }
    made = new(WIDE, 0.9 + 1.0 * len(names), len(names), 2, **options) if axes is None else axes
    panels = np.asarray(made, dtype=object)
    for (left, right), name in zip(panels, names, strict=True):
        part = frame[frame["task"] == name]
        _dumbbells(left, part)
        _differences(right, part, _limit(frame))
        left.set_title(name, loc="left")
    panels[-1][0].set_xlabel("accuracy on dev (%); in parentheses: examples")
    panels[-1][1].set_xlabel("difference (points), 95 % interval")
    first = frame.iloc[0]
    seeds = f" ({first['seeds']} seed{'s' if first['seeds'] > 1 else ''})"
    said = [f"{when}: {first[f'method_{when}']}{seeds}" for when in ("before", "after")]
    handles = [
        plt.Line2D([], [], marker="o", ls="", mec=colour, mfc=fill, ms=5)
        for colour, fill in ((THEIRS, "white"), (OURS, OURS))
    ]
    figure_of(panels).legend(handles, said, loc="outside upper center", ncols=2)
    return panels


def _dumbbells(ax: Axes, part: pd.DataFrame) -> None:
    """One row per label, its number of examples in its name, all examples last."""
    places = -np.arange(len(part))
    ax.hlines(places, part["before"], part["after"], color=GREY, lw=1.4, zorder=1)
    ax.plot(part["after"], places, "o", color=OURS, ms=5, zorder=2)
    ax.plot(part["before"], places, "o", mfc="none", mec=THEIRS, mew=1.3, ms=6.5, zorder=3)
    counts = [
        f"{count:,.0f}" if count == round(count) else f"{count:,.1f}" for count in part["count"]
    ]
    ax.set_yticks(
        places, [f"{label} ({n})" for label, n in zip(part["label"], counts, strict=True)]
    )
    ax.set(xlim=(-3, 103), ylim=(0.5 - len(part), 0.5))
    ax.grid(axis="x")


def _differences(ax: Axes, part: pd.DataFrame, limit: float) -> None:
    """After minus before with its interval; blue where that leaves out zero; an arrow where it leaves the panel."""
    for place, row in zip(-np.arange(len(part)), part.to_dict("records"), strict=True):
        colour = OURS if row["ci_low"] > 0 or row["ci_high"] < 0 else GREY
        ax.plot([row["ci_low"], row["ci_high"]], [place, place], color=colour, lw=1.3)
        ax.plot(row["difference"], place, "o", color=colour, ms=3.6)
        for side, beyond in ((-1, row["ci_low"] < -limit), (1, row["ci_high"] > limit)):
            if beyond:
                ax.plot(
                    side * limit,
                    place,
                    "<" if side < 0 else ">",
                    color=colour,
                    ms=4.5,
                    clip_on=False,
                )
    ax.axvline(0, color="black", lw=0.6, zorder=0)
    ax.set_xlim(-limit, limit)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")


def _limit(frame: pd.DataFrame) -> float:
    """How far the differences' axis goes: as far as the intervals of labels with enough examples do."""
    widest = frame.loc[frame["count"] >= _ENOUGH, ["ci_low", "ci_high"]].abs().max().max()
    return 1.05 * widest if widest > 0 else 105.0
