"""Figures 1 and 2 of the paper, drawn from `structure`: the lists that the network itself is built from."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from repro.data.ptp_labels import LABELS
from repro.models.layers import Use, effective_layers, layer_map
from repro.report import figures

_INK, _PATIENT = "#222222", "#009E73"
_FLOOR, _HEIGHT = 0, 49  # of the stacks in figure 2
_PANELS = (
    ("(a) Step 1: paired parameter sharing", 3, "paired"),
    ("(b) Step 2: shuffled Query and Key", 3, "shuffled"),
    ("(c) SPS of the six-layer student", 6, "shuffled"),
)


def figure1(sps6_order: str = "top_appended") -> np.ndarray:
    """Figure 1: (a) paired sharing, (b) with Query and Key shuffled, (c) six layers. Returns the three axes."""
    deepest = max(
        len(effective_layers(layers, sharing, sps6_order)) for _, layers, sharing in _PANELS
    )
    axes = figures.new(figures.WIDE, 0.6 + 0.37 * deepest, 1, 3, sharey=True)
    for ax, (title, layers, sharing) in zip(axes, _PANELS, strict=True):
        shared_stack(layers, sharing, sps6_order, ax)
        ax.set_title(title, y=-0.07)
    axes[0].set_ylim(-0.45, deepest + 0.05)  # of all three
    return axes


def shared_stack(
    layers: int, sharing: str, sps6_order: str = "top_appended", ax: Axes | None = None
) -> Axes:
    """One student, bottom to top: which stored matrices each effective layer uses as Query, Key and the rest.

    Layers of one colour share their parameters; arcs join them; framed: Query and Key exchanged.
    """
    ax = figures.new(2.3, 3.9) if ax is None else ax
    uses = effective_layers(layers, sharing, sps6_order)
    for place, use in enumerate(uses):
        _layer(ax, place, use, figures.PASTELS[use.layer % 10])
    for low, high in _repeats(uses):
        _arc(ax, low, high, figures.PASTELS[uses[low].layer % 10])
    for x, word in ((0.5, "Query"), (1.5, "Key"), (2.75, "all others")):
        ax.text(x, -0.12, word, ha="center", va="top", fontsize=8, color=figures.GREY)
    ax.set(xlim=(-0.55, 4.6), ylim=(-0.45, len(uses) + 0.05))
    ax.axis("off")
    return ax


def _layer(ax: Axes, place: int, use: Use, colour: Any) -> None:
    """One effective layer: three boxes that name the stored matrices in the roles of Query, Key and all others."""
    roles = ("K", "Q") if use.swapped else ("Q", "K")
    edge = _INK if use.swapped else "white"
    for x, width, text in (
        (0, 1, f"$W^{roles[0]}_{use.layer + 1}$"),
        (1, 1, f"$W^{roles[1]}_{use.layer + 1}$"),
        (2, 1.5, f"$W^V_{use.layer + 1}$, FFN$_{use.layer + 1}$"),
    ):
        line = edge if x < 2 else "white"
        _box(ax, x + 0.03, place + 0.1, width - 0.06, 0.8, text, colour, line, size=8)
    ax.text(
        -0.12, place + 0.5, str(place + 1), ha="right", va="center", fontsize=8, color=figures.GREY
    )


def _repeats(uses: list[Use]) -> list[tuple[int, int]]:
    """Places (0-based, lower and upper) of effective layers that run the same stored layer."""
    first: dict[int, int] = {}
    return [
        (first[use.layer], place)
        for place, use in enumerate(uses)
        if first.setdefault(use.layer, place) != place
    ]


def _arc(ax: Axes, low: int, high: int, colour: Any) -> None:
    dark = tuple(0.72 * part for part in colour)
    _arrow(ax, (3.55, low + 0.5), (3.55, high + 0.5), dark, connectionstyle="arc3,rad=0.32")


def _box(
    ax: Axes,
    x: float,
    y: float,
    width: float,
    height: float,
    text: str = "",
    fill: Any = "white",
    edge: Any = figures.GREY,
    size: float = 8.5,
    line: float = 1.0,
) -> None:
    """A rounded box with a centred text."""
    corners = "round,pad=0,rounding_size=0.08"
    ax.add_patch(FancyBboxPatch((x, y), width, height, corners, fc=fill, ec=edge, lw=line))
    ax.text(
        x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=size, color=_INK
    )


def figure2(
    layers: int = 3, teacher_layers: int = 12, rule: str = "authors", ax: Axes | None = None
) -> Axes:
    """Figure 2: the SPS student is pretrained with the teacher's predictions, then distilled (equations 4 and 5).

    Arrows between student and teacher are the pairs of structure.layer_map for that teacher's depth and rule (D5).
    """
    ax = figures.new(figures.WIDE, 4.0) if ax is None else ax
    uses = effective_layers(layers, "shuffled")
    pairs = layer_map(layers, "shuffled", teacher_layers, rule)
    _pretraining(ax, uses)
    _distillation(ax, uses, teacher_layers, pairs)
    _between(ax)
    ax.set(xlim=(0, 136), ylim=(-6, 82))
    ax.axis("off")
    return ax


def _pretraining(ax: Axes, uses: list[Use]) -> None:
    """Left: the PTP labels, and the student that learns to predict them."""
    _stack(ax, 2, uses)
    _box(ax, 2, 53, 24, 6, "PTP head (4 labels)")
    _box(ax, 36.5, 31.5, 26, 28.5)
    for k, label in enumerate(LABELS):
        _box(
            ax, 38, 53.2 - 6.8 * k, 23, 5.4, label, "white", figures.LABEL_COLOURS[label], line=1.6
        )
    ax.text(49.5, 30, "PTP labels: is the teacher\nright? is it confident?", ha="center", va="top")
    _arrow(ax, (36, 56), (26.6, 56), figures.OURS)
    ax.text(31.3, 57, "$L_{CE}$", ha="center", va="bottom", color=figures.OURS)
    ax.text(14, -2, "SPS student", ha="center", va="top")
    ax.text(31, 80, "1. Pretraining (PTP)", ha="center", va="center", weight="bold", fontsize=9.5)


def _distillation(
    ax: Axes, uses: list[Use], teacher_layers: int, pairs: list[tuple[int, int]]
) -> None:
    """Right: student and teacher side by side, with the three terms of the loss."""
    student = _stack(ax, 72, uses)
    teacher = _stack(ax, 110, [Use(k, False) for k in range(teacher_layers)], plain=True)
    for k, target in pairs:
        _arrow(ax, (109.4, teacher[target - 1]), (96.6, student[k - 1]), _PATIENT)
    for x, y, text in (
        (72, 53, "predictions"),
        (110, 53, "predictions"),
        (72, 65.5, "gold labels"),
    ):
        _box(ax, x, y, 24, 6, text)
    _arrow(ax, (109.4, 56), (96.6, 56), figures.THEIRS)
    _arrow(ax, (84, 65), (84, 59.6), figures.OURS)
    ax.text(103, 57, r"$\alpha\,L_{KL}$", ha="center", va="bottom", color=figures.THEIRS)
    ax.text(85, 62.3, r"$(1-\alpha)\,L_{CE}$", ha="left", va="center", color=figures.OURS)
    if pairs:
        top = max(teacher[pairs[-1][1] - 1], student[pairs[-1][0] - 1])
        ax.text(103, top + 0.6, r"$\beta\,L_{PT}$", ha="center", va="bottom", color=_PATIENT)
    ax.text(84, -2, "SPS student", ha="center", va="top")
    ax.text(122, -2, "fine-tuned teacher", ha="center", va="top")
    ax.text(103, 80, "2. Distillation (KD)", ha="center", va="center", weight="bold", fontsize=9.5)


def _between(ax: Axes) -> None:
    """The teacher's predictions become PTP labels; the pretrained student is where distillation starts."""
    ax.plot([122, 122, 49.5, 49.5], [59.4, 75, 75, 65], color=_INK, lw=1.2, solid_joinstyle="round")
    _arrow(ax, (49.5, 66), (49.5, 60.6), _INK)
    _arrow(ax, (26.6, 12), (71.4, 12), _INK)
    ax.text(49, 10.5, "initial state\n(PTP head dropped)", ha="center", va="top")


def _stack(ax: Axes, x: float, uses: list[Use], plain: bool = False) -> list[float]:
    """A network's layers as boxes of equal height, bottom to top. Returns the height of each one's middle."""
    step = _HEIGHT / len(uses)
    for place, use in enumerate(uses):
        name = f"layer {use.layer + 1}" + (" (Q, K swapped)" if use.swapped else "")
        fill = "#EDEDED" if plain else figures.PASTELS[use.layer % 10]
        _box(
            ax,
            x,
            _FLOOR + place * step,
            24,
            step - 0.8,
            name,
            fill,
            _INK if use.swapped else "white",
            min(8, step * 1.7),
        )
    return [_FLOOR + (place + 0.5) * step - 0.4 for place in range(len(uses))]


def _arrow(
    ax: Axes, start: tuple[float, float], end: tuple[float, float], colour: Any, **style: Any
) -> None:
    ax.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=7,
            color=colour,
            lw=1.2,
            shrinkA=0,
            shrinkB=0,
            **style,
        )
    )
