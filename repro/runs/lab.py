"""Start JupyterLab on working copies of the notebooks: `make lab`.

The copies are in lab/, which git ignores. Jupyter's settings, keys and logs are below the cache:
nothing is written to the home folder.
"""

import json
import os
import shutil
import sys
import webbrowser
from pathlib import Path

import nbformat

from repro import paths
from repro.errors import InputError, ReproError, on_disk
from repro.files import visible
from repro.runs.notebooks import private_folders

# JupyterLab would ask whether it may look for news on the internet.
_DISABLED = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}


def working_copies(folder: Path) -> list[str]:
    """Copy the notebooks that have no working copy yet.

    Args:
        folder: Where the copies are.

    Returns:
        The names of earlier copies whose code or text differs from the notebook: they were edited,
        or the notebook is newer. They are kept.
    """
    different = []
    with on_disk(folder):
        for source in visible(paths.NOTEBOOKS.rglob("*.ipynb")):
            copy = folder / source.relative_to(paths.NOTEBOOKS)
            if not copy.exists():
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, copy)
            elif _sources(copy) != _sources(source):
                different.append(copy.name)
    return different


def _sources(notebook: Path) -> list[str]:
    """The cells without their outputs; none if the file cannot be read."""
    try:
        return [cell.source for cell in nbformat.read(notebook, as_version=4).cells]
    except (ValueError, nbformat.reader.NotJSONError):
        return []


def environment() -> dict[str, str]:
    """Environment variables that keep Jupyter, IPython and matplotlib inside the cache."""
    jupyter = Path(os.path.abspath(paths.cache() / "jupyter"))
    folders = {
        name: str(jupyter / name.split("_")[1].lower())
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
    }
    settings = jupyter / "config" / "labconfig" / "page_config.json"
    with on_disk(settings):
        settings.parent.mkdir(parents=True, exist_ok=True)
        settings.write_text(json.dumps(_DISABLED))
    return private_folders() | folders


def command(folder: Path, port: str = "") -> list[str]:
    """The command that starts JupyterLab.

    Args:
        folder: What it shows.
        port: Of the server; "" for 8888, or the next one that is free.

    Raises:
        InputError: If it is not a port.
    """
    if port and not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise InputError(f"PORT must be from 1 to 65535, got {port!r}")
    options = [f"--ServerApp.root_dir={folder}", "--allow-root"]  # containers run as root
    options.append("--LanguageServerManager.autodetect=False")  # npm would write to the home folder
    options += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0"] if port else []
    try:
        webbrowser.get()
    except webbrowser.Error:
        options.append("--no-browser")
    return [sys.executable, "-m", "jupyterlab", *options]


def main(port: str = "") -> None:
    """Replace this process by JupyterLab.

    Args:
        port: As for `command`.
    """
    folder = paths.base() / "lab"
    words = command(folder, port)
    different = working_copies(folder)
    print(f"working copies of the notebooks: {paths.shown(folder)}")
    for name in different:
        print(f"  {name} differs from the notebook of this version; delete it to get a new copy")
    paths.use_absolute_folders()
    os.environ.update(environment())
    sys.stdout.flush()
    os.chdir(folder)
    os.execv(words[0], words)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:2])
    except ReproError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
