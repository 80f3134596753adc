"""A BERT-like encoder that computes what is read and no more: real tokens, and of the last layer only [CLS].

The numbers and gradients are those of the library's padded encoder (tests/test_packed.py). On a CPU the examples of a
batch of a wide encoder lie end to end in one matrix: no layer works on padding, half of a batch of GLUE's sentences.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

FITTING = ("bert", "electra", "roberta")  # encoders whose layer is BertLayer in all but name
_WIDE = 256  # hidden dimensions from which padding costs a CPU more than one small call per example does


@dataclass(frozen=True)
class Layout:
    """Where the examples of a batch lie among the rows of one matrix of tokens."""

    rows: Tensor  # (rows,) of the flattened (batch, tokens) batch, in order
    starts: Tensor  # (batch,) the row of each example's first token
    lengths: list[int]  # rows of each example
    mask: Tensor | None  # (batch, 1, 1, tokens) True where real, if rows are padding too

    @classmethod
    def fitting(cls, attention_mask: Tensor, hidden: int) -> "Layout":
        """The faster of both, here and for an encoder of so many hidden dimensions."""
        packs = hidden >= _WIDE and not attention_mask.is_cuda
        return cls.packed(attention_mask) if packs else cls.padded(attention_mask)

    @classmethod
    def packed(cls, attention_mask: Tensor) -> "Layout":
        """Real tokens only. attention_mask: (batch, tokens), 1 where real, padded at the end."""
        lengths = attention_mask.sum(1)
        return cls(attention_mask.flatten().nonzero()[:, 0], lengths.cumsum(0) - lengths, lengths.tolist(), None)

    @classmethod
    def padded(cls, attention_mask: Tensor) -> "Layout":
        """All tokens: on a GPU one wide kernel beats many exact ones, and lengths never have to come to the host."""
        batch, tokens = attention_mask.shape
        rows = torch.arange(batch * tokens, device=attention_mask.device)
        return cls(rows, rows[::tokens], [tokens] * batch, attention_mask.bool()[:, None, None])


def cls_states(encoder: PreTrainedModel, layers: nn.ModuleList, layout: Layout, input_ids: Tensor,
               token_type_ids: Tensor | None = None) -> Tensor:  # fmt: skip
    """Each layer's state of each example's first token: (batch, layers, hidden).

    layers: the encoder's, in the order in which they run. input_ids, token_type_ids: (batch, tokens).
    """
    states, kept = _embedded(encoder, layout, input_ids, token_type_ids), []  # (rows, hidden)
    for layer in layers[:-1]:
        states = _layer(layer, states, states, layout)
        kept.append(states[layout.starts])
    # Nothing else of the last layer is ever read: its query and feed-forward run for one row of each example, which is
    # a third of its cost and most of a one-layer student's.
    kept.append(_layer(layers[-1], states, states[layout.starts], layout))
    return torch.stack(kept, dim=1)


def _embedded(encoder: Any, layout: Layout, input_ids: Tensor, token_type_ids: Tensor | None) -> Tensor:
    positions = torch.arange(input_ids.shape[1], device=input_ids.device).expand_as(input_ids)
    if encoder.config.model_type == "roberta":  # counts from behind the padding's id
        positions = positions + encoder.config.pad_token_id + 1
    if token_type_ids is None:
        token_type_ids = torch.zeros_like(input_ids)
    ids, positions, types = (part.flatten()[layout.rows][None] for part in (input_ids, positions, token_type_ids))
    states = encoder.embeddings(input_ids=ids, position_ids=positions, token_type_ids=types)[0]  # (rows, embedding)
    return encoder.embeddings_project(states) if hasattr(encoder, "embeddings_project") else states


def _layer(layer: Any, states: Tensor, asking: Tensor, layout: Layout) -> Tensor:
    """The layer's states of the rows in `asking`: all (rows, hidden), or the first of each example (batch, hidden)."""
    attention = layer.attention.self
    projected = attention.query(asking) * attention.scaling, attention.key(states), attention.value(states)
    heads = (attention.num_attention_heads, attention.attention_head_size)
    query, key, value = (part.unflatten(-1, heads) for part in projected)  # (rows, heads, ·)
    attend = _attend_each if layout.mask is None else _attend_padded
    mixed = attend(query, key, value, attention.dropout, layout)
    return layer.feed_forward_chunk(layer.attention.output(mixed.flatten(-2), asking))


def _attend_each(query: Tensor, key: Tensor, value: Tensor, dropout: nn.Module, layout: Layout) -> Tensor:
    """Each example by itself; all: (rows, heads, ·). Heads come first, so that an example is a view, never a copy."""
    query, key, value = (part.transpose(0, 1).contiguous() for part in (query, key, value))  # (heads, rows, ·)
    asked = layout.lengths if query.shape[1] == key.shape[1] else [1] * len(layout.lengths)
    mixed = [dropout((q @ k.transpose(1, 2)).softmax(-1)) @ v for q, k, v in zip(
        query.split(asked, 1), key.split(layout.lengths, 1), value.split(layout.lengths, 1), strict=True)]  # fmt: skip
    return torch.cat(mixed, 1).transpose(0, 1)  # (rows, heads, ·)


def _attend_padded(query: Tensor, key: Tensor, value: Tensor, dropout: Any, layout: Layout) -> Tensor:
    """All examples at once; all: (rows, heads, ·)."""
    query, key, value = (x.unflatten(0, (len(layout.lengths), -1)).transpose(1, 2) for x in (query, key, value))
    if query.is_cuda or not dropout.training:
        share = dropout.p if dropout.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, layout.mask, share, scale=1.0)
    else:  # the library's kernel has no dropout on a CPU
        assert layout.mask is not None
        scores = (query @ key.transpose(2, 3)).masked_fill(~layout.mask, -torch.inf)  # (batch, heads, ·, tokens)
        mixed = dropout(scores.softmax(-1)) @ value
    return mixed.transpose(1, 2).flatten(0, 1)  # (rows, heads, ·)
