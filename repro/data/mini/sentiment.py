"""mini-SST-2: is a line of a film review positive (1) or negative (0)? Polarity is composed, never a sum of words."""

from collections.abc import Callable
from random import Random

from repro.data.mini.lexicon import ASPECTS, BAD, GOOD, PEOPLE

Review = tuple[str, int]

NEGATORS = ("not", "never", "hardly", "far from")
INTENSIFIERS = ("very", "so", "truly")
DIMINISHERS = ("a bit", "slightly", "somewhat")


def _word(rng: Random, positive: int) -> str:
    return rng.choice(GOOD if positive else BAD)


def plain(rng: Random, positive: int) -> str:
    """The plot is dull, or its opposite negated."""
    aspect = rng.choice(ASPECTS)
    if rng.random() < 0.5:
        return f"the {aspect} is {rng.choice(NEGATORS)} {_word(rng, 1 - positive)}"
    return f"the {aspect} is {rng.choice(('', *(f'{word} ' for word in INTENSIFIERS)))}{_word(rng, positive)}"


def praise(rng: Random, positive: int) -> str:
    """One to three unnegated judgements that agree: what a shallow reader can tell."""
    judged = (
        f"the {rng.choice(ASPECTS)} is {rng.choice(('', 'very ', 'so ', 'truly '))}{_word(rng, positive)}"
        for _ in range(rng.randrange(1, 4))
    )
    return " and ".join(judged)


def quantified(rng: Random, positive: int) -> str:
    """Everyone or nobody found it so."""
    who, flips = rng.choice((("everyone", 0), ("nobody", 1), ("few people", 1), ("most people", 0)))
    return f"{who} found the {rng.choice(ASPECTS)} {_word(rng, positive ^ flips)}"


def reported(rng: Random, positive: int) -> str:
    """What somebody said, and whether the writer agrees."""
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
    """A whole clause denied."""
    denial = rng.choice(("it is not true that", "it is false that", "i doubt that"))
    return f"{denial} {_clause(rng, 1 - positive)}"


def contrast(rng: Random, positive: int) -> str:
    """Although and but: two clauses of opposite polarity, of which the conceded one does not count."""
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
    """A diminished word against a full one."""
    small = f"the {rng.choice(ASPECTS)} is {rng.choice(DIMINISHERS)} {_word(rng, 1 - positive)}"
    parts = [
        small,
        f"the {rng.choice(ASPECTS)} is {rng.choice(INTENSIFIERS)} {_word(rng, positive)}",
    ]
    rng.shuffle(parts)
    return " and ".join(parts)


CONSTRUCTS: tuple[Callable[[Random, int], str], ...] = (
    *(praise,) * 6,
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
