"""Training only the word embeddings that occur: a task uses a fifth of BERT's 30,522, and the rest only decays."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel


class _Occurring(nn.Module):
    """The embeddings of some ids, and one last row of ones that stands for all others.

    No gradient reaches the others, so an optimiser multiplies each by one and the same number: what it makes of a 1.
    """

    def __init__(self, table: Tensor, ids: Tensor) -> None:
        super().__init__()
        self.full, self.start, self.ids = (
            table,
            table.clone(),
            ids,
        )  # both (words, hidden), (occurring,)
        self.place = torch.full((len(table),), -1, device=table.device).index_copy(
            0, ids, torch.arange(len(ids), device=table.device)
        )
        self.rows = nn.Parameter(
            torch.cat([table[ids], torch.ones_like(table[:1])])
        )  # (occurring + 1, hidden)

    def forward(self, ids: Tensor) -> Tensor:
        """(..., hidden) of ids (...); in training only ids that occur may be asked for."""
        return (
            F.embedding(self.place[ids], self.rows)
            if self.training
            else F.embedding(ids, self.full)
        )

    def train(self, mode: bool = True) -> "_Occurring":
        """Before an evaluation the full table is brought up to date."""
        if not mode:
            self.update()
        return super().train(mode)

    @torch.no_grad()
    def update(self) -> None:
        """Write the trained rows, and the others' decay, into the full table."""
        torch.mul(self.start, self.rows[-1:], out=self.full)
        self.full[self.ids] = self.rows[:-1]


@contextmanager
def occurring(encoder: PreTrainedModel, ids: Tensor) -> Iterator[None]:
    """Within, the encoder trains only the word embeddings of `ids`, distinct; afterwards it has its whole table again.

    The result is that of training the whole table, without its gradient, moments and norm in every step: a third of a
    step on short sentences.
    """
    whole: Any = encoder.get_input_embeddings()
    table = whole.weight.detach()
    short = _Occurring(table, ids.to(table.device)).train(encoder.training)
    encoder.set_input_embeddings(short)
    try:
        yield
    finally:
        short.update()
        encoder.set_input_embeddings(whole)
