"""An executor on a Ray cluster: the one at RAY_ADDRESS, or one of this machine's cores if that is not set.

Ray is imported here and nowhere else. It runs a stage again, on another node, when a worker or its node is lost.
"""

import importlib
import os
import platform
import signal
import socket
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from repro import paths
from repro.errors import MissingError, ReproError
from repro.files import temporary
from repro.runs import machine, remote

_RETRIES = (
    3  # lost workers or nodes per stage; an error that the stage itself raises is not tried again
)
_OBJECT_STORE = 80 * 2**20  # bytes; what tasks exchange is a number, artefacts go through the cache


class Need(NamedTuple):
    """What Ray reserves for a stage: CPUs, as many threads, and the share of a GPU where the cluster has one."""

    cpus: int
    gpus: float


NEEDS = {
    "teacher": Need(1, 0.5),
    "outputs": Need(1, 0.5),
    "ptp": Need(1, 0.25),
    "search": Need(1, 0.0),
    "student": Need(1, 0.25),
    "trial": Need(1, 0.25),
}


class Cluster(Executor):
    """`submit(fn, stage)` runs fn(stage) as a Ray task that has what NEEDS says for the stage's kind.

    workers: the cores of a cluster of this machine alone. Leaving the context ends Ray here, and with it every task
    that is still running. Raises MissingError if Ray is not installed or the cluster is not there.
    """

    limit = 1000  # nodes that join later find work, and the scheduler's memory has a bound

    def __init__(self, workers: int) -> None:

        self._ray = _connected(workers)
        resources = self._ray.cluster_resources()
        self._gpus, self.slots = resources.get("GPU", 0.0) > 0, _slots(resources)
        self._probe = _probe()
        self._code, self._task = machine.code(), self._ray.remote(_task)

    def submit(self, fn: Callable, /, *args: Any, **kwargs: Any) -> Future:
        (stage,) = args
        need = NEEDS[stage.kind]
        options = {
            "num_cpus": need.cpus,
            "num_gpus": need.gpus * self._gpus,
            "max_retries": _RETRIES,
        }
        future: Future = Future()
        task = self._task.options(name=f"{stage.kind} {stage.key}", **options)
        made = task.remote(fn, stage, need.cpus, self._probe, self._code)
        made.future().add_done_callback(partial(_settle, future))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._ray.shutdown()  # the tasks of a driver that leaves are killed
        if self._probe:
            Path(self._probe).unlink(missing_ok=True)


def _slots(resources: dict[str, float]) -> int:
    """How many students the cluster trains at once."""
    need, gpus = NEEDS["student"], resources.get("GPU", 0.0)
    by_cpus = resources.get("CPU", 0.0) / need.cpus
    return max(1, int(min(by_cpus, gpus / need.gpus) if gpus else by_cpus))


def _connected(workers: int) -> Any:
    """The `ray` module, connected."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray = importlib.import_module("ray")
    except ImportError:
        raise MissingError(
            "the engine ray needs Ray, which is not installed; run: make ray"
        ) from None
    address = os.environ.get("RAY_ADDRESS") or "local"
    own = {"num_cpus": workers, "include_dashboard": False, "object_store_memory": _OBJECT_STORE}
    try:
        _check_address(address)
        stop = signal.getsignal(signal.SIGTERM)
        ray.init(
            address=address,
            runtime_env={"env_vars": environment()},
            log_to_driver=False,
            logging_level="ERROR",
            **(own if address == "local" else {}),
        )
        signal.signal(signal.SIGTERM, stop)  # Ray's own handler would leave without a word
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise MissingError(
            f"no Ray cluster at RAY_ADDRESS={address}: {reason}; start one (ray start --head), or unset "
            "RAY_ADDRESS to use this machine's cores"
        ) from None
    return ray


def _check_address(address: str) -> None:
    """Raises OSError at once if nothing answers at host:port; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if port.isdigit() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=10).close()


def environment() -> dict[str, str]:
    """What the workers must know: where data, cache and remote are, and the code that this process runs."""
    folders = {
        name: os.path.abspath(os.environ[name])
        for name in ("GLUE_DIR", "HF_HOME")
        if os.environ.get(name)
    }
    given = {
        name: os.environ[name] for name in ("HF_HUB_OFFLINE", "HF_ENDPOINT") if os.environ.get(name)
    }
    code = [str(paths.ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    passed = folders | given | {"PYTHONPATH": os.pathsep.join(code)}
    if remote.remote():
        passed["REPRO_REMOTE"] = remote.remote()
    if not remote.remote() or os.environ.get(
        "REPRO_CACHE"
    ):  # with a remote, each node may have a cache of its own
        passed["REPRO_CACHE"] = os.path.abspath(paths.cache())
    return passed


def _probe() -> str:
    """A file in the cache that every worker must see; "" where a remote stands in for a shared folder."""
    if remote.remote():
        return ""
    return os.path.abspath(temporary(paths.cache() / "ray"))


def _task(fn: Callable, stage: Any, threads: int, probe: str, code: str) -> Any:
    """What a worker does for a stage."""
    import torch

    _check_node(probe, code)
    machine.keep_memory()
    torch.set_num_threads(threads)
    return fn(stage)


@lru_cache(maxsize=1)
def _check_node(probe: str, code: str) -> None:
    """Raises MissingError on a node whose results would not be found, or not be what the driver's code makes."""

    if probe and not Path(probe).exists():
        raise MissingError(
            f"node {platform.node()} does not see {Path(probe).parent}; put REPRO_CACHE on a folder "
            "that all nodes share, or set REPRO_REMOTE"
        )
    if code != machine.code():
        raise MissingError(
            f"node {platform.node()} has another version of this package, of Python or of its libraries "
            "than the driver; install the same commit with make ray on every node"
        )


def _settle(future: Future, made: Future) -> None:
    """Hand on the task's result or its own error, which Ray wraps; what Ray itself says becomes one line."""
    error = made.exception()
    cause = getattr(error, "cause", None)
    if error is None:
        future.set_result(made.result())
    elif isinstance(cause, Exception):
        future.set_exception(cause)
    else:
        reason = " ".join(str(error).split())[:300]
        future.set_exception(
            ReproError(f"{type(error).__name__} after {_RETRIES} retries: {reason}")
        )
