"""Which stored layer runs where, and which teacher layer each effective layer is matched with: integers only.

`sharing` builds the network from these lists and `figures` draws them, so that a picture cannot differ from the model.
"""

from typing import NamedTuple

from repro.errors import InputError, one_of

SHARINGS = ("none", "paired", "shuffled")
SPS6_ORDERS = ("top_appended", "top_interleaved", "all_appended")
LAYER_MAPS = ("authors", "uniform", "last", "none")

# Student effective layer -> teacher layer, 1-based, for a teacher of 12 (authors' code). The last is never matched.
_AUTHORS_SHARED = {
    1: {1: 6},
    2: {1: 3, 2: 6, 3: 9},
    3: {1: 2, 2: 4, 3: 6, 4: 8, 5: 10},
    6: {3: 4, 6: 8},
}
_AUTHORS_PLAIN = {1: {}, 2: {1: 6}, 3: {1: 4, 2: 8}, 6: {1: 2, 2: 4, 3: 6, 4: 8, 5: 10}}


class Use(NamedTuple):
    """One effective layer: the stored layer it runs (0-based), and whether Query and Key are swapped in it."""

    layer: int
    swapped: bool


def effective_layers(layers: int, sharing: str, sps6_order: str = "top_appended") -> list[Use]:
    """The effective layers, bottom to top, of a student with `layers` stored layers (paper, section 3.2, figure 1).

    sharing: "none"; "paired" (SPS-1: the stack runs twice); "shuffled" (SPS-2: swapped in the second use).
    From six layers up only the top three are shared, in the order of `sps6_order` (decision D6).
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
    """Pairs (effective student layer, teacher layer), 1-based, of the patience loss (decision D5).

    "authors": the table of their code, with the teacher's index scaled to its depth, rounded, and repeats dropped;
    "uniform": every effective layer but the last, evenly spaced; "last": the teacher's layers below its top; "none".
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
    return _distinct(pairs)


def _distinct(pairs: dict[int, float]) -> list[tuple[int, int]]:
    """Round the teacher's indices; of several student layers with one teacher layer the first keeps it."""
    taken: dict[int, int] = {}
    for student, target in pairs.items():
        taken.setdefault(max(1, int(target + 0.5)), student)
    return [(student, teacher) for teacher, student in taken.items()]
