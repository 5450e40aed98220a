"""One persistent pool of one-thread workers: heavy imports are paid once per worker."""

import atexit
import logging
import logging.handlers
import multiprocessing
import os
import queue
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NamedTuple

from saeuniv.stages.task import Task

# Two OpenMP threads on two contended cores collapse (ten times slower, measured): one thread a process,
# and no spinning while it waits.
_ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "TOKENIZERS_PARALLELISM": "false",
}

_KIB = 1024


class Spent(NamedTuple):
    """What one task took."""

    cpu_seconds: float
    """Of the worker since its last task ended, imports included."""

    peak_bytes: int
    """Largest memory of the worker so far."""


class Advanced(NamedTuple):
    """A message from a worker: how far a task is."""

    task: int
    done: int
    total: int


class Ended(NamedTuple):
    """A message from a worker: the last one about a task, which may arrive after the task's result."""

    task: int


Message = Advanced | Ended | logging.LogRecord


class Pool:
    """Runs tasks and passes on what they say."""

    def __init__(self, processes: int) -> None:
        self.processes = processes
        self._messages: Any = queue.SimpleQueue()
        self._executor: Executor | None = None
        if processes > 1:
            os.environ.update(_ONE_THREAD)
            self._start_workers()

    def _start_workers(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._messages = context.Queue()
        self._executor = ProcessPoolExecutor(
            self.processes, mp_context=context, initializer=_start_worker, initargs=(self._messages,)
        )

    def submit(self, number: int, task: Task) -> "Future[Spent]":
        """Start a task; with one process it has run when this returns.

        Where a worker has died, all of them are replaced: the death of one ends the others, and may leave
        the queue of messages locked.
        """
        if self._executor:
            try:
                return self._executor.submit(_run, number, task)
            except BrokenProcessPool:
                self._executor.shutdown(wait=False)
                self._start_workers()
                return self._executor.submit(_run, number, task)
        future: Future[Spent] = Future()
        try:
            future.set_result(_run(number, task, self._messages.put))
        except Exception as error:
            future.set_exception(error)
        return future

    def messages(self) -> list[Message]:
        """What workers have said since the last call."""
        found: list[Message] = []
        while True:
            try:
                found.append(self._messages.get_nowait())
            except queue.Empty:
                return found

    def close(self, *, kill: bool = False) -> None:
        """End the workers; with `kill` at once, whatever they are doing."""
        if not self._executor:
            return
        if kill:
            for worker in multiprocessing.active_children():
                worker.kill()
        self._executor.shutdown(wait=not kill, cancel_futures=True)


_pools: dict[int, Pool] = {}


def pool(processes: int | None) -> Pool:
    """The pool of so many processes, made at its first use; unset: the cores, at most 4."""
    n = processes or min(os.cpu_count() or 1, 4)
    if n not in _pools:
        _pools[n] = Pool(n)
        atexit.register(_pools[n].close)
    return _pools[n]


def discard(broken: Pool) -> None:
    """Kill a pool's workers and forget it; the next run makes a new one."""
    _pools.pop(broken.processes, None)
    atexit.unregister(broken.close)
    broken.close(kill=True)


_said: Callable[[object], None] | None = None
_accounted = 0.0


def _start_worker(messages: Any) -> None:
    # Ctrl-C reaches the whole process group; the parent decides what happens to its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    global _said
    _said = messages.put
    log = logging.getLogger("saeuniv")
    log.handlers, log.propagate = [logging.handlers.QueueHandler(messages)], False
    log.setLevel(logging.INFO)


def _end_with_parent() -> None:
    """A worker waits for work for ever; one whose parent was killed would never be told."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _run(number: int, task: Task, say: Callable[[object], None] | None = None) -> Spent:
    global _accounted
    say = say or _said
    assert say is not None
    before = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal before
        # Training calls this hundreds of times a second; a display needs a few.
        if done == total or time.monotonic() - before > 0.2:
            before = time.monotonic()
            say(Advanced(number, done, total))

    try:
        task(progress)
    finally:
        say(Ended(number))
        if task.n_gpus:
            from saeuniv.adapters.devices import free_memory

            free_memory()
    cpu = time.process_time()
    spent, _accounted = cpu - _accounted, cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else _KIB)
    return Spent(spent, peak)
