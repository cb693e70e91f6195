"""Parts worked on by processes or threads of this machine."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from typing import Any

from typing_extensions import override

from isthmus.errors import EngineError
from isthmus.freed_memory import keep_freed_memory
from isthmus.scale import channel
from isthmus.scale.caller_script import CallerScript, left_out
from isthmus.scale.engine import LOST, Outcome, PooledEngine, attempt, unsent

__all__ = ["PRELOADED", "Processes", "Threads"]

PRELOADED = (
    "isthmus.bridge.parted.map_part",
    "isthmus.moments",
    "isthmus.scale.listing",
    "isthmus.scale.pairs",
    "isthmus.spaces.formats.arrow",
    "pyarrow.parquet",
)
"""What most work of a worker imports: done once, in the process that all are forked from."""
_PERHAPS = (
    "isthmus.bridge.fit_source",
    "isthmus.bridge.parted.moments",
)
"""Modules that are loaded ahead likewise where this process has imported them: it fits."""
_READY = "ready"
_STILLBORN = 3  # workers in a row that end by themselves before they are ready
_KILLED = 20  # in a row that are killed before they are ready: where memory is short, say


class Threads(PooledEngine):
    """Threads of this process: for readers and products that let others run meanwhile."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._pool = ThreadPoolExecutor(workers)

    @override
    def _submit(self, fn: Callable[[Any], Any], part: Any) -> Future[Any]:
        return self._pool.submit(attempt, fn, part)

    @override
    def _finished(self, handles: Collection[Future[Any]]) -> Collection[Future[Any]]:
        return wait(handles, return_when=FIRST_COMPLETED).done

    @override
    def _outcome(self, handle: Future[Any]) -> Outcome:
        return handle.result()

    @override
    def _cancel(self, handles: Collection[Future[Any]]) -> Collection[Future[Any]]:
        # what runs cannot be stopped, and may write: nothing does once the caller goes on
        return wait([handle for handle in handles if not handle.cancel()]).done

    @override
    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


@dataclass(eq=False)
class _Call:
    fn: Callable[[Any], Any]
    part: Any
    outcome: Outcome | None = None


@dataclass(eq=False)
class _Worker:
    process: Any
    connection: Connection
    ready: bool = False
    call: _Call | None = None
    fn: Callable[[Any], Any] | None = None
    """What it was sent last, and need not be sent again."""


