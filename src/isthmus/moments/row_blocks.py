"""How paired rows are taken in: checked, weighted, and a block at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.numeric import Array, as_floating, namespace

__all__ = ["Room", "block_rows", "checked_pair", "checked_weights", "room_for", "run_rows"]

Room = tuple[NDArray[Any], NDArray[Any]]
"""Working memory for as many rows of either side as are multiplied at once."""

_BLOCK_ROWS = 8192  # longer float32 sums would cost precision: 1e-6 is the promise
_NARROW, _NARROW_ROWS = 64, 1024  # BLAS sums small products in one run, without blocks of its own
_PRODUCT_ROWS = 1024  # fewer make a product slower, more are not in a cache when it begins
_RUN_BYTES = 1 << 20  # of both sides; with their copy they fit a second-level cache of 2 MB
_LONGEST_RUN = 512  # for the precision of float32 sums


def block_rows(dx: int, dy: int) -> int:
    """Rows of these widths whose products are summed at once."""
    return _BLOCK_ROWS if min(dx, dy) >= _NARROW else _NARROW_ROWS


def run_rows(dx: int, dy: int) -> int:
    """Rows of these widths that stay in the cache while their sums are taken."""
    return min(max(_RUN_BYTES // (4 * (dx + dy)), 16), _LONGEST_RUN)


def room_for(x: Array, y: Array, n: int) -> Room | None:
    """Working memory for ``n`` rows of numpy arrays ``x`` and ``y``; None for other arrays."""
    if not isinstance(x, np.ndarray) or not isinstance(y, np.ndarray):
        return None
    dx, dy = x.shape[1], y.shape[1]
    longest = min(n, _PRODUCT_ROWS)
    kind_x, kind_y = as_floating(x[:0], "x").dtype, as_floating(y[:0], "y").dtype
    return np.empty((longest, dx), kind_x), np.empty((longest, dy), kind_y)


def checked_pair(x: Array, y: Array, dx: int, dy: int) -> tuple[Array, Array]:
    """Paired rows ``x (n, dx)`` and ``y (n, dy)`` in a floating dtype.

    Raises:
        InputError: for other shapes or dtypes.
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != dx or y.shape[1] != dy:
        raise InputError(
            f"expected rows of widths {dx} and {dy}, "
            f"got arrays of shapes {tuple(x.shape)} and {tuple(y.shape)}"
        )
    if x.shape[0] != y.shape[0]:
        raise InputError(f"the sides have {x.shape[0]} and {y.shape[0]} rows; they must pair")
    return as_floating(x, "x"), as_floating(y, "y")


def checked_weights(weights: Array | None, x: Array, n: int) -> Array | None:
    """Weights ``(n,)`` in the dtype of the rows ``x``.

    Raises:
        InputError: for another shape, or a negative one.
    """
    if weights is None:
        return None
    given: Any = namespace(x).astype(weights, x.dtype)
    if tuple(given.shape) != (n,) or bool(namespace(x).any(given < 0.0)):
        raise InputError("weights must be one non-negative number per row")
    return given
