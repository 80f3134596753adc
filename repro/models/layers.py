"""Which stored layer runs where, and which teacher layer it is matched with, as integers.

`models.sps` builds students from these lists and `report.diagrams` draws them.
"""

from typing import NamedTuple

from repro.errors import InputError, one_of

SHARINGS = ("none", "paired", "shuffled")
SPS6_ORDERS = ("top_appended", "top_interleaved", "all_appended")
LAYER_MAPS = ("authors", "uniform", "last", "none")

# Effective student layer -> teacher layer, 1-based, for a teacher of 12 layers (authors' code). The
# last layer is never matched.
# fmt: off
_AUTHORS_SHARED = {
    1: {1: 6},
    2: {1: 3, 2: 6, 3: 9},
    3: {1: 2, 2: 4, 3: 6, 4: 8, 5: 10},
    6: {3: 4, 6: 8},
}
_AUTHORS_PLAIN = {
    1: {},
    2: {1: 6},
    3: {1: 4, 2: 8},
    6: {1: 2, 2: 4, 3: 6, 4: 8, 5: 10},
}
# fmt: on


class Use(NamedTuple):
    """One effective layer.

    Attributes:
        layer: The stored layer that it runs, 0-based.
        swapped: Whether Query and Key are swapped in it.
    """

    layer: int
    swapped: bool


def effective_layers(layers: int, sharing: str, sps6_order: str = "top_appended") -> list[Use]:
    """The effective layers of a student, bottom to top (paper, section 3.2, figure 1).

    From six layers up, only the top three are shared.

    Args:
        layers: The number of stored layers.
        sharing: "none"; "paired" (SPS-1), where the layers run twice; or "shuffled" (SPS-2), where
            Query and Key are swapped in the second run.
        sps6_order: The order from six layers up (decision D6).

    Raises:
        InputError: If there is no layer or an option is unknown.
    """
    if layers < 1:
        raise InputError(f"a student needs at least 1 layer, got {layers}")
    if sharing not in SHARINGS:
        raise one_of("sharing", sharing, SHARINGS)
    if sps6_order not in SPS6_ORDERS:
        raise one_of("sps6_order", sps6_order, SPS6_ORDERS)
    first = [Use(layer, False) for layer in range(layers)]
    if sharing == "none":
        return first
    second = [Use(layer, sharing == "shuffled") for layer in range(layers)]
    if layers < 6 or sps6_order == "all_appended":
        return first + second
    if sps6_order == "top_appended":
        return first + second[-3:]
    return first[:-3] + [use for pair in zip(first[-3:], second[-3:], strict=True) for use in pair]


def layer_map(
    layers: int,
    sharing: str,
    teacher_layers: int,
    rule: str = "authors",
    sps6_order: str = "top_appended",
) -> list[tuple[int, int]]:
    """Pairs of layers that the patience loss compares (decision D5).

    Args:
        layers: The student's stored layers.
        sharing: As for `effective_layers`.
        teacher_layers: The teacher's depth.
        rule: "authors", their code's table, with the teacher's index scaled to its depth, rounded,
            and repeats dropped (for student depths that it lacks, as "uniform"); "uniform", all
            effective layers but the last, evenly spaced; "last", the teacher's layers below its
            top; or "none".
        sps6_order: As for `effective_layers`.

    Returns:
        Pairs (effective student layer, teacher layer), 1-based.

    Raises:
        InputError: If there is no layer or an option is unknown.
    """
    depth = len(effective_layers(layers, sharing, sps6_order))
    if rule == "none":
        return []
    if rule == "last":
        below = min(depth, teacher_layers) - 1
        return [(depth - k, teacher_layers - k) for k in range(below, 0, -1)]
    if rule == "uniform" or (rule == "authors" and layers not in _AUTHORS_PLAIN):
        pairs = {k: k * teacher_layers / depth for k in range(1, depth)}
    elif rule == "authors":
        table = _AUTHORS_PLAIN if sharing == "none" else _AUTHORS_SHARED
        pairs = {k: target * teacher_layers / 12 for k, target in table[layers].items()}
    else:
        raise one_of("layer map", rule, LAYER_MAPS)
    matched: dict[int, int] = {}  # teacher layer -> the first student layer that rounds to it
    for student, target in pairs.items():
        matched.setdefault(max(1, int(target + 0.5)), student)
    return [(student, teacher) for teacher, student in matched.items()]
