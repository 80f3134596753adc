"""Masked text, the masked-language head, and the pair of student and teacher."""

import math

import pytest
import torch
from tiny import batch, encoder

from repro.models.classifier import Classifier
from repro.models.masked import (
    Masking,
    Reader,
    WordHead,
    Words,
    mask_words,
    masked_cross_entropy,
)
from repro.models.pair import Pair

WORDS = torch.tensor([0, 2, 3, 4, *range(10, 40)])  # 0, 2, 3: special; 4: the mask
MASKING = Masking(WORDS, torch.isin(WORDS, torch.tensor([0, 2, 3, 4])), 4)


def text(rows=400):
    generator = torch.Generator().manual_seed(3)
    ids = WORDS[torch.randint(4, len(WORDS), (rows, 20), generator=generator)]
    ids[:, 0], ids[:, -1] = 2, 3
    return ids


def test_masking_follows_bert():
    """15 % are predicted; of these, 80 % become [MASK], 10 % another word, 10 % stay."""
    torch.manual_seed(0)
    ids = text()
    masked, chosen, places = mask_words(ids, MASKING)
    assert torch.equal(WORDS[places], ids)
    assert not chosen[:, [0, -1]].any()
    assert chosen[:, 1:-1].float().mean().item() == pytest.approx(0.15, abs=0.015)
    assert torch.equal(masked[~chosen], ids[~chosen])
    assert (masked[chosen] == 4).float().mean().item() == pytest.approx(0.8, abs=0.04)
    changed = (masked != ids) & (masked != 4) & chosen
    share = changed.sum() / chosen.sum()
    assert share.item() == pytest.approx(0.1 * 29 / 30, abs=0.03)  # a word may replace itself
    assert not torch.isin(masked[changed], torch.tensor([0, 2, 3])).any()


def test_the_cross_entropy_counts_chosen_words_only():
    logits = torch.tensor([[0.0, math.log(3.0)], [5.0, -5.0]])
    words = Words(logits, logits[:0], torch.tensor([1, 1]), torch.tensor([True, False]))
    assert masked_cross_entropy(words).item() == pytest.approx(math.log(4 / 3))
    none = words._replace(chosen=torch.tensor([False, False]))
    assert masked_cross_entropy(none).item() == 0.0


def test_the_head_is_dense_gelu_norm_and_tied_embeddings():
    model = Classifier(encoder(), 2)
    head = WordHead(model, len(WORDS)).double()
    torch.nn.init.normal_(head.bias)
    states = torch.randn(5, 16, dtype=torch.float64)
    hidden = states @ head.dense.weight.T + head.dense.bias
    hidden = hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2
    mean, variance = hidden.mean(-1, keepdim=True), hidden.var(-1, keepdim=True, unbiased=False)
    table = model.encoder.embeddings.word_embeddings.weight[WORDS]
    expected = (hidden - mean) / (variance + 1e-5).sqrt() @ table.T + head.bias
    assert torch.allclose(head(model, states, WORDS), expected)


def pair(**options):
    made = Pair(Classifier(encoder("bert", 2), 2), Classifier(encoder("bert", 3), 2), **options)
    return made.double()


def test_a_reader_trains_its_head_only():
    model = Classifier(encoder(), 2)
    reader = Reader(model, MASKING).double()
    torch.manual_seed(1)
    inputs = {"input_ids": text(8), "attention_mask": torch.ones(8, 20, dtype=torch.int64)}
    words = reader(**inputs)
    assert {name.split(".")[0] for name, _ in reader.named_parameters()} == {"head"}
    masked_cross_entropy(words).backward()
    assert all(p.grad is not None for p in reader.head.parameters())
    assert all(p.grad is None for p in model.parameters())
    assert words.chosen.all()


def test_a_pair_holds_the_student_and_what_is_trained_with_it():
    head = WordHead(Classifier(encoder("bert", 3), 2), len(WORDS)).double()
    assert {n.split(".")[0] for n, _ in pair().named_parameters()} == {"student"}
    made = pair(project=True, masking=MASKING, head=head)
    assert {n.split(".")[0] for n, _ in made.named_parameters()} == {
        "student",
        "projection",
        "head",
    }
    for name, value in head.state_dict().items():
        assert torch.equal(made.head.state_dict()[name], value)
    head.dense.weight.data.zero_()
    assert made.head.dense.weight.abs().sum() > 0  # a copy


def test_the_teacher_is_fixed_and_without_dropout():
    teacher = Classifier(encoder("bert", 3), 2)
    made = Pair(Classifier(encoder("bert", 2), 2), teacher, project=True).double().train()
    teacher.dropout.p = 0.5
    assert not teacher.training
    output = made(**batch())
    assert all(part.requires_grad for part in output.projected)
    assert not any(part.requires_grad for parts in output.teacher[1:] for part in parts)
    sum(part.sum() for part in output.projected).backward()
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())


def test_the_projection_starts_as_the_identity():
    output = pair(project=True)(**batch())
    for projected, states in zip(output.projected, output.student.hidden, strict=True):
        assert torch.allclose(projected, states)


def test_masked_text_reaches_both(monkeypatch):
    head = WordHead(Classifier(encoder("bert", 3), 2), len(WORDS)).double()
    made = pair(masking=MASKING, head=head)
    ids = text(2)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    inputs["attention_mask"][1, -3:] = 0
    masked = ids.clone()
    masked[:, 1] = 4
    chosen = masked != ids
    places = torch.searchsorted(WORDS, ids)
    monkeypatch.setattr("repro.models.pair.mask_words", lambda *_: (masked, chosen, places))
    output = made(**inputs)
    plain = pair()(attention_mask=inputs["attention_mask"], input_ids=masked)
    assert torch.equal(output.student.hidden[-1], plain.student.hidden[-1])
    assert torch.equal(output.teacher.hidden[-1], plain.teacher.hidden[-1])
    assert output.words.student.shape == output.words.teacher.shape == (37, len(WORDS))
    assert output.words.chosen.sum() == 2
    assert not output.words.teacher.requires_grad
    real = inputs["attention_mask"].bool()
    expected = head(made._frozen[0], plain.teacher.hidden[-1][real], WORDS)
    assert torch.allclose(output.words.teacher, expected)
