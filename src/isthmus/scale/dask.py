"""Parts worked on by a Dask cluster, of this machine or behind the address of a scheduler."""

from __future__ import annotations

import logging
import platform
import socket
import warnings
from collections.abc import Callable, Collection
from concurrent.futures import CancelledError
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any

from typing_extensions import override

from isthmus.errors import EngineError, missing_extra
from isthmus.scale.engine import LOST, Outcome, PooledEngine, attempt, unsent

__all__ = ["Dask"]

_PATIENCE = 20  # seconds for a scheduler to answer, and to start workers where it does so itself
_ALONE = 120.0  # seconds without any worker, in which dead ones are started again
_LOOK = 2.0  # seconds between looks at whether it is still there


class Dask(PooledEngine):
    """Calls on the workers of a Dask scheduler.

    Args:
        address: of a scheduler, as ``host:8786`` or ``tls://host:8786``, certificates then being
            those of Dask's configuration; None starts workers on this machine.
        workers: to start; those that a scheduler has are taken as they are.

    Raises:
        MissingExtraError: without Dask.
        EngineError: if the scheduler does not answer, has no workers, or they run another
            isthmus or Python.
    """

    def __init__(self, address: str | None = None, workers: int = 2) -> None:
        try:
            dask: Any = import_module("dask")
            distributed: Any = import_module("distributed")
        except ImportError as error:
            raise missing_extra("distributed", "dask", "running on Dask") from error
        # what a call carries is a map of a few megabytes at the most
        dask.config.set({"distributed.admin.large-graph-warning-threshold": "1GB"})
        self._distributed: Any = distributed
        # that a scheduler is gone is said by an error, in one sentence
        self._log = logging.getLogger("distributed.client")
        self._loud = self._log.level
        self._log.setLevel(logging.CRITICAL)
        self._cluster: Any = None
        self._done: SimpleQueue[Any] = SimpleQueue()
        self._looked = monotonic()
        self.here = address is None
        self._versions = _here()
        if address is not None:
            # a cluster that scales itself sees by them how much there is to do
            self.ahead = 4
        self.where = address or "a Dask cluster on this machine"
        if address is None:
            with warnings.catch_warnings():
                # its dashboard is not wanted, and a taken port is no matter
                warnings.simplefilter("ignore")
                self._cluster = distributed.LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    processes=True,
                    dashboard_address=None,
                    memory_limit=None,
                    silence_logs="CRITICAL",
                )
        target = self._cluster or (address if "://" in str(address) else f"tcp://{address}")
        if str(target).startswith("tls://") and not _has_certificates(distributed):
            raise EngineError(
                "it speaks TLS, and Dask has no certificates here",
                where=self.where,
                mend="Set them as for its workers: DASK_DISTRIBUTED__COMM__TLS__CA_FILE, and "
                "DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT and __KEY",
            )
        try:
            self._client: Any = distributed.Client(target, timeout=_PATIENCE, set_as_default=False)
        except (OSError, ValueError) as error:
            raise EngineError(
                "no Dask scheduler answers here",
                where=self.where,
                mend="Start one with: dask scheduler, and workers with: dask worker ADDRESS; one "
                "that speaks TLS is dask://tls://HOST:8786",
            ) from error
        try:
            self._check_workers()
        except BaseException:
            self.close()
            raise
        self.workers = sum(self._client.nthreads().values())

    def _look(self) -> None:
        """Take note of workers that came or went; of those started here, start others instead.

        A worker that dies is started again by its nanny, but a nanny ends whose worker dies while
        it starts, or is not back within the cluster's ``lost-worker-timeout``.
        """
        if monotonic() - self._looked < _LOOK:
            return
        self._looked = monotonic()
        try:
            threads = self._client.nthreads()
        except OSError:
            return  # the scheduler went, as is found below
        if self._cluster is None:
            self.workers = max(1, sum(threads.values()))
        elif len(threads) < self.workers:
            for name, nanny in list(self._cluster.workers.items()):
                if nanny.status.name in ("closed", "failed"):
                    self._cluster.workers.pop(name, None)
            self._cluster.scale(self.workers)

    def _check_workers(self) -> None:
        if not self._client.nthreads():
            # a cluster that scales itself may have none until there is work
            work = self._client.submit(int, pure=False)
            try:
                work.result(timeout=_PATIENCE)
            except TimeoutError:
                raise EngineError(
                    f"the scheduler has no workers, nor started one in {_PATIENCE} s",
                    where=self.where,
                    mend="Start some with: dask worker ADDRESS",
                ) from None
            finally:
                work.cancel()
        pythons = self._client.run(platform.python_version_tuple)
        packages = self._client.run(version, "isthmus", on_error="return")
        for worker, found in pythons.items():
            # one that came in between is looked at when it works
            package = packages.get(worker, self._versions["isthmus"])
            if isinstance(package, PackageNotFoundError):
                package = "none"
            told = _unlike(self._versions, {"Python": tuple(found[:2]), "isthmus": package}, worker)
            if told is not None:
                raise EngineError(told, where=self.where, mend=_SAME)

    @override
    def _submit(self, fn: Callable[[Any], Any], part: Any) -> Any:
        self._check_alive()
        call = _Checked(fn, self._versions, self.where)
        handle = self._client.submit(attempt, call, part, pure=False)
        handle.add_done_callback(self._done.put)
        return handle

    @override
    def _finished(self, handles: Collection[Any]) -> Collection[Any]:
        alone_since: float | None = None
        while True:
            self._look()
            try:
                handle = self._done.get(timeout=_LOOK)
            except Empty:
                self._check_alive()
                alone_since = None if self._client.nthreads() else alone_since or monotonic()
                if alone_since is not None and monotonic() - alone_since > _ALONE:
                    raise EngineError(
                        "the scheduler has no workers left",
                        where=self.where,
                        mend="Start some and run the same command: what is done stays done",
                    ) from None
                continue
            if handle in handles:
                return [handle]

    @override
    def _outcome(self, handle: Any) -> Outcome:
        try:
            return handle.result(timeout=_PATIENCE)
        except self._distributed.scheduler.KilledWorker:
            return LOST
        except (CancelledError, OSError, TimeoutError):
            # the scheduler went, or it lost the result with a worker
            self._check_alive()
            # what becomes of it is nobody's: another call takes its place
            self._client.cancel([handle], force=True)
            return LOST
        except Exception as error:
            # a worker cannot make out what it was sent, since it has another isthmus
            return unsent(error)

    def _check_alive(self) -> None:
        if self._client.status != "running" or not _answers(self._client):
            raise self._gone()

    def _gone(self) -> EngineError:
        return EngineError(
            "the scheduler is gone",
            where=self.where,
            mend="Start it again and run the same command: what is done stays done",
        )

    @override
    def _cancel(self, handles: Collection[Any]) -> Collection[Any]:
        finished = [handle for handle in handles if handle.status == "finished"]
        rest = [handle for handle in handles if handle.status != "finished"]
        if self._client.status == "running" and rest:
            self._client.cancel(rest, force=True)
        return finished

    @override
    def close(self) -> None:
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()
        self._log.setLevel(self._loud)


