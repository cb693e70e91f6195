"""The few array operations that must work on any library: numpy, torch, JAX, CuPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace, device, is_numpy_array
from numpy.typing import NDArray

from isthmus.errors import InputError

__all__ = [
    "Array",
    "as_floating",
    "like",
    "namespace",
    "row_squares",
    "to_float64",
    "to_numpy",
    "unit_rows",
]

Array = Any
"""An array of any library that the array API standard describes."""

_SAFE_SQUARES = 1e-280, 1e300


def namespace(*arrays: Array) -> Any:
    """The array API namespace that all ``arrays`` share."""
    return array_namespace(*arrays)


def to_numpy(x: Array, dtype: Any = None) -> NDArray[Any]:
    """A host copy of ``x`` (no copy where it is a numpy array already)."""
    if is_numpy_array(x):
        return np.asarray(x, dtype=dtype)
    if hasattr(x, "detach"):
        x = x.detach().cpu()
    if hasattr(x, "get"):
        x = x.get()
    # NumPy has no bfloat16; float32 holds every value of it
    if str(getattr(x, "dtype", "")) == "torch.bfloat16":
        x = x.float()
    try:
        return np.asarray(x, dtype=dtype)
    except (TypeError, ValueError):
        return np.asarray(np.from_dlpack(x), dtype=dtype)


def as_floating(x: Array, name: str) -> Array:
    """``x`` as it is if float32 or float64; float16 and bfloat16 widened to float32.

    Raises:
        InputError: for integers (they are usually quantised codes that need their scale),
            booleans, complex numbers and objects.
    """
    if is_numpy_array(x) and x.dtype == np.float32:
        return x
    xp = namespace(x)
    if x.dtype in (xp.float32, xp.float64):
        return x
    kind = str(x.dtype)
    if "float16" in kind:
        return xp.astype(x, xp.float32)
    raise InputError(
        f"the vectors have dtype {kind}, expected float32, float64 or float16",
        where=name,
        mend="Convert them first; integer codes must be multiplied by their scale",
    )


def to_float64(x: Array) -> Array:
    """``x`` in float64 on the same device.

    Raises:
        InputError: where the library silently answers in float32 (JAX without x64).
    """
    if type(x) is np.ndarray and x.dtype == np.float32:
        return x.astype(np.float64)
    xp = namespace(x)
    wide = xp.astype(x, xp.float64)
    if "float64" not in str(wide.dtype):
        raise InputError(
            "the array library turned float64 into float32",
            mend="With JAX, call jax.config.update('jax_enable_x64', True) first",
        )
    return wide


def like(reference: Array, values: NDArray[Any]) -> Array:
    """``values`` as an array of the library and on the device of ``reference``."""
    if is_numpy_array(reference):
        return values
    return namespace(reference).asarray(values, device=device(reference))


def row_squares(x: Array) -> Array:
    """``Σ x²`` of every row ``(n,)``, in the dtype of ``x (n, d)``."""
    if is_numpy_array(x):
        return _squares(x)
    return namespace(x).sum(x * x, axis=1)


def _squares_by_einsum(rows: NDArray[Any]) -> NDArray[Any]:
    return np.einsum("ij,ij->i", rows, rows)


def _squares_by_vecdot(rows: NDArray[Any]) -> NDArray[Any]:
    return np.vecdot(rows, rows)


# numpy 2 calls BLAS for each row, which costs half as much
_squares = _squares_by_vecdot if hasattr(np, "vecdot") else _squares_by_einsum


def unit_rows(rows: NDArray[Any], dtype: Any = np.float32) -> NDArray[Any]:
    """Host ``rows (n, d)`` divided by their lengths; a row of zeros stays one.

    Args:
        rows: of any floating dtype.
        dtype: of the result; None keeps that of the rows.  Lengths are summed in float64.

    Example:
        >>> unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]]), None).tolist()
        [[0.6, 0.8], [0.0, 0.0]]
    """
    rows = rows if dtype is None else rows.astype(dtype, copy=False)
    with np.errstate(over="ignore", under="ignore"):
        squares = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
    if not ((squares > _SAFE_SQUARES[0]) & (squares < _SAFE_SQUARES[1])).all():
        # as in the BLAS routine nrm2: a finite row has a direction however long it is
        largest = np.abs(rows).max(axis=1, initial=0.0)
        rows = rows / np.where(largest > 0, largest, 1)[:, None]
        squares = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
        squares[squares == 0] = 1.0
    return rows / np.sqrt(squares).astype(rows.dtype)[:, None]
