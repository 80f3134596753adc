"""Faster computation with the same results: packed batches, dropout and word embeddings.

`cls_states` runs a BERT-like encoder with little padding, and in the last layer for [CLS] only. Its
numbers and gradients are those of transformers' padded encoder (tests/models/test_fast.py).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

PACKED = ("bert", "electra", "roberta")  # architectures whose layers are like BertLayer
# Lengths are rounded up to a multiple of this: with a smaller one, many small calls cost more than
# the padding they save.
_MULTIPLE = 8
# In bfloat16, batches are filled up to a multiple of so many rows: the library compiles a kernel
# for each new shape, which takes longer than running it.
_ROWS = 64


# packed batches


class Block(NamedTuple):
    """Examples of one padded length.

    Attributes:
        examples: The number of examples.
        tokens: Their padded length.
        bias: (examples, 1, 1, tokens), 0 for tokens and -inf for padding.
    """

    examples: int
    tokens: int
    bias: Tensor


@dataclass(frozen=True)
class Layout:
    """How a batch is arranged as one matrix of tokens, in blocks of examples of like length.

    Attributes:
        rows: (rows,) the place of each row in the flattened (batch, tokens) batch.
        starts: The row of each example's first token, in the order of the blocks.
        back: (batch,) the place of each of the batch's examples in that order.
        blocks: In the order of the rows.
    """

    rows: Tensor
    starts: Tensor
    back: Tensor
    blocks: list[Block]

    @classmethod
    def fitting(cls, attention_mask: Tensor) -> "Layout":
        """The faster layout on this device.

        Args:
            attention_mask: (batch, tokens), 1 for tokens and 0 for the padding at the end.
        """
        if attention_mask.is_cuda:
            return cls.padded(attention_mask)
        rows_multiple = _ROWS if torch.is_autocast_enabled("cpu") else 1
        return cls.bucketed(attention_mask, rows_multiple=rows_multiple)

    @classmethod
    def padded(cls, attention_mask: Tensor) -> "Layout":
        """One block, as padded.

        On a GPU one wide kernel is faster than many exact ones, and the host need not wait for the
        lengths.
        """
        batch, tokens = attention_mask.shape
        rows = torch.arange(batch * tokens, device=attention_mask.device)
        block = Block(batch, tokens, _bias(attention_mask))
        return cls(rows, rows[::tokens], rows[:batch], [block])

    @classmethod
    def bucketed(
        cls, attention_mask: Tensor, multiple: int = _MULTIPLE, rows_multiple: int = 1
    ) -> "Layout":
        """One block per rounded length; about half of a padded batch of GLUE is padding.

        Args:
            attention_mask: (batch, tokens), 1 for tokens and 0 for the padding at the end.
            multiple: Lengths are rounded up to a multiple of this.
            rows_multiple: The matrix is filled up to a multiple of so many rows, with a last block
                whose results are not used.
        """
        lengths, order = attention_mask.sum(1).sort(stable=True)
        rounded = (lengths + multiple - 1) // multiple * multiple
        width = attention_mask.shape[1]
        mask = F.pad(attention_mask, (0, multiple))
        blocks, rows = [], []
        sizes, counts = rounded.unique_consecutive(return_counts=True)
        for size, members in zip(sizes.tolist(), order.split(counts.tolist()), strict=True):
            blocks.append(Block(len(members), size, _bias(mask[members, :size])))
            columns = torch.arange(size).clamp(max=width - 1)  # (size,)
            rows.append((members[:, None] * width + columns).flatten())
        ends = rounded.cumsum(0)
        starts, back = ends - rounded, order.argsort()
        if filler := -int(ends[-1]) % rows_multiple:
            blocks.append(Block(1, filler, _bias(attention_mask.new_ones(1, filler))))
            rows.append(rows[0][:1].expand(filler))
            starts = torch.cat([starts, ends[-1:]])
        return cls(torch.cat(rows), starts, back, blocks)


def _bias(attention_mask: Tensor) -> Tensor:
    bias = torch.zeros_like(attention_mask, dtype=torch.float32)
    return bias.masked_fill_(attention_mask == 0, -torch.inf)[:, None, None]


def cls_states(
    encoder: PreTrainedModel,
    layers: nn.ModuleList,
    layout: Layout,
    input_ids: Tensor,
    token_type_ids: Tensor | None = None,
) -> Tensor:
    """The state of [CLS] after each layer.

    Args:
        encoder: An encoder of an architecture in PACKED.
        layers: Its layers, in the order in which they run.
        layout: Of the batch.
        input_ids: (batch, tokens).
        token_type_ids: (batch, tokens), or None for zeros.

    Returns:
        (batch, layers, hidden).
    """
    states, kept = _embed(encoder, layout, input_ids, token_type_ids), []  # (rows, hidden)
    for layer in layers[:-1]:
        states = _run_layer(layer, states, states, layout)
        kept.append(states[layout.starts])  # (batch, hidden)
    # Only [CLS] of the last layer is used. Its query and feed-forward run for one row per example,
    # which saves two thirds of this layer's cost and most of a one-layer student's.
    kept.append(_run_layer(layers[-1], states, states[layout.starts], layout))
    return torch.stack(kept, dim=1)[layout.back]


def _embed(
    encoder: Any, layout: Layout, input_ids: Tensor, token_type_ids: Tensor | None
) -> Tensor:
    positions = torch.arange(input_ids.shape[1], device=input_ids.device).expand_as(input_ids)
    if encoder.config.model_type == "roberta":  # counts from the padding's id + 1
        positions = positions + encoder.config.pad_token_id + 1
    if token_type_ids is None:
        token_type_ids = torch.zeros_like(input_ids)
    ids, positions, types = (
        part.flatten()[layout.rows][None] for part in (input_ids, positions, token_type_ids)
    )
    embedded = encoder.embeddings(input_ids=ids, position_ids=positions, token_type_ids=types)
    states = embedded[0]  # (rows, embedding)
    if hasattr(encoder, "embeddings_project"):
        states = encoder.embeddings_project(states)  # (rows, hidden)
    # States have autocast's precision too; otherwise every linear map casts them again.
    device = states.device.type
    if torch.is_autocast_enabled(device):
        states = states.to(torch.get_autocast_dtype(device))
    return states


def _run_layer(layer: Any, states: Tensor, queried: Tensor, layout: Layout) -> Tensor:
    """A layer's output for the rows `queried`: all (rows, hidden), or [CLS] (batch, hidden)."""
    attention = layer.attention.self
    projected = attention.query(queried), attention.key(states), attention.value(states)
    heads = (attention.num_attention_heads, attention.attention_head_size)
    query, key, value = (part.unflatten(-1, heads) for part in projected)  # (rows, heads, size)
    key_rows = [block.examples * block.tokens for block in layout.blocks]
    every_row = len(query) == len(key)
    query_rows = key_rows if every_row else [block.examples for block in layout.blocks]
    parts = zip(
        layout.blocks,
        query.split(query_rows),
        key.split(key_rows),
        value.split(key_rows),
        strict=True,
    )
    mixed = torch.cat([_attend(*part, attention.dropout, attention.scaling) for part in parts])
    return layer.feed_forward_chunk(layer.attention.output(mixed, queried))