Versions = dict[str, str | tuple[str, ...]]

_SAME = "Install the same on both"


def _here() -> Versions:
    """What every worker must have as this process has it."""
    return {"Python": platform.python_version_tuple()[:2], "isthmus": version("isthmus")}


def _unlike(wanted: Versions, found: Versions, worker: str) -> str | None:
    """What differs on a worker; None where nothing does."""
    for name, value in wanted.items():
        if found[name] != value:
            shown = [v if isinstance(v, str) else ".".join(v) for v in (found[name], value)]
            return f"the worker {worker} has {name} {shown[0]}, this machine {shown[1]}"
    return None


@dataclass(frozen=True)
class _Checked:
    """A call in a worker that may have come to the cluster since its workers were looked at."""

    fn: Callable[[Any], Any]
    versions: Versions
    where: str

    def __call__(self, part: Any) -> Any:
        told = _unlike(self.versions, _here(), f"on {socket.gethostname()}")
        if told is not None:
            raise EngineError(told, where=self.where, mend=_SAME)
        return self.fn(part)


def _has_certificates(distributed: Any) -> bool:
    """Whether the configuration of Dask names what a client needs for TLS."""
    told = distributed.Security().get_connection_args("client")
    return told.get("ssl_context") is not None


def _answers(client: Any) -> bool:
    comm: Any = getattr(client, "scheduler_comm", None)
    return comm is not None and not comm.comm.closed()
