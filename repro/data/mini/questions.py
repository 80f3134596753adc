"""mini-QNLI: does the sentence answer the question?

A construct draws (question, sentence, answer); the answer is "" if the sentence does not give it.
"""

from collections.abc import Callable
from dataclasses import replace
from random import Random

from repro.data.mini import events
from repro.data.mini.lexicon import DAYS, PEOPLE, PLACES

Asked = tuple[str, str, str]
LINKS = ("{0} before {1}", "after {0} , {1}", "{0} and {1}", "while {0} , {1}")


def participant(rng: Random) -> Asked:
    """Who or what; a near miss exchanges roles, verbs or people between the two events."""
    told = _two_events(rng)
    sentence = rng.choice(LINKS).format(*(events.say(rng, event) for event in told))
    asked, other = rng.sample(told, 2)
    role = _role(rng, asked)
    if rng.random() < 0.5:
        return events.ask(rng, asked, role), sentence, asked.roles[role]
    return events.ask(rng, _near_miss(rng, asked, other, role), role), sentence, ""


def plain(rng: Random) -> Asked:
    """Who or what of one of two events, or of another event; easy for a shallow reader."""
    told = _two_events(rng)
    sentence = rng.choice(LINKS).format(*(events.say(rng, event) for event in told))
    asked, role = rng.choice(told), "a"
    if rng.random() < 0.5:
        return events.ask(rng, asked, role), sentence, asked.roles[role]
    other = asked
    while any(_answers(event, other, role) for event in told):
        other = events.altered(
            rng, asked, [person for event in told for person in (event.agent, event.patient)]
        )
    return events.ask(rng, other, role), sentence, ""


def _two_events(rng: Random) -> list[events.Event]:
    people = rng.sample(PEOPLE, 4)
    return [events.draw(rng, people[:2]), events.draw(rng, people[2:])]


def _role(rng: Random, event: events.Event) -> str:
    return rng.choice("apt" if event.thing else "ap")


def _near_miss(rng: Random, asked: events.Event, other: events.Event, role: str) -> events.Event:
    """An event that did not happen, made of words of the sentence."""
    known = "patient" if role == "a" else "agent"
    stranger = replace(asked, **{known: rng.choice((other.agent, other.patient))})
    changed = [asked.swapped]
    if not _answers(other, stranger, role):
        changed.append(stranger)
    if bool(asked.thing) == bool(other.thing) and asked.frame != other.frame:
        changed.append(replace(asked, frame=other.frame))
    return rng.choice(changed)


def _answers(told: events.Event, asked: events.Event, role: str) -> bool:
    """Whether `told` differs from `asked` in nothing but the role asked for."""
    return told.frame == asked.frame and told.roles | {role: ""} == asked.roles | {role: ""}


def denied(rng: Random) -> Asked:
    """An event that took place, and one that never did."""
    happened, never = _two_events(rng)
    clauses = [events.say(rng, happened), events.say(rng, never, negated=True)]
    rng.shuffle(clauses)
    asked = rng.choice((happened, never))
    role = _role(rng, asked)
    return (
        events.ask(rng, asked, role),
        " but ".join(clauses),
        asked.roles[role] if asked is happened else "",
    )


def circumstance(rng: Random) -> Asked:
    """Where and when; a near miss asks for the place or the day of the other event."""
    told = _two_events(rng)
    kinds = [("where", rng.choice(PLACES)), ("when", rng.choice(DAYS))]
    rng.shuffle(kinds)
    sentence = " and ".join(
        f"{events.say(rng, event)} {words}" for event, (_, words) in zip(told, kinds, strict=True)
    )
    chosen, answered = rng.randrange(2), rng.random() < 0.5
    word = kinds[chosen if answered else 1 - chosen][0]
    return _asked_when(rng, word, told[chosen]), sentence, kinds[chosen][1] if answered else ""


def _asked_when(rng: Random, word: str, event: events.Event) -> str:
    """Where or when in the passive, e.g. "when was the lamp sold to bob by ann ?"."""
    form = rng.choice([form for form in events.FRAMES[event.frame] if " was " in form])
    subject, rest = form.split(" was ")
    return f"{word} was {events.fill(subject, event.roles)} {events.fill(rest, event.roles)} ?"


CONSTRUCTS: tuple[Callable[[Random], Asked], ...] = (
    *(plain,) * 8,
    participant,
    participant,
    denied,
    circumstance,
)


def draw(rng: Random) -> tuple[str, str, int]:
    """(question, sentence, label), with label 0 if the sentence answers and 1 if it does not."""
    question, sentence, answer = rng.choice(CONSTRUCTS)(rng)
    return question, sentence, int(not answer)


BUILDERS = (draw,)
