"""What can be asked of rows without a contract: their norms, and whether they are usable at all."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from array_api_compat import device, is_numpy_array
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.numeric import Array, as_floating, namespace, to_numpy
from isthmus.spaces.metric import Metric

__all__ = ["check_vectors", "row_norms", "take_rows"]

_BLOCK_ROWS = 1024

# Between these, a norm from float32 squares neither overflowed nor lost digits to underflow.
_SAFE_LOW, _SAFE_HIGH = 1e-15, 1e18


def take_rows(x: Array, rows: NDArray[np.int64]) -> Array:
    """The given ``rows (k,)`` of ``x (n, d)``, in its own library and on its own device."""
    if is_numpy_array(x):
        return x[rows]
    xp = namespace(x)
    return xp.take(x, xp.asarray(rows, device=device(x)), axis=0)


def row_norms(x: Array) -> NDArray[np.float64]:
    """The Euclidean norm ``(n,)`` of each row, on the host; NaN exactly where a row is not finite.

    One pass in the dtype of ``x (n, d)``, float16 and bfloat16 in float32.  Rows whose sum of
    squares overflows or underflows are summed again in float64, so that a finite row never looks
    infinite and only a row of zeros has norm 0.

    Raises:
        InputError: for integers, booleans, complex numbers and objects.
    """
    if is_numpy_array(x) and x.dtype == np.float32 and x.ndim == 2 and len(x) == 1:
        # a query, asked alone: numpy's calls cost more than the sum; wide, it cannot overflow
        row = x[0].astype(np.float64)
        length = math.sqrt(row.dot(row))
        if _SAFE_LOW < length < _SAFE_HIGH:
            return np.array([length])
    norms = _fast_norms(x)
    safe: NDArray[np.bool_] = (norms > _SAFE_LOW) & (norms < _SAFE_HIGH)
    if safe.all():
        return norms
    suspect = np.flatnonzero(~safe)
    for start in range(0, len(suspect), _BLOCK_ROWS):
        rows = suspect[start : start + _BLOCK_ROWS]
        norms[rows] = _careful_norms(to_numpy(as_floating(take_rows(x, rows), "row_norms")))
    return norms


def _fast_norms(x: Array) -> NDArray[np.float64]:
    if not is_numpy_array(x):
        y = as_floating(x, "row_norms")
        return to_numpy(namespace(y).linalg.vector_norm(y, axis=1)).astype(np.float64)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        if x.dtype == np.float32 or x.dtype == np.float64:
            return np.sqrt(np.einsum("ij,ij->i", x, x)).astype(np.float64)
        # Widened by blocks, so that the wide copy never holds the whole array.
        squares = np.empty(len(x), dtype=np.float64)
        for start in range(0, len(x), _BLOCK_ROWS):
            block = as_floating(x[start : start + _BLOCK_ROWS, :], "row_norms")
            squares[start : start + _BLOCK_ROWS] = np.einsum("ij,ij->i", block, block)
        return np.sqrt(squares)


def _careful_norms(rows: NDArray[Any]) -> NDArray[np.float64]:
    """Norms scaled by the largest component, as in the BLAS routine ``nrm2``."""
    finite = np.asarray(np.isfinite(rows).all(axis=1))
    wide = np.where(finite[:, None], rows, 0).astype(np.float64)
    largest = np.abs(wide).max(axis=1, initial=0.0)
    scaled = wide / np.where(largest > 0, largest, 1.0)[:, None]
    with np.errstate(over="ignore"):
        norms = largest * np.sqrt(np.einsum("ij,ij->i", scaled, scaled))
    return np.where(finite, np.minimum(norms, np.finfo(np.float64).max), np.nan)


def check_vectors(
    x: Array,
    *,
    dim: int | None = None,
    metric: Metric | None = None,
    where: str,
    first_row: int = 0,
) -> Array:
    """Refuse rows that no method can use, before any work is spent on them.

    Reads ``x (n, d)`` once and copies nothing, unless it is float16 or bfloat16.

    Args:
        x: the rows, of any array library.
        dim: the width they must have; None accepts any.
        metric: under ``cosine`` a row of zeros is refused too, because it has no direction.
        where: the file or argument the rows come from, for the message.
        first_row: the number of the first row of ``x`` within it.

    Returns:
        ``x`` itself if float32 or float64; widened to float32 if float16 or bfloat16.

    Raises:
        InputError: not 2-D, another width than ``dim``, a dtype that is not floating, NaN or
            infinite components, or zero rows under ``cosine``; it names the first such row.
    """
    if not hasattr(x, "dtype") or not hasattr(x, "shape"):
        raise InputError(
            f"expected an array of shape (n, d), got {type(x).__name__}",
            where=where,
            mend="Convert it first, for example with numpy.asarray",
        )
    if len(x.shape) != 2:
        raise InputError(
            f"the vectors have shape {tuple(x.shape)}, expected (n, d) with one vector to a row",
            where=where,
            mend="Pass a single vector v as v[None, :]" if len(x.shape) == 1 else None,
        )
    if dim is not None and x.shape[1] != dim:
        raise InputError(
            f"the vectors are {x.shape[1]} wide, expected {dim}",
            where=f"{where}, row {first_row}",
            mend="Check that they come from the model and the revision this side was made with",
        )
    y = as_floating(x, where)
    norms = row_norms(y)
    if np.isfinite(norms.sum()) and not (metric == "cosine" and (norms == 0).any()):
        return y
    not_finite = np.flatnonzero(np.isnan(norms))
    if not_finite.size:
        first = int(not_finite[0])
        components = to_numpy(y[first, :])
        column = int(np.argmin(np.isfinite(components)))
        raise InputError(
            f"the row holds {components[column]} in component {column}"
            f"{_count(not_finite.size, len(norms), 'are not finite')}",
            where=f"{where}, row {first_row + first}",
            mend="Remove such rows from both sides, or encode their items again",
        )
    zero = np.flatnonzero(norms == 0)
    if metric == "cosine" and zero.size:
        raise InputError(
            "the row is all zeros and has no direction under the cosine metric"
            f"{_count(zero.size, len(norms), 'are zero')}",
            where=f"{where}, row {first_row + int(zero[0])}",
            mend="Remove such rows from both sides: an empty text or a failed call often makes "
            "them",
        )
    return y


def _count(bad: int, rows: int, what: str) -> str:
    return f"; {bad} of these {rows} rows {what}" if rows > 1 else ""
