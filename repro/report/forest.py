"""Forest plots: one line per flipped decision or per claim, a dot with its 95 % interval. No torch here."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from repro.report.figures import GREY, OURS, THEIRS, WIDE, figure_of, new

_LOOKS: dict[str, dict[str, Any]] = {
    "reproduced": {"color": "#00795B", "marker": "o"},
    "not reproduced": {"color": "#A63C00", "marker": "X"},
    "inconclusive": {"color": GREY, "marker": "s"},
}


def decisions(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """The headline difference under each decision flipped: mean over tasks with its 95 % interval; dashed: no flip.

    frame: decisions.csv. Dark: the flip changes the difference beyond the same resamples' 95 % interval.
    """
    rows = frame[
        (frame["task"] == "Avg") & ((frame["acts"] == "yes") | (frame["option"] == "none"))
    ]
    ax = new(WIDE, 0.8 + 0.19 * len(rows)) if ax is None else ax
    for place, row in enumerate(rows.to_dict("records")):
        known = row["option"] == "none" or row["change_low"] > 0 or row["change_high"] < 0
        ax.plot(
            [row["ci_low"], row["ci_high"]], [-place] * 2, color=OURS if known else GREY, lw=1.3
        )
        ax.plot(row["difference"], -place, "o", color=OURS if known else GREY, ms=4)
    names = (
        rows["decision"] + " " + rows["option"].str.replace("_", " ") + ": " + rows["value"]
    ).tolist()
    ax.set_yticks(-np.arange(len(rows)), [f"as {rows['recipe'].iloc[0]}", *names[1:]])
    ax.axvline(rows["difference"].iloc[0], color=OURS, ls=(0, (4, 3)), lw=0.8, zorder=0)
    ax.axvline(0, color="black", lw=0.6, zorder=0)
    ax.set(
        xlabel="PeaBERT3 minus BERT3-PatientKD, mean over tasks (points)",
        ylim=(0.7 - len(rows), 0.7),
    )
    ax.grid(axis="x")
    return ax


def claims(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """The claims about differences: ours with its 95 % interval, coloured and marked by verdict; diamonds: the paper's.

    frame: claims.csv. Claims without an interval in points (scores, counts, what is not testable here) are left out.
    """
    rows = frame[(frame["unit"] == "points") & frame["ci_low"].notna()]
    ax = new(WIDE, 1.0 + 0.19 * len(rows)) if ax is None else ax
    for place, row in enumerate(rows.to_dict("records")):
        look = _LOOKS[row["verdict"]]
        ax.plot([row["ci_low"], row["ci_high"]], [-place] * 2, color=look["color"], lw=1.3)
        ax.plot(row["ours"], -place, ls="", ms=4.5, **look)
        ax.plot(row["printed"], -place, "D", mfc="white", mec=THEIRS, ms=4, mew=1.0, zorder=1)
    ax.set_yticks(
        -np.arange(len(rows)), [f"{row.statement} ({row.section})" for row in rows.itertuples()]
    )
    ax.axvline(0, color="black", lw=0.6, zorder=0)
    ax.set(xlabel="difference (points)", ylim=(0.7 - len(rows), 0.7))
    ax.grid(axis="x")
    marks = [
        *(
            ax.plot([], [], ls="-", ms=4.5, lw=1.3, label=name, **look)[0]
            for name, look in _LOOKS.items()
        ),
        ax.plot([], [], "D", mfc="white", mec=THEIRS, ms=4, mew=1.0, label="the paper's")[0],
    ]
    figure_of(ax).legend(handles=marks, loc="outside lower center", ncols=4)
    return ax
