"""What notebooks show of finished cells, and the widgets of notebooks/explore.ipynb."""

import re

import numpy as np
import pytest
import torch
from scipy.special import softmax
from tiny_cells import BUDGET, tiny

from repro.errors import InputError
from repro.models.layers import effective_layers
from repro.report import notebook, widgets
from repro.runs import explore
from repro.runs.engine import run_cells

pytest.importorskip("ipywidgets", reason="ipywidgets is not installed; run: make lab")
TEXTS = ("the red door is open", "a door is red")


@pytest.fixture(scope="module")
def cell(tmp_path_factory):
    """A finished cell; its folders stay in use for this module."""
    patch = pytest.MonkeyPatch()
    for name in ("CACHE", "RESULTS", "FIGURES"):
        patch.setenv(f"REPRO_{name}", str(tmp_path_factory.mktemp(name)))
    made = explore.student_cell("demo", "RTE", 0, BUDGET)
    run_cells([made], "serial")
    yield made
    patch.undo()


@pytest.fixture(scope="module")
def found(cell):
    return explore.teacher_predictions(cell)


@pytest.fixture(scope="module")
def models(cell):
    return explore.Models(cell)


def shown(box) -> str:
    return box.children[-1].value


def control(box, name):
    return next(child for child in box.children if getattr(child, "description", "") == name)


def move(box, name, value) -> str:
    """Set a control."""
    control(box, name).value = value
    return shown(box)


def test_one_task_is_needed():
    with pytest.raises(InputError, match="task must be one task, got ''"):
        explore.student_cell("demo", "", 0, {})


def test_curves_hold_every_term_of_the_loss(cell):
    frame = explore.curves([cell])
    assert set(frame["name"]) == {"ce", "kl", "patience", "learning_rate", "score"}
    assert (frame["method"] == "SPS-2").all() and np.isfinite(frame["value"]).all()
    axes = notebook.curves(frame)
    titles = [ax.get_title() for ax in axes.flat]
    assert titles == ["cross-entropy", "KL", "patience", "dev score"]
    line = axes[0, 0].lines[0]
    expected = frame[frame["name"] == "ce"]
    assert line.get_xdata().tolist() == expected["step"].tolist()
    assert line.get_ydata().tolist() == expected["value"].tolist()


def test_a_teacher_that_is_chosen_by_its_loss_shows_its_loss(cell):
    (teacher,) = tiny("table1")  # the one of the student
    frame = explore.curves([teacher])
    assert set(frame["name"]) == {"ce", "learning_rate", "dev_loss"}
    assert (frame.loc[frame["name"] == "dev_loss", "value"] > 0).all()
    assert [ax.get_title() for ax in notebook.curves(frame).flat] == ["cross-entropy", "dev loss"]


def test_no_evaluation_is_said(cell):
    assert "evaluated" in notebook.curves(explore.curves([cell]).iloc[:0]).data


def test_examples_have_soft_labels_and_ptp_labels(found):
    page = notebook.examples(found).data
    assert "soft label (T = 10)" in page
    assert notebook.soft_label(np.array([0.0, 0.0]), ("no", "yes"), 2.0) == "no 0.50, yes 0.50"
    soft = notebook.soft_label(np.array([0.0, 10.0]), ("no", "yes"), 10.0)
    assert soft == f"no {1 / (1 + np.e):.2f}, yes {np.e / (1 + np.e):.2f}"


def test_thresholds_move_labels_from_confident_to_unconfident(found):
    box = widgets.thresholds(found)
    counts = []
    for value in (0.51, 0.99):
        page = move(box, "correct", value)
        counts.append([int(n.replace(",", "")) for n in re.findall(r">([\d,]+) \(", page)])
    correct = (found.logits.argmax(axis=1) == found.gold).sum()
    assert sum(counts[0]) == sum(counts[1]) == len(found.gold)
    assert counts[0][0] + counts[0][1] == counts[1][0] + counts[1][1] == correct
    assert counts[1][0] < counts[0][0]


def test_attention_is_that_of_the_student_and_the_twin_swaps_query_and_key(models):
    tokens, weights = models.attention(TEXTS)
    assert weights.shape[0] == 6 and weights.shape[2:] == (len(tokens), len(tokens))
    assert np.allclose(weights.sum(axis=-1), 1, atol=1e-5)
    layers = models.student.encoder.encoder.layer
    first, twin = layers[0].attention.self, layers[3].attention.self
    assert twin.query.weight is first.key.weight and twin.key.weight is first.query.weight
    # the weights of the first layer, by hand
    inputs = models._encode(TEXTS).batch([0])
    with torch.no_grad():
        states = models.student.encoder.embeddings(inputs["input_ids"], inputs["token_type_ids"])
        query, key = first.query(states)[0], first.key(states)[0]
    size = first.attention_head_size
    expected = torch.softmax(query[:, :size] @ key[:, :size].T / size**0.5, dim=-1)
    assert torch.allclose(torch.from_numpy(weights[0, 0]), expected, atol=1e-5)


def test_the_attention_widget_follows_what_is_typed(models):
    box = widgets.attention(models)
    page = move(box, "sentence1", "the red door is open")
    assert "effective layer 1: stored layer 1, plain" in page
    assert "effective layer 4: stored layer 1, Query and Key swapped" in page
    assert "stored layer 3, Query and Key swapped" in move(box, "stored layer", 2)
    assert move(box, "head", "2") != move(box, "head", "mean")
    assert "needs 2 texts" in move(box, "sentence1", " ")


def test_the_temperature_widget_shows_both_models(models):
    box = widgets.temperature(models)
    for name, text in zip(models.task.columns, TEXTS, strict=True):
        page = move(box, name, text)
    teacher, student = models.logits(TEXTS)
    expected = [softmax(np.asarray(logits, float) / 10.0)[0] for logits in (teacher, student)]
    assert f"teacher {expected[0]:.3f}" in page and f"student {expected[1]:.3f}" in page
    assert move(box, "T", 100.0).count(" 0.50") >= 2


def test_typed_texts_cannot_inject_html(models):
    box = widgets.attention(models)
    assert "<script>" not in move(box, "sentence1", "<script>alert(1)</script>")


@pytest.mark.parametrize("layers", [1, 3, 6, 12])
def test_the_wiring_is_that_of_the_network(layers):
    box = widgets.wiring()
    page = move(box, "layers", layers)
    rows = re.findall(r"W<sub>(Q|K)</sub> of layer (\d+)</td><td[^>]*>W<sub>", page)
    uses = [
        ("K" if use.swapped else "Q", str(use.layer + 1))
        for use in reversed(effective_layers(layers, "shuffled"))
    ]
    assert rows == uses


def test_code_is_shown_without_its_docstring():
    listing = notebook.code(notebook.soft_label).data
    assert "shares = softmax(" in listing and "softened distribution" not in listing
    assert "repro.report.notebook.soft_label" in listing
