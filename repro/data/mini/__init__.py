"""Four miniature tasks with the columns and labels of GLUE, and a small BERT pretrained for them.

Everything is generated or trained by this package, so that the demo needs no network. Importing it
loads neither torch nor transformers.
"""

import hashlib
from functools import cache
from pathlib import Path
from random import Random
from types import ModuleType
from typing import NamedTuple

from repro.data.mini import entailment, paraphrase, questions, sentiment

ENCODER_DIR = Path(__file__).parent / "encoder"
MODEL_SHA256 = "5c600dc9d4f6ded0fb3d7fd67c16f51cb842d817cd7be329df7f11ee70b0b514"

DEV_ROWS, TRAIN_ROWS = 500, 2000
# Training labels that are flipped, like annotators' errors. They make the teacher wrong, at times
# confidently.
FLIPPED = 80


class _Grammar(NamedTuple):
    columns: tuple[str, ...]
    builders: ModuleType
    positive: float  # share of label 1


_GRAMMARS = {
    "mini-RTE": _Grammar(("sentence1", "sentence2"), entailment, 1 / 2),
    "mini-MRPC": _Grammar(("sentence1", "sentence2"), paraphrase, 2 / 3),
    "mini-SST-2": _Grammar(("sentence",), sentiment, 1 / 2),
    "mini-QNLI": _Grammar(("question", "sentence"), questions, 1 / 2),
}
TASKS, SPLITS = tuple(_GRAMMARS), ("train", "dev")


def rows(task: str, split: str) -> list[dict]:
    """The examples of one split, the same on every machine.

    Args:
        task: "mini-RTE", "mini-MRPC", "mini-SST-2" or "mini-QNLI".
        split: "train" or "dev".

    Returns:
        Per example GLUE's text columns and an integer "label".

    Raises:
        ValueError: If there is no such task or split.
    """
    for kind, value, allowed in (("task", task, TASKS), ("split", split, SPLITS)):
        if value not in allowed:
            raise ValueError(f"unknown embedded {kind} {value!r}; use one of: {', '.join(allowed)}")
    return [dict(row) for row in _splits(task)[split]]


@cache
def _splits(task: str) -> dict[str, list[dict]]:
    """Both splits, from one stream without repetition; dev first, independent of train's size."""
    grammar = _GRAMMARS[task]
    rng = Random(int.from_bytes(hashlib.sha256(task.encode()).digest()[:4]))
    labels: dict[tuple[str, ...], int] = {}
    while len(labels) < DEV_ROWS + TRAIN_ROWS:
        *texts, label = _draw(rng, grammar)
        labels.setdefault(tuple(texts), label)
    examples = [
        dict(zip(grammar.columns, texts, strict=True)) | {"label": label}
        for texts, label in labels.items()
    ]
    dev, train = examples[:DEV_ROWS], examples[DEV_ROWS:]
    for row in rng.sample(train, FLIPPED):
        row["label"] = int(not row["label"])
    return {"train": train, "dev": dev}


def _draw(rng: Random, grammar: _Grammar) -> tuple:
    """Draw the construct, then the label, so that the construct does not predict the label."""
    builder, label = rng.choice(grammar.builders.BUILDERS), int(rng.random() < grammar.positive)
    while True:
        example = builder(rng)
        if example[-1] == label:
            return example
