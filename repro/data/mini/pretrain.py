"""Pretrain the embedded encoder: `python -m repro.data.mini.pretrain [FOLDER]`.

There are two objectives, as in BERT: masked-language modelling, and classifying at [CLS] whether
the second sentence is related to the first. The encoder grows in three parts, and each part freezes
the layers of the one before: layers 1 to 3 learn words only, layers 4 to 6 also learn to tell pairs
that differ much, and layers 7 to 12 pairs that differ in one word. So deeper layers know more, as
in BERT, and a student that keeps the lowest layers loses something. An encoder that is trained as a
whole puts all it knows about pairs into two or three layers, and students on one side of them are
equally good, whatever their depth (docs/calibration.md).

One run takes about 10 minutes on one core; with one thread, a seed always gives the same weights.
The encoder is written to ENCODER_DIR unless another folder is given.
"""

import hashlib
import itertools
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from string import ascii_lowercase, digits
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import BertConfig, BertForPreTraining, BertTokenizer

from repro.data.mini import ENCODER_DIR
from repro.data.mini.corpus import Pair, examples

SEED, BATCH, RATE, WARMUP = 1, 64, 1e-3, 200


class Part(NamedTuple):
    """One part of the pretraining.

    Attributes:
        layers: Depth of the encoder.
        frozen: Its lowest layers that are not trained; with any, the embeddings are not either.
        steps: Number of steps.
        masked: Share of the related pairs that is masked instead of classified.
        classified_at: Layers at which pairs are classified.
        easy: Whether broken pairs with a single changed word are left out.
    """

    layers: int
    frozen: int
    steps: int
    masked: float
    classified_at: tuple[int, ...] = ()
    easy: bool = False


PARTS = (
    Part(3, 0, 3000, 1.0),
    Part(6, 3, 3000, 0.5, (6,), easy=True),
    Part(12, 6, 2500, 0.5, (9, 12)),
)
POOL = 32  # batches that are drawn at once and sorted by length, to reduce padding
SUFFIXES = ("s", "ly")  # kept as word pieces
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
HIDDEN, HEADS, POSITIONS = 64, 4, 64

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
    classified_at: tuple[int, ...],
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, float]:
    """Both losses of a batch.

    Args:
        model: The encoder with its pretraining heads.
        tokenizer: Its tokenizer.
        batch: The pairs.
        masked: (batch,) bool: which pairs are masked; the others are classified.
        classified_at: Layers at which they are classified.
        generator: The random numbers.

    Returns:
        The masked-language loss; the pair loss, averaged over the layers that share the pooler and
        the head; and the accuracy on pairs at the top layer.
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
    logits = [model.cls.seq_relationship(pooler(states[layer][~masked])) for layer in classified_at]
    pair_loss = torch.stack([cross_entropy(scores, broken) for scores in logits]).mean()
    return word_loss, pair_loss, (logits[-1].argmax(-1) == broken).float().mean().item()


def grow(model: BertForPreTraining | None, part: Part, vocabulary_size: int) -> BertForPreTraining:
    """The model of a part: the layers of the part before, and new ones that change little at first.

    Args:
        model: The model so far; None at the start.
        part: The part.
        vocabulary_size: The number of tokens.
    """
    config = BertConfig(
        vocab_size=vocabulary_size,
        hidden_size=HIDDEN,
        num_hidden_layers=part.layers,
        num_attention_heads=HEADS,
        intermediate_size=4 * HIDDEN,
        max_position_embeddings=POSITIONS,
        initializer_range=0.05,
        hidden_dropout_prob=0.0,  # in fine-tuning too: 64 dimensions are too few for dropout
        attention_probs_dropout_prob=0.0,
    )
    grown = BertForPreTraining(config)
    if model is None:
        return grown
    for layer in grown.bert.encoder.layer[len(model.bert.encoder.layer) :]:
        layer.attention.output.dense.weight.data.mul_(0.1)
        layer.output.dense.weight.data.mul_(0.1)
    grown.load_state_dict(model.state_dict(), strict=False)
    for frozen in (grown.bert.embeddings, *grown.bert.encoder.layer[: part.frozen]):
        frozen.requires_grad_(False)
    return grown


def train(model: BertForPreTraining, tokenizer: BertTokenizer, part: Part) -> None:
    """Run one part of the pretraining (in place), printing averages every 100 steps.

    Args:
        model: The encoder with its pretraining heads.
        tokenizer: Its tokenizer.
        part: Its steps and objectives.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min((s + 1) / WARMUP, (part.steps - s) / (part.steps - WARMUP))
    )
    generator, shown, start = torch.Generator().manual_seed(SEED), [], time.monotonic()
    drawn = examples(SEED + part.layers, part.easy)
    stream = (example for example in drawn if part.masked < 1 or example[1] == 0)
    for step, batch in enumerate(itertools.islice(batches(stream, generator), part.steps), start=1):
        related = torch.tensor([label == 0 for _, label in batch])  # broken pairs have wrong words
        masked = related & (torch.rand(BATCH, generator=generator) < part.masked)
        words, pairs, accuracy = losses(
            model, tokenizer, batch, masked, part.classified_at, generator
        )
        optimizer.zero_grad()
        (words + 2 * pairs).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        shown.append((words.item(), pairs.item(), accuracy))
        if step % 100 == 0:
            means = ", ".join(f"{mean:.3f}" for mean in torch.tensor(shown).mean(dim=0).tolist())
            seconds = time.monotonic() - start
            print(
                f"{part.layers} layers, step {step}/{part.steps}: word loss, pair loss, "
                f"pair accuracy {means}; {seconds:.0f} s",
                flush=True,
            )
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
    model = None
    for part in PARTS:
        model = grow(model, part, len(tokenizer))
        train(model, tokenizer, part)
    assert model is not None
    print(f"MODEL_SHA256 = {save(model, tokenizer, folder)!r}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ENCODER_DIR)
