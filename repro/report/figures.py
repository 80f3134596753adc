"""Figures of the paper's tables, and the style and saving of all figures.

Each plotting function takes a frame of `analysis.tables` and, optionally, axes to draw into; it
returns the axes. Diagrams of the method are in `diagrams`, figures of the studies in
`study_figures`.
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

from repro.config.profiles import profile
from repro.config.tables import table
from repro.config.tasks import TASKS, task
from repro.data.ptp_labels import LABELS
from repro.files import write_atomic
from repro.report.text import heading, marked, task_names

WIDE = 6.8  # inches, the text width of a page
OURS, THEIRS, GREY = "#0072B2", "#D55E00", "#5F5F5F"
# colours after Okabe and Ito
LABEL_COLOURS = dict(zip(LABELS, ("#0072B2", "#8CCBF0", "#A63C00", "#F5B041"), strict=True))
_OURS: dict[str, Any] = {"marker": "o", "ms": 4, "color": OURS, "ls": ""}
_THEIRS: dict[str, Any] = {
    "marker": "D", "ms": 4.2, "mfc": "white", "mec": THEIRS, "mew": 1.1, "ls": "",
}  # fmt: skip
PASTELS = sns.color_palette("pastel", 10)  # one colour per stored layer
# Label bars, in percent of a bar: right edge of the first column of counts, width of the panel
_COUNTS, _PANEL = 115, 152
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
    """Create a figure in the common style.

    Args:
        width: Width in inches.
        height: Height in inches.
        rows: Rows of panels.
        columns: Columns of panels.
        **options: Passed to `plt.subplots`.

    Returns:
        The axes, or an array of axes, as `plt.subplots` returns them.
    """
    plt.style.use(["default", STYLE])  # a user's matplotlibrc must not change the figures
    return plt.subplots(rows, columns, figsize=(width, height), layout="constrained", **options)[1]


def save(axes: Axes | Sequence[Axes] | np.ndarray, folder: Path, name: str) -> list[Path]:
    """Save a figure as PDF and PNG and close it. The same figure always gives the same bytes.

    Its alternative text is the PDF's subject and the PNG's description.

    Args:
        axes: Any axes of the figure.
        folder: Target folder.
        name: File name without suffix.

    Returns:
        The paths of the PDF and the PNG.
    """
    figure, alt = figure_of(axes), describe(axes)
    # without creation date and library version, which would change the bytes
    for kind, metadata in (
        ("pdf", {"CreationDate": None, "Subject": alt}),
        ("png", {"Software": None, "Description": alt}),
    ):
        draw = partial(
            figure.savefig, format=kind, metadata=metadata, bbox_inches="tight", pad_inches=0.03
        )
        write_atomic(folder / f"{name}.{kind}", draw)
    plt.close(figure)
    return [folder / f"{name}.pdf", folder / f"{name}.png"]


def figure_of(axes: Axes | Sequence[Axes] | np.ndarray) -> Figure:
    """Return the figure that contains the axes."""
    first = axes if isinstance(axes, Axes) else np.ravel(np.asarray(axes, dtype=object))[0]
    figure = first.get_figure(root=True)
    assert figure is not None
    return figure


def describe(axes: Axes | Sequence[Axes] | np.ndarray) -> str:
    """Return alternative text: the figure's own label, or what its titles, axes and legend say.

    Args:
        axes: Any axes of the figure.
    """
    figure = figure_of(axes)
    if figure.get_label():
        return str(figure.get_label())
    titles, labels, marks = [], [], []
    for ax in figure.axes:
        titles += [ax.get_title(loc) for loc in ("left", "center")]
        labels += [ax.get_xlabel(), ax.get_ylabel()]
    for legend in [*figure.legends, *(ax.get_legend() for ax in figure.axes)]:
        marks += [text.get_text() for text in legend.get_texts()] if legend else []
    parts = [figure.get_suptitle()]
    for head, words in (("Panels", titles), ("Axes", labels), ("Marks", marks)):
        listed = "; ".join(word for word in dict.fromkeys(words) if word)
        parts.append(f"{head}: {listed}." if listed else "")
    return " ".join(part for part in parts if part).replace("$", "")


def label_legend(axes: np.ndarray) -> None:
    """Add a legend of the four PTP labels above the panels."""
    handles = [plt.Rectangle((0, 0), 1, 1, color=colour) for colour in LABEL_COLOURS.values()]
    figure_of(axes).legend(
        handles, LABELS, loc="outside upper center", ncols=4, handlelength=1.0, columnspacing=1.4
    )


def of_table(frame: pd.DataFrame) -> np.ndarray:
    """Draw the figure that belongs to a table.

    Args:
        frame: A table, as `tables.read_table` returns it.

    Returns:
        The axes: label shares (Table 1), or scores (every other table).
    """
    return (label_shares if frame["table"].iloc[0] == "table1" else comparison)(frame)


def comparison(frame: pd.DataFrame, axes: np.ndarray | None = None) -> np.ndarray:
    """Plot a table of scores: one column of panels per task, one line per method.

    Dots are our means with their 95 % intervals, diamonds the paper's scores. Scores of miniature
    tasks and of GLUE cannot be compared, so they are in two rows of panels, each with a scale of
    its own.

    Args:
        frame: The table.
        axes: (rows, tasks); new ones by default.

    Returns:
        The axes (rows, tasks). A row's panels share their scale, and its lines are the methods
        that have a score in it.
    """
    names, miniature = task_names(frame), bool(profile(frame["profile"].iloc[0]).task_prefix)
    scores = [name for name in ("mean", "paper") if frame[name].notna().any()]
    rows = [[name] for name in scores] if miniature else [scores]
    scored = [frame[frame[columns].notna().any(axis=1)] for columns in rows]
    methods = [list(dict.fromkeys(part["method"])) for part in scored]
    if axes is None:
        heights = [0.5 + 0.2 * len(lines) for lines in methods]
        shared: dict[str, Any] = {"sharex": "row", "sharey": "row", "height_ratios": heights}
        size = (WIDE, 0.4 + 0.2 * len(rows) + sum(heights), len(rows), len(names))
        axes = new(*size, squeeze=False, **shared)
    panels = np.asarray(axes, dtype=object)
    for row, columns, lines in zip(panels, rows, methods, strict=True):
        places = -np.arange(len(lines))
        for ax, name in zip(row, names, strict=True):
            part = frame[frame["task"] == name].set_index("method").loc[lines].reset_index()
            _scores(ax, part, places, columns)
            glue = miniature and "paper" in columns and name in TASKS
            ax.set_title(task(name).paper_name if glue else heading(part))
            ax.set_ylim(0.6 - len(lines), 0.6)
            ax.margins(x=0.08)
            ax.grid(axis="x")
            ax.xaxis.set_major_locator(MaxNLocator(4, integer=True, steps=[1, 2, 5, 10]))
        row[0].set_yticks(places, list(map(marked, lines)))
        data = ("miniature tasks" if "mean" in columns else "GLUE") if miniature else ""
        row[len(row) // 2].set_xlabel(f"score on {data} (%)" if data else "score (%)")
    _score_legend(panels, frame, scores)
    return panels


def _scores(ax: Axes, part: pd.DataFrame, places: np.ndarray, columns: list[str]) -> None:
    """Our means with their intervals, the paper's scores, or both."""
    if "mean" in columns:
        error = np.abs(part[["ci_low", "ci_high"]].to_numpy().T - part["mean"].to_numpy())
        ax.errorbar(part["mean"], places, xerr=error, elinewidth=1.3, zorder=3, **_OURS)
    if "paper" in columns:
        ax.plot(part["paper"], places, zorder=2, **_THEIRS)