def _attend(
    block: Block, query: Tensor, key: Tensor, value: Tensor, dropout: Any, scaling: float
) -> Tensor:
    """Attention within each example of a block: (rows, heads, size) to (rows, hidden)."""
    query, key, value = (
        part.unflatten(0, (block.examples, -1)).transpose(1, 2) for part in (query, key, value)
    )  # (examples, heads, tokens, size)
    bias = block.bias.to(query.dtype).expand(-1, query.shape[1], -1, -1)
    if query.is_cuda or not dropout.training:
        share = dropout.p if dropout.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, bias, share, scale=scaling)
    else:  # torch's kernel has no dropout on a CPU
        bias, query, key = (part.flatten(0, 1) for part in (bias, query, key))
        scores = torch.baddbmm(bias, query, key.transpose(1, 2), alpha=scaling)
        mixed = dropout(scores.softmax(-1)).view(*value.shape[:2], -1, block.tokens) @ value
    return mixed.transpose(1, 2).flatten(2).flatten(0, 1)


# dropout


class Dropout(nn.Dropout):
    """Dropout that is several times faster than torch's on a CPU; on a GPU it is torch's.

    It uses 16 random bits per element, four elements per random number. `p` is rounded to a
    multiple of 1 / 65536, and the remaining elements are scaled accordingly.
    """

    def forward(self, states: Tensor) -> Tensor:
        """Drop elements of a tensor of any shape."""
        if states.is_cuda or not self.training or not 0 < self.p < 1:
            return super().forward(states)
        dropped = round(self.p * 65536)
        draws = torch.empty((states.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
        bits = draws.view(torch.int16)[: states.numel()].view(states.shape)
        kept = torch.ge(bits, dropped - 32768, out=torch.empty_like(states))  # 1 or 0 as floats
        return states * kept.mul_(65536 / (65536 - dropped))


def use_fast_dropout(model: nn.Module) -> None:
    """Replace every nn.Dropout of a model by a `Dropout`."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                setattr(module, name, Dropout(child.p).train(child.training))


# word embeddings


class _TrainingWords(nn.Module):
    """The embeddings of some words, and a last row of ones that stands for all other words.

    The other words get no gradient, so an optimiser multiplies them all by the same factor (weight
    decay): the value of that last row.
    """

    def __init__(self, table: Tensor, ids: Tensor) -> None:
        super().__init__()
        self.full, self.start, self.ids = table, table.clone(), ids  # (words, hidden), (ids,)
        self.place = torch.full((len(table),), -1, device=table.device).index_copy(
            0, ids, torch.arange(len(ids), device=table.device)
        )
        rows = torch.cat([table[ids], torch.ones_like(table[:1])])
        self.rows = nn.Parameter(rows)  # (ids + 1, hidden)

    def forward(self, ids: Tensor) -> Tensor:
        """Embeddings (..., hidden) of ids (...); in training mode only of the given words."""
        if self.training:
            return F.embedding(self.place[ids], self.rows)
        return F.embedding(ids, self.full)

    def train(self, mode: bool = True) -> "_TrainingWords":
        """Set the mode; before an evaluation the full table is updated."""
        if not mode:
            self.update()
        return super().train(mode)

    @torch.no_grad()
    def update(self) -> None:
        """Write the trained rows, and the decay of all others, into the full table."""
        torch.mul(self.start, self.rows[-1:], out=self.full)
        self.full[self.ids] = self.rows[:-1]


@contextmanager
def training_words(encoder: PreTrainedModel, ids: Tensor) -> Iterator[None]:
    """Train only the word embeddings of `ids`; the result is that of training the whole table.

    A task uses about a fifth of BERT's 30,522 words. Without gradients, moments and norms of the
    others, a step on short sentences takes a third less time.

    Args:
        encoder: Its embeddings are replaced within the context and complete again afterwards.
        ids: (ids,) distinct word ids; no others may occur in training.
    """
    embeddings: Any = encoder.get_input_embeddings()
    table = embeddings.weight.detach()
    words = _TrainingWords(table, ids.to(table.device)).train(encoder.training)
    encoder.set_input_embeddings(words)
    try:
        yield
    finally:
        words.update()
        encoder.set_input_embeddings(embeddings)
