"""Pretrain the embedded encoder: `python -m repro.data.mini.pretrain [FOLDER]` (ENCODER_DIR unless told otherwise).

BERT's two objectives: masked-language modelling, and telling at [CLS] whether the second sentence belongs to the first.
First all pairs belong together and are masked, so that words find their context; then a quarter is masked and the rest
is told apart, at the top and at layers below it: a student is cut from the bottom. Without the second part, fine-tuning
narrow layers on 2,000 examples finds nothing to start from. One run takes about 15 minutes, on one core: then the same
seed gives the same weights.
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
TOLD_AT = (2, 3, 4, 6, 9, 12)  # layers whose [CLS] is asked whether the pair belongs together
MASKED = 0.5  # share that is masked, of the pairs of the second part that belong together
POOL = 32  # batches drawn at once and sorted by length, so that little is padded
SUFFIXES = ("s", "ly")  # kept as word pieces
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LAYERS, HIDDEN, HEADS, POSITIONS = 12, 64, 4, 64

Example = tuple[Pair, int]


def vocabulary() -> list[str]:
    """The corpus's words, long ones without their suffix, and every letter, so that any English word has its pieces."""
    drawn = itertools.islice(examples(SEED), 20_000)
    words = {word for pair, _ in drawn for text in pair for word in text.split()}
    letters = [*ascii_lowercase, *digits]
    pieces = [f"##{piece}" for piece in (*letters, *SUFFIXES)]
    return list(
        dict.fromkeys([*SPECIAL, *pieces, *letters, *sorted({_stem(word) for word in words})])
    )


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
    """Endless batches of pairs of like length, in random order of length."""
    while True:
        drawn = sorted(
            itertools.islice(stream, POOL * BATCH), key=lambda one: len(" ".join(one[0]).split())
        )
        for i in torch.randperm(POOL, generator=generator).tolist():
            yield drawn[i * BATCH : (i + 1) * BATCH]


def mask(
    ids: Tensor, vocabulary_size: int, mask_id: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """(what the model reads, what it must predict: -100 where nothing), both of the shape of `ids` (batch, tokens).

    15 % of the tokens are chosen; of them 80 % are masked, 10 % replaced at random, 10 % kept (Devlin et al. 2019).
    """
    drawn = torch.rand(ids.shape, generator=generator)
    chosen = (drawn < 0.15) & (ids >= len(SPECIAL))
    words = torch.randint(len(SPECIAL), vocabulary_size, ids.shape, generator=generator)
    read = torch.where(
        chosen & (drawn < 0.12), mask_id, torch.where(chosen & (drawn < 0.135), words, ids)
    )
    return read, ids.masked_fill(~chosen, -100)


def losses(
    model: BertForPreTraining,
    tokenizer: BertTokenizer,
    batch: list[Example],
    masked: Tensor,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, float]:
    """(masked-language loss of the rows in `masked`, pair loss of the others, pair accuracy); masked: (batch,) bool.

    The pair loss is the mean over the layers TOLD_AT, through the one pooler and head; the accuracy is the top layer's.
    """
    first, second = zip(*(pair for pair, _ in batch), strict=True)
    inputs = dict(tokenizer(list(first), list(second), padding=True, return_tensors="pt"))
    read, wanted = mask(inputs["input_ids"], len(tokenizer), tokenizer.mask_token_id, generator)
    inputs["input_ids"] = torch.where(masked[:, None], read, inputs["input_ids"])
    states = model.bert(
        **inputs, output_hidden_states=True
    ).hidden_states  # embeddings, then every layer
    assert model.bert.pooler is not None
    words = cross_entropy(
        model.cls.predictions(states[-1][masked]).flatten(0, 1), wanted[masked].flatten()
    )
    if masked.all():
        return words, words.new_zeros(()), float("nan")
    broken = torch.tensor([label for _, label in batch])[~masked]
    told = [
        model.cls.seq_relationship(model.bert.pooler(states[layer][~masked])) for layer in TOLD_AT
    ]
    loss = torch.stack([cross_entropy(logits, broken) for logits in told]).mean()
    return words, loss, (told[-1].argmax(-1) == broken).float().mean().item()


def train(
    model: BertForPreTraining, tokenizer: BertTokenizer, steps: int, masked_share: float
) -> None:
    """One part of the pretraining, in place; prints both losses and the pair accuracy, averaged since the line before.

    masked_share: of the pairs that belong together; 1 for the first part, which has no others.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / WARMUP, (steps - step) / (steps - WARMUP))
    )
    generator, shown, start = torch.Generator().manual_seed(SEED), [], time.monotonic()
    stream = examples(SEED) if masked_share < 1 else (one for one in examples(SEED) if not one[1])
    for step, batch in enumerate(itertools.islice(batches(stream, generator), steps), start=1):
        together = torch.tensor(
            [label == 0 for _, label in batch]
        )  # a broken pair would teach wrong words
        masked = together & (torch.rand(BATCH, generator=generator) < masked_share)
        words, pairs, accuracy = losses(model, tokenizer, batch, masked, generator)
        optimizer.zero_grad()
        (words + 2 * pairs).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        shown.append((words.item(), pairs.item(), accuracy))
        if step % 100 == 0:
            means = ", ".join(f"{mean:.3f}" for mean in torch.tensor(shown).mean(dim=0).tolist())
            gone = time.monotonic() - start
            print(
                f"step {step}/{steps}: words, pairs, pair accuracy {means}; {gone:.0f} s",
                flush=True,
            )
            shown.clear()


def save(model: BertForPreTraining, tokenizer: BertTokenizer, folder: Path) -> str:
    """Write the encoder, without the pretraining heads, and the tokenizer; returns the weights' SHA-256."""
    model.bert.save_pretrained(
        folder
    )  # without dropout, for fine-tuning too: 64 dimensions have none to spare
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
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = BertForPreTraining(config)
    train(model, tokenizer, WORD_STEPS, 1.0)
    train(model, tokenizer, PAIR_STEPS, MASKED)
    print(f"MODEL_SHA256 = {save(model, tokenizer, folder)!r}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ENCODER_DIR)
