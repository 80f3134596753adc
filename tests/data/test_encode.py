"""Tokenising a split, and padded batches."""

import numpy as np
import pytest
import torch
from hub_server import little_bert

from repro.data import encoders
from repro.data.encode import Encoded, encode
from repro.data.glue import Split
from repro.errors import InputError


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    little_bert(folder, layers=1, hidden=8)
    return encoders.load_tokenizer(str(folder))


def split_of(*texts: tuple[str, ...]) -> Split:
    return Split(texts, np.zeros(len(texts), np.int64), "train", "embedded")


def test_encode_gives_the_tokenizers_ids_without_padding(tokenizer):
    vocabulary = tokenizer.get_vocab()
    split = split_of(("a dog", "no bird"), ("the old dog sees", "a cat ."))
    short, long = encode(split, tokenizer, 32)
    assert short["input_ids"] == [vocabulary[w] for w in "[CLS] a dog [SEP] no bird [SEP]".split()]
    assert short["token_type_ids"] == [0, 0, 0, 0, 1, 1, 1]
    assert set(short) == {"input_ids", "token_type_ids"}
    assert len(long["input_ids"]) == 10


def test_encode_takes_single_sentences_and_truncates_the_longer_text(tokenizer):
    assert len(encode(split_of(("a dog sees the bird",)), tokenizer, 5)[0]["input_ids"]) == 5
    (cut,) = encode(split_of(("the old dog sees the bird", "no bird")), tokenizer, 8)
    words = tokenizer.convert_ids_to_tokens(cut["input_ids"])
    assert words == "[CLS] the old dog [SEP] no bird [SEP]".split()


def test_encode_leaves_out_token_types_the_tokenizer_does_not_give(tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "model_input_names", ["input_ids", "attention_mask"])
    assert set(encode(split_of(("a dog",)), tokenizer, 8)[0]) == {"input_ids"}


@pytest.mark.parametrize("length", [0, 4, 129, -1])
def test_encode_refuses_a_length_without_room_or_beyond_the_positions(tokenizer, length):
    with pytest.raises(InputError, match=f"max_length must be from 5 to 128, got {length}"):
        encode(split_of(("a", "b")), tokenizer, length)


def test_a_batch_is_padded_to_its_longest_example():
    examples = [
        {"input_ids": [2, 9, 3], "token_type_ids": [0, 0, 1]},
        {"input_ids": [2, 3], "token_type_ids": [1, 1]},
        {"input_ids": [5] * 9, "token_type_ids": [0] * 9},
    ]
    batch = Encoded(examples, pad_id=7).batch(np.array([1, 0]))
    assert batch["input_ids"].tolist() == [[2, 3, 7], [2, 9, 3]]
    assert batch["token_type_ids"].tolist() == [[1, 1, 0], [0, 0, 1]]
    assert batch["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]
    assert {tensor.dtype for tensor in batch.values()} == {torch.int64}


def test_a_batch_agrees_with_the_tokenizers_own_padding(tokenizer):
    split = split_of(("a dog", "no"), ("the old green dog sees", "a bird ."))
    examples = encode(split, tokenizer, 32)
    expected = tokenizer.pad(examples, return_tensors="pt")
    batch = Encoded(examples, tokenizer.pad_token_id).batch([0, 1])
    assert set(batch) == set(expected)
    assert all(torch.equal(batch[key], expected[key]) for key in batch)


def test_a_batch_needs_an_example():
    with pytest.raises(ValueError, match="zero-size"):
        Encoded([{"input_ids": [1]}], 0).batch([])


def test_the_vocabulary_is_every_id_and_the_paddings():
    assert Encoded([{"input_ids": [9, 2]}, {"input_ids": [2, 4]}], 0).vocabulary.tolist() == [
        0,
        2,
        4,
        9,
    ]
