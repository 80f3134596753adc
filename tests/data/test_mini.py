"""The miniature tasks and the encoder pretrained for them."""

import hashlib
import itertools
import json
import random
import re
import subprocess
import sys

import numpy as np
import pytest

from repro.config.profiles import PROFILES
from repro.data import mini
from repro.data.mini import corpus, entailment, events, lexicon, questions

COLUMNS = {
    "mini-RTE": ("sentence1", "sentence2"),
    "mini-MRPC": ("sentence1", "sentence2"),
    "mini-SST-2": ("sentence",),
    "mini-QNLI": ("question", "sentence"),
}
POSITIVE = {"mini-RTE": 1 / 2, "mini-MRPC": 2 / 3, "mini-SST-2": 1 / 2, "mini-QNLI": 1 / 2}
ROWS_SHA256 = "aa5214d5f9d7ad9267a5ebcab6c2783351aaa72d37323b538aee853de69750fc"
EVERY_TASK = pytest.mark.parametrize("task", COLUMNS)


def texts(task, split):
    return [tuple(row[column] for column in COLUMNS[task]) for row in mini.rows(task, split)]


def labels(task, split):
    return np.array([row["label"] for row in mini.rows(task, split)])


def test_rows_are_the_same_on_every_machine():
    content = [
        [task, split, mini.rows(task, split)] for task in COLUMNS for split in ("train", "dev")
    ]
    assert hashlib.sha256(json.dumps(content).encode()).hexdigest() == ROWS_SHA256


def test_a_caller_cannot_change_the_rows():
    mini.rows("mini-RTE", "dev")[0]["label"] = 7
    assert set(labels("mini-RTE", "dev")) == {0, 1}


@EVERY_TASK
def test_sizes_columns_and_labels(task):
    train_rows = {"mini-RTE": 6000, "mini-MRPC": 6000, "mini-SST-2": 10_000, "mini-QNLI": 10_000}
    for split, size in (("train", train_rows[task]), ("dev", 2000)):
        rows = mini.rows(task, split)
        assert len(rows) == size
        assert {tuple(row) for row in rows} == {(*COLUMNS[task], "label")}
        assert abs(labels(task, split).mean() - POSITIVE[task]) < 0.05


@EVERY_TASK
def test_splits_are_disjoint_and_without_repetition(task):
    both = texts(task, "train") + texts(task, "dev")
    assert len(set(both)) == len(both)


@EVERY_TASK
def test_the_editions_differ(task):
    other = task.replace("mini", "calibration")
    tables, calibration = ({*map(str, mini.rows(name, "dev"))} for name in (task, other))
    shared = len(tables & calibration)  # short reviews recur by chance
    assert shared < (200 if task == "mini-SST-2" else 20)


@EVERY_TASK
def test_words_alone_predict_only_the_easy_part(task):
    """A linear model on words is near the majority class where two sentences are compared."""
    vocabulary = {word: i for i, word in enumerate(sorted(_bag(texts(task, "train"))))}
    train, dev = (_counts(texts(task, split), vocabulary) for split in ("train", "dev"))
    weights = np.linalg.solve(
        train.T @ train + 10 * np.eye(train.shape[1]), train.T @ (2 * labels(task, "train") - 1)
    )
    accuracy = np.mean((dev @ weights > 0) == labels(task, "dev"))
    majority = max(labels(task, "dev").mean(), 1 - labels(task, "dev").mean())
    assert accuracy < majority + (0.3 if task == "mini-SST-2" else 0.15)


def _bag(pairs):
    return {
        (column, word)
        for pair in pairs
        for column, text in enumerate(pair)
        for word in text.split()
    }


def _counts(pairs, vocabulary):
    counts = np.zeros((len(pairs), len(vocabulary) + 1))
    counts[:, -1] = 1
    for i, pair in enumerate(pairs):
        for key in _bag([pair]) & vocabulary.keys():
            counts[i, vocabulary[key]] = 1
    return counts