def _score_legend(panels: np.ndarray, frame: pd.DataFrame, scores: list[str]) -> None:
    """One legend for all panels, below them, of the marks that are in them."""
    profile_name, seeds = frame["profile"].iloc[0], int(frame["seeds"].max())
    paper_split = table(frame["table"].iloc[0]).paper_split
    mean = f"mean of {seeds} seeds" if seeds > 1 else "1 seed"
    covered = "" if seeds > 1 else " over examples only"
    marks = {
        "mean": plt.Line2D([], [], **_OURS | {"ls": "-"}, lw=1.3),
        "paper": plt.Line2D([], [], **_THEIRS),
    }
    labels = {
        "mean": f"ours (profile {profile_name}, dev): {mean}, 95 % interval{covered}",
        "paper": f"paper (BERT-base, GLUE {paper_split})"
        if paper_split
        else "published (BERT-base, GLUE)",
    }
    figure_of(panels).legend(
        [marks[name] for name in scores],
        [labels[name] for name in scores],
        loc="outside lower center",
        ncols=2,
    )


def label_shares(frame: pd.DataFrame, axes: Sequence[Axes] | None = None) -> np.ndarray:
    """Plot Table 1: one panel per task, one stacked bar per gold class.

    The number of examples with each label is written beside the bar.

    Args:
        frame: The table.
        axes: One axes per task; new ones by default.

    Returns:
        The axes, one per task.
    """
    names = [name for name in task_names(frame) if name in TASKS]
    if axes is None:
        axes = new(WIDE, 0.95 + 0.62 * len(names), len(names), squeeze=False)[:, 0]
    panels = np.asarray(axes, dtype=object)
    for ax, name in zip(panels, names, strict=True):
        part = frame[(frame["task"] == name) & (frame["gold"] != "all")]
        _label_bars(ax, part, [gold for gold in task(name).labels if gold in set(part["gold"])])
        ax.set_title(name, loc="left")
        ax.tick_params(labelbottom=ax is panels[-1])
    panels[-1].set_xlabel("share of the class's training examples", x=50 / _PANEL)
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
    label_legend(panels)
    return panels


