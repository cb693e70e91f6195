"""The sums of one block of rows, in the library and on the device of the rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from isthmus.added_products import add_rank_one
from isthmus.numeric import Array, namespace, to_float64

__all__ = ["add_outer", "column_squares", "translated_fourth"]


def column_squares(xp: Any, rows: Array) -> Array:
    """``Σ x²`` of every column in float64, from short runs in the dtype of the rows."""
    total: Array = 0.0
    for part in _chunks(rows):
        if isinstance(part, np.ndarray):
            squares = np.einsum("ij,ij->j", part, part)
        else:
            squares = xp.sum(part * part, axis=0)
        total = total + to_float64(squares)
    return total


def _chunks(x: Array) -> Iterator[Array]:
    """Runs of rows that stay in the processor's cache; the whole array on other devices."""
    step = 512 if isinstance(x, np.ndarray) else max(int(x.shape[0]), 1)
    for start in range(0, int(x.shape[0]), step):
        yield x[start : min(start + step, int(x.shape[0])), ...]


def add_outer(total: Array, factor: float, a: Array, b: Array) -> Array:
    """``total + factor · a bᵀ``, in place where numpy can."""
    if isinstance(total, np.ndarray) and total.flags.carray:
        return add_rank_one(total, factor, a, b)
    return total + factor * (a[:, None] * b[None, :])


def translated_fourth(
    sums: Mapping[str, Array],
    n: float,
    shift: Mapping[str, Array],
    linear: Mapping[str, Array] | None = None,
) -> dict[str, Array]:
    """Fourth-order sums of the rows ``x + shift_x``, ``y + shift_y`` from those of ``x`` and ``y``.

    By expanding ``‖x + δ‖² = ‖x‖² + 2 x·δ + ‖δ‖²``.

    Args:
        sums: ``cubic_ab``, ``quartic_ab``, ``xx``, ``xy``, ``yy`` and ``square_x``, ``square_y``
            of the rows as they are: sums of products, not centred here.
        n: sum of the weights.
        shift: δ of each side.
        linear: ``Σx`` and ``Σy``; None for rows whose mean is 0.
    """
    moved: dict[str, Array] = {}
    xp = namespace(sums["xy"])
    trace = {side: xp.sum(to_float64(sums[f"square_{side}"])) for side in "xy"}
    length = {side: xp.sum(shift[side] * shift[side]) for side in "xy"}
    first = {side: 0.0 * shift[side] for side in "xy"} if linear is None else linear
    along = {side: xp.sum(shift[side] * first[side]) for side in "xy"}
    for a, b in ("xx", "xy", "yx", "yy"):
        second = sums["xy"].T if a + b == "yx" else sums[a + b]
        da, db = shift[a], shift[b]
        # the shift is a correction: the precision of the block's own products is enough for it
        across = to_float64(xp.matmul(xp.astype(da, second.dtype), second))
        cubic = to_float64(sums[f"cubic_{a}{b}"])
        moved[f"cubic_{a}{b}"] = (
            cubic
            + 2.0 * across
            + (trace[a] + 2.0 * along[a] + n * length[a]) * db
            + length[a] * first[b]
        )
        if a + b != "yx":
            moved[f"quartic_{a}{b}"] = (
                sums[f"quartic_{a}{b}"]
                + 2.0 * xp.sum(db * cubic)
                + 2.0 * xp.sum(da * to_float64(sums[f"cubic_{b}{a}"]))
                + 4.0 * xp.sum(across * db)
                + length[b] * (trace[a] + 2.0 * along[a])
                + length[a] * (trace[b] + 2.0 * along[b])
                + n * length[a] * length[b]
            )
    return moved
