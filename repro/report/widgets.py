"""Widgets of notebooks/explore.ipynb. An update takes milliseconds, since nothing is trained.

Each function returns an ipywidgets box whose last child shows the result as HTML.
"""

import html
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import softmax

from repro.data import ptp_labels
from repro.errors import InputError
from repro.models.layers import LAYER_MAPS, SHARINGS, SPS6_ORDERS, Use, effective_layers, layer_map
from repro.report.figures import LABEL_COLOURS, OURS, PASTELS, THEIRS
from repro.report.notebook import soft_label

if TYPE_CHECKING:
    from ipywidgets import Widget

    from repro.runs.explore import Models, Predictions

_EXAMPLES = 3  # number of examples shown per PTP label
_CELL = "padding: 1px 8px; text-align: left"


def thresholds(predictions: "Predictions") -> "Widget":
    """Show the PTP labels of the training split, with examples, for two thresholds.

    Args:
        predictions: The output of `explore.teacher_predictions`.
    """
    import ipywidgets

    options: dict[str, Any] = {"min": 0.51, "max": 0.99, "step": 0.01, "readout_format": ".2f"}
    confidence = ptp_labels.confidence(predictions.logits)
    order = np.argsort(-confidence, kind="stable")

    def show(correct: float, wrong: float) -> str:
        labels = ptp_labels.labels(predictions.logits, predictions.gold, (correct, wrong))
        shares = np.bincount(labels, minlength=4) / len(labels)
        bar = "".join(
            f"<div style='width: {share:.1%}; background: {colour}; height: 1.6em'></div>"
            for share, colour in zip(shares, LABEL_COLOURS.values(), strict=True)
        )
        rows = [f"<div style='display: flex; width: 40em'>{bar}</div><table>"]
        for place, (name, colour) in enumerate(LABEL_COLOURS.items()):
            members = order[labels[order] == place]
            spread = np.linspace(0, len(members) - 1, min(_EXAMPLES, len(members))).astype(int)
            texts = "<br>".join(
                f"{confidence[row]:.2f} &nbsp; {html.escape(' / '.join(predictions.texts[row]))}"
                for row in members[spread]
            )
            rows.append(
                f"<tr><td style='border-left: 1em solid {colour}; {_CELL}'>{name}</td>"
                f"<td style='{_CELL}'>{len(members):,} ({shares[place]:.1%})</td>"
                f"<td style='{_CELL}'>{texts}</td></tr>"
            )
        return "".join([*rows, "</table>"])

    start = (round(cut, 2) for cut in predictions.cuts)
    sliders = {
        name: ipywidgets.FloatSlider(value, description=name, **options)
        for name, value in zip(("correct", "wrong"), start, strict=True)
    }
    return _box(show, sliders)


def temperature(models: "Models") -> "Widget":
    """Show the soft labels of teacher and student for a text that the reader types.

    Args:
        models: A trained teacher and a trained student.
    """
    import ipywidgets

    def show(T: float, **texts: str) -> str:
        teacher, student = models.logits(tuple(texts.values()))
        rows = []
        for place, name in enumerate(models.task.labels):
            rows.append(f"<tr><td style='{_CELL}'>{name}</td><td>")
            for owner, logits, colour in (("teacher", teacher, OURS), ("student", student, THEIRS)):
                share = softmax(np.asarray(logits, float) / T)[place]
                rows.append(
                    f"<div style='display: flex'><div style='width: {20 * share:.2f}em; "
                    f"background: {colour}; height: 1.2em'></div>&nbsp;{owner} {share:.3f}</div>"
                )
            rows.append("</td></tr>")
        target = soft_label(teacher, models.task.labels, T)
        return f"<table>{''.join(rows)}</table><p>Soft label that the student learns: {target}.</p>"

    slider = ipywidgets.FloatLogSlider(10.0, min=-0.5, max=2.0, step=0.05, description="T")
    return _box(show, {"T": slider, **_texts(models)})


def attention(models: "Models") -> "Widget":
    """Show the attention of a stored layer, plain and with swapped Query and Key, for a text.

    Args:
        models: A trained teacher and a trained student with SPS.

    Raises:
        InputError: If no layer of the student is used with Query and Key swapped.
    """
    import ipywidgets

    twins = {
        use.layer: (models.uses.index(Use(use.layer, False)), place)
        for place, use in enumerate(models.uses)
        if use.swapped
    }
    if not twins:
        raise InputError("no layer of this student is swapped; use a cell with SPS")
    heads = models.attention(models.texts)[1].shape[1]

    def show(layer: int, head: str, **texts: str) -> str:
        tokens, weights = models.attention(tuple(texts.values()))
        panels = []
        for place in twins[layer]:
            by_head = weights[place]
            shown = by_head.mean(axis=0) if head == "mean" else by_head[int(head) - 1]
            kind = "Query and Key swapped" if models.uses[place].swapped else "plain"
            title = f"effective layer {place + 1}: stored layer {layer + 1}, {kind}"
            panels.append(f"<div><b>{title}</b>{_heat(tokens, shown)}</div>")
        return f"<div style='display: flex; gap: 2em; flex-wrap: wrap'>{''.join(panels)}</div>"

    layers = [(str(layer + 1), layer) for layer in twins]
    chosen = {
        "layer": ipywidgets.ToggleButtons(options=layers, description="stored layer"),
        "head": ipywidgets.Dropdown(
            options=["mean", *map(str, range(1, heads + 1))], description="head"
        ),
    }
    return _box(show, {**chosen, **_texts(models)})


