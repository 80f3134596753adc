"""Pictures of the results: one style, one way to save. Each function draws into `ax` (or `axes`) and returns it.

The frames are those of results.read_table; the diagrams of the method are in `diagrams`. No torch here.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from repro.config.tables import table
from repro.config.tasks import TASKS, task
from repro.data.ptp_labels import LABELS
from repro.files import write_atomic
from repro.report.text import heading, marked, task_names

WIDE = 6.8  # inches: the width of a page's text
OURS, THEIRS, GREY = "#0072B2", "#D55E00", "#5F5F5F"
LABEL_COLOURS = dict(
    zip(LABELS, ("#0072B2", "#8CCBF0", "#A63C00", "#F5B041"), strict=True)
)  # after Okabe and Ito
_COUNTS, _SPAN = (
    115,
    152,
)  # of the label bars, in percent of a bar: where the counts begin, the panel's width
PASTELS = sns.color_palette("pastel", 10)  # of stored layers
STYLE: dict[str, Any] = {
    "font.family": "STIXGeneral",
    "mathtext.fontset": "stix",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "axes.axisbelow": True,
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.6,
    "pdf.fonttype": 42,
    "savefig.dpi": 200,
    "figure.dpi": 120,
}


def new(width: float, height: float, rows: int = 1, columns: int = 1, **options: Any) -> Any:
    """Axes (or an array of them) of a new figure of that size in inches, in the style of all figures."""
    plt.style.use(STYLE)
    return plt.subplots(rows, columns, figsize=(width, height), layout="constrained", **options)[1]


def save(axes: Axes | Sequence[Axes] | np.ndarray, folder: Path, name: str) -> list[Path]:
    """Write the axes' figure as <name>.pdf (vector) and <name>.png, without dates, and close it; return both paths."""
    figure = figure_of(axes)
    for kind, undated in (("pdf", {"CreationDate": None}), ("png", {"Software": None})):
        draw = partial(
            figure.savefig, format=kind, metadata=undated, bbox_inches="tight", pad_inches=0.03
        )
        write_atomic(folder / f"{name}.{kind}", draw)
    plt.close(figure)
    return [folder / f"{name}.pdf", folder / f"{name}.png"]


def figure_of(axes: Axes | Sequence[Axes] | np.ndarray) -> Figure:
    """The figure that the axes are in."""
    first = axes if isinstance(axes, Axes) else np.ravel(np.asarray(axes, dtype=object))[0]
    figure = first.get_figure(root=True)
    assert figure is not None
    return figure


def of_table(frame: pd.DataFrame) -> Axes | np.ndarray:
    """The figure of a table: label shares (1), results beside the paper's (2, 3), steps of an ablation (4, 5)."""
    name = frame["table"].iloc[0]
    return {"table1": label_shares, "table4": ablation, "table5": ablation}.get(name, comparison)(
        frame
    )


