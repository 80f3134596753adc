"""A run's table beside the paper's and the published numbers, with one line on their agreement."""

import pandas as pd

from repro import paths
from repro.analysis import published, tables
from repro.config.cells import Cell
from repro.report import text

_HEAD = "Ours / the paper's / the published run's ({seeds}), in percent:"


def beside_published(cells: list[Cell], name: str, variant: str, published_variant: str) -> str:
    """Format a finished table beside the paper's numbers and the published ones.

    Args:
        cells: The plan of the run.
        name: "table1" to "table5".
        variant: Of the run's CSV; see `tables.table_path`.
        published_variant: Of the published CSV, which has no names of fewer seeds or tasks.
    """
    profile = cells[0].profile
    theirs = published.read_table(name, profile, published_variant)
    agreement = published.compare(cells, name, published_variant)
    if theirs is None or agreement is None:
        what = f"{name}{published_variant and f' ({published_variant})'} of profile {profile}"
        folder = paths.shown(paths.published_results())
        return f"Nothing to compare with: {what} with these settings is not published in {folder}."
    ours = tables.read_table(name, profile, variant)
    count = int(theirs["seeds"].max())
    head = _HEAD.format(seeds=f"{count} seed{'' if count == 1 else 's'}")
    return f"{head}\n\n{side_by_side(ours, theirs).to_string()}\n\nThis run {agreement.sentence()}."


def side_by_side(ours: pd.DataFrame, theirs: pd.DataFrame) -> pd.DataFrame:
    """Strings "ours / paper / published"; "-" for a number that does not exist.

    The average is left out unless both are over the same tasks.

    Args:
        ours: A table as `tables.read_table` returns it.
        theirs: The published table.

    Returns:
        One row per method (in Table 1, per PTP label), one column per task.
    """
    frames = [
        frame[frame["gold"] == "all"] if "gold" in frame else frame for frame in (ours, theirs)
    ]
    wide = pd.DataFrame(index=pd.Index(dict.fromkeys(frames[0]["method"]), name="method"))
    for name in text.task_names(ours):
        own, other = (
            frame[frame["task"] == name].set_index("method").reindex(wide.index) for frame in frames
        )
        if name == "Avg" and text.task_names(ours) != text.task_names(theirs):
            continue
        wide[name] = [
            " / ".join("-" if pd.isna(value) else f"{value:.1f}" for value in values)
            for values in zip(own["mean"], own["paper"], other["mean"], strict=True)
        ]
    return wide
