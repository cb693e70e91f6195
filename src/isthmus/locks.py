"""Locks between threads that a forked process finds open."""

from __future__ import annotations

import os
import threading
import weakref
from types import TracebackType

__all__ = ["ForkLock"]


class ForkLock:
    """A lock between threads; a forked child has one of its own, held by nobody.

    An ordinary lock that another thread holds while the process forks is held for ever in the
    child, where that thread does not live.  What it guards must be usable at any moment, as a few
    counters are: the child may find it half-updated.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
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
        self._lock = threading.Lock()


_known: weakref.WeakSet[ForkLock] = weakref.WeakSet()


def _renew_all() -> None:
    for lock in list(_known):
        lock.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