class Processes(PooledEngine):
    """Processes of this machine, which share nothing with this one and end with it.

    Where the system can, they are forked from a process that imported what they need and has done
    nothing else.  One that is killed loses the part that it was at, and another takes its place.
    (The pool of the standard library loses what all of them were at, and may wait for ever for a
    process that was started while it broke.)
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._context = _context()
        self._script = CallerScript()
        self._waiting: deque[_Call] = deque()
        self._team: list[_Worker] = []
        self._stillborn = self._killed = 0

    @override
    def _submit(self, fn: Callable[[Any], Any], part: Any) -> _Call:
        call = _Call(fn, part)
        self._waiting.append(call)
        self._feed()
        return call

    @override
    def _finished(self, handles: Collection[_Call]) -> Collection[_Call]:
        while not (done := [call for call in handles if call.outcome is not None]):
            self._listen()
        return done

    @override
    def _outcome(self, handle: _Call) -> Outcome:
        assert handle.outcome is not None
        return handle.outcome

    @override
    def _cancel(self, handles: Collection[_Call]) -> Collection[_Call]:
        self._waiting = deque(call for call in self._waiting if call not in handles)
        # what runs is waited for, as it may write: nothing does once the caller goes on
        running = [worker.call for worker in self._team if worker.call in handles]
        _wake(self._team)
        while any(call is not None and call.outcome is None for call in running):
            self._listen()
        return [call for call in handles if call.outcome is not None]

    @override
    def close(self) -> None:
        team, self._team = self._team, []
        _wake(team)
        for worker in team:
            worker.connection.close()  # which ends it
        for worker in team:
            worker.process.join()

    def _feed(self) -> None:
        """Give waiting calls to workers that have none, and start workers for the others."""
        for worker in list(self._team):
            if self._waiting and worker.ready and worker.call is None:
                self._give(worker, self._waiting.popleft())
        while len(self._team) < min(self.workers, len(self._waiting) + self._busy()):
            self._start()

    def _busy(self) -> int:
        return sum(worker.call is not None for worker in self._team)

    def _give(self, worker: _Worker, call: _Call) -> None:
        given = None if worker.fn is call.fn else call.fn
        worker.call, worker.fn = call, call.fn
        try:
            channel.send(worker.connection, (given, call.part))
        except OSError:
            self._bury(worker)
        except Exception as error:
            call.outcome, worker.call, worker.fn = unsent(error), None, None
        except BaseException:
            self._abandon(worker)
            raise

    def _listen(self) -> None:
        """Wait for a word of some workers, and give those that are done the next call."""
        connections = {worker.connection: worker for worker in self._team}
        for connection in wait_for(list(connections)):
            worker = connections[connection]  # pyright: ignore[reportArgumentType]
            try:
                said = channel.receive(worker.connection)
            except (EOFError, OSError):
                self._bury(worker)
                continue
            except Exception as error:
                said = unsent(error)
            except BaseException:
                self._abandon(worker)
                raise
            if said == _READY:
                worker.ready, self._stillborn, self._killed = True, 0, 0
            elif worker.call is not None:
                worker.call.outcome, worker.call = said, None
        self._feed()

    def _start(self) -> None:
        _preload(self._context)
        here, there = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(there, self._script), daemon=True)
        try:
            with left_out():
                process.start()
        except OSError as error:
            raise EngineError(f"no process can be started ({error})", where="processes") from error
        finally:
            there.close()
        self._team.append(_Worker(process, here))

    def _abandon(self, worker: _Worker) -> None:
        """End a worker that was interrupted in the middle of a word."""
        worker.process.kill()
        self._bury(worker)

    def _bury(self, worker: _Worker) -> None:
        """Take a worker that has ended from the team; what it was at is lost."""
        self._team.remove(worker)
        worker.connection.close()
        worker.process.join()
        if worker.call is not None:
            worker.call.outcome = LOST
        if worker.ready:
            return
        if worker.process.exitcode is not None and worker.process.exitcode < 0:
            self._killed += 1
        else:
            self._stillborn += 1
        if self._killed >= _KILLED:
            raise EngineError(
                f"{_KILLED} worker processes in a row were killed while they started",
                where="processes",
                mend="See what ends them, the memory of this machine for one, then run it again",
            )
        if self._stillborn >= _STILLBORN:
            raise EngineError(
                "the worker processes end while they start",
                where="processes",
                mend="Start one by hand to see why: python -c 'import isthmus.scale.local'",
            )


def _wake(team: Sequence[_Worker]) -> None:
    """Let workers go on that somebody stopped: they are waited for."""
    if sys.platform != "win32":
        for worker in team:
            if worker.process.is_alive():
                os.kill(worker.process.pid, signal.SIGCONT)


def _context() -> Any:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    return multiprocessing.get_context("forkserver")


def _preload(context: Any) -> None:
    """Say what the process that workers are forked from imports; once it runs, that stays."""
    if context.get_start_method() == "forkserver":
        known = [name for name in _PERHAPS if name in sys.modules]
        context.set_forkserver_preload([*PRELOADED, *known])


def _serve(connection: Connection, script: CallerScript) -> None:
    """Work on what comes through the connection, until it is closed."""
    keep_freed_memory()
    # what was forked stays: to look through it would copy every page of it
    gc.freeze()
    # Ctrl-C is the parent's affair
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    fn: Callable[[Any], Any] | None = None
    try:
        channel.send(connection, _READY)
        while True:
            try:
                given, part = channel.receive(connection, script.run_for)
                fn = fn if given is None else given
                assert fn is not None
                channel.send(connection, attempt(fn, part))
            except (EOFError, OSError):
                raise
            except Exception as error:
                channel.send(connection, unsent(error))
    except (EOFError, OSError):
        return


def _end_with(sentinel: int) -> None:
    wait_for([sentinel])
    os._exit(1)
