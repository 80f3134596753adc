"""The figure of docs/calibration.md: what depth was worth in designs 2 to 4.

Usage: python benchmarks/calibration_figure.py. Reads calibration.csv and gates_scores.csv in
results/ below this folder and writes docs/calibration.png.
"""

from pathlib import Path

import pandas as pd

from repro.report import figures

RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parent.parent / "docs"
TASKS = ("RTE", "SST-2", "QNLI")
COLOURS = {"2": "#E69F00", "3": "#0072B2", "4": "#000000"}  # after Okabe and Ito
TEACHER = 12  # layers


def scores() -> pd.DataFrame:
    """Mean accuracy by design, task, arm and layers; the teacher is of every arm."""
    tried = pd.read_csv(RESULTS / "calibration.csv", dtype={"design": str})
    tried = tried[tried["design"].isin(COLOURS)].rename(columns={"dev": "accuracy"})
    tried = tried[(tried["design"] != "2") | (tried["rate"] == 5e-4)]  # without trials of others
    final = pd.read_csv(RESULTS / "gates_scores.csv").assign(design="4")
    final["arm"] = final["row"].replace(
        {r"BERT(\d)-FineTuned": r"fine-tuned \1", r"BERT(\d)-KD": r"KD \1", "BERT-base": "teacher"},
        regex=True,
    )
    frame = pd.concat([tried, final])
    students = frame["arm"].str.fullmatch(r"(fine-tuned|KD) \d")
    frame = frame[frame["arm"].isin(["teacher", "teacher at 0.0002"]) | students]
    teacher = frame["arm"].str.startswith("teacher")
    frame["layers"] = frame["arm"].str.extract(r"(\d)$", expand=False).where(~teacher, TEACHER)
    frame["arm"] = frame["arm"].str.replace(r" \d$", "", regex=True).where(~teacher, "teacher")
    frame["task"] = frame["task"].str.partition("-")[2]
    keys = ["design", "task", "arm", "layers"]
    return frame.astype({"layers": int}).groupby(keys, as_index=False)["accuracy"].mean()


def main() -> None:
    """Draw one panel per task."""
    frame, depths = scores(), [1, 2, 3, 6, TEACHER]
    axes = figures.new(figures.WIDE, 2.8, 1, len(TASKS), sharey=True)
    handles = {}
    for ax, task in zip(axes, TASKS, strict=True):
        for design, colour in COLOURS.items():
            for arm, line in (("fine-tuned", ":"), ("KD", "-")):
                part = frame[(frame["design"] == design) & (frame["task"] == task)]
                part = part[part["arm"].isin([arm, "teacher"])].sort_values("layers")
                if len(part) > 1:
                    places = part["layers"].map(depths.index)
                    (handles[f"design {design}, {arm}"],) = ax.plot(
                        places, part["accuracy"], f"o{line}", color=colour, ms=3.5, lw=1.2
                    )
        ax.set_title(task)
        ax.set_xticks(range(len(depths)), [*map(str, depths[:-1]), "teacher"])
        ax.set_xlabel("stored layers")
        ax.grid(axis="y")
    axes[0].set_ylabel("dev accuracy (%)")
    names = sorted(handles)
    figure = figures.figure_of(axes)
    figure.legend([handles[name] for name in names], names, loc="outside lower center", ncols=3)
    figures.save(axes, DOCS, "calibration")
    (DOCS / "calibration.pdf").unlink()


if __name__ == "__main__":
    main()
