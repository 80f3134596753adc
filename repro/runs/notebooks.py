"""Run notebooks through papermill, or open working copies of them in JupyterLab.

papermill only warns about unknown parameters and accepts any type (5e-5 typed as "5e-5" is a
string); here both are errors. Executed copies are written atomically and contain no local paths.

Jupyter's settings, keys and logs are below the cache: nothing is written to the home folder.
"""

import json
import logging
import os
import shutil
import sys
import tempfile
import warnings
import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import Any

import nbformat
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager

from repro import errors, paths
from repro.errors import InputError, MissingError, ReproError, on_disk, one_of
from repro.files import visible, write_atomic
from repro.runs import progress

_TYPES: dict[str, type] = {kind.__name__: kind for kind in (str, int, float, bool, dict, list)}
_KERNEL_OPTIONS = (
    "--IPKernelApp.log_level=CRITICAL",
    # otherwise the kernel prints the output of worker processes a second time
    "--IPKernelApp.capture_fd_output=False",
    # otherwise asyncio reports a pending task when a cell is interrupted
    "--IPKernelApp.exec_lines=__import__('logging').getLogger('asyncio').disabled = True",
    # SIGTERM interrupts the kernel like Ctrl-C
    "--IPKernelApp.exec_lines="
    "__import__('signal').signal(15, __import__('signal').default_int_handler)",
)
# JupyterLab would ask whether it may look for news on the internet.
_DISABLED_EXTENSIONS = {
    "disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}
}


class _ThisPython(AsyncKernelManager):
    """Starts kernels of the Python that runs this process, whatever Jupyter finds as python3."""

    @property
    def kernel_spec(self) -> KernelSpec:
        """The specification of an IPython kernel of this Python."""
        return KernelSpec(**get_kernel_dict())


def table_notebook(name: str, profile: str, parameters: dict[str, Any], variant: str = "") -> Path:
    """Run notebooks/<name>.ipynb; the executed copy goes to results/<profile>/notebooks.

    Args:
        name: Name of the notebook without suffix.
        profile: Value of the notebook's parameter `profile`.
        parameters: Its other parameters.
        variant: Of the table, in the name of the copy: table2.beta=40.ipynb; "" for the plain one.

    Returns:
        The path of the executed copy.

    Raises:
        ReproError: As `run_notebook`.
    """
    source = paths.NOTEBOOKS / f"{name}.ipynb"
    parameters = {"profile": profile} | parameters
    copy = f"{name}.{variant}" if variant else name
    return run_notebook(source, parameters, paths.results(profile) / "notebooks", copy)


def run_notebook(source: Path, parameters: dict[str, Any], folder: Path, name: str = "") -> Path:
    """Execute a notebook and save the executed copy.

    Args:
        source: The notebook.
        parameters: Values by parameter name.
        folder: Folder for the executed copy.
        name: Name of the executed copy without suffix; by default the notebook's.

    Returns:
        The path of the executed copy.

    Raises:
        InputError: If the notebook or a parameter does not exist, or a value has the wrong type.
        ReproError: If a cell fails. Errors of this package keep their type and message. Unless
            the input was wrong or missing, the cells that ran are saved as <name>.failed.ipynb.
    """
    target = folder / f"{name or source.stem}.ipynb"
    checked = check_parameters(source, parameters)
    failed = target.with_name(f"{target.stem}.failed.ipynb")
    with tempfile.TemporaryDirectory() as scratch:
        executed = Path(scratch) / source.name
        try:
            _execute(source, executed, checked, failed.name)
        except (InputError, MissingError):
            raise  # the message is sufficient, and wrong input leaves the disk unchanged
        except ReproError:
            if executed.is_file():
                _store(executed, failed)
            raise
        _store(executed, target)
    failed.unlink(missing_ok=True)
    return target


def check_parameters(source: Path, parameters: dict[str, Any]) -> dict[str, Any]:
    """Check parameters against the notebook's parameters cell.

    Args:
        source: The notebook.
        parameters: Values by parameter name.

    Returns:
        The parameters; integers are converted where the notebook declares a float.

    Raises:
        InputError: If the notebook or a parameter does not exist, or a value has the wrong type.
    """
    if not source.is_file():
        names = [path.stem for path in visible(source.parent.glob("*.ipynb"))]
        raise one_of("notebook", source.stem, names)
    import papermill

    declared = papermill.inspect_notebook(str(source))
    checked = dict(parameters)
    for name, value in parameters.items():
        if name not in declared:
            raise one_of(f"parameter of {source.stem}", name, declared)
        type_name = declared[name]["inferred_type_name"]
        expected = _TYPES.get(type_name)
        if expected is float and type(value) is int:
            checked[name] = float(value)
        elif expected is not None and type(value) is not expected:
            raise InputError(
                f"parameter {name} must be of type {type_name}, got {value!r} "
                f"({type(value).__name__})"
            )
    return checked


