"""Executors on this machine: this process, or worker processes that share the cores."""

import atexit
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from typing import Any

from repro.errors import KilledError
from repro.runs import machine

_SPAWN = multiprocessing.get_context("spawn")  # a forked torch would share its parent's threads


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
