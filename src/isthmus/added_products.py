"""Products added to totals in place, by the BLAS of numpy's own products.

numpy itself has no such call: it makes every product anew and then adds it, and of a square it
copies one half to the other.  SciPy has them, but takes longer to import than a process that reads
a few parts has to work; it serves where numpy has another BLAS.
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

__all__ = ["add_product", "add_rank_one", "add_square", "fill_below", "routine_of"]

_ROW_MAJOR, _PLAIN, _TRANSPOSED, _UPPER = 101, 111, 112, 121
_NUMBERS = {"f": ctypes.c_float, "d": ctypes.c_double}
_LETTERS = {"f": "s", "d": "d"}
_NAMES = (("scipy_cblas_{}64_", ctypes.c_int64), ("scipy_cblas_{}", ctypes.c_int32))
"""Names in wheels, which no other library in the process has."""
_FLAG, _PLACE = ctypes.c_int, ctypes.c_void_p
_TILE = 64  # two of such squares of numbers fit the first cache


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
    _check_total(total, (len(a), len(b)))
    if total.size:
        kind = total.dtype.char
        sides = (np.ascontiguousarray(side, kind) for side in (a, b))
        routine_of("ger", kind)(total, factor, *sides)
    return total


def add_product(total: NDArray[Any], a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """``total + a b``, in place.

    Args:
        total: ``(m, n)``, row after row, of float32 or float64.
        a: ``(m, k)``, of the same dtype; not copied where it or its transpose is contiguous.
        b: ``(k, n)``, of the same dtype.

    Example:
        >>> add_product(np.eye(2), np.array([[1.0], [2.0]]), np.array([[30.0, 40.0]]))
        array([[31., 40.],
               [60., 81.]])
    """
    _check_total(total, (len(a), b.shape[1]))
    if a.shape[1] != len(b):
        raise ValueError(f"no product of {a.shape} and {b.shape}")
    if total.size and len(b):
        kind = total.dtype.char
        if a.dtype != total.dtype or not a.flags.f_contiguous:
            a = np.ascontiguousarray(a, kind)
        routine_of("gemm", kind)(total, a, np.ascontiguousarray(b, kind))
    return total


def add_square(total: NDArray[Any], a: NDArray[Any]) -> NDArray[Any]:
    """``total + aᵀ a``, in place, on the diagonal and above it alone; see `fill_below`.

    Args:
        total: ``(m, m)``, row after row, of float32 or float64.
        a: ``(k, m)``, of the same dtype.

    Example:
        >>> add_square(np.eye(2), np.array([[1.0, 2.0]]))
        array([[2., 2.],
               [0., 5.]])
    """
    _check_total(total, (a.shape[1], a.shape[1]))
    if total.size and len(a):
        kind = total.dtype.char
        routine_of("syrk", kind)(total, np.ascontiguousarray(a, kind))
    return total


def fill_below(total: NDArray[Any]) -> NDArray[Any]:
    """Make ``total (m, m)`` symmetric, in place, by what is above its diagonal.

    Example:
        >>> fill_below(np.array([[1, 2], [0, 3]]))
        array([[1, 2],
               [2, 3]])
    """
    for start in range(0, len(total), _TILE):
        stop = start + _TILE
        corner = total[start:stop, start:stop]
        corner[:] = np.triu(corner) + np.triu(corner, 1).T
        total[stop:, start:stop] = total[start:stop, stop:].T
    return total


def _check_total(total: NDArray[Any], shape: tuple[int, int]) -> None:
    # the calls are of addresses alone
    if total.shape != shape or not total.flags.carray:
        raise ValueError(
            f"no product of {shape[0]} and {shape[1]} is added to {total.shape} in place"
        )


_Update = Callable[..., None]


@lru_cache
def routine_of(name: str, kind: str) -> _Update:
    """What adds to totals of a dtype: a call of addresses, where numpy's BLAS has one.

    Args:
        name: ``ger``, ``gemm`` or ``syrk``.
        kind: ``f`` or ``d``, for the dtype.
    """
    library = numpy_blas()
    call, arguments, by_scipy = _ROUTINES[name]
    for pattern, whole in _NAMES:
        routine: Any = getattr(library, pattern.format(_LETTERS[kind] + name), None)
        if routine is not None:
            types = {"F": _FLAG, "I": whole, "N": _NUMBERS[kind], "P": _PLACE}
            routine.argtypes = [types[letter] for letter in arguments]
            routine.restype = None
            return partial(call, routine)
    return partial(by_scipy, linalg.get_blas_funcs(name, dtype=kind))


def _ger(ger: Any, total: NDArray[Any], factor: float, a: NDArray[Any], b: NDArray[Any]) -> None:
    m, n = total.shape
    ger(_ROW_MAJOR, m, n, factor, a.ctypes.data, 1, b.ctypes.data, 1, total.ctypes.data, n)


def _scipy_ger(
    ger: Any, total: NDArray[Any], factor: float, a: NDArray[Any], b: NDArray[Any]
) -> None:
    # the transpose is the column-major array that BLAS takes
    ger(factor, b, a, a=total.T, overwrite_a=True)


def _gemm(gemm: Any, total: NDArray[Any], a: NDArray[Any], b: NDArray[Any]) -> None:
    (m, n), k = total.shape, len(b)
    layout, width = (_PLAIN, k) if a.flags.c_contiguous else (_TRANSPOSED, m)
    gemm(
        _ROW_MAJOR, layout, _PLAIN, m, n, k,
        1.0, a.ctypes.data, width, b.ctypes.data, n, 1.0, total.ctypes.data, n,
    )  # fmt: skip


def _scipy_gemm(gemm: Any, total: NDArray[Any], a: NDArray[Any], b: NDArray[Any]) -> None:
    turned = a.flags.c_contiguous
    given = a.T if turned else a
    gemm(1.0, b.T, given, beta=1.0, c=total.T, trans_b=not turned, overwrite_c=True)


def _syrk(syrk: Any, total: NDArray[Any], a: NDArray[Any]) -> None:
    m = len(total)
    syrk(
        _ROW_MAJOR, _UPPER, _TRANSPOSED, m, len(a), 1.0, a.ctypes.data, m, 1.0, total.ctypes.data, m
    )


def _scipy_syrk(syrk: Any, total: NDArray[Any], a: NDArray[Any]) -> None:
    syrk(1.0, a.T, beta=1.0, c=total.T, lower=True, overwrite_c=True)


_ROUTINES: dict[str, tuple[_Update, str, _Update]] = {
    "ger": (_ger, "FIINPIPIPI", _scipy_ger),
    "gemm": (_gemm, "FFFIIINPIPINPI", _scipy_gemm),
    "syrk": (_syrk, "FFFIINPINPI", _scipy_syrk),
}
"""The call of each, the types of its arguments (flag, integer, number, place), SciPy's call."""
