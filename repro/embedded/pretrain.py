"""Pretrain the embedded encoder: `python -m repro.embedded.pretrain [FOLDER]` (ENCODER_DIR unless told otherwise).

Masked-language modelling on `corpus.pairs`, as BERT (15 % of the tokens: 80 % masked, 10 % random, 10 % kept), without
next-sentence prediction; so the pooler keeps its initial weights. One run takes about 25 minutes on two cores.
"""

import hashlib
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from string import ascii_lowercase, digits

import torch
from torch import Tensor
from transformers import BertConfig, BertForMaskedLM, BertModel, BertTokenizer

from repro.embedded import ENCODER_DIR
from repro.embedded.corpus import pairs

SEED, STEPS, BATCH, RATE, WARMUP = 1, 6000, 64, 1e-3, 400
POOL = 64  # batches drawn at once and sorted by length, so that little is padded
SUFFIXES = ("s", "ly")  # kept as word pieces
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SHAPE = {"hidden_size": 64, "num_hidden_layers": 12, "num_attention_heads": 4, "intermediate_size": 256,
         "max_position_embeddings": 64, "initializer_range": 0.05}  # fmt: skip


def vocabulary() -> list[str]:
    """The corpus's words, long ones without their suffix, and every letter, so that any English word has its pieces."""
    words = {word for pair in itertools.islice(pairs(SEED), 20_000) for text in pair for word in text.split()}
    letters = [*ascii_lowercase, *digits]
    pieces = [f"##{piece}" for piece in (*letters, *SUFFIXES)]
    return list(dict.fromkeys([*SPECIAL, *letters, *pieces, *sorted(map(_stem, words))]))


def _stem(word: str) -> str:
    suffix = next((s for s in SUFFIXES if word.endswith(s) and len(word) >= len(s) + 4), "")
    return word.removesuffix(suffix)


def make_tokenizer() -> BertTokenizer:
    """The uncased WordPiece tokenizer."""
    return BertTokenizer(vocab={piece: i for i, piece in enumerate(vocabulary())}, do_lower_case=True,
                         model_max_length=SHAPE["max_position_embeddings"])  # fmt: skip


def batches(tokenizer: BertTokenizer) -> Iterator[dict[str, Tensor]]:
    """Endless padded batches, each tensor (BATCH, tokens), of pairs of like length."""
    stream, generator = pairs(SEED), torch.Generator().manual_seed(SEED)
    while True:
        drawn = sorted(itertools.islice(stream, POOL * BATCH), key=lambda pair: sum(len(text.split()) for text in pair))
        for i in torch.randperm(POOL, generator=generator).tolist():
            first, second = zip(*drawn[i * BATCH : (i + 1) * BATCH], strict=True)
            yield dict(tokenizer(list(first), list(second), padding=True, return_tensors="pt"))


def mask(ids: Tensor, vocabulary_size: int, mask_id: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(what the model reads, what it must predict: -100 where nothing), both of the shape of `ids` (batch, tokens)."""
    drawn = torch.rand(ids.shape, generator=generator)
    chosen = (drawn < 0.15) & (ids >= len(SPECIAL))
    words = torch.randint(len(SPECIAL), vocabulary_size, ids.shape, generator=generator)
    read = torch.where(chosen & (drawn < 0.12), mask_id, torch.where(chosen & (drawn < 0.135), words, ids))
    return read, ids.masked_fill(~chosen, -100)


def train(model: BertForMaskedLM, tokenizer: BertTokenizer) -> None:
    """Train in place; prints loss and accuracy on the chosen tokens, averaged since the line before."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / WARMUP, (STEPS - step) / (STEPS - WARMUP)))  # fmt: skip
    generator, shown = torch.Generator().manual_seed(SEED), []
    for step, batch in enumerate(itertools.islice(batches(tokenizer), STEPS), start=1):
        read, wanted = mask(batch["input_ids"], len(tokenizer), tokenizer.mask_token_id, generator)
        output = model(**batch | {"input_ids": read}, labels=wanted)
        optimizer.zero_grad()
        output.loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        right = (output.logits.argmax(-1) == wanted)[wanted >= 0].float().mean()
        shown.append((output.loss.item(), right.item()))
        if step % 100 == 0:
            loss, accuracy = torch.tensor(shown).mean(dim=0).tolist()
            print(f"step {step}/{STEPS} loss {loss:.3f} accuracy {accuracy:.3f}", flush=True)
            shown.clear()


def save(model: BertForMaskedLM, tokenizer: BertTokenizer, folder: Path) -> str:
    """Write the encoder, without the masked-language head, and the tokenizer; returns the weights' SHA-256."""
    torch.manual_seed(SEED)  # for the pooler, which nothing trains
    encoder = BertModel(model.config)
    encoder.load_state_dict(model.bert.state_dict(), strict=False)  # all but the pooler
    encoder.config.hidden_dropout_prob = encoder.config.attention_probs_dropout_prob = 0.1  # for fine-tuning
    encoder.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def main(folder: Path) -> None:
    """Pretrain and save."""
    torch.manual_seed(SEED)
    tokenizer = make_tokenizer()
    config = BertConfig(vocab_size=len(tokenizer), hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **SHAPE)
    model = BertForMaskedLM(config)
    train(model, tokenizer)
    print(f"MODEL_SHA256 = {save(model, tokenizer, folder)!r}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ENCODER_DIR)
