"""Token ids of a split, and padded batches of them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from repro.data.glue import collate, encode

if TYPE_CHECKING:
    pass

__all__ = ["Encoded", "encode"]


@dataclass(frozen=True)
class Encoded:
    """A tokenised split: one dict of id lists per example, not padded."""

    examples: list[dict[str, list[int]]]
    pad_id: int

    def batch(self, indices: np.ndarray) -> dict[str, Tensor]:
        """The examples of those indices, padded to the longest of them: (batch, tokens)."""
        return collate(self.examples, indices, self.pad_id)

    @property
    def vocabulary(self) -> Tensor:
        """The ids that occur, and the padding's, in order: (ids,)."""
        found = np.concatenate([example["input_ids"] for example in self.examples])
        return torch.from_numpy(np.union1d(found, [self.pad_id]))
