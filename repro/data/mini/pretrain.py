"""Pretrain the embedded encoder: `python -m repro.data.mini.pretrain [FOLDER]`.

There are two objectives, as in BERT: masked-language modelling, and classifying at [CLS] whether
the second sentence is related to the first. In the first part all pairs are related and masked. In
the second part a quarter of the pairs is masked and the rest is classified, at several layers,
because students consist of the lowest layers. Without the second part, students do not learn from
2,000 examples.

One run takes about 15 minutes on one core; with one thread, a seed always gives the same weights.
The encoder is written to ENCODER_DIR unless another folder is given.
"""

import hashlib
import itertools
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from string import ascii_lowercase, digits

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import BertConfig, BertForPreTraining, BertTokenizer

from repro.data.mini import ENCODER_DIR
from repro.data.mini.corpus import Pair, examples

SEED, BATCH, RATE, WARMUP = 1, 64, 1e-3, 300
WORD_STEPS, PAIR_STEPS = 3000, 4000
CLASSIFIED_AT = (2, 3, 4, 6, 9, 12)  # layers at which pairs are classified
MASKED = 0.5  # share of the related pairs that is masked in the second part
POOL = 32  # batches that are drawn at once and sorted by length, to reduce padding
SUFFIXES = ("s", "ly")  # kept as word pieces
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LAYERS, HIDDEN, HEADS, POSITIONS = 12, 64, 4, 64

Example = tuple[Pair, int]


def vocabulary() -> list[str]:
    """The corpus's words, long ones without suffix, and all letters, which spell any other word."""
    drawn = itertools.islice(examples(SEED), 20_000)
    words = {word for pair, _ in drawn for text in pair for word in text.split()}
    letters = [*ascii_lowercase, *digits]
    pieces = [f"##{piece}" for piece in (*letters, *SUFFIXES)]
    stems = sorted({_stem(word) for word in words})
    return list(dict.fromkeys([*SPECIAL, *pieces, *letters, *stems]))


def _stem(word: str) -> str:
    suffix = next((s for s in SUFFIXES if word.endswith(s) and len(word) >= len(s) + 4), "")
    return word.removesuffix(suffix)


def make_tokenizer() -> BertTokenizer:
    """The uncased WordPiece tokenizer."""
    return BertTokenizer(
        vocab={piece: i for i, piece in enumerate(vocabulary())},
        do_lower_case=True,
        model_max_length=POSITIONS,
    )


def batches(stream: Iterator[Example], generator: torch.Generator) -> Iterator[list[Example]]:
    """Endless batches of pairs of similar length, in random order."""
    while True:
        pool = itertools.islice(stream, POOL * BATCH)
        drawn = sorted(pool, key=lambda example: len(" ".join(example[0]).split()))
        for i in torch.randperm(POOL, generator=generator).tolist():
            yield drawn[i * BATCH : (i + 1) * BATCH]


