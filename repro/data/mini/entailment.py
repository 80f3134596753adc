"""mini-RTE: does the first sentence entail the second?

Each builder is one construct of English with its own logic. It draws (premise, hypothesis, label),
with label 0 for entailment and 1 for no entailment.
"""

from collections.abc import Callable
from random import Random

from repro.data.mini import events
from repro.data.mini.lexicon import (
    COMPARATIVES,
    COUNTERFACTIVE,
    DAYS,
    DEEDS,
    FACTIVE,
    KIND_ADJECTIVES,
    KINDS,
    MANNERS,
    MEN,
    OPEN,
    PEOPLE,
    PLACES,
    WOMEN,
)

Pair = tuple[str, str, int]

# Changes of (group, deed) that keep a true sentence true: smaller (-1), same (0), larger (1).
MONOTONE = {"all": (-1, 1), "some": (1, 1), "no": (-1, -1), "most": (0, 1), "not all": (1, -1)}
WEAKER = (("all", "most"), ("all", "some"), ("most", "some"), ("no", "not all"))
DENIALS = ("it is not true that", "it is false that")


def quantifier(rng: Random) -> Pair:
    """All, some, no, most, not all: group or deed widened or narrowed, or quantifier changed."""
    if rng.random() < 0.25:
        return _quantifier_changed(rng)
    name = rng.choice(list(MONOTONE))
    group, groups = _chain(rng, KINDS, KIND_ADJECTIVES, "{0} {1}")
    deed, deeds = _chain(rng, DEEDS, MANNERS, "{1} {0}")
    group_step, deed_step = rng.choice(((-1, 0), (1, 0), (0, -1), (0, 1)))
    before = f"{name} {groups if group_step < 0 else group} {deeds if deed_step < 0 else deed}"
    after = f"{name} {groups if group_step > 0 else group} {deeds if deed_step > 0 else deed}"
    allowed = group_step in (0, MONOTONE[name][0]) and deed_step in (0, MONOTONE[name][1])
    return before, after, int(not allowed)


def _quantifier_changed(rng: Random) -> Pair:
    group, deed = rng.choice(KINDS)[0], rng.choice(DEEDS)[0]
    if rng.random() < 0.5:
        group = f"{rng.choice(KIND_ADJECTIVES)} {group}"
    pair = rng.choice(WEAKER)
    first, second = pair if rng.random() < 0.5 else pair[::-1]
    return f"{first} {group} {deed}", f"{second} {group} {deed}", int((first, second) != pair)


def _chain(rng: Random, pairs: tuple, modifiers: tuple, form: str) -> tuple[str, str]:
    """(narrower, wider), by dropping a modifier or with a more general word."""
    narrow, wide = rng.choice(pairs)
    if rng.random() < 0.5:
        return narrow, wide
    return form.format(rng.choice(modifiers), narrow), narrow


def negation(rng: Random) -> Pair:
    """Stacked denials: entailed if both sentences deny the clause with the same parity."""
    denials, inner = rng.choice(((1, False), (1, True), (2, False), (0, True)))
    never = rng.random() < 0.5
    first, second = events.say_twice(rng, events.draw(rng), (inner, never))
    premise = " ".join([*(rng.choice(DENIALS) for _ in range(denials)), first])
    return premise, second, int((denials + inner) % 2 != never)


def attitude(rng: Random) -> Pair:
    """Knew, thought, pretended that: whether the verb implies its clause."""
    person, *people = rng.sample(PEOPLE, 3)
    kind = rng.choice((FACTIVE, FACTIVE, OPEN, COUNTERFACTIVE, COUNTERFACTIVE))
    event, never = events.draw(rng, people), rng.random() < 0.5
    label = int(not ((kind is FACTIVE and not never) or (kind is COUNTERFACTIVE and never)))
    return (
        f"{person} {rng.choice(kind)} that {events.say(rng, event)}",
        events.say(rng, event, never),
        label,
    )


