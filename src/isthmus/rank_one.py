"""Rank-one updates in place, by the BLAS of numpy's own products.

numpy itself has none: what it offers for one takes four times as long.  SciPy has, but takes longer
to import than a process that reads a few parts has to work; it serves where numpy has another BLAS.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.scipy_later import linalg
from isthmus.threads import numpy_blas

__all__ = ["add_rank_one", "routine_of"]

_ROW_MAJOR = 101
_NUMBERS = {"f": ctypes.c_float, "d": ctypes.c_double}
_NAMES = (("scipy_cblas_{}64_", ctypes.c_int64), ("scipy_cblas_{}", ctypes.c_int32))
"""Names in wheels, which no other library in the process has."""


def add_rank_one(
    total: NDArray[Any], factor: float, a: NDArray[Any], b: NDArray[Any]
) -> NDArray[Any]:
    """``total + factor · a bᵀ``, in place.

    Args:
        total: ``(m, n)``, row after row, of float32 or float64.
        factor: a number.
        a: ``(m,)``, of the same dtype.
        b: ``(n,)``, of the same dtype.

    Example:
        >>> add_rank_one(np.eye(2), 10.0, np.array([1.0, 2.0]), np.array([3.0, 4.0]))
        array([[31., 40.],
               [60., 81.]])
    """
    # a call below is of addresses alone
    if total.shape != (len(a), len(b)) or not total.flags.carray:
        raise ValueError(f"no product of {len(a)} and {len(b)} is added to {total.shape} in place")
    if total.size:
        routine_of(total.dtype.char)(total, factor, a, b)
    return total


_Update = Callable[[NDArray[Any], float, NDArray[Any], NDArray[Any]], None]


@lru_cache
def routine_of(kind: str) -> _Update:
    """What adds to totals of a dtype: a call of addresses, where numpy's BLAS has one."""
    routine = "sger" if kind == "f" else "dger"
    library = numpy_blas()
    for name, whole in _NAMES:
        ger: Any = getattr(library, name.format(routine), None)
        if ger is not None:
            place = ctypes.c_void_p
            sides = place, whole, place, whole, place, whole
            ger.argtypes = ctypes.c_int, whole, whole, _NUMBERS[kind], *sides
            ger.restype = None
            return partial(_by_numpy, ger)
    return partial(_by_scipy, linalg.get_blas_funcs("ger", dtype=kind))


def _by_numpy(
    ger: Any, total: NDArray[Any], factor: float, a: NDArray[Any], b: NDArray[Any]
) -> None:
    m, n = total.shape
    a, b = (np.ascontiguousarray(side, total.dtype) for side in (a, b))
    ger(_ROW_MAJOR, m, n, factor, a.ctypes.data, 1, b.ctypes.data, 1, total.ctypes.data, n)


def _by_scipy(
    ger: Any, total: NDArray[Any], factor: float, a: NDArray[Any], b: NDArray[Any]
) -> None:
    # the transpose is the column-major array that BLAS takes
    ger(factor, b, a, a=total.T, overwrite_a=True)