def comparison(frame: pd.DataFrame, axes: Sequence[Axes] | None = None) -> np.ndarray:
    """Tables 2 and 3: one panel per task; a line per method with our mean, its 95 % interval, the paper's number."""
    names, methods = task_names(frame), list(dict.fromkeys(frame["method"]))
    made = (
        new(WIDE, 1.2 + 0.22 * len(methods), 1, len(names), sharey=True, squeeze=False)[0]
        if axes is None
        else axes
    )
    panels = np.asarray(made, dtype=object)
    for ax, name in zip(panels, names, strict=True):
        part = frame[frame["task"] == name].set_index("method").loc[methods]
        _intervals(ax, part, -np.arange(len(methods)), horizontal=True)
        ax.set(title=heading(part.reset_index()), ylim=(0.6 - len(methods), 0.6))
        ax.margins(x=0.1)
        ax.grid(axis="x")
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    panels[len(panels) // 2].set_xlabel("score (%)")
    panels[0].set_yticks(-np.arange(len(methods)), list(map(marked, methods)))
    _legend(panels, frame)
    return panels


def _intervals(ax: Axes, part: pd.DataFrame, places: np.ndarray, horizontal: bool) -> None:
    """Our means with their intervals, and the paper's numbers as hollow diamonds, at these places of the other axis."""
    error = np.abs(part[["ci_low", "ci_high"]].to_numpy().T - part["mean"].to_numpy())  # (2, rows)
    ours, theirs = part["mean"].to_numpy(), part["paper"].to_numpy()
    style: dict[str, Any] = {
        "fmt": "o",
        "ms": 4,
        "color": OURS,
        "elinewidth": 1.3,
        "capsize": 0,
        "zorder": 3,
    }
    hollow: dict[str, Any] = {
        "marker": "D",
        "ms": 4.2,
        "ls": "",
        "mfc": "white",
        "mec": THEIRS,
        "mew": 1.1,
        "zorder": 2,
    }
    if horizontal:
        ax.errorbar(ours, places, xerr=error, **style)
        ax.plot(theirs, places, **hollow)
    else:
        ax.errorbar(places, ours, yerr=error, **(style | {"fmt": "o-", "lw": 1.0}))
        ax.plot(places, theirs, **(hollow | {"ls": (0, (3, 2)), "color": THEIRS, "lw": 1.0}))


def _legend(panels: np.ndarray, frame: pd.DataFrame) -> None:
    """What the two marks are, under the panels, once."""
    name, seeds = frame["profile"].iloc[0], int(frame["seeds"].max())
    split = table(frame["table"].iloc[0]).paper_split
    many = f"mean of {seeds} seeds" if seeds > 1 else "one seed"
    ours = f"this package, profile {name}: dev, {many}, 95 % interval"
    marks = [
        panels[0].plot([], [], "o-", color=OURS, ms=4, lw=1.3)[0],
        panels[0].plot([], [], "D", mfc="white", mec=THEIRS, ms=4.2, mew=1.1)[0],
    ]
    figure_of(panels).legend(
        marks,
        [ours, f"the paper: BERT-base, GLUE's {split} set"],
        loc="outside lower center",
        ncols=2,
    )


def ablation(frame: pd.DataFrame, axes: Sequence[Axes] | None = None) -> np.ndarray:
    """Tables 4 and 5: one panel per task; the scores step by step, ours with 95 % intervals, and the paper's."""
    names, methods = task_names(frame), list(dict.fromkeys(frame["method"]))
    made = new(WIDE, 2.5, 1, len(names), squeeze=False)[0] if axes is None else axes
    panels = np.asarray(made, dtype=object)
    common = _common_start(methods)
    for ax, name in zip(panels, names, strict=True):
        part = frame[frame["task"] == name].set_index("method").loc[methods]
        _intervals(ax, part, np.arange(len(methods)), horizontal=False)
        ax.set_xticks(
            range(len(methods)),
            [m.removeprefix(common) or m for m in methods],
            rotation=40,
            ha="right",
            rotation_mode="anchor",
        )
        ax.set(title=heading(part.reset_index()), xlim=(-0.4, len(methods) - 0.6))
        ax.margins(y=0.08)
        ax.grid(axis="y")
        ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    panels[0].set_ylabel("score (%)")
    _legend(panels, frame)
    return panels


def _common_start(methods: list[str]) -> str:
    """What every later method's name begins with, if that is the first one's name: it need not be repeated."""
    return methods[0] if all(name.startswith(methods[0]) for name in methods) else ""


def label_shares(frame: pd.DataFrame, axes: Sequence[Axes] | None = None) -> np.ndarray:
    """Table 1: one panel per task, one stacked bar per gold class, and the four counts beside each bar."""
    names = [name for name in task_names(frame) if name in TASKS]
    made = (
        new(WIDE, 0.95 + 0.62 * len(names), len(names), squeeze=False)[:, 0]
        if axes is None
        else axes
    )
    panels = np.asarray(made, dtype=object)
    for ax, name in zip(panels, names, strict=True):
        part = frame[(frame["task"] == name) & (frame["gold"] != "all")]
        _label_bars(ax, part, [gold for gold in task(name).labels if gold in set(part["gold"])])
        ax.set_title(name, loc="left")
        ax.tick_params(labelbottom=ax is panels[-1])
    panels[-1].set_xlabel("share of the class's training examples", x=50 / _SPAN)
    panels[-1].annotate(
        "number of examples",
        (_COUNTS + 18, 0),
        (0, -17),
        ("data", "axes fraction"),
        "offset points",
        ha="center",
        va="top",
        annotation_clip=False,
    )
    handles = [plt.Rectangle((0, 0), 1, 1, color=colour) for colour in LABEL_COLOURS.values()]
    figure_of(panels).legend(
        handles, LABELS, loc="outside upper center", ncols=4, handlelength=1.0, columnspacing=1.4
    )
    return panels


def _label_bars(ax: Axes, part: pd.DataFrame, classes: list[str]) -> None:
    """One bar per gold class, and to its right the number of examples of each label, under a square of its colour."""
    shares, counts = (
        part.pivot(index="gold", columns="method", values=v).loc[classes, list(LABELS)]
        for v in ("mean", "count")
    )
    places, left = -np.arange(len(classes)), np.zeros(len(classes))
    for k, label in enumerate(LABELS):
        ax.barh(
            places,
            shares[label],
            left=left,
            height=0.62,
            color=LABEL_COLOURS[label],
            edgecolor="white",
            lw=0.6,
        )
        left += shares[label].to_numpy()
        ax.plot(_COUNTS - 1.5 + 12 * k, 0.85, "s", color=LABEL_COLOURS[label], ms=5, clip_on=False)
        for place, count in zip(places.tolist(), counts[label], strict=True):
            ax.text(_COUNTS + 12 * k, place, f"{count:,.0f}", ha="right", va="center", fontsize=8)
    ax.set_yticks(places, [name.replace("_", " ") for name in classes])
    ax.set(xlim=(0, _SPAN), ylim=(0.5 - len(classes), 1.0), xticks=range(0, 101, 25))
    ax.xaxis.set_major_formatter(PercentFormatter(decimals=0))
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.tick_params(length=0)


def thresholds(frame: pd.DataFrame, axes: np.ndarray | None = None) -> np.ndarray:
    """The share of each PTP label by threshold: correct predictions above, wrong ones below, a column per task.

    frame: thresholds.csv. Dotted: the task's t1 for correct and t2 for wrong predictions (decision D1).
    """
    names = list(dict.fromkeys(frame["task"]))
    made = (
        new(WIDE, 3.2, 2, len(names), sharex=True, sharey="row", squeeze=False)
        if axes is None
        else axes
    )
    for column, name in zip(np.asarray(made, dtype=object).T, names, strict=True):
        for ax, labels, cut in zip(
            column, (LABELS[:2], LABELS[2:]), task(name).thresholds, strict=True
        ):
            part = frame[(frame["task"] == name) & frame["label"].isin(labels)]
            sns.lineplot(
                part,
                x="t",
                y="share",
                hue="label",
                palette=LABEL_COLOURS,
                ax=ax,
                legend=False,
                lw=1.5,
            )
            ax.axvline(cut, color=GREY, ls=":", lw=1.0)
            ax.set(xlim=(0.5, 1.0), xlabel="", ylabel="")
            ax.set_xticks([0.5, 0.75, 1.0], ["0.5", "0.75", "1"])
            ax.grid(axis="y")
        column[0].set_title(name)
        column[1].set_xlabel("threshold t")
    for row, labels in zip(
        np.asarray(made), (LABELS[:2], LABELS[2:]), strict=True
    ):  # one scale a row
        row[0].set_ylim(0, 1.05 * frame.loc[frame["label"].isin(labels), "share"].max())
    made[0][0].set_ylabel("correct (% of train)")
    made[1][0].set_ylabel("wrong (% of train)")
    handles = [plt.Line2D([], [], color=colour, lw=2) for colour in LABEL_COLOURS.values()]
    figure_of(made).legend(
        [*handles, plt.Line2D([], [], color=GREY, ls=":", lw=1)],
        [*LABELS, "$t_1$, $t_2$ in use"],
        loc="outside lower center",
        ncols=5,
        handlelength=1.4,
        columnspacing=1.1,
    )
    return np.asarray(made)
