"""What students cost: columns and units, costs as text, and scores over costs and over depth."""

import re
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from repro.config.tables import TABLES
from repro.report.figures import GREY, WIDE, figure_of, new
from repro.report.text import pair_view, task_names


class Cost(NamedTuple):
    """A column of `runs.costs`, and how it is shown.

    Attributes:
        column: Its name.
        heading: Its heading in a table, with the unit.
        unit: What its values are divided by.
        format: Of a value in that unit.
        axis: Label of an axis; "" for a cost that is not drawn.
        ratio: Heading of the ratio of two methods' costs; "" for a cost without one.
    """

    column: str
    heading: str
    unit: float
    format: str
    axis: str = ""
    ratio: str = ""


COSTS = (
    Cost(
        "parameters",
        "parameters (M)",
        1e6,
        "{:.3f}",
        "stored parameters (million)",
        "parameters",
    ),
    Cost("trained", "trained (M)", 1e6, "{:.3f}", "trained parameters (million)"),
    Cost("megabytes", "file (MB)", 1, "{:.2f}"),
    Cost("effective_layers", "layers run", 1, "{:.0f}"),
    Cost(
        "training_flops",
        "training (10¹² operations)",
        1e12,
        "{:.2f}",
        "training (10$^{12}$ operations)",
        "training",
    ),
    Cost("training_seconds", "training (s)", 1, "{:.1f}"),
    Cost("latency_ms", "latency (ms)", 1, "{:.2f}", "latency of one answer (ms)", "latency"),
    Cost("throughput", "answers per second", 1, "{:,.0f}"),
)
_DRAWN = tuple(cost for cost in COSTS if cost.axis)
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


def view(costs: pd.DataFrame) -> pd.DataFrame:
    """Show what each row costs, averaged over tasks, in readable units.

    Args:
        costs: As `runs.costs.measure` returns them.
    """
    mean = costs.groupby("method", sort=False).mean(numeric_only=True)
    return pd.DataFrame(
        {cost.heading: (mean[cost.column] / cost.unit).map(cost.format.format) for cost in COSTS}
    )


def beside_differences(pairs: pd.DataFrame, costs: pd.DataFrame) -> pd.DataFrame:
    """Show what each difference costs: one row per pair, the difference, then ratios of costs.

    Args:
        pairs: Comparisons as `comparisons.of` returns them.
        costs: As `runs.costs.measure` returns them.

    Returns:
        The column of the average from `text.pair_view`, and for each cost the first method's
        divided by the second's, e.g. "×0.50"; "" where the second has none.
    """
    differences = pair_view(pairs)
    last = differences.columns[-1]
    shown = differences[[last]].rename(columns={last: "difference"})
    mean = costs.groupby("method").mean(numeric_only=True)
    methods = pairs[["method", "against"]].drop_duplicates()
    for cost in (cost for cost in COSTS if cost.ratio):
        of_method, of_other = (
            mean[cost.column].reindex(methods[side]).to_numpy() for side in ("method", "against")
        )
        ratios = of_method / np.where(of_other == 0, np.nan, of_other)
        shown[cost.ratio] = ["" if np.isnan(ratio) else f"×{ratio:.2f}" for ratio in ratios]
    return shown


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
    mean = costs.groupby("method", sort=False)[[cost.column for cost in _DRAWN]].mean()
    is_teacher = average.index.isin(TEACHERS)
    students = average[~is_teacher & average.index.isin(mean.index)]
    teacher_scores = average.loc[is_teacher, "mean"]
    families = list(dict.fromkeys(map(family, students.index)))
    for ax, cost in zip(panels, _DRAWN, strict=True):
        _draw_students(ax, students, mean.loc[students.index, cost.column] / cost.unit, families)
        for score in teacher_scores:
            ax.axhline(score, **_TEACHER_LINE)
        ax.set_xlabel(cost.axis)
        ax.margins(x=0.08)
        ax.grid(axis="both")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    for ax in panels[::2]:
        ax.set_ylabel("mean score over tasks (%)")
    has_teacher = len(teacher_scores) > 0
    handles = [plt.Line2D([], [], **_mark(place, 4.5)) for place in range(len(families))]
    handles += [plt.Line2D([], [], **_TEACHER_LINE)] * has_teacher
    figure_of(panels).legend(
        handles,
        [*families, *["teacher"] * has_teacher],
        loc="outside lower center",
        ncols=5,
        title="numbers: stored layers",
    )
    return panels


