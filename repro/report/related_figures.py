"""Figures of the table "related": the scores of methods over what they cost."""

import itertools
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
    if method.endswith("-PatientKD"):
        return "Patient KD"
    return method.rstrip("0123456789").rstrip("-") or method
