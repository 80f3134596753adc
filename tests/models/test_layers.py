"""Effective layers and matched pairs against the tables of the authors' code."""

import pytest

from repro.errors import InputError
from repro.models.layers import LAYER_MAPS, SHARINGS, Use, effective_layers, layer_map


def test_three_layers_run_twice():
    assert [use.layer for use in effective_layers(3, "paired")] == [0, 1, 2, 0, 1, 2]
    assert [use.swapped for use in effective_layers(3, "shuffled")] == [False] * 3 + [True] * 3
    assert not any(use.swapped for use in effective_layers(3, "paired"))


@pytest.mark.parametrize("order", ["top_appended", "top_interleaved", "all_appended"])
@pytest.mark.parametrize("layers", range(1, 6))
def test_below_six_layers_all_run_twice(layers, order):
    uses = effective_layers(layers, "paired", order)
    assert [use.layer for use in uses] == [*range(layers)] * 2


@pytest.mark.parametrize(
    ("order", "layers"),
    [
        ("top_appended", [0, 1, 2, 3, 4, 5, 3, 4, 5]),
        ("top_interleaved", [0, 1, 2, 3, 3, 4, 4, 5, 5]),
        ("all_appended", [0, 1, 2, 3, 4, 5] * 2),
    ],
)
def test_six_layers(order, layers):
    uses = effective_layers(6, "shuffled", order)
    assert [use.layer for use in uses] == layers
    assert {use for use in uses if use.swapped} == {
        Use(layer, True) for layer in layers if layers.count(layer) == 2
    }


@pytest.mark.parametrize(
    ("layers", "sharing", "pairs"),
    [
        (1, "shuffled", {1: 6}),
        (2, "shuffled", {1: 3, 2: 6, 3: 9}),
        (3, "paired", {1: 2, 2: 4, 3: 6, 4: 8, 5: 10}),
        (6, "shuffled", {3: 4, 6: 8}),
        (1, "none", {}),
        (2, "none", {1: 6}),
        (3, "none", {1: 4, 2: 8}),
        (6, "none", {1: 2, 2: 4, 3: 6, 4: 8, 5: 10}),
    ],
)
def test_authors_map(layers, sharing, pairs):
    assert dict(layer_map(layers, sharing, 12)) == pairs


def test_authors_map_scales_to_a_shallower_teacher_without_repeats():
    assert layer_map(2, "shuffled", 6) == [(1, 2), (2, 3), (3, 5)]  # 1.5, 3, 4.5 rounded half up
    assert layer_map(3, "shuffled", 3) == [
        (1, 1),
        (3, 2),
        (5, 3),
    ]  # 0.5, 1, 1.5, 2, 2.5: repeats dropped


def test_other_maps():
    assert layer_map(3, "none", 12, "uniform") == [(1, 4), (2, 8)]
    assert layer_map(3, "none", 12, "last") == [(1, 10), (2, 11)]
    assert layer_map(3, "none", 12, "none") == []


@pytest.mark.parametrize("rule", LAYER_MAPS)
@pytest.mark.parametrize("sharing", SHARINGS)
@pytest.mark.parametrize("layers", range(1, 7))
@pytest.mark.parametrize("depth", [1, 2, 4, 6, 12])
def test_maps_stay_inside_both_networks_and_never_match_the_last_layer(
    layers, sharing, depth, rule
):
    pairs = layer_map(layers, sharing, depth, rule)
    effective = len(effective_layers(layers, sharing))
    assert all(1 <= student < effective and 1 <= teacher <= depth for student, teacher in pairs)
    assert len({teacher for _, teacher in pairs}) == len(pairs)


@pytest.mark.parametrize(
    "call",
    [
        lambda: effective_layers(0, "none"),
        lambda: effective_layers(3, "twice"),
        lambda: layer_map(3, "none", 12, "all"),
        lambda: effective_layers(6, "paired", "odd"),
    ],
)
def test_bad_input(call):
    with pytest.raises(InputError):
        call()
