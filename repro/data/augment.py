"""Augmented copies of training examples (TinyBERT, arXiv:1909.10351, algorithm 1).

Each word that is no stop word is replaced with probability 0.4: a word of one piece by one of the
15 most probable words at its place, another by one of the 15 words with the nearest embedding.

Ours: all words that a copy replaces are masked at once, where the original masks one at a time;
neighbours are by the encoder's word embeddings, where it uses GloVe; candidates are the
single-piece words of the task's text that are not stop words.
"""

from collections.abc import Callable
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from repro.data.encode import Encoded
from repro.data.glue import Split

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CANDIDATES, PROBABILITY = 15, 0.4
# the most frequent function words of English
STOP_WORDS = frozenset(
    "a about above after again all also am an and any are as at be because been before being below "
    "between both but by can could did do does down during each few for from further had has have "
    "he her here hers him his how i if in into is it its itself just me more most my no nor not of "
    "off on once only or other our out over own same she should so some such than that the their "
    "them then there these they this those through to too under until up very was we were what "
    "when where which while who whom why will with would you your".split()
)

Example = dict[str, list[int]]  # "input_ids" and, for some tokenizers, "token_type_ids"
Span = tuple[int, int]  # first and last + 1 token of a word
# (masked examples, candidates (ids,)) -> (masks, CANDIDATES) ids, the most probable first, at each
# mask of the examples, in order
Predict = Callable[[Encoded, np.ndarray], np.ndarray]


def augment(
    split: Split,
    tokens: Encoded,
    tokenizer: "PreTrainedTokenizerBase",
    max_length: int,
    embeddings: np.ndarray,
    predict: Predict,
    copies: int,
    seed: int,
) -> Encoded:
    """The examples, followed by augmented copies of all of them, copy by copy.

    Args:
        split: The examples as text.
        tokens: The same examples, tokenised.
        tokenizer: The tokenizer of `tokens`; it needs a mask token.
        max_length: The length in tokens at which `tokens` was truncated.
        embeddings: Word embeddings (ids, width) of the encoder.
        predict: Predicts masked words.
        copies: Copies per example.
        seed: Seed of which words are replaced, and by which candidates.
    """
    words = _replaceable_words(split, tokenizer, max_length)
    rows = list(zip(tokens.examples, words, strict=True))
    candidates = np.unique([ex["input_ids"][a] for ex, row in rows for a, b in row if b == a + 1])
    examples = list(tokens.examples)
    for copy in range(copies if len(candidates) else 0):
        rng = np.random.default_rng((seed, copy))
        chosen = [
            (example, [span for span in row if rng.random() < PROBABILITY]) for example, row in rows
        ]
        single = [(example, [s for s in row if s[1] == s[0] + 1]) for example, row in chosen]
        masked = [_replace(ex, row, [tokenizer.mask_token_id] * len(row)) for ex, row in single]
        predicted = iter(predict(Encoded(masked, tokens.pad_id), candidates))
        for example, row in chosen:
            new_ids = []
            for start, end in row:
                if end == start + 1:
                    best = next(predicted)
                else:
                    pieces = embeddings[example["input_ids"][start:end]]
                    best = nearest(pieces.mean(0), embeddings, candidates)
                new_ids.append(int(rng.choice(best)))
            examples.append(_replace(example, row, new_ids))
    return Encoded(examples, tokens.pad_id)


def nearest(vector: np.ndarray, embeddings: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """The CANDIDATES ids whose embeddings have the highest cosine with a vector, the best first.

    Args:
        vector: (width,).
        embeddings: (ids, width).
        candidates: (candidates,) ids.
    """
    table = embeddings[candidates]
    cosines = table @ vector / (np.linalg.norm(table, axis=1) * np.linalg.norm(vector) + 1e-12)
    return candidates[np.argsort(-cosines, kind="stable")[:CANDIDATES]]


def _replaceable_words(
    split: Split, tokenizer: "PreTrainedTokenizerBase", max_length: int
) -> list[list[Span]]:
    """The words of each example that are neither stop words nor punctuation."""
    sides = [list(side) for side in zip(*split.texts, strict=True)]
    batch = tokenizer(*sides, truncation=True, max_length=max_length, padding=False)
    every = []
    for k, ids in enumerate(batch["input_ids"]):
        places = list(zip(batch.sequence_ids(k), batch.word_ids(k), strict=True))
        spans, start = [], 0
        for (_, word), group in groupby(places):
            end = start + len(list(group))
            text = "" if word is None else str(tokenizer.decode(ids[start:end])).strip().lower()
            if any(map(str.isalnum, text)) and text not in STOP_WORDS:
                spans.append((start, end))
            start = end
        every.append(spans)
    return every


def _replace(example: Example, spans: list[Span], ids: list[int]) -> Example:
    """A copy of an example with one new id in the place of each span."""
    new: Example = {name: [] for name in example}
    end = 0
    for (start, stop), new_id in zip(spans, ids, strict=True):
        for name, values in example.items():
            new[name] += values[end:start]
            new[name].append(new_id if name == "input_ids" else values[start])
        end = stop
    return {name: new[name] + values[end:] for name, values in example.items()}
