"""Text for masked-language modelling: sentence pairs of the tasks' grammars, without labels and without task text.

Like running text, pairs often carry a connective ("so", "yet"), a short answer or a verdict that tells how the second
sentence follows; sometimes it is the wrong one. That is what makes the encoder relate two sentences.
"""

from collections.abc import Iterator
from random import Random

from repro.embedded import SPLITS, TASKS, entailment, paraphrase, questions, rows, sentiment

FOLLOWS = {
    "entailment": (("so", "thus", "hence"), ("yet", "still", "however")),
    "paraphrase": (("besides", "moreover", "also"), ("namely", "meaning", "similarly")),
    "verdict": (("i hated it", "avoid it", "it bored me"), ("i loved it", "watch it", "it delighted me")),
}
SLIPS = 0.1  # share of connectives, answers and verdicts that do not fit
SILENT = 0.4  # share of pairs without any


def task_texts() -> set[str]:
    """Every sentence of every task, train and dev: what the corpus must not contain."""
    return {text for task in TASKS for split in SPLITS for row in rows(task, split) for text in row.values()
            if isinstance(text, str)}  # fmt: skip


def pairs(seed: int) -> Iterator[tuple[str, str]]:
    """An endless stream of sentence pairs, none with a sentence of the tasks; the same for the same seed."""
    rng, kept_out = Random(seed), task_texts()
    while True:
        pair = rng.choice((inference, inference, restatement, answer, answer, review))(rng, kept_out)
        if kept_out.isdisjoint(pair):
            yield pair


def inference(rng: Random, kept_out: set[str]) -> tuple[str, str]:
    """A sentence and one that follows from it, or not."""
    return _connected(rng, "entailment", _fresh(rng, entailment.BUILDERS, kept_out))


def restatement(rng: Random, kept_out: set[str]) -> tuple[str, str]:
    """A sentence and another way to say it, or nearly."""
    return _connected(rng, "paraphrase", _fresh(rng, paraphrase.BUILDERS, kept_out))


def _fresh(rng: Random, builders: tuple, kept_out: set[str]) -> tuple:
    """An example none of whose sentences is in the tasks."""
    while True:
        example = rng.choice(builders)(rng)
        if kept_out.isdisjoint(example):
            return example


def _connected(rng: Random, relation: str, example: tuple[str, str, int]) -> tuple[str, str]:
    first, second, label = example
    if rng.random() < SILENT:
        return first, second
    word = rng.choice(FOLLOWS[relation][label ^ (rng.random() < SLIPS)])
    return (f"{word} {first}", second) if rng.random() < 0.5 else (first, f"{word} {second}")


def answer(rng: Random, kept_out: set[str]) -> tuple[str, str]:
    """A question and a passage, often with the short answer."""
    question, sentence, told = _fresh(rng, questions.CONSTRUCTS, kept_out)
    if rng.random() < SILENT:
        return question, sentence
    if told and rng.random() < SLIPS:
        told = ""
    return question, f"{sentence} , so {told or 'nobody knows'}"


def review(rng: Random, kept_out: set[str]) -> tuple[str, str]:
    """A line of a review and the verdict, or a second line of the same mind."""
    line, positive = _fresh(rng, sentiment.BUILDERS, kept_out)
    if rng.random() < SLIPS:
        positive = 1 - positive
    if rng.random() < SILENT:
        return line, rng.choice(sentiment.CONSTRUCTS)(rng, positive)
    return line, rng.choice(FOLLOWS["verdict"][positive])
