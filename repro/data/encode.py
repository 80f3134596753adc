"""Examples as token ids and padded batches."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from repro.data.glue import Split
from repro.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Encoded:
    """A tokenised split.

    Attributes:
        examples: Per example the tokenizer's lists, not padded: "input_ids" and, if the tokenizer
            returns them, "token_type_ids".
        pad_id: The id of the padding token.
    """

    examples: list[dict[str, list[int]]]
    pad_id: int

    def batch(self, indices: Iterable[int]) -> dict[str, Tensor]:
        """Pad some examples to the longest of them.

        Args:
            indices: Which examples; at least one.

        Returns:
            int64 tensors (batch, tokens) on the CPU: those of `examples` and "attention_mask".
            Ids are padded with `pad_id`, the others with 0.

        Raises:
            ValueError: If there is no index.
        """
        chosen = [self.examples[index] for index in indices]
        lengths = np.array([len(example["input_ids"]) for example in chosen])
        mask = np.arange(lengths.max()) < lengths[:, None]  # (batch, tokens)
        batch = {"attention_mask": torch.from_numpy(mask.astype(np.int64))}
        for key in chosen[0]:
            padded = np.full(mask.shape, self.pad_id if key == "input_ids" else 0, np.int64)
            padded[mask] = np.concatenate([example[key] for example in chosen])
            batch[key] = torch.from_numpy(padded)
        return batch

    @property
    def vocabulary(self) -> Tensor:
        """The sorted distinct ids (ids,) of all examples and of the padding."""
        ids = np.concatenate([example["input_ids"] for example in self.examples])
        return torch.from_numpy(np.union1d(ids, [self.pad_id]))


def encode(
    split: Split, tokenizer: "PreTrainedTokenizerBase", max_length: int
) -> list[dict[str, list[int]]]:
    """Tokenise a split, without padding.

    Args:
        split: The examples.
        tokenizer: A fast tokenizer.
        max_length: Longer examples are truncated to so many tokens, a pair at its longer text.

    Returns:
        Per example "input_ids" and, if the tokenizer returns them, "token_type_ids".

    Raises:
        InputError: If `max_length` leaves no room for text or exceeds the encoder's positions.
    """
    sides = [list(side) for side in zip(*split.texts, strict=True)]  # 1 or 2 lists (examples,)
    shortest = tokenizer.num_special_tokens_to_add(pair=len(sides) == 2) + len(sides)
    if not shortest <= max_length <= tokenizer.model_max_length:
        raise InputError(
            f"max_length must be from {shortest} to {tokenizer.model_max_length}, got {max_length}"
        )
    batch = tokenizer(
        *sides, truncation=True, max_length=max_length, padding=False, return_attention_mask=False
    )
    return [dict(zip(batch, lists, strict=True)) for lists in zip(*batch.values(), strict=True)]
