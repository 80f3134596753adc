"""The exceptions a user meets. Each message is one line: what was wrong, the value, those allowed, what to do."""

from collections.abc import Iterable


class ReproError(Exception):
    """Anything the command line reports as one line with exit code 2."""


class InputError(ReproError):
    """A name, value or file that cannot be used."""


class MissingError(ReproError):
    """Something the run needs is not there: a cell, an encoder, a data file, a package."""


class TrainingError(ReproError):
    """A training that went wrong and has no score."""


def one_of(kind: str, value: object, allowed: Iterable[object]) -> InputError:
    """The error for a value outside a closed set, e.g. one_of("task", "RTEE", tasks)."""
    return InputError(f"unknown {kind} {value!r}; use one of: {', '.join(str(name) for name in allowed)}")
