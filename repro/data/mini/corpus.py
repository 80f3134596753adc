"""Text for pretraining: pairs of sentences of the tasks' grammars that belong together, and pairs that do not.

In a pair that belongs together the second sentence follows from the first, says it again, answers it, or is the verdict
of a review. A pair that does not has the second sentence of another pair, or words tampered with. Tampering knows word
classes, not meaning and not the tasks' labels. No sentence of a task, train or dev, is ever part of the text.
"""

from collections.abc import Iterator
from random import Random

from repro.data.mini import (
    SPLITS,
    TASKS,
    entailment,
    lexicon,
    paraphrase,
    questions,
    rows,
    sentiment,
)

Pair = tuple[str, str]

VERDICTS = (
    ("i hated it", "avoid it", "it bored me"),
    ("i loved it", "watch it", "it delighted me"),
)
UNRELATED, TAMPERED_THRICE = (
    0.35,
    0.35,
)  # shares of the pairs that do not belong together; the rest is tampered once

# Words that take each other's place.
CLASSES: tuple[tuple[str, ...], ...] = (
    lexicon.PEOPLE,
    lexicon.THINGS,
    lexicon.COLOURS,
    *zip(*lexicon.CONTACTS, strict=True),
    *lexicon.COMPARATIVES,
    *zip(lexicon.GOOD, lexicon.BAD, strict=True),
    *zip(lexicon.FACTIVE, lexicon.OPEN, strict=True),
    *(
        tuple(phrase.split()[-1] for phrase in phrases)
        for phrases in (lexicon.DAYS, lexicon.PLACES)
    ),
    ("sold", "gave", "lent"),
    ("bought", "received", "borrowed"),
    ("beat", "led", "scared"),
    ("defeated", "helped", "led", "scared"),
    ("before", "after"),
    ("former", "latter"),
    ("he", "she"),
    ("and", "or"),
    ("all", "some", "no", "most"),
    ("where", "when"),
    ("everyone", "nobody"),
    ("loved", "hated"),
    ("avoid", "watch"),
    ("bored", "delighted"),
    ("agree", "disagree"),
    ("not", "very"),
    ("hardly", "truly"),
    ("although", "because"),
    ("ran", "danced"),
    ("whispered", "shouted"),
    ("slightly", "very"),
    ("who", "where"),
)
DROPPED = {
    "never",
    "not",
    *lexicon.KIND_ADJECTIVES,
    *lexicon.MANNERS,
}  # words that a sentence can do without


def task_texts() -> set[str]:
    """Every sentence of every task, train and dev: what the corpus must not contain."""
    return {
        text
        for task in TASKS
        for split in SPLITS
        for row in rows(task, split)
        for text in row.values()
        if isinstance(text, str)
    }


def examples(seed: int) -> Iterator[tuple[Pair, int]]:
    """An endless stream of (pair, whether it does not belong together: 0 or 1, as often one as the other)."""
    rng, kept_out = Random(seed), task_texts()
    while True:
        kind = rng.choice((inference, inference, restatement, restatement, answer, answer, review))
        pair, broken = kind(rng), rng.randrange(2)
        if broken:
            pair = break_up(rng, pair, kind(rng))
        if kept_out.isdisjoint(pair):
            yield pair, broken


def inference(rng: Random) -> Pair:
    """A sentence and one that follows from it."""
    return _first(rng, entailment.BUILDERS, 0)


def restatement(rng: Random) -> Pair:
    """A sentence and another way to say it."""
    return _first(rng, paraphrase.BUILDERS, 1)


def answer(rng: Random) -> Pair:
    """A question and a sentence that answers it."""
    return _first(rng, questions.BUILDERS, 0)


def _first(rng: Random, builders: tuple, relation: int) -> Pair:
    """The first pair drawn in that relation, from a random construct."""
    builder = rng.choice(builders)
    while True:
        first, second, found = builder(rng)
        if found == relation:
            return first, second


def review(rng: Random) -> Pair:
    """A line of a review and the verdict."""
    line, positive = sentiment.draw(rng)
    return line, rng.choice(VERDICTS[positive])


def break_up(rng: Random, pair: Pair, other: Pair) -> Pair:
    """The pair with the other's second sentence, or tampered with three times or once: from easy to hard to tell."""
    drawn = rng.random()
    if drawn < UNRELATED and pair[1] not in (
        verdict for verdicts in VERDICTS for verdict in verdicts
    ):
        return pair[0], other[1]
    for _ in range(3 if drawn < UNRELATED + TAMPERED_THRICE else 1):
        pair = tampered(rng, pair)
    return pair


def tampered(rng: Random, pair: Pair) -> Pair:
    """The pair with a word of one sentence dropped, replaced by another of its class, or exchanged with one."""
    sentences = [text.split() for text in pair]
    options: list[tuple[int, tuple[str, ...]]] = []
    while not options:
        words = sentences[side := rng.randrange(2)]
        options = [(i, group) for i, word in enumerate(words) for group in CLASSES if word in group]
        options += [(i, ()) for i, word in enumerate(words) if word in DROPPED] * 2
    place, group = rng.choice(options)
    sentences[side] = _changed(rng, words, place, group)
    return " ".join(sentences[0]), " ".join(sentences[1])


def _changed(rng: Random, words: list[str], place: int, group: tuple[str, ...]) -> list[str]:
    """The words with the one at `place` dropped (no group), exchanged within the sentence, or replaced."""
    changed, word = list(words), words[place]
    others = [i for i, other in enumerate(words) if other in group and other != word]
    if not group:
        del changed[place]
    elif others and rng.random() < 0.7:
        other = rng.choice(others)
        changed[place], changed[other] = changed[other], word
    else:
        changed[place] = rng.choice([other for other in group if other != word])
    return changed
