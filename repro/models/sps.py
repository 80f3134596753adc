"""Shuffled parameter sharing (paper, section 3.2) for the encoder architectures in ADAPTERS."""

import copy
from collections.abc import Sequence
from typing import NamedTuple

from torch import nn
from transformers import PreTrainedModel

from repro.errors import one_of
from repro.models.layers import Use


class Adapter(NamedTuple):
    """Names of an architecture's modules.

    Attributes:
        layers: The list of layers in the encoder.
        attention: The attention in a layer.
        query: The Query map in the attention.
        key: The Key map in the attention.
    """

    layers: str
    attention: str
    query: str
    key: str


ADAPTERS = {
    "bert": Adapter("encoder.layer", "attention.self", "query", "key"),
    "roberta": Adapter("encoder.layer", "attention.self", "query", "key"),
    "electra": Adapter("encoder.layer", "attention.self", "query", "key"),
    "mpnet": Adapter("encoder.layer", "attention.attn", "q", "k"),
    "distilbert": Adapter("transformer.layer", "attention", "q_lin", "k_lin"),
}


def adapter(encoder: PreTrainedModel) -> Adapter:
    """The adapter of an encoder.

    Raises:
        InputError: If its architecture has none.
    """
    if encoder.config.model_type not in ADAPTERS:
        raise one_of("encoder architecture", encoder.config.model_type, ADAPTERS)
    return ADAPTERS[encoder.config.model_type]


def layers_of(encoder: PreTrainedModel) -> nn.ModuleList:
    """The encoder's layers, in the order in which they run."""
    layers = encoder.get_submodule(adapter(encoder).layers)
    assert isinstance(layers, nn.ModuleList)
    return layers


def share(encoder: PreTrainedModel, uses: Sequence[Use], swap_biases: bool = True) -> None:
    """Make an encoder run its layers as `uses` says (in place).

    The first use of a layer is the layer itself. A later use is a copy of its modules with the same
    parameters: gradients of all uses add up, the optimiser sees each tensor once, and each use
    draws its own dropout mask.

    Args:
        encoder: An encoder with all layers that are used.
        uses: The effective layers, bottom to top.
        swap_biases: Whether swapped uses exchange biases too, or weights only (decision D7).
    """
    names = adapter(encoder)
    stored, seen, order = layers_of(encoder), set(), []
    for use in uses:
        layer = stored[use.layer] if use.layer not in seen else _same_parameters(stored[use.layer])
        if use.swapped:
            _swap(layer.get_submodule(names.attention), names, swap_biases)
        seen.add(use.layer)
        order.append(layer)
    parent, _, name = names.layers.rpartition(".")
    setattr(encoder.get_submodule(parent), name, nn.ModuleList(order))


def _same_parameters(layer: nn.Module) -> nn.Module:
    """A copy of the modules with the same tensors: the memo returns each parameter as its copy."""
    return copy.deepcopy(layer, memo={id(parameter): parameter for parameter in layer.parameters()})


def _swap(attention: nn.Module, names: Adapter, swap_biases: bool) -> None:
    """Exchange Query and Key: the whole maps, or their weights only."""
    query, key = getattr(attention, names.query), getattr(attention, names.key)
    if swap_biases:
        setattr(attention, names.query, key)
        setattr(attention, names.key, query)
    else:
        query.weight, key.weight = key.weight, query.weight
