"""Locate, verify and load pretrained encoders.

An encoder comes from this package, from PyPI packages, from a local folder or from the model hub.
Weights are loaded from safetensors only: never from a pickle, and no code of a model is run.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro.data import pypi_encoders
from repro.data.hub import hub_answers, hub_missing
from repro.data.pypi_encoders import ENCODERS, FILES, WEIGHTS
from repro.errors import InputError, MissingError, one_of
from repro.files import digest, verified

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

# Architectures that `models.sps` has an adapter for.
ARCHITECTURES = ("bert", "roberta", "electra", "mpnet", "distilbert")
# Pinned commits of models on the hub. Other models are loaded at their newest commit, and results
# record the fingerprint.
REVISIONS = {"bert-base-uncased": "86b5e0934494bd15c9632b12f734a8a67f723594"}


@dataclass(frozen=True)
class Backbone:
    """A verified encoder on this machine.

    Attributes:
        name: The name that `locate` was called with.
        folder: The folder with its files.
        sha256: SHA-256 of its model.safetensors, in hex.
    """

    name: str
    folder: str
    sha256: str


def folder_or_name(name: str | Path) -> str:
    """Convert an encoder's name for `locate`: an existing folder to its absolute path."""
    text = str(name)
    known = text == "embedded" or text in ENCODERS
    if not known and Path(text).expanduser().is_dir():
        return str(Path(text).expanduser().resolve())
    return text


def locate(name: str) -> Backbone:
    """Find an encoder, download or unpack it if necessary, and verify its checksum.

    Args:
        name: "embedded", one of `pypi_encoders.ENCODERS`, a model on the hub, or a folder as a path
            that starts with "/", "./", "../" or "~". Any other name is never taken for a folder.

    Raises:
        MissingError: If it cannot be found; the message says how to get it.
        InputError: If the name is malformed or the checksum wrong.
    """
    folder, expected, remedy = _source(name)
    if not (folder / WEIGHTS).is_file():
        raise MissingError(
            f"there is no {WEIGHTS} in {folder}; no other format is loaded; {remedy}"
        )
    return Backbone(name, str(folder), verified(folder / WEIGHTS, expected, remedy))


def _source(name: str) -> tuple[Path, str, str]:
    """The folder, the expected SHA-256 of the weights ("" for any), and a remedy for messages."""
    if name == "embedded":
        from repro.data import mini

        remedy = "restore repro/data/mini from the repository"
        return mini.ENCODER_DIR, mini.MODEL_SHA256, remedy
    if encoder := ENCODERS.get(name):
        folder = pypi_encoders.folder(encoder)
        if encoder.zipped:
            return folder, encoder.sha256, "delete that folder to have it unpacked again"
        return folder, encoder.sha256, f"{encoder.advice} --force-reinstall"
    if name.startswith(("/", "./", "../", "~")):
        return Path(name).expanduser(), "", f"save the encoder there as {WEIGHTS}"
    return _download(name), "", "use an encoder that has it"


def _download(name: str) -> Path:
    """Return the folder of a hub model in the local hub cache; downloads what is missing there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    offline_encoders = ", ".join(("embedded", *ENCODERS))
    download = partial(
        snapshot_download, name, revision=REVISIONS.get(name), allow_patterns=list(FILES)
    )
    try:
        with suppress(LocalEntryNotFoundError):
            folder = Path(download(local_files_only=True))
            if (folder / WEIGHTS).is_file():
                return folder
        hub_answers("model", name)
        return Path(download())
    except HFValidationError:
        raise InputError(
            f"unknown encoder {name!r}; use one of: {offline_encoders}, a model on the hub, "
            "or a folder, as a path that starts with / or ./"
        ) from None
    except Exception as error:  # of the hub's client or its HTTP library
        advice = f"or use one that needs none: {offline_encoders}"
        if Path(name).is_dir():
            advice += f"; the folder of this name is ./{name}"
        raise hub_missing(f"the encoder {name!r}", advice, error) from error


def fingerprint(name: str) -> str:
    """Return the SHA-256 (hex) of the checksums of weights, configuration and tokenizer."""
    folder = Path(locate(name).folder)
    return digest(
        {file: verified(folder / file) for file in FILES if (folder / file).is_file()}, 64
    )


def depth(name: str) -> int:
    """Return the number of layers of an encoder."""
    return _depth(locate(name))


@lru_cache  # planning a cell reads the configuration, which takes most of its time
def _depth(backbone: Backbone) -> int:
    return _config(backbone).num_hidden_layers


def load(name: str, layers: int = 0) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """Load an encoder in float32 and its tokenizer.

    Args:
        name: As for `locate`.
        layers: Number of lowest layers to keep; 0 for all.

    Returns:
        The encoder and its tokenizer.

    Raises:
        InputError: If the encoder has fewer layers, or a weight other than the pooler's is missing
            or has another shape.
        MissingError: If the encoder cannot be found.
    """
    backbone = locate(name)  # before the import, which takes seconds, to report errors at once
    from transformers import AutoModel

    config = _config(backbone)
    depth = config.num_hidden_layers
    if type(layers) is not int or not 0 <= layers <= depth:
        raise InputError(
            f"{name} has {depth} layers, got {layers!r}; use 1 .. {depth}, or 0 for all"
        )
    config.num_hidden_layers = layers or depth
    with _loading(backbone, "weights"):
        encoder, info = AutoModel.from_pretrained(
            backbone.folder,
            config=config,
            dtype="float32",
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    # a missing pooler is initialised by transformers, or by `models.classifier` without one
    missing = sorted(key for key in info["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise InputError(
            f"{backbone.folder}/{WEIGHTS} lacks {len(missing)} weights of {name}, "
            f"the first is {missing[0]}"
        )
    return encoder, load_tokenizer(name)


def load_classifier(name: str) -> "PreTrainedModel":
    """Load an encoder with a fine-tuned classification head, in float32.

    Args:
        name: As for `locate`.

    Raises:
        InputError: If a weight, such as one of the head, is missing.
        MissingError: If the encoder cannot be found.
    """
    backbone = locate(name)
    _config(backbone)
    from transformers import AutoModelForSequenceClassification

    with _loading(backbone, "classifier"):
        model, info = AutoModelForSequenceClassification.from_pretrained(
            backbone.folder,
            dtype="float32",
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    missing = sorted(info["missing_keys"])
    if missing:
        raise InputError(
            f"{backbone.folder}/{WEIGHTS} lacks {missing[0]}; a teacher must be fine-tuned and "
            "saved as a sequence classification model"
        )
    return model


def teacher_labels(name: str) -> list[str]:
    """Return the labels of a fine-tuned teacher, in the order of its logits.

    Raises:
        InputError: If its architecture is not supported.
        MissingError: If it cannot be found.
    """
    names: Any = _config(locate(name)).id2label or {}
    return [names[number] for number in sorted(names)]


def width(name: str) -> int:
    """Return the number of dimensions of an encoder's hidden states."""
    hidden: int = _config(locate(name)).hidden_size
    return hidden


