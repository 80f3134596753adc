"""Draw Figures 1 and 2 of the paper from the lists of layers that networks are built from."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from repro.data.ptp_labels import LABELS
from repro.models.layers import Use, effective_layers, layer_map
from repro.report import figures

_INK, _PATIENT = "#222222", "#009E73"
_HEIGHT = 49  # height of the stacks of layers in figure 2, in data units
_PANELS = (
    ("(a) Step 1: paired parameter sharing", 3, "paired"),
    ("(b) Step 2: shuffled Query and Key", 3, "shuffled"),
    ("(c) SPS of the six-layer student", 6, "shuffled"),
)


def figure1(sps6_order: str = "top_appended") -> np.ndarray:
    """Draw Figure 1: paired sharing, shuffled Query and Key, and the six-layer student.

    Args:
        sps6_order: Order of the six-layer student's layers (decision D6).

    Returns:
        The three axes.
    """
    deepest = max(
        len(effective_layers(layers, sharing, sps6_order)) for _, layers, sharing in _PANELS
    )
    axes = figures.new(figures.WIDE, 0.6 + 0.37 * deepest, 1, 3, sharey=True)
    for ax, (title, layers, sharing) in zip(axes, _PANELS, strict=True):
        shared_stack(layers, sharing, sps6_order, ax)
        ax.set_title(title, y=-0.07)
    axes[0].set_ylim(-0.45, deepest + 0.05)  # shared by all three
    figures.figure_of(axes).set_label(  # alternative text
        "The layers of three students, with arrows from each stored layer to its second use: "
        f"{'; '.join(title for title, _, _ in _PANELS)}."
    )
    return axes


def shared_stack(
    layers: int, sharing: str, sps6_order: str = "top_appended", ax: Axes | None = None
) -> Axes:
    """Draw one student, bottom to top: the stored matrices that each effective layer uses.

    Layers of the same colour share their parameters and are joined by arcs. A frame marks swapped
    Query and Key matrices.

    Args:
        layers: Stored layers.
        sharing: "none", "paired" or "shuffled".
        sps6_order: Order of a six-layer student's layers (decision D6).
        ax: Axes to draw into; new ones by default.

    Returns:
        The axes.
    """
    ax = figures.new(2.3, 3.9) if ax is None else ax
    uses = effective_layers(layers, sharing, sps6_order)
    for place, use in enumerate(uses):
        _layer(ax, place, use)
    first_place: dict[int, int] = {}
    for place, use in enumerate(uses):
        first = first_place.setdefault(use.layer, place)
        if first != place:
            dark = tuple(0.72 * channel for channel in _colour(use))
            ends = (3.55, first + 0.5), (3.55, place + 0.5)
            _arrow(ax, *ends, dark, connectionstyle="arc3,rad=0.32")
    for x, role in ((0.5, "Query"), (1.5, "Key"), (2.75, "all others")):
        ax.text(x, -0.12, role, ha="center", va="top", fontsize=8, color=figures.GREY)
    ax.set(xlim=(-0.55, 4.6), ylim=(-0.45, len(uses) + 0.05))
    ax.axis("off")
    return ax


def figure2(
    layers: int = 3, teacher_layers: int = 12, rule: str = "authors", ax: Axes | None = None
) -> Axes:
    """Draw Figure 2: PTP pretraining of the SPS student, then distillation (equations 4 and 5).

    Args:
        layers: Stored layers of the student.
        teacher_layers: Layers of the teacher.
        rule: Which student layer matches which teacher layer (decision D5).
        ax: Axes to draw into; new ones by default.

    Returns:
        The axes. Arrows between student and teacher connect matched layers.
    """
    ax = figures.new(figures.WIDE, 4.0) if ax is None else ax
    uses = effective_layers(layers, "shuffled")
    _pretraining(ax, uses)
    _distillation(ax, uses, teacher_layers, layer_map(layers, "shuffled", teacher_layers, rule))
    # the teacher's predictions become PTP labels
    ax.plot([122, 122, 49.5, 49.5], [59.4, 75, 75, 64], color=_INK, lw=1.2, solid_joinstyle="round")
    _arrow(ax, (49.5, 64), (49.5, 60.6), _INK)
    # distillation starts from the pretrained student
    _arrow(ax, (26.6, 12), (71.4, 12), _INK)
    ax.text(49, 10.5, "initial state\n(PTP head dropped)", ha="center", va="top")
    ax.set(xlim=(0, 136), ylim=(-6, 82))
    ax.axis("off")
    figures.figure_of(ax).set_label(  # alternative text
        f"The SPS student of {len(uses)} layers is first pretrained to predict the four PTP labels "
        f"of its fine-tuned teacher of {teacher_layers} layers. It is then distilled with three "
        "losses: cross-entropy with the gold labels, KL with the teacher's predictions, and the "
        "patience loss between matched layers."
    )
    return ax


def _pretraining(ax: Axes, uses: list[Use]) -> None:
    """Draw the left half: the PTP labels, and the student that learns to predict them."""
    _stack(ax, 2, uses)
    _box(ax, 2, 53, 24, 6, "PTP head (4 labels)")
    _box(ax, 36.5, 31.5, 26, 28.5)
    for k, label in enumerate(LABELS):
        edge = figures.LABEL_COLOURS[label]
        _box(ax, 38, 53.2 - 6.8 * k, 23, 5.4, label, "white", edge, line=1.6)
    ax.text(49.5, 30, "PTP labels: is the teacher\nright? is it confident?", ha="center", va="top")
    _arrow(ax, (36, 56), (26.6, 56), figures.OURS)
    ax.text(31.3, 57, "$L_{CE}$", ha="center", va="bottom", color=figures.OURS)
    ax.text(14, -2, "SPS student", ha="center", va="top")
    ax.text(31, 80, "1. Pretraining (PTP)", ha="center", va="center", weight="bold", fontsize=9.5)


def _distillation(
    ax: Axes, uses: list[Use], teacher_layers: int, pairs: list[tuple[int, int]]
) -> None:
    """Draw the right half: student and teacher side by side, with the three terms of the loss."""
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


def _layer(ax: Axes, place: int, use: Use) -> None:
    """Draw an effective layer: the stored matrices used as Query, as Key and for the rest."""
    query, key = ("K", "Q") if use.swapped else ("Q", "K")
    edge = _INK if use.swapped else "white"
    for x, width, text, line in (
        (0, 1, f"$W^{query}_{use.layer + 1}$", edge),
        (1, 1, f"$W^{key}_{use.layer + 1}$", edge),
        (2, 1.5, f"$W^V_{use.layer + 1}$, FFN$_{use.layer + 1}$", "white"),
    ):
        _box(ax, x + 0.03, place + 0.1, width - 0.06, 0.8, text, _colour(use), line, size=8)
    number: dict[str, Any] = {"ha": "right", "va": "center", "fontsize": 8, "color": figures.GREY}
    ax.text(-0.12, place + 0.5, str(place + 1), **number)


def _stack(ax: Axes, x: float, uses: list[Use], plain: bool = False) -> list[float]:
    """Draw a network's layers as boxes, bottom to top; returns the y of their centres."""
    step = _HEIGHT / len(uses)
    for place, use in enumerate(uses):
        name = f"layer {use.layer + 1}" + (" (Q, K swapped)" if use.swapped else "")
        fill = "#EDEDED" if plain else _colour(use)
        edge = _INK if use.swapped else "white"
        _box(ax, x, place * step, 24, step - 0.8, name, fill, edge, size=min(8, step * 1.7))
    return [(place + 0.5) * step - 0.4 for place in range(len(uses))]


def _colour(use: Use) -> Any:
    """The colour of the stored layer that is used."""
    return figures.PASTELS[use.layer % 10]


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
    """Draw a rounded box with centred text."""
    corners = "round,pad=0,rounding_size=0.08"
    ax.add_patch(FancyBboxPatch((x, y), width, height, corners, fc=fill, ec=edge, lw=line))
    text_style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": size, "color": _INK}
    ax.text(x + width / 2, y + height / 2, text, **text_style)


def _arrow(
    ax: Axes, start: tuple[float, float], end: tuple[float, float], colour: Any, **style: Any
) -> None:
    options: dict[str, Any] = {
        "arrowstyle": "-|>",
        "mutation_scale": 7,
        "lw": 1.2,
        "shrinkA": 0,
        "shrinkB": 0,
    }
    ax.add_patch(FancyArrowPatch(start, end, color=colour, **options, **style))
