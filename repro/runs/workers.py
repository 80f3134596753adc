"""Executors of stages: this process, worker processes that share the cores, or a Ray cluster.

`Cluster` uses the Ray cluster at RAY_ADDRESS, or one of this machine's cores without it; Ray is
imported only there. When a worker or its node is lost, Ray runs the stage again on another node.
"""

import atexit
import importlib
import multiprocessing
import os
import platform
import signal
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache, partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from repro import paths
from repro.errors import KilledError, MissingError, ReproError
from repro.files import temporary
from repro.runs import machine, remote

_SPAWN = multiprocessing.get_context("spawn")  # a forked torch would share its parent's threads
_RETRIES = 3  # after a lost worker or node; an error that the stage raises is not retried
_OBJECT_STORE = 80 * 2**20  # bytes; small, because artefacts are exchanged through the cache


class Inline(Executor):
    """Runs each call at once, in this process."""

    slots = limit = 1

    def __init__(self) -> None:
        import torch

        machine.keep_memory()
        if torch.get_num_threads() > machine.cores():  # torch does not know a container's quota
            torch.set_num_threads(machine.cores())

    def submit(self, fn: Callable, /, *args: Any, **kwargs: Any) -> Future:
        """Call fn; its result or error is in the future that is returned."""
        future: Future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class Processes(ThreadPoolExecutor):
    """A pool of worker processes in which a killed process fails its own call and no other.

    Each thread drives a `ProcessPoolExecutor` of one process. (One pool of several processes would
    fail all calls in flight.) The workers end with this process, however it ends: they wait for
    the other end of a pipe to close.
    """

    def __init__(self, workers: int) -> None:
        # A new process inherits the signal mask of its thread: Ctrl-C is this process's to handle.
        block = (signal.SIG_BLOCK, {signal.SIGINT})
        super().__init__(workers, initializer=signal.pthread_sigmask, initargs=block)
        self.slots = workers
        self.limit = workers + 1  # one call waits, so that no worker idles between two calls
        self._lifeline, self._parent_end = _SPAWN.Pipe(duplex=False)
        self._own, self._pools = threading.local(), list[ProcessPoolExecutor]()

    def submit(self, fn: Callable, /, *args: Any, **kwargs: Any) -> Future:
        """Call fn in a worker process.

        The future raises KilledError if the process is killed meanwhile.
        """
        return super().submit(self._call, fn, *args, **kwargs)

    def _call(self, fn: Callable, *args: Any, **kwargs: Any) -> Any:
        try:
            future = self._pool().submit(fn, *args, **kwargs)
        except BrokenProcessPool:  # the process died while it was idle
            self._own.pool = None
            future = self._pool().submit(fn, *args, **kwargs)
        try:
            return future.result()
        except BrokenProcessPool:
            self._own.pool = None
            raise KilledError(
                f"the process that computed {' '.join(map(str, args))} was killed from outside "
                "(out of memory? then ENGINE=serial needs less)"
            ) from None

    def _pool(self) -> ProcessPoolExecutor:
        """This thread's pool of one process."""
        if getattr(self._own, "pool", None) is None:
            settings = (self.slots, self._lifeline)
            self._own.pool = ProcessPoolExecutor(
                1, mp_context=_SPAWN, initializer=_start_worker, initargs=settings
            )
            self._pools.append(self._own.pool)
        return self._own.pool

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is not None:
            self._parent_end.close()  # ends the workers now; trainings resume from checkpoints
        self.shutdown(cancel_futures=kind is not None)
        for pool in self._pools:
            pool.shutdown(cancel_futures=kind is not None)


