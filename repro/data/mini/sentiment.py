"""mini-SST-2: is a line of a film review positive (1) or negative (0)?

Polarity follows from the structure of the sentence, not from counting words.
"""

from collections.abc import Callable
from random import Random

from repro.data.mini.lexicon import ASPECTS, BAD, GOOD, PEOPLE

Review = tuple[str, int]

NEGATORS = ("not", "never", "hardly", "far from")
INTENSIFIERS = ("very", "so", "truly")
DIMINISHERS = ("a bit", "slightly", "somewhat")
AFFIRMATIONS = ("it is true that", "it is clear that", "i know that")
DENIALS = ("it is not true that", "it is false that", "i doubt that")


def _word(rng: Random, positive: int) -> str:
    return rng.choice(GOOD if positive else BAD)


def plain(rng: Random, positive: int) -> str:
    """A judgement, or its opposite negated."""
    aspect = rng.choice(ASPECTS)
    if rng.random() < 0.5:
        return f"the {aspect} is {rng.choice(NEGATORS)} {_word(rng, 1 - positive)}"
    intensifier = rng.choice(("", *(f"{word} " for word in INTENSIFIERS)))
    return f"the {aspect} is {intensifier}{_word(rng, positive)}"


def praise(rng: Random, positive: int) -> str:
    """One to three judgements that agree, without negation; easy for a shallow reader."""
    judgements = []
    for _ in range(rng.randrange(1, 4)):
        aspect, intensifier = rng.choice(ASPECTS), rng.choice(("", "very ", "so ", "truly "))
        judgements.append(f"the {aspect} is {intensifier}{_word(rng, positive)}")
    return " and ".join(judgements)


def quantified(rng: Random, positive: int) -> str:
    """How many people agree with a judgement."""
    who, flips = rng.choice((("everyone", 0), ("nobody", 1), ("few people", 1), ("most people", 0)))
    return f"{who} found the {rng.choice(ASPECTS)} {_word(rng, positive ^ flips)}"


def reported(rng: Random, positive: int) -> str:
    """Someone's judgement, and whether the writer agrees."""
    agrees = rng.random() < 0.5
    view = rng.choice(
        ("and i agree", "and rightly so") if agrees else ("but i disagree", "which is wrong")
    )
    said = positive if agrees else 1 - positive
    negated = rng.random() < 0.3
    quality = f"not {_word(rng, 1 - said)}" if negated else _word(rng, said)
    return f"{rng.choice(PEOPLE)} called the {rng.choice(ASPECTS)} {quality} , {view}"


def _clause(rng: Random, positive: int) -> str:
    return rng.choice((plain, plain, quantified))(rng, positive)


def denied(rng: Random, positive: int) -> str:
    """A denied clause."""
    return f"{rng.choice(DENIALS)} {_clause(rng, 1 - positive)}"


def stacked(rng: Random, positive: int) -> str:
    """Two to four denials and affirmations of a clause: the parity of the denials decides."""
    words, inner = [], positive
    for _ in range(rng.randrange(2, 5)):
        turned = rng.randrange(2)
        words.append(rng.choice(DENIALS if turned else AFFIRMATIONS))
        inner ^= turned
    return " ".join([*words, _clause(rng, inner)])


def contrast(rng: Random, positive: int) -> str:
    """Although and but: two clauses of opposite polarity; the main clause decides."""
    conceded, main = _clause(rng, 1 - positive), _clause(rng, positive)
    return rng.choice(
        (
            f"although {conceded} , {main}",
            f"{main} , although {conceded}",
            f"{conceded} , but {main}",
            f"even if {conceded} , {main}",
            f"{main} , even if {conceded}",
        )
    )


def outweighed(rng: Random, positive: int) -> str:
    """A weakened judgement against a strong one."""
    weak = f"the {rng.choice(ASPECTS)} is {rng.choice(DIMINISHERS)} {_word(rng, 1 - positive)}"
    strong = f"the {rng.choice(ASPECTS)} is {rng.choice(INTENSIFIERS)} {_word(rng, positive)}"
    parts = [weak, strong]
    rng.shuffle(parts)
    return " and ".join(parts)


CONSTRUCTS: tuple[Callable[[Random, int], str], ...] = (
    *(praise,) * 4,
    *(stacked,) * 4,
    contrast,
    contrast,
    denied,
    reported,
    outweighed,
    quantified,
)


def draw(rng: Random) -> Review:
    """A review line and its label."""
    positive = rng.randrange(2)
    return rng.choice(CONSTRUCTS)(rng, positive), positive


BUILDERS = (draw,)
