"""mini-MRPC: are two sentences equivalent? Paraphrases against near misses from the same words.

A builder draws (sentence1, sentence2, label), with label 1 for equivalent and 0 for not equivalent.
"""

from collections.abc import Callable
from dataclasses import replace
from random import Random

from repro.data.mini import events
from repro.data.mini.lexicon import COLOURS, COMPARATIVES, DAYS, PEOPLE, PLACES

Pair = tuple[str, str, int]


def single(rng: Random) -> Pair:
    """One event said twice; a near miss exchanges roles, verb, colour or circumstance."""
    event, where = events.draw(rng, coloured=True), rng.choice(DAYS + PLACES)
    first, second = events.say_twice(rng, event)
    if rng.random() < 0.5:
        return _placed(rng, first, where), _placed(rng, second, where), 1
    error = rng.choice(("roles", "verb", "circumstance", "colour" if event.thing else "roles"))
    if error == "circumstance":
        changed = rng.choice(
            [other for other in (DAYS if where in DAYS else PLACES) if other != where]
        )
        return _placed(rng, first, where), _placed(rng, second, changed), 0
    return (
        _placed(rng, first, where),
        _placed(rng, events.say(rng, _near_miss(rng, event, error)), where),
        0,
    )


def _placed(rng: Random, clause: str, where: str) -> str:
    """The clause with its circumstance before or after it."""
    return f"{where} {clause}" if rng.random() < 0.5 else f"{clause} {where}"


def _near_miss(rng: Random, event: events.Event, error: str) -> events.Event:
    if error == "roles":
        return event.swapped
    if error == "verb":
        return events.other_frame(rng, event)
    colour, noun = event.thing.split()
    return replace(
        event, thing=f"{rng.choice([other for other in COLOURS if other != colour])} {noun}"
    )


def reworded(rng: Random) -> Pair:
    """One event said twice, or two that mostly differ in everything; easy for a shallow reader."""
    event, (where, elsewhere) = events.draw(rng), rng.sample(DAYS + PLACES, 2)
    same = rng.random() < 0.5
    again = event if same else events.altered(rng, event, [event.agent, event.patient])
    first, second = events.say(rng, event), events.say(rng, again)
    return _placed(rng, first, where), _placed(rng, second, where if same else elsewhere), int(same)


def sequence(rng: Random) -> Pair:
    """Two events in time; a near miss reverses the order, or the roles in one event."""
    people = rng.sample(PEOPLE, 4)
    first, second = events.draw(rng, people[:2]), events.draw(rng, people[2:])
    told = _in_time(rng, first, second)
    if rng.random() < 0.5:
        return told, _in_time(rng, first, second), 1
    changed = rng.choice(((second, first), (first.swapped, second), (first, second.swapped)))
    return told, _in_time(rng, *changed), 0


def _in_time(rng: Random, first: events.Event, second: events.Event) -> str:
    earlier, later = events.say(rng, first), events.say(rng, second)
    return rng.choice(
        (
            f"{earlier} before {later}",
            f"before {later} , {earlier}",
            f"{later} after {earlier}",
            f"after {earlier} , {later}",
        )
    )


def comparison(rng: Random) -> Pair:
    """Comparatives and their converses for two pairs of people, joined by "and" or "but"."""
    people, (one, two) = rng.sample(PEOPLE, 4), rng.sample(COMPARATIVES, 2)
    facts = [(people[0], people[1], one), (people[2], people[3], two)]
    same = rng.random() < 0.5
    claimed = list(facts)
    if not same:
        wrong = rng.randrange(2)
        high, low, words = facts[wrong]
        claimed[wrong] = (low, high, words)
    return _compared(rng, facts), _compared(rng, claimed), int(same)


def _compared(rng: Random, facts: list[tuple[str, str, tuple[str, str]]]) -> str:
    clauses = [
        f"{high} is {more} than {low}" if rng.random() < 0.5 else f"{low} is {less} than {high}"
        for high, low, (more, less) in facts
    ]
    rng.shuffle(clauses)
    return f" {rng.choice(('and', 'but'))} ".join(clauses)


BUILDERS: tuple[Callable[[Random], Pair], ...] = (
    *(reworded,) * 8,
    single,
    single,
    sequence,
    comparison,
)