def _start_worker(workers: int, lifeline: Connection) -> None:
    """Divide the cores' threads between the workers, and end with the parent."""
    threading.Thread(target=_end_with_parent, args=(lifeline,), daemon=True).start()
    atexit.register(os._exit, 0)  # all results are on disk; tearing torch down would take a second
    import torch

    machine.keep_memory()
    torch.set_num_threads(max(1, machine.cores() // workers))


def _end_with_parent(lifeline: Connection) -> None:
    """The kernel closes the other end of the pipe however the parent dies."""
    lifeline.poll(None)
    os._exit(1)


class Need(NamedTuple):
    """What Ray reserves for a stage: CPUs, one thread each, and a share of a GPU if any."""

    cpus: int
    gpus: float


NEEDS = {
    "teacher": Need(1, 0.5),
    "outputs": Need(1, 0.5),
    "ptp": Need(1, 0.25),
    "search": Need(1, 0.0),
    "student": Need(1, 0.25),
    "words": Need(1, 0.5),
    "phase": Need(1, 0.5),
    "reshaped": Need(1, 0.5),
}


class Cluster(Executor):
    """Runs stages as Ray tasks. Leaving the context kills the tasks that are still running.

    Args:
        workers: Number of cores to use if RAY_ADDRESS is not set.

    Attributes:
        slots: How many students the cluster trains at once.
        limit: How many stages may be submitted at once: enough for nodes that join later.

    Raises:
        MissingError: If Ray is not installed or there is no cluster at RAY_ADDRESS.
    """

    limit = 1000

    def __init__(self, workers: int) -> None:
        self._ray = _connect(workers)
        resources = self._ray.cluster_resources()
        self._has_gpu, self.slots = resources.get("GPU", 0.0) > 0, _slots(resources)
        self._probe, self._code = _create_probe(), machine.code()
        self._task = self._ray.remote(_run_on_node)

    def submit(self, fn: Callable, /, *args: Any, **kwargs: Any) -> Future:
        """Run `fn(stage, ...)` with the resources that NEEDS lists for the stage's kind.

        Args:
            fn: A function that can be pickled.
            args: The stage, and further arguments of `fn`.
            kwargs: Keyword arguments of `fn`.
        """
        stage = args[0]
        need = NEEDS[stage.kind]
        task = self._task.options(
            name=f"{stage.kind} {stage.key}",
            num_cpus=need.cpus,
            num_gpus=need.gpus * self._has_gpu,
            max_retries=_RETRIES,
        )
        reference = task.remote(partial(fn, *args, **kwargs), need.cpus, self._probe, self._code)
        future: Future = Future()
        reference.future().add_done_callback(partial(_copy_outcome, future))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Disconnect; Ray kills the tasks of a driver that has left."""
        self._ray.shutdown()
        if self._probe:
            Path(self._probe).unlink(missing_ok=True)


def _slots(resources: dict[str, float]) -> int:
    """How many students the CPUs, and the GPUs if there are any, can train at once."""
    need, gpus = NEEDS["student"], resources.get("GPU", 0.0)
    by_cpus = resources.get("CPU", 0.0) / need.cpus
    return max(1, int(min(by_cpus, gpus / need.gpus) if gpus else by_cpus))


def _connect(workers: int) -> Any:
    """Connect to the cluster, or start one; returns the `ray` module."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray = importlib.import_module("ray")
    except ImportError:
        raise MissingError(
            "the engine ray needs Ray, which is not installed; run: make ray"
        ) from None
    address, options = os.environ.get("RAY_ADDRESS") or "local", {}
    if address == "local":
        options = {"num_cpus": workers, "include_dashboard": False}
        options |= {"object_store_memory": _OBJECT_STORE}
    try:
        _check_port(address)
        handler = signal.getsignal(signal.SIGTERM)
        ray.init(
            address=address,
            runtime_env={"env_vars": cluster_environment()},
            log_to_driver=False,
            logging_level="ERROR",
            **options,
        )
        signal.signal(signal.SIGTERM, handler)  # Ray's own handler exits without a message
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise MissingError(
            f"no Ray cluster at RAY_ADDRESS={address}: {reason}; start one (ray start --head), or "
            "unset RAY_ADDRESS to use this machine's cores"
        ) from None
    return ray


def _check_port(address: str) -> None:
    """OSError if nothing listens at host:port; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if port.isdigit() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=10).close()


def cluster_environment() -> dict[str, str]:
    """The environment variables of the workers: where data, cache, remote and this code are."""
    folders = ("GLUE_DIR", "HF_HOME", "HF_HUB_CACHE", "HF_DATASETS_CACHE", "REPRO_REMOTE")
    variables = {name: paths.folder(name) for name in folders if os.environ.get(name)}
    for name in ("HF_HUB_OFFLINE", "HF_ENDPOINT", "REPRO_CHECKPOINT_STEPS"):
        if os.environ.get(name):
            variables[name] = os.environ[name]
    code = [str(paths.ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    variables["PYTHONPATH"] = os.pathsep.join(code)
    if not remote.remote() or os.environ.get("REPRO_CACHE"):
        variables["REPRO_CACHE"] = os.path.abspath(paths.cache())
    return variables


def _create_probe() -> str:
    """Create a file in the cache that every worker must see; "" if there is a remote instead."""
    if remote.remote():
        return ""
    return os.path.abspath(temporary(paths.cache() / "ray"))


def _run_on_node(work: Callable[[], Any], threads: int, probe: str, code: str) -> Any:
    """What a worker does for a stage."""
    import torch

    _check_node(probe, code)
    machine.keep_memory()
    torch.set_num_threads(threads)
    return work()


@lru_cache(maxsize=1)
def _check_node(probe: str, code: str) -> None:
    """MissingError if this node has another cache or other code than the driver."""
    if probe and not Path(probe).exists():
        raise MissingError(
            f"node {platform.node()} does not see {Path(probe).parent}; put REPRO_CACHE on a "
            "folder that all nodes share, or set REPRO_REMOTE"
        )
    if code != machine.code():
        raise MissingError(
            f"node {platform.node()} has another version of this package, of Python or of its "
            "libraries than the driver; install the same commit with make ray on every node"
        )


def _copy_outcome(future: Future, task: Future) -> None:
    """Copy a task's result, or the error that it raised (which Ray wraps), to the future."""
    error = task.exception()
    cause = getattr(error, "cause", None)
    if error is None:
        future.set_result(task.result())
    elif isinstance(cause, Exception):
        future.set_exception(cause)
    else:
        reason = " ".join(str(error).split())[:300]
        message = f"{type(error).__name__} after {_RETRIES} retries: {reason}"
        future.set_exception(ReproError(message))
