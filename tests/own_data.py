"""Labelled texts of a user's own, and encoders of several architectures that fit them."""

from pathlib import Path

import numpy as np
import pandas as pd
import tiny
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

COLOURS, THINGS = ("red", "green", "blue"), ("ball", "box", "cup", "hat", "key")


def encoder_folder(folder: Path, kind: str, layers: int = 3) -> Path:
    """A folder with a tiny random encoder and a tokenizer, as a user would have them."""
    encoder = tiny.encoder(kind, layers).float()
    for parameter in encoder.parameters():
        parameter.data *= 0.2
    encoder.save_pretrained(folder)
    words = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *COLOURS, *THINGS, "a", "and")
    tokenizer = Tokenizer(
        models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    special = {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
    }
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_input_names=["input_ids", "attention_mask"], **special
    ).save_pretrained(folder)
    return folder


def three_classes(rows: int, seed: int = 0) -> pd.DataFrame:
    """Column "review"; the class in "colour" is the colour of the thing."""
    rng = np.random.default_rng(seed)
    colours, things = rng.choice(COLOURS, rows), rng.choice(THINGS, (rows, 2))
    reviews = [
        f"a {one} and a {colour} {other}"
        for colour, (one, other) in zip(colours, things, strict=True)
    ]
    return pd.DataFrame({"review": reviews, "colour": colours})


def pairs(rows: int, seed: int = 0) -> pd.DataFrame:
    """Columns "first" and "second"; the class in "same" is 1 if their colours are equal."""
    rng = np.random.default_rng(seed)
    first, second = rng.choice(COLOURS, (2, rows))
    things = rng.choice(THINGS, (rows, 2))
    return pd.DataFrame(
        {
            "first": [
                f"a {colour} {thing}" for colour, thing in zip(first, things[:, 0], strict=True)
            ],
            "second": [
                f"a {colour} {thing}" for colour, thing in zip(second, things[:, 1], strict=True)
            ],
            "same": (first == second).astype(int),
        }
    )