def _execute(source: Path, target: Path, parameters: dict[str, Any], failed: str) -> None:
    """Run the notebook in a kernel of this Python; its output appears here while it runs.

    Errors refer to the copy named `failed`.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError

    _set_environment()
    limit = paths.kernel_seconds()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            papermill.execute_notebook(
                str(source),
                str(target),
                parameters,
                kernel_name="python3",
                kernel_manager_class=_ThisPython,
                start_timeout=limit,
                progress_bar=False,
                stdout_file=sys.stdout,
                stderr_file=sys.stderr,
                extra_arguments=list(_KERNEL_OPTIONS),
            )
    except papermill.PapermillExecutionError as error:
        raise _one_line(error.ename, error.evalue, source, failed) from None
    except DeadKernelError as error:
        raise _one_line("DeadKernelError", f"{error} (out of memory?)", source, failed) from None
    except RuntimeError as error:  # of Jupyter, before the first cell
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ReproError(
            f"the kernel of {source.name} did not start: {reason}; the limit is {limit} seconds, "
            "set REPRO_KERNEL_SECONDS to more if the disk is slow"
        ) from None
    except KeyboardInterrupt:
        logging.getLogger("asyncio").disabled = True  # it would print a second, longer message
        raise


def private_folders() -> dict[str, str]:
    """Environment variables that keep IPython's and matplotlib's files out of the home folder."""
    with suppress(OSError):  # without a cache, IPython and matplotlib use a temporary folder
        paths.cache().mkdir(parents=True, exist_ok=True)
    return {
        "IPYTHONDIR": os.path.abspath(paths.cache() / "ipython"),
        "MPLCONFIGDIR": os.path.abspath(paths.cache() / "matplotlib"),
    }


def _set_environment() -> None:
    """Choose the kernel's progress display and folders."""
    for name, value in {
        "REPRO_PROGRESS": progress.mode(),
        "PYTHONWARNINGS": "ignore:IProgress not found",  # from tqdm, without ipywidgets
        **private_folders(),
    }.items():
        os.environ.setdefault(name, value)
    os.environ["MATPLOTLIBRC"] = os.devnull  # a user's settings must not change the figures


def _one_line(name: str, message: str, source: Path, failed: str) -> ReproError:
    """The package's own error unchanged, or any other error in one line."""
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, ReproError):
        return kind(message)
    first = (message.strip() or name).splitlines()[0]
    return ReproError(f"{source.name} stopped with {name}: {first}; see {failed}")


def _store(executed: Path, target: Path) -> None:
    """Save an executed notebook without paths of this machine."""
    notebook = nbformat.read(executed, as_version=4)
    for key in ("input_path", "output_path", "environment_variables"):
        notebook.metadata.get("papermill", {}).pop(key, None)
    text = nbformat.writes(notebook).replace(f"{paths.base()}/", "") + "\n"
    write_atomic(target, lambda path: path.write_text(text, encoding="utf-8"))


def working_copies(folder: Path) -> list[str]:
    """Copy the notebooks that have no working copy yet, except the course's masters.

    Masters have solutions and hidden tests, and are edited in place with nbgrader.

    Args:
        folder: Where the copies are.

    Returns:
        The names of earlier copies whose code or text differs from the notebook: they were edited,
        or the notebook is newer. They are kept.
    """
    different = []
    with on_disk(folder):
        for source in visible(paths.NOTEBOOKS.rglob("*.ipynb")):
            if source.is_relative_to(paths.NOTEBOOKS / "course" / "source"):
                continue
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


def lab_environment() -> dict[str, str]:
    """Environment variables that keep Jupyter, IPython and matplotlib inside the cache."""
    jupyter = Path(os.path.abspath(paths.cache() / "jupyter"))
    folders = {
        name: str(jupyter / name.split("_")[1].lower())
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
    }
    settings = jupyter / "config" / "labconfig" / "page_config.json"
    with on_disk(settings):
        settings.parent.mkdir(parents=True, exist_ok=True)
        settings.write_text(json.dumps(_DISABLED_EXTENSIONS))
    return private_folders() | folders


def lab_command(folder: Path, port: str = "") -> list[str]:
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


def start_lab(port: str = "") -> None:
    """Replace this process by JupyterLab on the working copies in lab/: `make lab`.

    Args:
        port: As for `lab_command`.
    """
    folder = paths.base() / "lab"
    words = lab_command(folder, port)
    different = working_copies(folder)
    print(f"working copies of the notebooks: {paths.shown(folder)}")
    for name in different:
        print(f"  {name} differs from the notebook of this version; delete it to get a new copy")
    paths.use_absolute_folders()
    os.environ.update(lab_environment())
    sys.stdout.flush()
    os.chdir(folder)
    os.execv(words[0], words)


if __name__ == "__main__":
    try:
        start_lab(*sys.argv[1:2])
    except ReproError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
