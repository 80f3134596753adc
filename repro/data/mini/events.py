"""Events (who did what to whom) and the sentences for them; used by all tasks but sentiment."""

from dataclasses import dataclass, replace
from random import Random

from repro.data.mini.lexicon import COLOURS, CONTACTS, PEOPLE, THINGS

# All templates of a frame have the same meaning; the first slot is the subject. a: agent,
# p: patient or receiver, t: thing.
FRAMES: dict[str, tuple[str, ...]] = {
    "sell": (
        "{a} sold {p} {t}",
        "{a} sold {t} to {p}",
        "{t} was sold to {p} by {a}",
        "{p} bought {t} from {a}",
        "{t} was bought from {a} by {p}",
    ),
    "give": (
        "{a} gave {p} {t}",
        "{a} gave {t} to {p}",
        "{t} was given to {p} by {a}",
        "{p} was given {t} by {a}",
        "{p} received {t} from {a}",
    ),
    "lend": (
        "{a} lent {p} {t}",
        "{a} lent {t} to {p}",
        "{t} was lent to {p} by {a}",
        "{p} borrowed {t} from {a}",
    ),
    "beat": ("{a} beat {p}", "{a} defeated {p}", "{p} was defeated by {a}", "{p} lost to {a}"),
    "scare": ("{a} scared {p}", "{p} was scared by {a}", "{p} feared {a}", "{a} was feared by {p}"),
    "lead": ("{a} led {p}", "{p} was led by {a}", "{p} followed {a}", "{a} was followed by {p}"),
} | {
    verbs[0]: tuple(
        form for verb in verbs for form in (f"{{a}} {verb} {{p}}", f"{{p}} was {verb} by {{a}}")
    )
    for verbs in CONTACTS
}
TRANSFERS = ("sell", "give", "lend")
CONTACT_FRAMES = tuple(frame for frame in FRAMES if frame not in TRANSFERS)


@dataclass(frozen=True)
class Event:
    """One event.

    Attributes:
        frame: A key of FRAMES.
        agent: A person.
        patient: Another person.
        thing: A noun without article, possibly with a colour; "" in frames without a thing.
    """

    frame: str
    agent: str
    patient: str
    thing: str = ""

    @property
    def roles(self) -> dict[str, str]:
        """The values of the slots in the frame's templates."""
        return {"a": self.agent, "p": self.patient} | (
            {"t": f"the {self.thing}"} if self.thing else {}
        )

    @property
    def swapped(self) -> "Event":
        """The event with agent and patient exchanged: same words, another meaning."""
        return replace(self, agent=self.patient, patient=self.agent)


def draw(rng: Random, people: list[str] | None = None, coloured: bool = False) -> Event:
    """A random event, half of the time a transfer; of the first two of `people`, if given."""
    agent, patient = people[:2] if people else rng.sample(PEOPLE, 2)
    if rng.random() < 0.5:
        return Event(rng.choice(CONTACT_FRAMES), agent, patient)
    thing = rng.choice(THINGS)
    return Event(
        rng.choice(TRANSFERS),
        agent,
        patient,
        f"{rng.choice(COLOURS)} {thing}" if coloured else thing,
    )


def other_frame(rng: Random, event: Event) -> Event:
    """The same participants in another frame of the same kind."""
    frames = TRANSFERS if event.thing else CONTACT_FRAMES
    return replace(event, frame=rng.choice([frame for frame in frames if frame != event.frame]))


def altered(rng: Random, event: Event, told: list[str]) -> Event:
    """Another event: mostly one without the people in `told`, else this one with one change."""
    strangers = [person for person in PEOPLE if person not in told]
    if rng.random() < 0.8:
        return draw(rng, rng.sample(strangers, 2))
    role = rng.choice(("agent", "patient", "frame", "thing" if event.thing else "frame"))
    if role == "frame":
        return other_frame(rng, event)
    others = strangers if role != "thing" else [thing for thing in THINGS if thing != event.thing]
    return replace(event, **{role: rng.choice(others)})


def say(rng: Random, event: Event, negated: bool = False) -> str:
    """The event as a clause, in a random form."""
    return fill(rng.choice(FRAMES[event.frame]), event.roles, negated)


def say_twice(
    rng: Random, event: Event, negated: tuple[bool, bool] = (False, False)
) -> tuple[str, str]:
    """Two clauses for one event, of different form."""
    first, second = rng.sample(FRAMES[event.frame], 2)
    return fill(first, event.roles, negated[0]), fill(second, event.roles, negated[1])


def fill(template: str, roles: dict[str, str], negated: bool = False) -> str:
    """Fill a template; `negated` puts "never" after the subject or the auxiliary."""
    if negated:
        template = template.replace("} ", "} never ", 1).replace("never was", "was never")
    return template.format(**roles)


def ask(rng: Random, event: Event, role: str) -> str:
    """A question for the participant in `role` ("a", "p" or "t"), which is its subject."""
    forms = [form for form in FRAMES[event.frame] if form.startswith(f"{{{role}}}")]
    return fill(rng.choice(forms), event.roles | {role: "what" if role == "t" else "who"}) + " ?"
