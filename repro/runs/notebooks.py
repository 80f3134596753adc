"""Run a notebook through papermill: parameters checked first, progress shown while it runs, the copy written whole.

papermill only warns of an unknown parameter and turns 5e-5 into a string; here both are refused.
"""

import logging
import os
import sys
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import nbformat

from repro import errors, paths
from repro.errors import InputError, MissingError, ReproError, one_of
from repro.files import write_atomic

_TYPES: dict[str, type] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "dict": dict,
    "list": list,
}
_FIRST = [
    "__import__('logging').getLogger('asyncio').disabled = True",  # stopped in a cell, it would tell of a pending task
    "__import__('signal').signal(15, __import__('signal').default_int_handler)",  # SIGTERM is Ctrl-C here too
]
# what worker processes print comes once: the kernel would catch it, and print it again
_KERNEL = [
    "--IPKernelApp.log_level=CRITICAL",
    "--IPKernelApp.capture_fd_output=False",
    *(f"--IPKernelApp.exec_lines={line}" for line in _FIRST),
]


def run_notebook(source: Path, parameters: dict[str, Any], folder: Path) -> Path:
    """Execute `source` with `parameters`; the executed copy goes to `folder` under the same name. Returns its path.

    Raises InputError for a notebook, parameter or type that is not there. An error inside the notebook is raised here,
    as one line; unless it is the input's, what had run by then is kept as <name>.failed.ipynb.
    """
    checked = check_parameters(source, parameters)
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / source.name
        failed = folder / f"{source.stem}.failed.ipynb"
        try:
            _execute(source, made, checked)
        except (InputError, MissingError):
            raise  # the message says it all, and bad input leaves everything as it was
        except ReproError:
            if made.is_file():
                _store(made, failed)
            raise
        _store(made, folder / source.name)
    failed.unlink(missing_ok=True)
    return folder / source.name


def check_parameters(source: Path, parameters: dict[str, Any]) -> dict[str, Any]:
    """The parameters, a whole number made a float where a float is declared; InputError as `run_notebook`."""
    if not source.is_file():
        raise one_of(
            "notebook", source.stem, sorted(path.stem for path in source.parent.glob("*.ipynb"))
        )
    import papermill

    known = papermill.inspect_notebook(str(source))
    for name in parameters:
        if name not in known:
            raise one_of(f"parameter of {source.stem}", name, known)
    return {
        name: _typed(name, value, known[name]["inferred_type_name"])
        for name, value in parameters.items()
    }


def _typed(name: str, value: Any, declared: str) -> Any:
    wanted = _TYPES.get(declared)
    if wanted is float and type(value) is int:
        return float(value)
    if wanted is not None and type(value) is not wanted:
        raise InputError(
            f"parameter {name} must be a {declared}, got {value!r} ({type(value).__name__})"
        )
    return value


def _execute(source: Path, made: Path, parameters: dict[str, Any]) -> None:
    """Run in a kernel of this Python; what it prints (the plan, the progress) appears here as it comes."""
    import papermill
    from nbclient.exceptions import DeadKernelError

    os.environ.setdefault(
        "PYTHONWARNINGS", "ignore:IProgress not found"
    )  # of tqdm, without JupyterLab's widgets
    os.environ.setdefault("REPRO_PROGRESS", "bar" if _wide_terminal() else "lines")
    _stay_out_of_home()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            papermill.execute_notebook(
                str(source),
                str(made),
                parameters,
                kernel_name="python3",
                progress_bar=False,
                stdout_file=sys.stdout,
                stderr_file=sys.stderr,
                extra_arguments=_KERNEL,
            )
    except papermill.PapermillExecutionError as error:
        raise _error(error.ename, error.evalue, source) from None
    except DeadKernelError as error:
        raise _error("DeadKernelError", f"{error} (out of memory?)", source) from None
    except KeyboardInterrupt:
        logging.getLogger("asyncio").disabled = True  # it would say the same again, at length
        raise


def _stay_out_of_home() -> None:
    """Have IPython and matplotlib keep in the cache what they would write below the user's home."""
    with suppress(OSError):  # without a cache they warn, and use a temporary folder
        paths.cache().mkdir(
            parents=True, exist_ok=True
        )  # which IPython looks for, and does not make
    for name, folder in (("IPYTHONDIR", "ipython"), ("MPLCONFIGDIR", "matplotlib")):
        os.environ.setdefault(name, os.path.abspath(paths.cache() / folder))


def _wide_terminal() -> bool:
    """Whether a bar can be seen: some terminals say that they have no columns."""
    return sys.stderr.isatty() and os.get_terminal_size(sys.stderr.fileno()).columns > 0


def _error(name: str, text: str, source: Path) -> ReproError:
    """The package's own error again, or one line about any other."""
    known = getattr(errors, name, None)
    if isinstance(known, type) and issubclass(known, ReproError):
        return known(text)
    first = (text.strip() or name).splitlines()[0]
    return ReproError(f"{source.name} stopped with {name}: {first}; see {source.stem}.failed.ipynb")


def _store(made: Path, target: Path) -> None:
    """Keep the executed copy without one machine's paths: those that papermill notes, and the package's own folder."""
    notebook = nbformat.read(made, as_version=4)
    for key in ("input_path", "output_path", "environment_variables"):
        notebook.metadata.get("papermill", {}).pop(key, None)
    text = nbformat.writes(notebook).replace(f"{paths.ROOT}/", "") + "\n"
    write_atomic(target, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def table_notebook(name: str, profile: str, parameters: dict[str, Any]) -> Path:
    """Run notebooks/<name>.ipynb into results/<profile>/notebooks."""
    return run_notebook(
        paths.NOTEBOOKS / f"{name}.ipynb",
        {"profile": profile} | parameters,
        paths.results(profile) / "notebooks",
    )
