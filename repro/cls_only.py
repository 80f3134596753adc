"""The last effective layer computed for [CLS] alone: nothing else of it is ever read."""

from types import MethodType
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

FITTING = ("bert", "electra", "roberta")  # encoders whose layer is BertLayer in all but name


def restrict(layer: nn.Module) -> None:
    """Let the layer return the state of its first token only, (batch, 1, hidden), in place.

    Query, output projection and feed-forward run for one position, Key and Value for all: the same numbers and
    gradients at a third of the layer's cost, which is most of a one-layer student's.
    """
    layer.forward = MethodType(_forward, layer)  # parameters keep their names


def _forward(layer: Any, hidden_states: Tensor, attention_mask: Tensor | None = None, *_: Any, **__: Any) -> Tensor:
    """hidden_states: (batch, tokens, hidden); attention_mask: (batch, 1, tokens, tokens) or None."""
    first, attention = hidden_states[:, :1], layer.attention.self  # (batch, 1, hidden)
    projected = attention.query(first), attention.key(hidden_states), attention.value(hidden_states)
    heads = (-1, attention.attention_head_size)
    query, key, value = (part.unflatten(-1, heads).transpose(1, 2) for part in projected)  # (batch, heads, tokens, ·)
    mask = None if attention_mask is None else attention_mask[:, :, :1]
    dropped = attention.dropout.p if layer.training else 0.0
    mixed = F.scaled_dot_product_attention(query, key, value, mask, dropped, scale=attention.scaling)
    return layer.feed_forward_chunk(layer.attention.output(mixed.transpose(1, 2).flatten(2), first))
