"""Figures of the tables beyond the paper: scores over depth, and over what a student costs."""

import itertools
import re
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from repro.report.figures import GREY, WIDE, figure_of, new

# column of `runs.costs`, its label, and the unit that a value is divided by
_COSTS = (
    ("parameters", "stored parameters (million)", 1e6),
    ("trained", "trained parameters (million)", 1e6),
    ("training_flops", "training (10$^{12}$ operations)", 1e12),
    ("latency_ms", "latency of one answer (ms)", 1.0),
)
# after Okabe and Ito, and Tol
_COLOURS = (
    "#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C564B",
    "#7F7F7F", "#BCBD22", "#882255", "#44AA99",
)  # fmt: skip
_MARKERS = {1: "v", 2: "<", 3: "o", 4: "s", 6: "D"}  # by stored layers


def scores_over_costs(
    frame: pd.DataFrame, costs: pd.DataFrame, axes: np.ndarray | None = None
) -> np.ndarray:
    """Plot the mean score over tasks of each student, with its interval, over four costs.

    Args:
        frame: The table, as `tables.read_table` returns it.
        costs: As `runs.costs.measure` returns them; averaged over tasks.
        axes: Four axes; new ones by default.

    Returns:
        The axes. A dashed line marks the teacher, colours the methods, shapes the stored layers.
        Students with the same number of parameters are drawn side by side.
    """
    if axes is None:
        axes = new(WIDE, 5.6, 2, 2, sharey=True)
    panels = np.ravel(np.asarray(axes, dtype=object))
    average = frame[(frame["task"] == "Avg") & frame["mean"].notna()].set_index("method")
    spent = costs.groupby("method", sort=False)[[name for name, _, _ in _COSTS]].mean()
    teacher = spent["training_flops"] == 0
    students = [name for name in average.index if name in spent.index and not teacher[name]]
    families = list(dict.fromkeys(family(name) for name in students))
    colours = dict(zip(families, itertools.cycle(_COLOURS), strict=False))
    for ax, (column, label, unit) in zip(panels, _COSTS, strict=True):
        for name in students:
            row: Any = average.loc[name]
            error = np.abs([[row["mean"] - row["ci_low"]], [row["ci_high"] - row["mean"]]])
            place = spent[column][name] / unit
            if column in ("parameters", "trained"):
                aside = families.index(family(name)) - (len(families) - 1) / 2
                place += 0.012 * aside * spent[column][students].max() / unit
            ax.errorbar(
                place, row["mean"], yerr=error, fmt=_MARKERS.get(int(row["layers"]), "o"),
                color=colours[family(name)], ms=4.5, elinewidth=0.9, alpha=0.9,
            )  # fmt: skip
        for name in average.index.intersection(spent.index[teacher]):
            ax.axhline(average["mean"][name], color=GREY, ls="--", lw=0.9)
        ax.set_xlabel(label)
        ax.margins(x=0.08)
        ax.grid(axis="both")
        ax.xaxis.set_major_locator(MaxNLocator(6))
    for ax in panels[::2]:
        ax.set_ylabel("mean score over tasks (%)")
    handles = [panels[0].plot([], [], "o", color=colours[name], ms=4.5)[0] for name in families]
    layers = sorted({int(average["layers"][name]) for name in students})
    handles += [
        panels[0].plot([], [], _MARKERS.get(count, "o"), mfc="white", mec=GREY, ms=4.5)[0]
        for count in layers
    ]
    handles.append(panels[0].plot([], [], "--", color=GREY, lw=0.9)[0])
    labels = [*families, *(f"{count} layers" for count in layers), "teacher"]
    figure_of(panels).legend(handles, labels, loc="outside lower center", ncols=5)
    return panels


def family(method: str) -> str:
    """The method's name without the number of layers: "Patient KD" for "BERT3-PatientKD"."""
    name = re.sub(r"^BERT\d+-", "", method)
    if name != method:
        return {"PatientKD": "Patient KD", "FineTuned": "fine-tuned"}.get(name, name)
    return method.rstrip("0123456789").rstrip("-") or method


def scores_over_depth(frame: pd.DataFrame, axes: np.ndarray | None = None) -> np.ndarray:
    """Plot the mean score of each method over its stored layers, for each task and on average.

    Args:
        frame: The table "baselines", as `tables.read_table` returns it.
        axes: One per task, and one for the average; new ones by default.

    Returns:
        The axes, with a shared scale. Bars are 95 % intervals, a dashed line marks the teacher.
    """
    names = list(dict.fromkeys(frame["task"]))
    names = names[:1] if names[1:] == ["Avg"] else names
    if axes is None:
        axes = new(WIDE, 2.9 if len(names) < 4 else 5.0, *_grid(len(names)), sharey=True)
    panels = np.ravel(np.asarray(axes, dtype=object))
    for spare in panels[len(names) :]:
        spare.set_axis_off()
    families = list(dict.fromkeys(map(family, frame.loc[frame["layers"] > 0, "method"])))
    depths = sorted({int(layers) for layers in frame["layers"] if layers > 0})
    handles = {}
    for ax, name in zip(panels, names, strict=False):
        part = frame[frame["task"] == name]
        for k, arm in enumerate(families):
            rows = part[(part["method"].map(family) == arm) & (part["layers"] > 0)]
            aside = 0.06 * (k - (len(families) - 1) / 2)  # so that intervals do not overlap
            error = np.abs([rows["mean"] - rows["ci_low"], rows["ci_high"] - rows["mean"]]).astype(
                float
            )
            handles[arm] = ax.errorbar(
                [depths.index(int(layers)) + aside for layers in rows["layers"]],
                rows["mean"].astype(float), yerr=error, fmt=f"{'osD^v<>'[k % 7]}-",
                color=_COLOURS[k], ms=3.5, lw=1.0, elinewidth=0.7,
            )  # fmt: skip
        for score in part.loc[part["layers"] == 0, "mean"]:
            handles["teacher"] = ax.axhline(score, color=GREY, ls="--", lw=0.9)
        ax.set_xticks(range(len(depths)), [str(layers) for layers in depths])
        ax.set_title("average" if name == "Avg" else name)
        ax.grid(axis="y")
        ax.set_xlabel("stored layers")
    panels[0].set_ylabel("score (%)")
    figure_of(panels).legend(
        list(handles.values()), list(handles), loc="outside lower center", ncols=4
    )
    return panels


def _grid(panels: int) -> tuple[int, int]:
    """Rows and columns of a figure: at most three panels side by side."""
    return -(-panels // 3), min(panels, 3)
