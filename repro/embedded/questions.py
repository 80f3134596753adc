"""mini-QNLI: does the sentence answer the question? Two events with distractors; the question matches one, or nearly.

A builder draws (question, sentence, label) with label 0 if the sentence answers and 1 if it does not.
"""

from collections.abc import Callable
from dataclasses import replace
from random import Random

from repro.embedded import events
from repro.embedded.lexicon import DAYS, PEOPLE, PLACES

Pair = tuple[str, str, int]
LINKS = ("{0} before {1}", "after {0} , {1}", "{0} and {1}", "while {0} , {1}")


def participant(rng: Random) -> Pair:
    """Who or what: a near miss exchanges roles, verbs or people between the two events of the sentence."""
    people = rng.sample(PEOPLE, 4)
    first, second = events.draw(rng, people[:2]), events.draw(rng, people[2:])
    sentence = rng.choice(LINKS).format(*_either_way(rng, events.say(rng, first), events.say(rng, second)))
    asked, other = (first, second) if rng.random() < 0.5 else (second, first)
    role = rng.choice("apt" if asked.thing else "ap")
    answered = rng.random() < 0.5
    return events.ask(rng, asked if answered else _near_miss(rng, asked, other, role), role), sentence, int(not answered)


def _either_way(rng: Random, one: str, two: str) -> tuple[str, str]:
    return (one, two) if rng.random() < 0.5 else (two, one)


def _near_miss(rng: Random, asked: events.Event, other: events.Event, role: str) -> events.Event:
    """An event that did not happen, of what the sentence mentions."""
    known = "patient" if role == "a" else "agent"
    stranger = replace(asked, **{known: rng.choice((other.agent, other.patient))})
    verb = replace(asked, frame=other.frame) if bool(other.thing) == bool(asked.thing) else stranger
    return rng.choice((asked.swapped, stranger, verb if verb.frame != asked.frame else stranger))


def denied(rng: Random) -> Pair:
    """An event that took place, and one that never did."""
    people = rng.sample(PEOPLE, 4)
    happened, never = events.draw(rng, people[:2]), events.draw(rng, people[2:])
    clauses = [events.say(rng, happened), events.say(rng, never, negated=True)]
    rng.shuffle(clauses)
    answered = rng.random() < 0.5
    asked = happened if answered else never
    return events.ask(rng, asked, rng.choice("apt" if asked.thing else "ap")), " but ".join(clauses), int(not answered)


def circumstance(rng: Random) -> Pair:
    """Where and when: a near miss asks for the place or the day of the other event."""
    people = rng.sample(PEOPLE, 4)
    told = [events.draw(rng, people[:2]), events.draw(rng, people[2:])]
    kinds = [("where", rng.choice(PLACES)), ("when", rng.choice(DAYS))]
    rng.shuffle(kinds)
    sentence = " and ".join(f"{events.say(rng, event)} {words}" for event, (_, words) in zip(told, kinds, strict=True))
    answered, chosen = rng.random() < 0.5, rng.randrange(2)
    word = kinds[chosen if answered else 1 - chosen][0]
    return _asked_when(rng, word, told[chosen]), sentence, int(not answered)


def _asked_when(rng: Random, word: str, event: events.Event) -> str:
    """Where or when with the passive form: "when was the lamp sold to bob by ann ?"."""
    form = rng.choice([form for form in events.FRAMES[event.frame] if " was " in form])
    subject, rest = form.split(" was ")
    return f"{word} was {events.fill(subject, event.roles)} {events.fill(rest, event.roles)} ?"


BUILDERS: tuple[Callable[[Random], Pair], ...] = (participant, participant, denied, circumstance)