def comparison(rng: Random) -> Pair:
    """Taller, shorter: converses, and two comparisons that chain."""
    more, less = rng.choice(COMPARATIVES)
    ranked = rng.sample(PEOPLE, 3)  # from most to least

    def compare(high: str, low: str) -> str:
        return (
            f"{high} is {more} than {low}" if rng.random() < 0.5 else f"{low} is {less} than {high}"
        )

    clauses = [compare(*ranked[:2]), compare(*ranked[1:])]
    rng.shuffle(clauses)
    high, low = sorted(rng.sample(range(3), 2))
    wrong = rng.random() < 0.5
    claim = compare(ranked[low], ranked[high]) if wrong else compare(ranked[high], ranked[low])
    return " and ".join(clauses), claim, int(wrong)


def reference(rng: Random) -> Pair:
    """He, she, the former, the latter: the person referred to."""
    pair = [rng.choice(WOMEN), rng.choice(MEN)]
    rng.shuffle(pair)
    meant = rng.randrange(2)
    words = (
        ("the former", "the latter")
        if rng.random() < 0.5
        else tuple("she" if p in WOMEN else "he" for p in pair)
    )
    other = rng.choice([person for person in PEOPLE if person not in pair])
    people = [pair[meant], other]
    event = events.draw(rng, people if rng.random() < 0.5 else people[::-1])
    wrong = rng.random() < 0.5
    forms = [
        form
        for form in events.FRAMES[event.frame]
        if form[1] == ("a" if event.agent == people[0] else "p")
    ]
    told = events.fill(rng.choice(forms), event.roles).replace(people[0], words[meant], 1)
    claim = (
        events.say(rng, event).replace(people[0], pair[1 - meant])
        if wrong
        else events.say(rng, event)
    )
    return f"{pair[0]} met {pair[1]} before {told}", claim, int(wrong)


def alternation(rng: Random) -> Pair:
    """Passive, dative and converse verbs; an error exchanges the roles or the circumstance."""
    event, where = events.draw(rng), rng.choice(DAYS + PLACES)
    first, second = events.say_twice(rng, event)
    error = rng.choice(("", "roles", "circumstance"))
    if error == "circumstance":
        return (
            f"{first} {where}",
            f"{second} {rng.choice([other for other in DAYS + PLACES if other != where])}",
            1,
        )
    claim = events.say(rng, event.swapped) if error else second
    return (
        f"{first} {where}",
        f"{claim} {where}" if rng.random() < 0.5 else claim,
        int(error == "roles"),
    )


def coordination(rng: Random) -> Pair:
    """And, or, neither nor: from both to one, or from one to both."""
    one, two, patient = rng.sample(PEOPLE, 3)
    event = events.draw(rng, [rng.choice((one, two)), patient])
    forms = [form for form in events.FRAMES[event.frame] if form[1] == "a" and " was " not in form]
    word, from_one = rng.choice(("and", "or", "nor")), rng.random() < 0.5
    both = f"neither {one} nor {two}" if word == "nor" else f"{one} {word} {two}"
    told = events.fill(rng.choice(forms), event.roles | {"a": both})
    single = events.say(rng, event, negated=word == "nor")
    label = int(from_one != (word == "or"))
    return (single, told, label) if from_one else (told, single, label)


def recall(rng: Random) -> Pair:
    """Two events, and one of them in other words or another event; easy for a shallow reader."""
    people = rng.sample(PEOPLE, 4)
    told = [events.draw(rng, people[:2]), events.draw(rng, people[2:])]
    claimed, wrong = rng.choice(told), rng.random() < 0.5
    premise = rng.choice(("{0} before {1}", "after {0} , {1}", "{0} and {1}"))
    claim = events.altered(rng, claimed, people) if wrong else claimed
    return (
        premise.format(*(events.say(rng, event) for event in told)),
        events.say(rng, claim),
        int(wrong),
    )


BUILDERS: tuple[Callable[[Random], Pair], ...] = (
    *(recall,) * 8,
    *(negation,) * 3,
    *(quantifier,) * 2,
    attitude,
    comparison,
    reference,
    alternation,
    coordination,
)
