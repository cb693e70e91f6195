"""An engine by its name: ``processes:4``, ``threads:2``, ``dask://host:8786``, ``ray``."""

from __future__ import annotations

import os
import re
from pathlib import Path

from isthmus.errors import InputError
from isthmus.scale.engine import PooledEngine

__all__ = ["open_engine"]

_FORM = re.compile(r"(processes|threads|dask|ray)(?::(\d+)|://([^?]+))?(?:\?scratch=(.+))?")


def open_engine(name: str) -> PooledEngine:
    """Start, or connect to, what runs the parts of a computation.

    Args:
        name: ``processes`` or ``threads`` of this machine, ``dask`` or ``ray`` workers started
            here, each with a number behind a colon if not one a processor; or a running cluster:
            ``dask://host:8786``, ``ray://host:10001``.  ``?scratch=FOLDER`` behind it names a
            folder that every worker sees, for joins of sides in different orders.

    Raises:
        InputError: for a name of another form.
        EngineError: if a cluster does not answer, or has another isthmus or Python.
        MissingExtraError: without Dask or Ray.

    Example:
        >>> with open_engine("threads:2") as engine:
        ...     engine.fold([1, 2, 3, 4], lambda part: part * part, lambda a, b: a + b)
        30
    """
    found = _FORM.fullmatch(name)
    kind, count, address, scratch = (None,) * 4 if found is None else found.groups()
    if kind is None or count == "0" or (address and kind in ("processes", "threads")):
        raise InputError(
            f"'{name}' is no engine",
            where="engine",
            mend="Use processes:4, threads:4, dask, dask://HOST:8786, ray or ray://HOST:10001",
        )
    workers = int(count) if count else len(os.sched_getaffinity(0))
    engine = _started(kind, workers, address)
    if scratch is not None:
        engine.scratch = Path(scratch)
        if not engine.scratch.is_dir():
            engine.close()
            raise InputError("the scratch folder does not exist", where=scratch)
    return engine


def _started(kind: str, workers: int, address: str | None) -> PooledEngine:
    if kind == "dask":
        from isthmus.scale.dask import Dask

        return Dask(address, workers)
    if kind == "ray":
        from isthmus.scale.ray import Ray

        return Ray(None if address is None else f"ray://{address}", workers)
    from isthmus.scale.local import Processes, Threads

    return Processes(workers) if kind == "processes" else Threads(workers)