def load_tokenizer(name: str) -> "PreTrainedTokenizerBase":
    """Load an encoder's fast tokenizer; its maximum length is at most the encoder's positions.

    Raises:
        InputError: If it cannot be loaded, is not a fast one, has no padding token, does not start
            texts with [CLS], or has tokens or token types for which the encoder has no embedding.
    """
    from transformers import AutoTokenizer

    backbone = locate(name)
    with _loading(backbone, "tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(
            backbone.folder, trust_remote_code=False, local_files_only=True
        )
    if not tokenizer.is_fast or tokenizer.pad_token_id is None:
        raise InputError(
            f"the tokenizer of {name} in {backbone.folder} must be a fast one with a padding token"
        )
    config = _config(backbone)
    _check_tokens(backbone, config, tokenizer)
    positions = getattr(config, "max_position_embeddings", tokenizer.model_max_length)
    if config.model_type in ("roberta", "mpnet"):  # positions start after that of padding
        positions -= 1 + (config.pad_token_id if config.model_type == "roberta" else 1)
    tokenizer.model_max_length = min(tokenizer.model_max_length, positions)  # may be 10^30
    return tokenizer


def _check_tokens(
    backbone: Backbone, config: "PreTrainedConfig", tokenizer: "PreTrainedTokenizerBase"
) -> None:
    """Raise InputError if a token or token type has no embedding, or [CLS] does not come first."""
    pair = tokenizer("a", "a")
    ids, types = pair["input_ids"], pair.get("token_type_ids", [])
    highest_id, highest_type = max(tokenizer.get_vocab().values()), max(types, default=-1)
    problem = ""
    if tokenizer.cls_token_id is None or ids[0] != tokenizer.cls_token_id:
        problem = "does not put [CLS] in front of a text; save it with its post-processor"
    elif highest_id >= config.vocab_size:
        problem = (
            f"has ids up to {highest_id}, the encoder has embeddings for ids below "
            f"{config.vocab_size}; resize them"
        )
    elif highest_type >= (known_types := getattr(config, "type_vocab_size", 0)):
        problem = (
            f"has token types up to {highest_type}, the encoder has {known_types}; "
            "save it without token_type_ids in model_input_names"
        )
    if problem:
        raise InputError(
            f"the tokenizer of {backbone.name} in {backbone.folder} {problem}, or use another"
        )


def _config(backbone: Backbone) -> "PreTrainedConfig":
    """Load a new configuration object; InputError unless its architecture is in ARCHITECTURES."""
    from transformers import AutoConfig

    with _loading(backbone, "configuration"):
        config = AutoConfig.from_pretrained(
            backbone.folder, trust_remote_code=False, local_files_only=True
        )
    if config.model_type not in ARCHITECTURES:
        raise one_of(f"architecture of {backbone.name}", config.model_type, ARCHITECTURES)
    return config


@contextmanager
def _loading(backbone: Backbone, what: str) -> Iterator[None]:
    """Silence transformers, which warns of each unused layer; convert errors to InputError."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()  # permanently, since a bar for each load is noise
    try:
        yield
    except Exception as error:  # of transformers, tokenizers or safetensors
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise InputError(
            f"cannot load the {what} of {backbone.name} from {backbone.folder}: {reason}"
        ) from error
    finally:
        logging.set_verbosity(verbosity)
