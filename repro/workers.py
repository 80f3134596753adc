"""Local processes that compute stages. None outlives the process that started it, however that one ends.

Each worker is a pool of one: where one is killed (out of memory, kill -9), its stage fails and no other does.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from typing import Any

from repro import memory
from repro.errors import KilledError

_SPAWN = multiprocessing.get_context("spawn")  # a forked torch would share its parent's thread pool


class Processes(Executor):
    """Runs what it is given on so many processes; give it no more at a time. Leaving it by an error kills them."""

    def __init__(self, workers: int) -> None:
        self._pools: list[ProcessPoolExecutor | None] = [None] * workers
        self._last: list[Future | None] = [None] * workers
        self._lifeline, self._held = _SPAWN.Pipe(duplex=False)  # the workers watch for our end of it to close

    def submit(self, fn: Callable, /, *args: Any, **kwargs: Any) -> Future:
        """Start fn(*args) on a free process. Its future raises KilledError if that process dies meanwhile."""
        slot = next((i for i, last in enumerate(self._last) if last is None or last.done()), 0)
        outer: Future = Future()
        inner = self._start(slot, fn, *args, **kwargs)
        self._last[slot] = inner
        inner.add_done_callback(lambda done: self._pass_on(done, outer, slot, args))
        return outer

    def _start(self, slot: int, fn: Callable, /, *args: Any, **kwargs: Any) -> Future:
        """A process is born with Ctrl-C blocked: that is this process's to handle."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            for _ in range(2):  # a process that died idle is replaced
                pool = self._pools[slot] or self._pool()
                self._pools[slot] = pool
                try:
                    return pool.submit(fn, *args, **kwargs)
                except BrokenProcessPool:
                    self._pools[slot] = None
            raise KilledError("worker processes die as soon as they start; try ENGINE=serial to see why")
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _pool(self) -> ProcessPoolExecutor:
        settings = (len(self._pools), self._lifeline)
        return ProcessPoolExecutor(1, mp_context=_SPAWN, initializer=_start_worker, initargs=settings)

    def _pass_on(self, inner: Future, outer: Future, slot: int, args: tuple) -> None:
        if inner.cancelled():
            outer.cancel()
            return
        error = inner.exception()
        if isinstance(error, BrokenProcessPool):
            self._pools[slot] = None
            error = KilledError(f"the process that computed {' '.join(map(str, args))} was killed from outside "
                                "(out of memory? then ENGINE=serial needs less)")  # fmt: skip
        if error is not None:
            outer.set_exception(error)
        else:
            outer.set_result(inner.result())

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes once they have nothing to do."""
        for pool in self._pools:
            if pool is not None:
                pool.shutdown(wait, cancel_futures=cancel_futures)

    def kill(self) -> None:
        """End the processes now; what they were computing goes on from its checkpoint another time."""
        self._held.close()
        self.shutdown(cancel_futures=True)

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is None:
            self.shutdown()
        else:
            self.kill()


def _start_worker(workers: int, lifeline: Connection) -> None:
    """The cores' threads are divided between the workers; a thread ends the process when its parent is gone."""
    threading.Thread(target=_end_with_parent, args=(lifeline,), daemon=True).start()
    import torch

    memory.keep()
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // workers))


def _end_with_parent(lifeline: Connection) -> None:
    """The kernel closes the other end of the pipe whichever way the parent dies: no signal, no polling."""
    lifeline.poll(None)
    os._exit(1)