def mask(
    ids: Tensor, vocabulary_size: int, mask_id: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Mask tokens for masked-language modelling (Devlin et al. 2019).

    Of the tokens 15 % are chosen; of these 80 % are masked, 10 % replaced at random and 10 % kept.

    Args:
        ids: (batch, tokens).
        vocabulary_size: The number of ids.
        mask_id: The id of [MASK].
        generator: The random numbers.

    Returns:
        The model's input and its targets, -100 where there is none; both (batch, tokens).
    """
    drawn = torch.rand(ids.shape, generator=generator)
    chosen = (drawn < 0.15) & (ids >= len(SPECIAL))
    words = torch.randint(len(SPECIAL), vocabulary_size, ids.shape, generator=generator)
    replaced = torch.where(chosen & (drawn < 0.135), words, ids)
    inputs = torch.where(chosen & (drawn < 0.12), mask_id, replaced)
    return inputs, ids.masked_fill(~chosen, -100)


def losses(
    model: BertForPreTraining,
    tokenizer: BertTokenizer,
    batch: list[Example],
    masked: Tensor,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, float]:
    """Both losses of a batch.

    Args:
        model: The encoder with its pretraining heads.
        tokenizer: Its tokenizer.
        batch: The pairs.
        masked: (batch,) bool: which pairs are masked; the others are classified.
        generator: The random numbers.

    Returns:
        The masked-language loss; the pair loss, averaged over the layers CLASSIFIED_AT, which share
        the pooler and the head; and the accuracy on pairs at the top layer.
    """
    first, second = zip(*(pair for pair, _ in batch), strict=True)
    inputs = dict(tokenizer(list(first), list(second), padding=True, return_tensors="pt"))
    ids = inputs["input_ids"]
    masked_ids, targets = mask(ids, len(tokenizer), tokenizer.mask_token_id, generator)
    inputs["input_ids"] = torch.where(masked[:, None], masked_ids, ids)
    states = model.bert(**inputs, output_hidden_states=True).hidden_states  # embeddings, layer 1 ..
    pooler = model.bert.pooler
    assert pooler is not None
    predicted = model.cls.predictions(states[-1][masked]).flatten(0, 1)
    word_loss = cross_entropy(predicted, targets[masked].flatten())
    if masked.all():
        return word_loss, word_loss.new_zeros(()), float("nan")
    broken = torch.tensor([label for _, label in batch])[~masked]
    logits = [model.cls.seq_relationship(pooler(states[layer][~masked])) for layer in CLASSIFIED_AT]
    pair_loss = torch.stack([cross_entropy(scores, broken) for scores in logits]).mean()
    return word_loss, pair_loss, (logits[-1].argmax(-1) == broken).float().mean().item()


def train(
    model: BertForPreTraining, tokenizer: BertTokenizer, steps: int, masked_share: float
) -> None:
    """Run one part of the pretraining (in place), printing averages every 100 steps.

    Args:
        model: The encoder with its pretraining heads.
        tokenizer: Its tokenizer.
        steps: The number of steps.
        masked_share: The share of the related pairs that is masked; 1 for the first part, which has
            no broken pairs.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / WARMUP, (steps - step) / (steps - WARMUP))
    )
    generator, shown, start = torch.Generator().manual_seed(SEED), [], time.monotonic()
    stream = (example for example in examples(SEED) if masked_share < 1 or example[1] == 0)
    for step, batch in enumerate(itertools.islice(batches(stream, generator), steps), start=1):
        related = torch.tensor([label == 0 for _, label in batch])  # broken pairs have wrong words
        masked = related & (torch.rand(BATCH, generator=generator) < masked_share)
        words, pairs, accuracy = losses(model, tokenizer, batch, masked, generator)
        optimizer.zero_grad()
        (words + 2 * pairs).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        shown.append((words.item(), pairs.item(), accuracy))
        if step % 100 == 0:
            means = ", ".join(f"{mean:.3f}" for mean in torch.tensor(shown).mean(dim=0).tolist())
            seconds = time.monotonic() - start
            line = (
                f"step {step}/{steps}: word loss, pair loss, pair accuracy {means}; {seconds:.0f} s"
            )
            print(line, flush=True)
            shown.clear()


def save(model: BertForPreTraining, tokenizer: BertTokenizer, folder: Path) -> str:
    """Write the encoder without its pretraining heads, and the tokenizer.

    Returns:
        The SHA-256 of the weights.
    """
    model.bert.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def main(folder: Path) -> None:
    """Pretrain and save."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    tokenizer = make_tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=4 * HIDDEN,
        max_position_embeddings=POSITIONS,
        initializer_range=0.05,
        hidden_dropout_prob=0.0,  # in fine-tuning too: 64 dimensions are too few for dropout
        attention_probs_dropout_prob=0.0,
    )
    model = BertForPreTraining(config)
    train(model, tokenizer, WORD_STEPS, 1.0)
    train(model, tokenizer, PAIR_STEPS, MASKED)
    print(f"MODEL_SHA256 = {save(model, tokenizer, folder)!r}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ENCODER_DIR)