@pytest.mark.parametrize(
    ("task", "construct"),
    [
        ("mini-RTE", r"^(all|some|no|most|not all) \w+"),
        ("mini-RTE", "it is not true that it is false that"),
        ("mini-RTE", r"\bnever\b"),
        ("mini-RTE", "(knew|remembered) that"),
        ("mini-RTE", "pretended that"),
        ("mini-RTE", "taller than"),
        ("mini-RTE", "the former"),
        ("mini-RTE", "the latter"),
        ("mini-RTE", r"\bshe\b"),
        ("mini-RTE", "^neither .* nor"),
        ("mini-RTE", r" or "),
        ("mini-MRPC", r"was \w+ by"),
        ("mini-MRPC", r"sold \w+ the"),
        ("mini-MRPC", r"sold the \w+ \w+ to"),
        ("mini-MRPC", "bought"),
        ("mini-MRPC", "before"),
        ("mini-MRPC", "shorter than"),
        ("mini-MRPC", "pursued"),
        ("mini-SST-2", "^although"),
        ("mini-SST-2", ", but the"),
        ("mini-SST-2", "is not"),
        ("mini-SST-2", "slightly"),
        ("mini-SST-2", "but i disagree"),
        ("mini-SST-2", "nobody found"),
        ("mini-SST-2", "not true that nobody"),
        ("mini-QNLI", "^who"),
        ("mini-QNLI", "^what"),
        ("mini-QNLI", "^when"),
        ("mini-QNLI", "^where"),
        ("mini-QNLI", "never"),
    ],
)
def test_construct_occurs_with_both_labels(task, construct):
    rows = mini.rows(task, "train")
    found = {
        row["label"]
        for row in rows
        if any(re.search(construct, row[column]) for column in COLUMNS[task])
    }
    assert found == {0, 1}


# A world has four things. Each is outside (0), in the wider (1) or in the narrower (2) group, and
# likewise for the deed.
WORLDS = [
    world
    for world in itertools.combinations_with_replacement(
        list(itertools.product(range(3), range(3))), 4
    )
    if any(group == 2 for group, _ in world)
]
GROUPS = (set(lexicon.KIND_ADJECTIVES), {wide for _, wide in lexicon.KINDS})
DEEDS = (set(lexicon.MANNERS), {wide for _, wide in lexicon.DEEDS})


def test_quantifier_labels_agree_with_every_small_world():
    """Entailment as truth in all worlds of four things in which no group is empty."""
    rng = random.Random(5)
    for premise, hypothesis, label in (entailment.quantifier(rng) for _ in range(100)):
        first, second = (
            _meaning(sentence, f"{premise} {hypothesis}".split())
            for sentence in (premise, hypothesis)
        )
        entailed = all(_true(*second, world) for world in WORLDS if _true(*first, world))
        assert label == int(not entailed), (premise, hypothesis)


def _meaning(sentence, pair):
    """(quantifier, level of the group, level of the deed) in the words of the whole pair."""
    name = re.match("not all|all|some|no|most", sentence).group()
    words = set(sentence.removeprefix(name).split())
    return name, _level(words, pair, *GROUPS), _level(words, pair, *DEEDS)


def _level(words, pair, modifiers, general):
    """2 if these words name the narrower notion of the two in the pair, 1 if the wider."""
    if modifiers & set(pair):
        return 2 if modifiers & words else 1
    return 1 if general & words else 2


def _true(name, group_level, deed_level, world):
    did = [deed >= deed_level for group, deed in world if group >= group_level]
    share = sum(did) / len(did)
    return {
        "all": share == 1,
        "some": share > 0,
        "no": share == 0,
        "most": share > 0.5,
        "not all": share < 1,
    }[name]


