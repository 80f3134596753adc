"""Text for pretraining: related and unrelated pairs of sentences from the tasks' grammars.

In a related pair, the second sentence follows from the first, rephrases it, answers it, or is the
verdict of a review. An unrelated ("broken") pair has the second sentence of another pair, or
changed words. Words are changed by word class, without regard to meaning or to the tasks' labels.
The corpus contains no sentence of a task.
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
# Shares of the broken pairs: with another pair's sentence, changed three times; the rest once.
UNRELATED, TAMPERED_THRICE = 0.35, 0.35

# Words that can replace each other.
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
# Words that a sentence can do without.
DROPPED = {"never", "not", *lexicon.KIND_ADJECTIVES, *lexicon.MANNERS}


def task_texts() -> set[str]:
    """All sentences of all tasks, train and dev; the corpus must not contain them."""
    return {
        text
        for task in TASKS
        for split in SPLITS
        for row in rows(task, split)
        for text in row.values()
        if isinstance(text, str)
    }


def examples(seed: int) -> Iterator[tuple[Pair, int]]:
    """An endless stream of (pair, 1 if it is broken else 0), both equally frequent."""
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
    """A sentence and a paraphrase."""
    return _first(rng, paraphrase.BUILDERS, 1)


def answer(rng: Random) -> Pair:
    """A question and a sentence that answers it."""
    return _first(rng, questions.BUILDERS, 0)


def _first(rng: Random, builders: tuple, relation: int) -> Pair:
    """The first pair with that label, drawn from a random construct."""
    builder = rng.choice(builders)
    while True:
        first, second, label = builder(rng)
        if label == relation:
            return first, second


def review(rng: Random) -> Pair:
    """A line of a review and its verdict."""
    line, positive = sentiment.draw(rng)
    return line, rng.choice(VERDICTS[positive])


def break_up(rng: Random, pair: Pair, other: Pair) -> Pair:
    """The pair with the other's second sentence, or changed three times or once (the hardest)."""
    drawn = rng.random()
    if drawn < UNRELATED and not any(pair[1] in verdicts for verdicts in VERDICTS):
        return pair[0], other[1]
    for _ in range(3 if drawn < UNRELATED + TAMPERED_THRICE else 1):
        pair = tampered(rng, pair)
    return pair


def tampered(rng: Random, pair: Pair) -> Pair:
    """The pair with a word of one sentence dropped, replaced within its class, or exchanged."""
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
    """The words with one dropped (if it has no group), exchanged within them, or replaced."""
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
