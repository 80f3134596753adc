"""Local processes that compute stages. None outlives the process that started it, however that one ends.

Each worker is a pool of one: where one is killed (out of memory, kill -9), its stage fails and no other does.
"""

import atexit
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from repro.errors import KilledError
from repro.runs import memory

_SPAWN = multiprocessing.get_context("spawn")  # a forked torch would share its parent's thread pool


class _Task(NamedTuple):
    future: Future
    fn: Callable
    args: tuple
    kwargs: dict[str, Any]


class Processes(Executor):
    """Runs what it is given on so many processes; more waits until one is free. Leaving it by an error kills them."""

    def __init__(self, workers: int) -> None:
        self.slots, self.limit = (
            workers,
            workers + 1,
        )  # one waits here: none is idle while its parent writes a cell
        self._pools: list[ProcessPoolExecutor | None] = [None] * workers
        self._broken = list[ProcessPoolExecutor | None]()
        self._free, self._waiting, self._lock = (
            set(range(workers)),
            deque[_Task](),
            threading.Lock(),
        )
        self._lifeline, self._held = _SPAWN.Pipe(
            duplex=False
        )  # the workers watch for our end of it to close

    def submit(self, fn: Callable, /, *args: Any, **kwargs: Any) -> Future:
        """Start fn(*args) once a process is free. Its future raises KilledError if that process dies meanwhile."""
        task = _Task(Future(), fn, args, kwargs)
        with self._lock:
            self._waiting.append(task)
        self._go_on()
        return task.future

    def _go_on(self) -> None:
        """Give free processes what waits; called by whoever submits, and by each process's thread when it is free."""
        while True:
            with self._lock:
                if not self._free or not self._waiting:
                    return
                slot, task = (
                    min(self._free),
                    self._waiting.popleft(),
                )  # the first: others may not have been started
                self._free.remove(slot)
            try:
                self._start(slot, task).add_done_callback(partial(self._pass_on, task, slot))
            except (KilledError, RuntimeError) as error:  # RuntimeError: shut down meanwhile
                self._release(slot)
                task.future.set_exception(error)

    def _release(self, slot: int) -> None:
        with self._lock:
            self._free.add(slot)

    def _start(self, slot: int, task: _Task) -> Future:
        """A process is born with Ctrl-C blocked: that is this process's to handle."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            for _ in range(2):  # a process that died idle is replaced
                pool = self._pools[slot] or self._pool()
                self._pools[slot] = pool
                try:
                    return pool.submit(task.fn, *task.args, **task.kwargs)
                except BrokenProcessPool:
                    self._pools[slot] = None
            raise KilledError(
                "worker processes die as soon as they start; try ENGINE=serial to see why"
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _pool(self) -> ProcessPoolExecutor:
        settings = (len(self._pools), self._lifeline)
        return ProcessPoolExecutor(
            1, mp_context=_SPAWN, initializer=_start_worker, initargs=settings
        )

    def _pass_on(self, task: _Task, slot: int, inner: Future) -> None:
        error = CancelledError() if inner.cancelled() else inner.exception()
        if isinstance(error, BrokenProcessPool):
            self._broken.append(
                self._pools[slot]
            )  # this thread holds its lock: to let go of it would wait for ever
            self._pools[slot] = None
            error = KilledError(
                f"the process that computed {' '.join(map(str, task.args))} was killed from outside "
                "(out of memory? then ENGINE=serial needs less)"
            )
        self._release(slot)
        if error is not None:
            task.future.set_exception(error)
        else:
            task.future.set_result(inner.result())
        self._go_on()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes once they have done what they are doing; what still waits for one fails, or is dropped."""
        if cancel_futures:
            with self._lock:
                self._waiting.clear()
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
    atexit.register(
        os._exit, 0
    )  # all it made is on disk; to take torch apart would need another second
    import torch

    memory.keep()
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // workers))


def _end_with_parent(lifeline: Connection) -> None:
    """The kernel closes the other end of the pipe whichever way the parent dies: no signal, no polling."""
    lifeline.poll(None)
    os._exit(1)
