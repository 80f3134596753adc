"""A BERT-like encoder that computes what is read and no more: hardly any padding, and of the last layer only [CLS].

The numbers and gradients are those of the library's padded encoder (tests/test_packed.py).
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

FITTING = ("bert", "electra", "roberta")  # encoders whose layer is BertLayer in all but name
_MULTIPLE = 8  # tokens to which lengths are rounded: finer, and many small calls cost more than the padding they save
# Rows to which a batch is filled up in bfloat16: the library compiles a product for each shape that it has not met,
# which takes longer than to compute it, and every batch would be a new shape.
_ROWS = 64


class Block(NamedTuple):
    """Examples of one padded length. bias: (examples, 1, 1, tokens), 0 where real and -inf where padded."""

    examples: int
    tokens: int
    bias: Tensor


@dataclass(frozen=True)
class Layout:
    """A batch as one matrix of tokens: examples of like length lie together in blocks, each padded to its own length.

    rows: (rows,) of the flattened (batch, tokens) batch, in their order here. starts: the row of each example's first
    token, in the order of the blocks. back: (batch,) where the batch's examples are in that order.
    """

    rows: Tensor
    starts: Tensor
    back: Tensor
    blocks: list[Block]

    @classmethod
    def fitting(cls, attention_mask: Tensor) -> "Layout":
        """The faster one here. attention_mask: (batch, tokens), 1 where real, padded at the end."""
        if attention_mask.is_cuda:
            return cls.padded(attention_mask)
        return cls.bucketed(attention_mask, filled=_ROWS if torch.is_autocast_enabled("cpu") else 1)

    @classmethod
    def padded(cls, attention_mask: Tensor) -> "Layout":
        """One block: on a GPU one wide kernel beats many exact ones, and lengths never have to come to the host."""
        batch, tokens = attention_mask.shape
        rows = torch.arange(batch * tokens, device=attention_mask.device)
        return cls(
            rows, rows[::tokens], rows[:batch], [Block(batch, tokens, _bias(attention_mask))]
        )

    @classmethod
    def bucketed(
        cls, attention_mask: Tensor, multiple: int = _MULTIPLE, filled: int = 1
    ) -> "Layout":
        """A block for each length, rounded up: half of a padded batch of GLUE's sentences is never computed.

        filled: of how many rows the matrix is a multiple; what it takes is one more block, which nobody reads.
        """
        lengths, order = attention_mask.sum(1).sort(stable=True)
        rounded, last = (lengths + multiple - 1) // multiple * multiple, attention_mask.shape[1] - 1
        mask = F.pad(attention_mask, (0, multiple))
        blocks, rows = [], []
        tokens, counts = rounded.unique_consecutive(return_counts=True)
        for size, part in zip(tokens.tolist(), order.split(counts.tolist()), strict=True):
            blocks.append(Block(len(part), size, _bias(mask[part, :size])))
            rows.append((part[:, None] * (last + 1) + torch.arange(size).clamp(max=last)).flatten())
        ends = rounded.cumsum(0)
        starts, back = ends - rounded, order.argsort()
        if filler := -int(ends[-1]) % filled:
            blocks.append(Block(1, filler, _bias(attention_mask.new_ones(1, filler))))
            rows.append(rows[0][:1].expand(filler))
            starts = torch.cat([starts, ends[-1:]])
        return cls(torch.cat(rows), starts, back, blocks)


def _bias(attention_mask: Tensor) -> Tensor:
    return torch.zeros_like(attention_mask, dtype=torch.float32).masked_fill_(
        attention_mask == 0, -torch.inf
    )[:, None, None]


def cls_states(
    encoder: PreTrainedModel,
    layers: nn.ModuleList,
    layout: Layout,
    input_ids: Tensor,
    token_type_ids: Tensor | None = None,
) -> Tensor:
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
    return torch.stack(kept, dim=1)[layout.back]


def _embedded(
    encoder: Any, layout: Layout, input_ids: Tensor, token_type_ids: Tensor | None
) -> Tensor:
    positions = torch.arange(input_ids.shape[1], device=input_ids.device).expand_as(input_ids)
    if encoder.config.model_type == "roberta":  # counts from behind the padding's id
        positions = positions + encoder.config.pad_token_id + 1
    if token_type_ids is None:
        token_type_ids = torch.zeros_like(input_ids)
    ids, positions, types = (
        part.flatten()[layout.rows][None] for part in (input_ids, positions, token_type_ids)
    )
    states = encoder.embeddings(input_ids=ids, position_ids=positions, token_type_ids=types)[
        0
    ]  # (rows, embedding)
    states = (
        encoder.embeddings_project(states) if hasattr(encoder, "embeddings_project") else states
    )
    # What runs from layer to layer is in autocast's precision too, else every map of every layer casts it anew.
    kind = states.device.type
    return states.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else states


def _layer(layer: Any, states: Tensor, asking: Tensor, layout: Layout) -> Tensor:
    """The layer's states of the rows in `asking`: all (rows, hidden), or the first of each example (batch, hidden)."""
    attention = layer.attention.self
    projected = attention.query(asking), attention.key(states), attention.value(states)
    heads = (attention.num_attention_heads, attention.attention_head_size)
    query, key, value = (part.unflatten(-1, heads) for part in projected)  # (rows, heads, ·)
    known = [block.examples * block.tokens for block in layout.blocks]
    asked = known if len(query) == len(key) else [block.examples for block in layout.blocks]
    parts = zip(
        layout.blocks, query.split(asked), key.split(known), value.split(known), strict=True
    )
    mixed = torch.cat([_attend(*part, attention.dropout, attention.scaling) for part in parts])
    return layer.feed_forward_chunk(layer.attention.output(mixed, asking))


def _attend(
    block: Block, query: Tensor, key: Tensor, value: Tensor, dropout: Any, scaling: float
) -> Tensor:
    """Attention within each of the block's examples; all (rows, heads, ·); returns (rows, hidden)."""
    query, key, value = (
        x.unflatten(0, (block.examples, -1)).transpose(1, 2) for x in (query, key, value)
    )
    bias = block.bias.to(query.dtype).expand(
        -1, query.shape[1], -1, -1
    )  # (examples, heads, 1, tokens)
    if query.is_cuda or not dropout.training:
        share = dropout.p if dropout.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, bias, share, scale=scaling)
    else:  # the library's kernel has no dropout on a CPU
        bias, query, key = (
            bias.flatten(0, 1),
            query.flatten(0, 1),
            key.flatten(0, 1),
        )  # (examples x heads, ·, ·)
        scores = torch.baddbmm(bias, query, key.transpose(1, 2), alpha=scaling)
        mixed = dropout(scores.softmax(-1)).view(*value.shape[:2], -1, block.tokens) @ value
    return mixed.transpose(1, 2).flatten(2).flatten(0, 1)  # from (examples, heads, ·, ·)