def wiring(teacher_layers: int = 12) -> "Widget":
    """Show which stored matrices each effective layer uses, for any number of layers.

    Args:
        teacher_layers: Number of layers of the teacher, for the matched layers.
    """
    import ipywidgets

    def show(n: int, sharing: str, order: str, match: str) -> str:
        uses = effective_layers(n, sharing, order)
        matched = dict(layer_map(n, sharing, teacher_layers, match, order))
        return (
            f"<p>{n} stored layers, {len(uses)} effective layers, a teacher of {teacher_layers}. "
            f"Framed: Query and Key swapped.</p>{_layer_table(uses, matched)}"
        )

    controls = {
        "n": ipywidgets.IntSlider(3, min=1, max=teacher_layers, description="layers"),
        "sharing": ipywidgets.ToggleButtons(
            options=SHARINGS, value="shuffled", description="sharing"
        ),
        "order": ipywidgets.Dropdown(options=SPS6_ORDERS, description="D6"),
        "match": ipywidgets.Dropdown(options=LAYER_MAPS, description="D5"),
    }
    return _box(show, controls)


def _layer_table(uses: list[Use], matched: dict[int, int]) -> str:
    """An HTML table of effective layers, top to bottom; `matched` gives the teacher's layers."""
    titles = ("effective layer", "Query", "Key", "feed-forward, Value, …", "matched with")
    head = "".join(f"<th style='{_CELL}'>{title}</th>" for title in titles)
    rows = [f"<table><tr>{head}</tr>"]
    for place, use in reversed(list(enumerate(uses, start=1))):
        colour = ", ".join(str(round(255 * part)) for part in PASTELS[use.layer % 10])
        query, key = ("K", "Q") if use.swapped else ("Q", "K")
        frame = "2px solid black" if use.swapped else "2px solid transparent"
        cells = (f"W<sub>{query}</sub>", f"W<sub>{key}</sub>", "all others")
        boxes = "".join(
            f"<td style='background: rgb({colour}); {_CELL}; border: {edge}'>{cell} of layer "
            f"{use.layer + 1}</td>"
            for cell, edge in zip(cells, (frame, frame, "none"), strict=True)
        )
        target = f"← teacher layer {matched[place]}" if place in matched else ""
        rows.append(f"<tr><td style='{_CELL}'>{place}</td>{boxes}<td>{target}</td></tr>")
    return "".join([*rows, "</table>"])


def _texts(models: "Models") -> dict[str, Any]:
    """Create a text box for each text of an example, filled with an example from dev."""
    import ipywidgets

    wide = ipywidgets.Layout(width="46em")
    return {
        name: ipywidgets.Text(value, description=name, layout=wide)
        for name, value in zip(models.task.columns, models.texts, strict=True)
    }


def _box(show: Callable[..., str], controls: dict[str, Any]) -> "Widget":
    """Place controls above the HTML that `show` returns for their values, or its InputError."""
    import ipywidgets

    output = ipywidgets.HTML()

    def update(_: object = None) -> None:
        try:
            output.value = show(**{name: control.value for name, control in controls.items()})
        except InputError as error:
            output.value = f"<i>{html.escape(str(error))}</i>"

    for control in controls.values():
        control.observe(update, "value")
    update()
    return ipywidgets.VBox([*controls.values(), output])


def _heat(tokens: list[str], weights: np.ndarray) -> str:
    """An HTML table of attention weights (tokens, tokens); larger ones are darker."""
    shown = [html.escape(token) for token in tokens]
    size = "width: 1.6em; height: 1.6em; padding: 0"
    upright = "writing-mode: vertical-rl; font-weight: normal; padding: 2px"
    head = "".join(f"<th style='{upright}'>{token}</th>" for token in shown)
    rows = [f"<table style='font-size: 80%; border-collapse: collapse'><tr><th></th>{head}</tr>"]
    for token, line in zip(shown, weights / max(weights.max(), 1e-9), strict=True):
        cells = "".join(
            f"<td style='background: rgba(0, 114, 178, {value:.2f}); {size}'></td>"
            for value in line
        )
        rows.append(f"<tr><td style='text-align: right; padding: 0 4px'>{token}</td>{cells}</tr>")
    return "".join([*rows, "</table>"])
