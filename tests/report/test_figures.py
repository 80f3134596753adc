"""Figures show what the layer lists and the tables contain; saving is deterministic."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import PIL.Image
import pytest
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch
from synthetic import finish, finished

from repro.analysis import decisions, tables
from repro.config.tasks import task
from repro.data.ptp_labels import LABELS
from repro.models.layers import effective_layers, layer_map
from repro.report import diagrams, figures, notebook, study_figures

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_RESULTS", str(tmp_path))
    yield tmp_path
    plt.close("all")


def frame_of(name, tasks="RTE,SST-2", seeds=2):
    cells = finished(name, tasks, seeds, rows=40)
    return tables.table1(cells) if name == "table1" else tables.aggregate(cells)


def texts(ax):
    return [text.get_text() for text in ax.texts]


def arrows(ax):
    return [patch for patch in ax.patches if isinstance(patch, FancyArrowPatch)]


@pytest.mark.parametrize("order", ["top_appended", "top_interleaved", "all_appended"])
def test_figure_1_shows_the_layer_list(order):
    axes = diagrams.figure1(order)
    for ax, (layers, sharing) in zip(
        axes, [(3, "paired"), (3, "shuffled"), (6, "shuffled")], strict=True
    ):
        uses = effective_layers(layers, sharing, order)
        queries = [f"$W^{'K' if use.swapped else 'Q'}_{use.layer + 1}$" for use in uses]
        drawn = [
            text
            for text in ax.texts
            if text.get_text().startswith("$W") and text.get_position()[0] == 0.5
        ]
        assert [
            text.get_text() for text in sorted(drawn, key=lambda text: text.get_position()[1])
        ] == queries
        assert len(arrows(ax)) == len(uses) - layers  # one arc per shared layer
        low, high = ax.get_ylim()
        assert all(low < text.get_position()[1] < high for text in drawn)


@pytest.mark.parametrize(
    ("depth", "rule"), [(12, "authors"), (6, "authors"), (12, "uniform"), (12, "none")]
)
def test_figure_2_shows_the_matched_layers(depth, rule):
    ax = diagrams.figure2(3, depth, rule)
    matched = [
        arrow
        for arrow in arrows(ax)
        if arrow.get_edgecolor() == matplotlib.colors.to_rgba("#009E73")
    ]
    assert len(matched) == len(layer_map(3, "shuffled", depth, rule))
    assert set(LABELS) < set(texts(ax))
    assert f"layer {depth}" in texts(ax)
    assert all(any(term in text for text in texts(ax)) for term in ("L_{CE}", "L_{KL}"))


@pytest.mark.parametrize(
    ("name", "shape"),
    [("table1", (2,)), ("table2", (2, 3)), ("table3", (2, 3)), ("table4", (2, 3))],
)
def test_one_column_of_panels_per_task_and_average(name, shape):
    axes = figures.of_table(frame_of(name))
    assert axes.shape == shape
    assert all(isinstance(ax, Axes) for ax in axes.flat)


def test_scores_of_mini_tasks_and_of_glue_do_not_share_an_axis():
    frame = frame_of("table4")
    ours, paper = figures.comparison(frame)
    part = frame[frame["task"] == "mini-RTE"]
    assert ours[0].lines[0].get_xdata().tolist() == part["mean"].tolist()
    assert paper[0].lines[0].get_xdata().tolist() == part["paper"].tolist()
    assert len(ours[0].containers) == 1 and not paper[0].containers
    assert [ax.get_title() for ax in paper] == ["RTE", "SST-2", "Avg of 2"]
    for row in (ours, paper):
        assert len({ax.get_xlim() for ax in row}) == 1


def test_scores_of_glue_share_an_axis_with_the_paper_s():
    frame = frame_of("table4", "RTE").assign(profile="paper")
    given = plt.subplots(1, 1, squeeze=False)[1]
    axes = figures.comparison(frame, given)
    assert axes.tolist() == given.tolist()
    ours, theirs = (line.get_xdata() for line in axes[0, 0].lines)
    part = frame[frame["task"] == "mini-RTE"]
    assert sorted([*ours, *theirs]) == sorted([*part["mean"], *part["paper"]])


def test_a_row_lists_the_methods_with_a_score_in_it():
    ours, paper = figures.comparison(frame_of("table3", "RTE"))[:, 0]
    assert [label.get_text() for label in ours.get_yticklabels()] == ["PeaBERT"]
    assert [label.get_text() for label in paper.get_yticklabels()] == [
        "DistilBERT†",
        "TinyBERT†",
        "PeaBERT",
    ]


def legend_of(axes):
    return [text.get_text() for text in figures.figure_of(axes).legends[0].get_texts()]


def test_legends_name_only_the_marks_that_are_drawn():
    frame = decisions.decision_effects(finish(decisions.plan("demo", "RTE", 1), rows=20))
    one_seed = study_figures.decisions(frame)
    assert legend_of(one_seed) == ["no significant change", "cannot act here", "unchanged recipe"]
    changed = frame.assign(verdict="better", acts="yes")
    assert legend_of(study_figures.decisions(changed)) == [
        "significant change (Holm)",
        "unchanged recipe",
    ]
    frame = frame_of("table4", "RTE")
    assert len(legend_of(figures.comparison(frame))) == 2
    assert len(legend_of(figures.comparison(frame.assign(paper=np.nan)))) == 1


def test_the_ledger_shows_the_verdicts_and_the_paper_s_differences():
    claim = {"unit": "points", "statement": "gain", "section": "4.2", "printed": 3.3}
    claim |= {"ours": 2.0, "ci_low": 1.0, "ci_high": 3.0, "direction": "reproduced"}
    demo = study_figures.claims(pd.DataFrame([claim | {"profile": "demo"}]))
    assert legend_of(demo) == ["reproduced"]
    assert texts(demo) == ["+3.3"]  # not on the axis of the miniature tasks
    glue = study_figures.claims(pd.DataFrame([claim | {"profile": "paper"}]))
    assert legend_of(glue) == ["reproduced", "paper"]
    assert not texts(glue)


def test_a_saved_figure_has_alternative_text(folder):
    axes = figures.comparison(frame_of("table4", "RTE"))
    _, png = figures.save(axes, folder, "table4")
    with PIL.Image.open(png) as picture:
        alt = picture.info["Description"]
    assert "Panels: mini-RTE (acc); RTE." in alt
    assert "score on miniature tasks (%)" in alt
    assert "ours (profile demo, dev)" in alt
    shown = notebook.figure(figures.comparison(frame_of("table4", "RTE")))
    assert shown._repr_mimebundle_()[1]["image/png"]["alt"] == alt
    assert "teacher" in figures.describe(diagrams.figure2())


def test_label_counts_are_shown_as_text():
    frame = frame_of("table1", "RTE")
    (ax,) = figures.label_shares(frame)
    counts = frame[(frame["task"] == "mini-RTE") & (frame["gold"] != "all")]["count"]
    written = [text for text in texts(ax) if text.replace(",", "").isdigit()]
    assert sorted(written) == sorted(f"{count:,.0f}" for count in counts)
    widths = sum(bar.get_width() for bar in ax.patches)
    assert widths == pytest.approx(200, abs=0.01)  # two classes of 100 %


def test_thresholds_in_use_are_marked():
    sweep = tables.threshold_sweep(finished("table1", "RTE,MRPC", 1, rows=30))
    axes = figures.thresholds(sweep)
    assert axes.shape == (2, 2)
    t1, t2 = task("mini-MRPC").thresholds
    assert [ax.lines[-1].get_xdata()[0] for ax in axes[:, 1]] == [t1, t2]
    one = figures.thresholds(sweep, "one")  # decision D1 of the textbook recipe
    assert [ax.lines[-1].get_xdata()[0] for ax in one[:, 1]] == [t1, t1]
    assert len(figures.thresholds(sweep, "median")[0, 1].lines) == len(axes[0, 1].lines) - 1


def test_threshold_lines_stay_within_their_panels():
    sweep = tables.threshold_sweep(finished("table1", "RTE,MRPC,SST-2,QNLI", 1, rows=60))
    for ax in np.ravel(figures.thresholds(sweep)):
        assert max(line.get_ydata().max() for line in ax.lines[:2]) <= ax.get_ylim()[1]
        assert ax.get_ylim()[0] == 0


def test_texts_do_not_overlap(folder):
    for axes in (diagrams.figure1(), diagrams.figure2(), figures.of_table(frame_of("table5", ""))):
        figure = figures.figure_of(axes)
        figure.canvas.draw()
        for ax in np.ravel(axes):
            boxes = [text.get_window_extent() for text in [*ax.texts, ax.title] if text.get_text()]
            assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k])


def test_saving_twice_gives_the_same_bytes(folder):
    first, second = (
        [
            path.read_bytes()
            for path in figures.save(diagrams.shared_stack(2, "paired"), folder / name, "stack")
        ]
        for name in ("a", "b")
    )
    assert first == second
    assert first[0].startswith(b"%PDF")
    assert first[1].startswith(b"\x89PNG")
    assert sorted(path.name for path in (folder / "a").iterdir()) == ["stack.pdf", "stack.png"]
    assert not plt.get_fignums()


def test_a_users_matplotlibrc_does_not_reach_the_figures():
    with plt.rc_context({"text.usetex": True, "axes.facecolor": "red"}):
        ax = figures.new(2, 2)
        assert ax.get_facecolor() == (1, 1, 1, 1)
        assert not ax.set_title("x").get_usetex()
