"""Figures of the tables beyond the paper: scores over depth, and over what a student costs."""

import re
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from repro.config.tables import TABLES
from repro.report.figures import GREY, WIDE, figure_of, new
from repro.report.text import task_names

# column of `runs.costs`, its label, and the unit that a value is divided by
_COSTS = (
    ("parameters", "stored parameters (million)", 1e6),
    ("trained", "trained parameters (million)", 1e6),
    ("training_flops", "training (10$^{12}$ operations)", 1e12),
    ("latency_ms", "latency of one answer (ms)", 1.0),
)
# A mark per method, told apart by its shape too. Colours after Okabe and Ito; the second six are
# darker or lighter versions of the first.
_MARKS = (
    ("#000000", "o"), ("#0072B2", "s"), ("#D55E00", "D"), ("#009E73", "^"), ("#CC79A7", "v"),
    ("#E69F00", "P"), ("#56B4E9", "X"), ("#882255", "<"), ("#7F7F7F", ">"), ("#004D73", "p"),
    ("#8A4B08", "*"), ("#005C43", "h"),
)  # fmt: skip
TEACHERS = {
    row.name for entry in TABLES.values() for row in entry.rows if row.method.kind == "teacher"
}
_TEACHER_LINE: dict[str, Any] = {"color": GREY, "ls": "--", "lw": 0.9}


def scores_over_costs(
    frame: pd.DataFrame, costs: pd.DataFrame, axes: np.ndarray | None = None
) -> np.ndarray:
    """Plot the mean score over tasks of each student, with its interval, over four costs.

    Args:
        frame: The table, as `tables.read_table` returns it.
        costs: As `runs.costs.measure` returns them; averaged over tasks.
        axes: Four axes; new ones by default.

    Returns:
        The axes. A dashed line marks the teacher, a colour and a shape each method, and a number
        the stored layers. Students with the same number of parameters are drawn side by side.
    """
    if axes is None:
        axes = new(WIDE, 6.2, 2, 2, sharey=True)
    panels = np.ravel(np.asarray(axes, dtype=object))
    average = frame[(frame["task"] == "Avg") & frame["mean"].notna()].set_index("method")
    spent = costs.groupby("method", sort=False)[[name for name, _, _ in _COSTS]].mean()
    students = [name for name in average.index if name in spent.index and name not in TEACHERS]
    teachers = [name for name in average.index if name in TEACHERS]
    families = list(dict.fromkeys(map(family, students)))
    for ax, (column, label, unit) in zip(panels, _COSTS, strict=True):
        for name in students:
            row: Any = average.loc[name]
            k = families.index(family(name))
            error = np.abs([[row["mean"] - row["ci_low"]], [row["ci_high"] - row["mean"]]])
            place = spent[column][name] / unit
            if column in ("parameters", "trained"):
                place += (
                    0.012 * (k - (len(families) - 1) / 2) * spent[column][students].max() / unit
                )
            ax.errorbar(place, row["mean"], yerr=error, elinewidth=0.9, **_mark(k, 4.5))
            ax.annotate(
                f"{row['layers']:.0f}", (place, row["mean"]), (3, 2),
                textcoords="offset points", fontsize=6.5, color=GREY,
            )  # fmt: skip
        for name in teachers:
            ax.axhline(average["mean"][name], **_TEACHER_LINE)
        ax.set_xlabel(label)
        ax.margins(x=0.08)
        ax.grid(axis="both")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    for ax in panels[::2]:
        ax.set_ylabel("mean score over tasks (%)")
    handles = [plt.Line2D([], [], **_mark(k, 4.5)) for k in range(len(families))]
    handles += [plt.Line2D([], [], **_TEACHER_LINE)] * bool(teachers)
    labels = [*families, *["teacher"] * bool(teachers)]
    figure_of(panels).legend(
        handles, labels, loc="outside lower center", ncols=5, title="numbers: stored layers"
    )
    return panels


def _mark(place: int, size: float) -> dict[str, Any]:
    """The mark of a figure's method at that place."""
    colour, marker = _MARKS[place % len(_MARKS)]
    return {"marker": marker, "color": colour, "ms": size, "ls": ""}


def family(method: str) -> str:
    """The method's name without the number of layers: "Patient KD" for "BERT3-PatientKD"."""
    name = re.sub(r"^BERT\d+-", "", method)
    if name != method:
        return {"PatientKD": "Patient KD", "FineTuned": "fine-tuned"}.get(name, name)
    return method.rstrip("0123456789").rstrip("-") or method


def scores_over_depth(frame: pd.DataFrame, axes: np.ndarray | None = None) -> np.ndarray:
    """Plot the score of each method over its stored layers, for each task and on average.

    Args:
        frame: The table "baselines", as `tables.read_table` returns it.
        axes: One per task, and one for the average; new ones by default.

    Returns:
        The axes, with a shared scale. Bars are 95 % intervals, a dashed line marks the teacher.
    """
    names = task_names(frame)
    if axes is None:
        rows, columns = -(-len(names) // 2), min(len(names), 2)
        axes = new(WIDE, 0.7 + 2.3 * rows, rows, columns, sharex=True, sharey=True, squeeze=False)
    panels = np.ravel(np.asarray(axes, dtype=object))
    students = frame[~frame["method"].isin(TEACHERS)]
    families = list(dict.fromkeys(map(family, students["method"])))
    for ax, name in zip(panels, names, strict=False):
        part = students[students["task"] == name]
        for k, arm in enumerate(families):
            rows_of_arm = part[part["method"].map(family) == arm]
            mean, low, high = rows_of_arm[["mean", "ci_low", "ci_high"]].astype(float).to_numpy().T
            # side by side, so that the intervals do not cover each other
            depths = rows_of_arm["layers"].astype(float) + 0.09 * (k - (len(families) - 1) / 2)
            style = _mark(k, 3.8) | {"ls": "-", "lw": 0.8, "elinewidth": 0.8}
            ax.errorbar(depths, mean, yerr=np.abs([mean - low, high - mean]), label=arm, **style)
        teacher = frame["method"].isin(TEACHERS) & (frame["task"] == name)
        for score in frame.loc[teacher, "mean"]:
            ax.axhline(score, label="teacher", **_TEACHER_LINE)
        ax.set_xticks(sorted({int(layers) for layers in students["layers"]}))
        ax.set_title("average" if name == "Avg" else name)
        ax.grid(axis="y")
    grid = panels.reshape(-1, min(len(names), 2))
    for ax in grid[:, 0]:
        ax.set_ylabel("score (%)")
    for k, ax in enumerate(panels[: len(names)]):
        if k + grid.shape[1] >= len(names):  # nothing below it
            ax.set_xlabel("stored layers")
            ax.tick_params(labelbottom=True)
    handles, labels = panels[0].get_legend_handles_labels()
    order = [labels.index(label) for label in dict.fromkeys([*families, *labels])]
    handles, labels = [handles[k] for k in order], [labels[k] for k in order]
    spare = panels[len(names) :]
    for ax in spare:
        ax.set_axis_off()
    if len(spare):
        spare[0].legend(handles, labels, loc="center", ncols=2)
    else:
        figure_of(panels).legend(handles, labels, loc="outside lower center", ncols=4)
    return panels