def test_a_question_is_answerable_if_and_only_if_a_clause_answers_it():
    """An oracle parses questions and clauses into events, using the templates as patterns."""
    rng, answerable = random.Random(3), 0
    for question, sentence, answer in (questions.participant(rng) for _ in range(400)):
        asked = _read(question.removesuffix(" ?"))
        clauses = re.split(" before | , | and ", re.sub("^(after|while) ", "", sentence))
        found = [
            told
            for told in map(_read, clauses)
            if all(asked[k] in (told.get(k), "who", "what") for k in asked)
        ]
        assert len(found) == bool(answer), (question, sentence, answer)
        assert not answer or answer in found[0].values()
        answerable += bool(answer)
    assert 150 < answerable < 250


def _read(clause):
    """{"frame": ..., "a": agent, "p": patient, "t": thing, if any}."""
    slots = {
        slot: rf"(?P<{slot}>{words})"
        for slot, words in (("a", r"\w+"), ("p", r"\w+"), ("t", r"the \w+|what"))
    }
    return next(
        {"frame": frame} | match.groupdict()
        for frame, forms in events.FRAMES.items()
        for form in forms
        if (match := re.fullmatch(form.format(**slots), clause))
    )


@pytest.mark.parametrize(
    ("task", "split", "message"),
    [
        (
            "RTE",
            "dev",
            "unknown embedded task 'RTE'; use one of: mini-RTE, mini-MRPC, mini-SST-2, mini-QNLI, "
            "calibration-RTE, calibration-MRPC, calibration-SST-2, calibration-QNLI",
        ),
        ("mini-RTE", "test", "unknown embedded split 'test'; use one of: train, dev"),
    ],
)
def test_an_unknown_name_is_reported_in_one_line(task, split, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        mini.rows(task, split)


def test_importing_loads_neither_torch_nor_transformers():
    code = (
        "import sys, repro.data.mini; sys.exit(len({'torch', 'transformers'} & set(sys.modules)))"
    )
    root = mini.ENCODER_DIR.parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def test_corpus_is_reproducible_and_contains_no_task_sentence():
    drawn = list(itertools.islice(corpus.examples(1), 3000))
    assert drawn == list(itertools.islice(corpus.examples(1), 3000))
    assert len(corpus.task_texts()) > 10_000
    assert corpus.task_texts().isdisjoint(text for pair, _ in drawn for text in pair)
    assert 0.47 < np.mean([broken for _, broken in drawn]) < 0.53


def test_tampering_changes_one_sentence_of_a_pair():
    rng, lost = random.Random(2), 0
    for pair, _ in itertools.islice(corpus.examples(2), 2000):
        changed = corpus.tampered(rng, pair)
        different = [(one, other) for one, other in zip(pair, changed, strict=True) if one != other]
        assert len(different) == 1, (pair, changed)
        before, after = (text.split() for text in different[0])
        assert len(before) - len(after) in (0, 1)
        lost += len(after) < len(before)
    assert 10 < lost < 250


def test_the_weights_match_the_checksum():
    weights = (mini.ENCODER_DIR / "model.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() == mini.MODEL_SHA256
    assert len(weights) < 6e6


def test_the_encoder_loads_completely():
    from transformers import BertModel

    model, report = BertModel.from_pretrained(mini.ENCODER_DIR, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert len(model.encoder.layer) == 12


@EVERY_TASK
def test_tokens_are_known_and_few(task):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(mini.ENCODER_DIR)
    pairs = texts(task, "train") + texts(task, "dev")
    ids = tokenizer(*(list(column) for column in zip(*pairs, strict=True)))["input_ids"]
    lengths = [len(row) for row in ids]
    spelled = set("abcdefghijklmnopqrtuvwxyz0123456789")  # all letters but the plural's
    pieces = [tokenizer.convert_ids_to_tokens(row) for row in ids]
    rare = [
        any(piece.removeprefix("##") in spelled for piece in row if len(piece) == 3)
        for row in pieces
    ]
    assert np.mean(rare) < 0.005
    assert not any(tokenizer.unk_token in row for row in pieces)
    assert max(lengths) <= 40 and 10 <= np.mean(lengths) <= 28


def test_flipped_labels_are_disclosed():
    demo = PROFILES["demo"]
    assert f"{100 * demo.setting.label_noise:g} % of the training labels" in demo.note
