"""Pictures of a sweep: parallel coordinates, which settings mattered, and what a budget buys. No torch here.

frame: the trials, as sweep.run returns them. dimensions: what was searched, sweep.Sweep.dimensions.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.ticker import MaxNLocator, PercentFormatter

from repro import paths
from repro.analysis import stats
from repro.config import tuned
from repro.report.figures import GREY, OURS, THEIRS, WIDE, figure_of, new, save
from repro.runs.space import Dimension
from repro.runs.study import importance as shares

_COLOURS = ListedColormap(
    plt.get_cmap("viridis_r")(np.linspace(0.2, 1, 256))
)  # dark is good; no pale yellow
_APART = 0.05  # how far lines through the same value of an axis are spread
_SIGNS = {"alpha": "α", "beta": "β"}


def write(name: str, frame: pd.DataFrame, dimensions: tuple[Dimension, ...]) -> list[Path]:
    """The three figures of the sweep `name`, as figures/<profile>/sweep-<name>-<what>.pdf and .png."""
    folder = paths.figures(str(frame["profile"].iloc[0]))
    made = {
        "parallel": parallel(frame, dimensions),
        "importance": importance(frame, dimensions),
        "budget": budget(frame),
    }
    return [path for what, ax in made.items() for path in save(ax, folder, f"sweep-{name}-{what}")]


def parallel(
    frame: pd.DataFrame, dimensions: tuple[Dimension, ...], ax: Axes | None = None
) -> Axes:
    """A line per trial through its settings to its score on the inner split; dotted: pruned; thick: the best."""
    ax = new(WIDE, 2.9) if ax is None else ax
    rows = frame[frame["state"] != "failed"]
    scores = rows["inner_score"].to_numpy(float)
    low, high = scores.min() - 1e-9, scores.max() + 1e-9
    spread = np.linspace(-_APART / 2, _APART / 2, len(rows)) if len(rows) > 1 else np.zeros(1)
    heights = np.stack(
        [
            *(_places(rows[d.name], d) + spread * (not d.continuous) for d in dimensions),
            (scores - low) / (high - low),
        ]
    )
    best, norm = tuned.winner(frame)["trial"], Normalize(low, high)
    for place in np.argsort(scores, kind="stable"):  # the good ones above
        chosen, pruned = rows["trial"].iloc[place] == best, rows["state"].iloc[place] == "pruned"
        ax.plot(
            heights[:, place],
            color=_COLOURS(norm(scores[place])),
            lw=2.6 if chosen else 1.0,
            ls=":" if pruned else "-",
            zorder=4 if chosen else 2,
            alpha=1.0 if chosen else 0.8,
        )
    for place, dimension in enumerate(dimensions):
        _axis(ax, place, dimension)
    for score in np.unique(scores[[scores.argmin(), scores.argmax()]]):
        ax.annotate(
            f"{score:.1f}",
            (len(dimensions), (score - low) / (high - low)),
            (5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    ax.vlines(range(len(heights)), 0, 1, color=GREY, lw=0.8, zorder=1)
    ax.set_xticks(range(len(heights)), [*(_named(d.name) for d in dimensions), "inner score (%)"])
    ax.set(yticks=[], xlim=(-0.45, len(dimensions) + 0.35), ylim=(-0.06, 1.06))
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    handles = [
        plt.Line2D([], [], color=_COLOURS(0.99), lw=2.6),
        plt.Line2D([], [], color=_COLOURS(0.5), lw=1.0),
        plt.Line2D([], [], color=_COLOURS(0.5), lw=1.0, ls=":"),
    ]
    figure_of(ax).legend(
        handles, ["best", "complete", "pruned"], loc="outside lower center", ncols=3
    )
    return ax


def _places(values: pd.Series, dimension: Dimension) -> np.ndarray:
    """Heights in 0 .. 1: in proportion on a continuous axis, evenly apart on any other. Returns (trials,)."""
    first, last = dimension.values[0], dimension.values[-1]
    if dimension.continuous:
        return (values.to_numpy(float) - first) / (last - first)
    steps = max(1, len(dimension.values) - 1)
    return np.array([dimension.values.index(value) / steps for value in values])


def _axis(ax: Axes, place: int, dimension: Dimension) -> None:
    """The values to the left of one vertical axis; of a continuous one its bounds."""
    shown = (
        (dimension.values[0], dimension.values[-1]) if dimension.continuous else dimension.values
    )
    for value, height in zip(shown, _places(pd.Series(shown), dimension), strict=True):
        ax.annotate(
            f"{value:g}",
            (place, height),
            (-5, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=8,
            bbox={"fc": "white", "ec": "none", "pad": 0.6, "alpha": 0.85},
            zorder=5,
        )


def _named(name: str) -> str:
    return _SIGNS.get(name, name.removeprefix("student.").replace("_", " "))


def importance(
    frame: pd.DataFrame, dimensions: tuple[Dimension, ...], ax: Axes | None = None
) -> Axes:
    """Each setting's share in reaching the best quarter of the complete trials (PED-ANOVA); says so if it cannot."""
    ax = new(WIDE / 2, 0.9 + 0.24 * len(dimensions)) if ax is None else ax
    found = shares(frame, dimensions)
    count = int((frame["state"] == "complete").sum())
    if not found:
        ax.text(
            0.5,
            0.5,
            f"{count} complete trials\nare too few, or too alike",
            ha="center",
            va="center",
            transform=ax.transAxes,
            color=GREY,
        )
        ax.set_axis_off()
        return ax
    places = -np.arange(len(found))
    ax.barh(places, [100 * share for share in found.values()], height=0.6, color=OURS)
    ax.set_yticks(places, [_named(name) for name in found])
    ax.xaxis.set_major_formatter(PercentFormatter(decimals=0))
    ax.set(
        xlabel=f"share in being among the best quarter\nof {count} complete trials", xlim=(0, None)
    )
    ax.grid(axis="x")
    return ax


def budget(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """What n trials buy: the expected best of n drawn from these (Dodge et al. 2019), and the best so far as they came.

    A pruned trial counts with the best score that it had reached; a failed one is left out.
    """
    ax = new(WIDE / 2 + 0.4, 2.5) if ax is None else ax
    rows = frame[frame["state"] != "failed"]
    scores, done = rows["inner_score"].to_numpy(float), rows["state"].to_numpy() == "complete"
    numbers = np.arange(1, len(scores) + 1)
    ax.plot(numbers[done], scores[done], "o", color=GREY, ms=2.6, label="a trial")
    if not done.all():
        ax.plot(
            numbers[~done],
            scores[~done],
            "o",
            mfc="white",
            mec=GREY,
            ms=2.6,
            mew=0.7,
            label="a pruned trial",
        )
    ax.step(
        numbers,
        np.maximum.accumulate(scores),
        where="post",
        color=THEIRS,
        lw=1.2,
        label="best so far",
    )
    ax.plot(
        numbers,
        stats.expected_best(scores),
        color=OURS,
        lw=1.8,
        label="expected best of n, in any order",
    )
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.set(xlabel=f"trials ({frame['sampler'].iloc[0]})", ylabel="inner score (%)")
    ax.grid(axis="y")
    figure_of(ax).legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return ax
