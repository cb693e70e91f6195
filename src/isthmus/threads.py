"""BLAS threads: one for small factorisations and single vectors, where more only contend.

With two BLAS threads on a busy two-core machine a d = 768 factorisation takes 10-70 times longer
than with one.  `single_thread` is cheap enough (two C calls) to stand around one matrix-vector
product.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable
from functools import lru_cache
from types import TracebackType
from typing import Any

from threadpoolctl import ThreadpoolController

from isthmus import scipy_later

__all__ = ["blas_threads", "numpy_blas", "processors", "product_threads", "single_thread"]


_Switches = tuple[tuple[Callable[[], int], Callable[[int], Any]], ...]
"""Getter and setter of every BLAS."""


@lru_cache(maxsize=2)
def _blas_controllers(with_scipy: bool) -> tuple[Any, ...]:
    """Those of every BLAS that is loaded; SciPy brings one of its own ``with_scipy``."""
    del with_scipy  # what was found before it came is not what is found then
    controllers: list[Any] = ThreadpoolController().lib_controllers
    loaded = tuple(c for c in controllers if c.user_api == "blas")
    # wheels bring a BLAS each, of numpy, SciPy and others; one from the system serves them all
    own = tuple(c for c in loaded if "numpy" in str(c.filepath) or "scipy" in str(c.filepath))
    return own or loaded


def _switches() -> _Switches:
    """Getter and setter of every loaded BLAS: of SciPy's, which is imported late, once it is."""
    return _switches_of("scipy.linalg._fblas" in sys.modules)


@lru_cache(maxsize=2)
def _switches_of(with_scipy: bool) -> _Switches:
    """Raw C functions where they can be had."""
    switches: list[tuple[Callable[[], int], Callable[[int], Any]]] = []
    for controller in _blas_controllers(with_scipy):
        getter: Callable[[], int] = controller.get_num_threads
        setter: Callable[[int], Any] = controller.set_num_threads
        if controller.internal_api == "openblas":
            for prefix in ("", "scipy_"):
                for suffix in ("", "64_", "_64"):
                    raw_get = getattr(
                        controller.dynlib, f"{prefix}openblas_get_num_threads{suffix}", None
                    )
                    raw_set = getattr(
                        controller.dynlib, f"{prefix}openblas_set_num_threads{suffix}", None
                    )
                    if raw_get is not None and raw_set is not None:
                        getter, setter = raw_get, raw_set
        switches.append((getter, setter))
    return tuple(switches)


def blas_threads() -> int:
    """The largest number of threads that any loaded BLAS would use now."""
    return max((getter() for getter, _ in _switches()), default=1)


@lru_cache(maxsize=1)
def product_threads() -> Callable[[], int]:
    """The getter of the thread count of the BLAS behind numpy's products."""
    switches = _switches_of(False)
    for controller, (getter, _) in zip(_blas_controllers(False), switches, strict=True):
        if "numpy" in str(controller.filepath):
            return getter
    return switches[0][0] if switches else lambda: 1


def numpy_blas() -> ctypes.CDLL | None:
    """The library of numpy's products, where it is an OpenBLAS of its own, as wheels have it."""
    for controller in _blas_controllers(False):
        if controller.internal_api == "openblas" and "numpy" in str(controller.filepath):
            return controller.dynlib
    return None


class _SingleThread:
    """A re-entrant context: the first in lowers the thread count, the last out restores it.

    That of a BLAS which is loaded meanwhile is lowered as it comes, or by the next one in.

    A process that is forked while several threads are in it keeps the forking thread's part alone:
    the others do not live in the child, and would never leave.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside: list[int] = []
        """The thread of each block that was entered and not left."""
        self._saved: list[tuple[Callable[[int], Any], int]] = []
        self._lowered: _Switches | None = None
        """Of every BLAS whose count was lowered."""
        scipy_later.when_loaded(self._scipy_came)
        if hasattr(os, "register_at_fork"):
            # held while it forks, so that the child finds a count and threads that agree
            os.register_at_fork(
                before=self._lock.acquire,
                after_in_parent=self._lock.release,
                after_in_child=self._after_in_child,
            )

    @property
    def entered(self) -> bool:
        """Whether any thread is in it."""
        return bool(self._inside)

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._saved, self._lowered = [], None
            self._lower()
            self._inside.append(threading.get_ident())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            self._inside.remove(threading.get_ident())
            if not self._inside:
                self._restore()

    def _lower(self) -> None:
        switches = _switches()
        if switches is self._lowered:
            return
        self._lowered = switches
        for getter, setter in switches:
            count = getter()
            if count != 1:
                setter(1)
                self._saved.append((setter, count))

    def _scipy_came(self) -> None:
        with self._lock:
            if self._inside:
                self._lower()

    def _restore(self) -> None:
        for setter, count in self._saved:
            setter(count)

    def _after_in_child(self) -> None:
        before = len(self._inside)
        self._inside = [thread for thread in self._inside if thread == threading.get_ident()]
        if before and not self._inside:
            self._restore()
        self._lock.release()


single_thread = _SingleThread()
"""``with single_thread:`` runs BLAS and LAPACK on one thread, whoever else is using them."""


def processors() -> int:
    """How many processors work that begins now may use: one in `single_thread`, as workers are."""
    if single_thread.entered:
        return 1
    affinity = getattr(os, "sched_getaffinity", None)  # absent on macOS and Windows
    return len(affinity(0)) if affinity else os.cpu_count() or 1