def _draw_students(ax: Axes, students: pd.DataFrame, costs: pd.Series, families: list[str]) -> None:
    """Draw one point per student, with its interval and number of stored layers."""
    side_by_side = costs.name in ("parameters", "trained")  # equal for many students
    for name, row, cost in zip(students.index, students.to_dict("records"), costs, strict=True):
        place = families.index(family(name))
        cost += side_by_side * 0.012 * costs.max() * _shift(place, families)
        error = np.abs([[row["mean"] - row["ci_low"]], [row["ci_high"] - row["mean"]]])
        ax.errorbar(cost, row["mean"], yerr=error, elinewidth=0.9, **_mark(place, 4.5))
        ax.annotate(
            f"{row['layers']:.0f}", (cost, row["mean"]), (3, 2),
            textcoords="offset points", fontsize=6.5, color=GREY,
        )  # fmt: skip


def _shift(place: int, families: list[str]) -> float:
    """Distance of a method's marks from the middle, so that intervals do not cover each other."""
    return place - (len(families) - 1) / 2


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
    columns = min(len(names), 2)
    if axes is None:
        rows = -(-len(names) // 2)
        axes = new(WIDE, 0.7 + 2.3 * rows, rows, columns, sharex=True, sharey=True, squeeze=False)
    panels = np.ravel(np.asarray(axes, dtype=object))
    is_teacher = frame["method"].isin(TEACHERS)
    students = frame[~is_teacher]
    families = list(dict.fromkeys(map(family, students["method"])))
    for place, (ax, name) in enumerate(zip(panels, names, strict=False)):
        _draw_depths(ax, students[students["task"] == name], families)
        for score in frame.loc[is_teacher & (frame["task"] == name), "mean"]:
            ax.axhline(score, label="teacher", **_TEACHER_LINE)
        ax.set_xticks(sorted({int(layers) for layers in students["layers"]}))
        ax.set_title("average" if name == "Avg" else name)
        ax.grid(axis="y")
        if place + columns >= len(names):  # nothing below it
            ax.set_xlabel("stored layers")
            ax.tick_params(labelbottom=True)
    for ax in panels[::columns]:
        ax.set_ylabel("score (%)")
    _add_legend(panels, families, spare=panels[len(names) :])
    return panels


def _draw_depths(ax: Axes, students: pd.DataFrame, families: list[str]) -> None:
    """Draw one line per method over its numbers of layers, with intervals."""
    for place, name in enumerate(families):
        rows = students[students["method"].map(family) == name]
        mean, low, high = rows[["mean", "ci_low", "ci_high"]].astype(float).to_numpy().T
        depths = rows["layers"].astype(float) + 0.09 * _shift(place, families)
        style = _mark(place, 3.8) | {"ls": "-", "lw": 0.8, "elinewidth": 0.8}
        ax.errorbar(depths, mean, yerr=np.abs([mean - low, high - mean]), label=name, **style)


def _add_legend(panels: np.ndarray, families: list[str], spare: np.ndarray) -> None:
    """Add the legend in a spare panel, or below the panels if there is none."""
    handles, labels = panels[0].get_legend_handles_labels()
    by_label = dict(zip(reversed(labels), reversed(handles), strict=True))  # the first of each
    names = list(dict.fromkeys([*families, *labels]))
    handles = [by_label[name] for name in names]
    for ax in spare:
        ax.set_axis_off()
    if len(spare):
        spare[0].legend(handles, names, loc="center", ncols=2)
    else:
        figure_of(panels).legend(handles, names, loc="outside lower center", ncols=4)
