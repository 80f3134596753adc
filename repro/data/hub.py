"""The Hugging Face hub: a quick check that it answers, and the error if it does not."""

import os

from repro.errors import MissingError

SECONDS = 5.0  # time limit of the check


def hub_answers(kind: str, name: str) -> None:
    """Ask the hub for a repository once, with a time limit; its own client retries for 23 seconds.

    Args:
        kind: "model" or "dataset".
        name: The repository's name.

    Raises:
        Exception: Whatever the hub's client or its HTTP library raises.
    """
    from huggingface_hub import HfApi

    HfApi().repo_info(name, repo_type=kind, timeout=SECONDS)


def hub_missing(wanted: str, advice: str, reason: Exception) -> MissingError:
    """The error for something that could not be loaded from the hub.

    Args:
        wanted: What was requested.
        advice: What to do instead of setting HF_ENDPOINT.
        reason: The client's exception; its first line becomes part of the message.
    """
    endpoint = os.environ.get("HF_ENDPOINT") or "the Hugging Face hub"
    cause = (str(reason).strip() or type(reason).__name__).splitlines()[0].removeprefix("Got: ")
    return MissingError(
        f"{endpoint} did not give {wanted} ({cause[:160]}); "
        f"set HF_ENDPOINT to a hub that has it, {advice}"
    )
