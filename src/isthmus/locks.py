"""Locks between threads that a forked process finds open."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol

__all__ = ["ForkLock"]


class _Lock(Protocol):
    def acquire(self) -> Any: ...
    def release(self) -> Any: ...


class ForkLock:
    """A lock between threads; a forked child has one of its own, held by nobody.

    An ordinary lock that another thread holds while the process forks is held for ever in the
    child, where that thread does not live.  What it guards must be usable at any moment, as a few
    counters are: the child may find it half-updated.

    Args:
        make: the lock that it stands for, such as ``threading.RLock`` for one that its thread may
            take again, or a semaphore for one that several may hold.
    """

    def __init__(self, make: Callable[[], _Lock] = threading.Lock) -> None:
        self._make = make
        self._lock = make()
        _known.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()

    def renew(self) -> None:
        """Open it, whoever held it."""
        self._lock = self._make()


_known: weakref.WeakSet[ForkLock] = weakref.WeakSet()


def _renew_all() -> None:
    for lock in list(_known):
        lock.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
