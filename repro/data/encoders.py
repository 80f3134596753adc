"""Where an encoder comes from, verified: the package itself, pinned PyPI packages, a local folder, or the model hub.

Safetensors only: never a pickle, never a model's own code.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from repro.config.cells import digest
from repro.data.carriers import ENCODERS, FILES, WEIGHTS, carried, unpacked
from repro.data.glue import hub_answers, hub_missing
from repro.errors import InputError, MissingError
from repro.files import verified

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

# of models on the hub, the commits that are loaded; of others the newest, whose fingerprint stands in every result
REVISIONS = {"bert-base-uncased": "86b5e0934494bd15c9632b12f734a8a67f723594"}


@dataclass(frozen=True)
class Backbone:
    """A verified encoder: its name, the folder that holds it, the SHA-256 of its model.safetensors (hex)."""

    name: str
    folder: str
    sha256: str


def locate(name: str) -> Backbone:
    """The encoder of that name, on this machine: unpacked or downloaded if it has to be, and its checksum verified.

    name: "embedded", one of ENCODERS, an existing folder, or a model on the hub. Raises MissingError with how to get
    what is not there, InputError on a wrong checksum.
    """
    folder, expected, fix = _source(name)
    if not (folder / WEIGHTS).is_file():
        raise MissingError(
            f"there is no {WEIGHTS} in {folder}, and no other format is loaded; {fix}"
        )
    return Backbone(name, str(folder), verified(folder / WEIGHTS, expected, fix))


def fingerprint(name: str) -> str:
    """SHA-256 (hex) over the checksums of weights, configuration and tokenizer: what decides the encoder's numbers."""
    folder = Path(locate(name).folder)
    return digest(
        {file: verified(folder / file) for file in FILES if (folder / file).is_file()}, 64
    )


def depth(name: str) -> int:
    """How many layers the encoder has."""
    return _depth(locate(name))


def load(name: str, layers: int = 0) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """The encoder in float32 and its tokenizer; with `layers` > 0 only its first `layers` layers.

    Raises InputError if it has fewer, or if a weight other than the pooler's is missing or of another shape.
    """
    found = locate(name)
    from transformers import (
        AutoModel,  # after: what is not there is told before the seconds that this takes
    )

    config = _config(found)
    if type(layers) is not int or not 0 <= layers <= config.num_hidden_layers:
        raise InputError(
            f"{name} has {config.num_hidden_layers} layers, got a request for {layers!r}; 0 is for all"
        )
    config.num_hidden_layers = layers or config.num_hidden_layers
    with _loading(found, "weights"):
        encoder, info = AutoModel.from_pretrained(
            found.folder,
            config=config,
            dtype="float32",
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    missing = sorted(
        key for key in info["missing_keys"] if not key.startswith("pooler.")
    )  # ours has its own pooler
    if missing:
        raise InputError(
            f"{found.folder}/{WEIGHTS} lacks {len(missing)} weights of {name}, the first is {missing[0]}"
        )
    return encoder, load_tokenizer(name)


def load_tokenizer(name: str) -> "PreTrainedTokenizerBase":
    """The encoder's fast tokenizer, which never gives more tokens than the encoder has positions."""
    from transformers import AutoTokenizer

    found = locate(name)
    with _loading(found, "tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(
            found.folder, trust_remote_code=False, local_files_only=True
        )
    if not tokenizer.is_fast or tokenizer.pad_token_id is None:
        raise InputError(
            f"the tokenizer of {name} in {found.folder} must be a fast one with a padding token"
        )
    positions = getattr(_config(found), "max_position_embeddings", tokenizer.model_max_length)
    tokenizer.model_max_length = min(tokenizer.model_max_length, positions)  # some say 10^30
    return tokenizer


def _config(found: Backbone) -> "PreTrainedConfig":
    """The encoder's configuration, a new object each time; InputError if it is none of an encoder with layers."""
    from transformers import AutoConfig

    with _loading(found, "configuration"):
        config = AutoConfig.from_pretrained(
            found.folder, trust_remote_code=False, local_files_only=True
        )
        config.num_hidden_layers  # noqa: B018  # an AttributeError here is the check
    return config


@contextmanager
def _loading(found: Backbone, what: str) -> Iterator[None]:
    """Silence transformers, which warns of every layer that is left out, and make any failure one line."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()  # and leave it so: a bar per load is noise
    try:
        yield
    except Exception as error:  # of transformers, tokenizers or safetensors; all mean that the files cannot be used
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise InputError(
            f"cannot load the {what} of {found.name} from {found.folder}: {reason}"
        ) from error
    finally:
        logging.set_verbosity(verbosity)


_depth = lru_cache(
    lambda found: _config(found).num_hidden_layers
)  # reading a configuration is most of planning a cell


def _source(name: str) -> tuple[Path, str, str]:
    """The encoder's folder, the SHA-256 its weights must have ("": any), and what to do if they are not right."""
    if name == "embedded":
        from repro.data import mini

        return (
            Path(mini.ENCODER_DIR),
            mini.MODEL_SHA256,
            "restore repro/data/mini from the repository",
        )
    if encoder := ENCODERS.get(name):
        if encoder.zipped:
            return unpacked(encoder), encoder.sha256, "delete that folder: it is then unpacked anew"
        return (
            carried(encoder, *encoder.carriers[0]).parent,
            encoder.sha256,
            f"{encoder.advice} --force-reinstall",
        )
    if name and Path(name).is_dir():
        return Path(name), "", f"save the encoder there as {WEIGHTS}"
    return _downloaded(name), "", "use an encoder that has it"


def _downloaded(name: str) -> Path:
    """The folder of a hub model: from the local hub cache if it is whole there, else from the hub, in one try."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    known = ", ".join(("embedded", *ENCODERS))
    wanted = partial(
        snapshot_download, name, revision=REVISIONS.get(name), allow_patterns=list(FILES)
    )
    try:
        with suppress(LocalEntryNotFoundError):
            folder = Path(wanted(local_files_only=True))
            if (folder / WEIGHTS).is_file():
                return folder
        hub_answers("model", name)
        return Path(wanted())
    except HFValidationError:
        raise InputError(
            f"unknown encoder {name!r}; use one of: {known}, a folder, or a model on the hub"
        ) from None
    except (
        Exception
    ) as error:  # of the hub's client and its HTTP library; all mean that it cannot be had
        raise hub_missing(
            f"the encoder {name!r}", f"or use one that needs none: {known}", error
        ) from error
