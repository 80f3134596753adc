"""Augmentation replaces content words, one for one."""

import numpy as np
import pytest

from repro.config.tasks import task
from repro.data import augment, encoders, glue
from repro.data.encode import Encoded, encode

SPLIT = glue.load(task("mini-RTE"), "train", 60)


@pytest.fixture(scope="module")
def tokenizer():
    return encoders.load_tokenizer("embedded")


def tokens_of(tokenizer):
    return Encoded(encode(SPLIT, tokenizer, 64), tokenizer.pad_token_id)


def made(tokenizer, copies=1, seed=0, predict=None, embeddings=None):
    """Augmented examples; predictions are always the first candidate."""
    asked = []

    def first(masked, candidates):
        asked.append((masked, candidates))
        masks = sum(row["input_ids"].count(tokenizer.mask_token_id) for row in masked.examples)
        return np.tile(candidates[:1], (masks, 1))

    if embeddings is None:
        embeddings = np.random.default_rng(0).normal(size=(len(tokenizer), 8))
    tokens = tokens_of(tokenizer)
    result = augment.augment(
        SPLIT, tokens, tokenizer, 64, embeddings, predict or first, copies, seed
    )
    return tokens, result, asked


def test_the_examples_come_first_and_each_copy_in_their_order(tokenizer):
    tokens, result, _ = made(tokenizer, copies=2)
    assert len(result.examples) == 180
    assert result.examples[:60] == tokens.examples
    assert result.examples[60:120] != result.examples[120:]


def test_words_of_one_piece_are_replaced_by_predictions(tokenizer):
    tokens, result, ((masked, candidates),) = made(tokenizer)
    first = int(candidates[0])
    mask, replaced, content = tokenizer.mask_token_id, 0, 0
    for old, seen in zip(tokens.examples, masked.examples, strict=True):
        assert len(old["input_ids"]) == len(seen["input_ids"])
        for own, other in zip(old["input_ids"], seen["input_ids"], strict=True):
            if other == mask:
                assert own in candidates
                replaced += 1
            content += own in candidates
    counts = [
        sum(row["input_ids"].count(first) for row in part)
        for part in (result.examples[60:], tokens.examples)
    ]
    assert counts[0] > counts[1]
    assert replaced / content == pytest.approx(0.4, abs=0.05)


def test_neither_stop_words_nor_special_tokens_are_candidates(tokenizer):
    _, result, ((_, candidates),) = made(tokenizer)
    words = {tokenizer.decode([word]) for word in candidates}
    assert words and not words & augment.STOP_WORDS
    assert not {*candidates.tolist()} & {*tokenizer.all_special_ids}
    assert all(any(map(str.isalnum, word)) for word in words)
    assert not any(word.startswith("##") for word in words)
    for example in result.examples:
        assert example["input_ids"].count(tokenizer.cls_token_id) == 1
        assert tokenizer.mask_token_id not in example["input_ids"]


def test_a_word_of_several_pieces_becomes_the_nearest_word(tokenizer, monkeypatch):
    monkeypatch.setattr(augment, "CANDIDATES", 1)
    _, _, ((_, candidates),) = made(tokenizer)
    nearest = candidates[0]
    embeddings = np.ones((len(tokenizer), 2))
    embeddings[candidates] = -1.0
    embeddings[nearest] = 1.0  # the only candidate that is like every piece

    def another(masked, candidates):
        masks = sum(row["input_ids"].count(tokenizer.mask_token_id) for row in masked.examples)
        return np.tile(candidates[1:2], (masks, 1))

    tokens, result, _ = made(tokenizer, predict=another, embeddings=embeddings)
    shorter = 0
    for old, new in zip(tokens.examples, result.examples[60:], strict=True):
        assert len(new["input_ids"]) == len(new["token_type_ids"]) <= len(old["input_ids"])
        assert new["token_type_ids"] == sorted(new["token_type_ids"])
        if len(new["input_ids"]) < len(old["input_ids"]):
            assert nearest in new["input_ids"]
            shorter += 1
    assert shorter > 0


def test_the_choice_depends_on_the_seed_alone(tokenizer):
    first, again, other = (made(tokenizer, seed=seed)[1].examples for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_nearest_embeddings_by_cosine():
    embeddings = np.array([[9.0, 9.0], [5.0, 0.1], [0.0, 1.0], [1.0, 0.0], [-1.0, 0.0]])
    found = augment.nearest(np.array([2.0, 0.0]), embeddings, np.array([1, 2, 3, 4]))
    assert found.tolist() == [3, 1, 2, 4]
    many = np.random.default_rng(0).normal(size=(40, 3))
    assert len(augment.nearest(many[0], many, np.arange(40))) == 15


def test_single_sentences_are_augmented_too(tokenizer):
    split = glue.load(task("mini-SST-2"), "train", 20)
    tokens = Encoded(encode(split, tokenizer, 64), tokenizer.pad_token_id)

    def first(masked, candidates):
        masks = sum(row["input_ids"].count(tokenizer.mask_token_id) for row in masked.examples)
        return np.tile(candidates[:1], (masks, 1))

    embeddings = np.ones((len(tokenizer), 2))
    result = augment.augment(split, tokens, tokenizer, 64, embeddings, first, 1, 0)
    assert result.examples[20:] != tokens.examples and len(result.examples) == 40
