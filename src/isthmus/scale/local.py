"""Parts worked on by processes or threads of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Collection
from concurrent.futures import (
    FIRST_COMPLETED,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait as wait_for
from multiprocessing.context import BaseContext
from typing import Any

from typing_extensions import override

from isthmus.scale.engine import LOST, Outcome, PooledEngine, attempt

__all__ = ["Processes", "Threads"]

_WORK = ("isthmus.scale.apply", "isthmus.scale.moments")
"""What most work of a worker imports."""


class _Executed(PooledEngine):
    """Calls on an executor of the standard library."""

    _pool: Executor

    @override
    def _finished(self, handles: Collection[Future[Any]]) -> Collection[Future[Any]]:
        return wait(handles, return_when=FIRST_COMPLETED).done

    @override
    def _cancel(self, handles: Collection[Future[Any]]) -> Collection[Future[Any]]:
        # what runs cannot be stopped, and may write: nothing does once the caller goes on
        return wait([handle for handle in handles if not handle.cancel()]).done

    @override
    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


class Threads(_Executed):
    """Threads of this process: for readers and products that let others run meanwhile."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._pool = ThreadPoolExecutor(workers)

    @override
    def _submit(self, fn: Callable[[Any], Any], part: Any) -> Future[Any]:
        return self._pool.submit(attempt, fn, part)

    @override
    def _outcome(self, handle: Future[Any]) -> Outcome:
        return handle.result()


class Processes(_Executed):
    """Processes of this machine, which share nothing with this one and end with it.

    Where the system can, they are forked from a process that imported what they need and has done
    nothing else.  One that is killed takes its part back to the queue, and others are started.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._pool = self._started()

    def _started(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self.workers,
            mp_context=_context(),
            initializer=_begin,
        )

    @override
    def _submit(self, fn: Callable[[Any], Any], part: Any) -> Future[Any]:
        try:
            return self._pool.submit(attempt, fn, part)
        except BrokenProcessPool:
            self._pool.shutdown(wait=False)
            self._pool = self._started()
            return self._pool.submit(attempt, fn, part)

    @override
    def _outcome(self, handle: Future[Any]) -> Outcome:
        try:
            return handle.result()
        except BrokenProcessPool:
            return LOST


def _context() -> BaseContext:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    # of the program itself only our own command is known to be safe to import there
    command = [name for name in ("isthmus.cli.app",) if name in sys.modules]
    context.set_forkserver_preload([*_WORK, *command])
    return context


def _begin() -> None:
    """Leave Ctrl-C to the parent, and end with it however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait_for([sentinel])
    os._exit(1)