def _label_bars(ax: Axes, part: pd.DataFrame, classes: list[str]) -> None:
    """One stacked bar per gold class, and the counts beside it, each under its label's colour."""
    shares, counts = (
        part.pivot(index="gold", columns="method", values=column).loc[classes, list(LABELS)]
        for column in ("mean", "count")
    )
    places, left = -np.arange(len(classes)), np.zeros(len(classes))
    bar: dict[str, Any] = {"height": 0.62, "edgecolor": "white", "lw": 0.6}
    for k, label in enumerate(LABELS):
        colour = LABEL_COLOURS[label]
        ax.barh(places, shares[label], left=left, color=colour, **bar)
        left += shares[label].to_numpy()
        ax.plot(_COUNTS - 1.5 + 12 * k, 0.85, "s", color=colour, ms=5, clip_on=False)
        for place, count in zip(places.tolist(), counts[label], strict=True):
            ax.text(_COUNTS + 12 * k, place, f"{count:,.0f}", ha="right", va="center", fontsize=8)
    ax.set_yticks(places, [name.replace("_", " ") for name in classes])
    ax.set(xlim=(0, _PANEL), ylim=(0.5 - len(classes), 1.0), xticks=range(0, 101, 25))
    ax.xaxis.set_major_formatter(PercentFormatter(decimals=0))
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.tick_params(length=0)


def thresholds(
    frame: pd.DataFrame, rule: str = "two", axes: np.ndarray | None = None
) -> np.ndarray:
    """Plot the share of each PTP label over the confidence threshold (decision D1).

    Args:
        frame: The table "thresholds".
        rule: The thresholds in use, decision D1: "two" (t1, t2) or "one" (t1 for both); "median"
            has others in each run, which are not marked.
        axes: (2, tasks): correct predictions above, wrong ones below; new ones by default.

    Returns:
        The axes. Dotted lines mark the thresholds in use.
    """
    names = list(dict.fromkeys(frame["task"]))
    if axes is None:
        axes = new(WIDE, 3.2, 2, len(names), sharex=True, sharey="row", squeeze=False)
    panels = np.asarray(axes, dtype=object)
    labels_by_row = (LABELS[:2], LABELS[2:])  # correct, wrong
    line: dict[str, Any] = {"palette": LABEL_COLOURS, "legend": False, "lw": 1.5}
    for column, name in zip(panels.T, names, strict=True):
        t1, t2 = task(name).thresholds
        in_use = (t1, t2 if rule == "two" else t1)
        for ax, labels, threshold in zip(column, labels_by_row, in_use, strict=True):
            part = frame[(frame["task"] == name) & frame["label"].isin(labels)]
            sns.lineplot(part, x="t", y="share", hue="label", ax=ax, **line)
            if rule != "median":
                ax.axvline(threshold, color=GREY, ls=":", lw=1.0)
            ax.set(xlim=(0.5, 1.0), xlabel="", ylabel="")
            ax.set_xticks([0.5, 0.75, 1.0], ["0.5", "0.75", "1"])
            ax.grid(axis="y")
        column[0].set_title(name)
        column[1].set_xlabel("threshold t")
    for row, labels in zip(panels, labels_by_row, strict=True):  # one y scale per row
        row[0].set_ylim(0, 1.05 * frame.loc[frame["label"].isin(labels), "share"].max())
    panels[0][0].set_ylabel("correct (% of train)")
    panels[1][0].set_ylabel("wrong (% of train)")
    handles = [plt.Line2D([], [], color=c, lw=2, label=k) for k, c in LABEL_COLOURS.items()]
    if rule != "median":
        marked = "$t_1$, $t_2$ in use" if rule == "two" else "$t_1$ in use"
        handles.append(plt.Line2D([], [], color=GREY, ls=":", lw=1, label=marked))
    figure_of(panels).legend(
        handles=handles,
        loc="outside lower center",
        ncols=5,
        handlelength=1.4,
        columnspacing=1.1,
    )
    return panels
