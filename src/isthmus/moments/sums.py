"""The sums of one block of rows, in the library and on the device of the rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.moments.norm_profile import NormProfile
from isthmus.numeric import Array, like, namespace, to_float64, to_numpy

__all__ = [
    "centred",
    "column_squares",
    "explain_non_finite",
    "fourth_order",
    "translated_fourth",
    "update_profile",
]


def centred(xp: Any, rows: Array, weights: Array | None, n: float) -> tuple[Array, Array]:
    """Rows minus their own mean, and that mean in float64.

    The first mean may be rounded: it only has to be near.  What remains has a small mean, found
    to full relative precision, and is centred once more where rounding left a visible rest.
    """
    count = int(rows.shape[0])
    one = like(rows, np.ones(count, _host_dtype(rows))) if weights is None else weights
    near = xp.matmul(one, rows) / n
    result = rows - near[None, :]
    rest = xp.matmul(one, result) / n
    spread = xp.sqrt(xp.mean(result[: min(256, count), ...] ** 2.0, axis=0))
    if bool(xp.any(xp.abs(rest) > 1e-6 * spread)):
        result -= rest[None, :]
        return result, to_float64(near) + to_float64(rest)
    return result, to_float64(near)


def _host_dtype(x: Array) -> type[np.floating[Any]]:
    return np.float64 if "float64" in str(x.dtype) else np.float32


def _chunks(x: Array) -> Iterator[Array]:
    """Runs of rows that stay in the processor's cache; the whole array on other devices."""
    step = 512 if isinstance(x, np.ndarray) else max(int(x.shape[0]), 1)
    for start in range(0, int(x.shape[0]), step):
        yield x[start : min(start + step, int(x.shape[0])), ...]


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


def row_squares(xp: Any, rows: Array) -> Array:
    if isinstance(rows, np.ndarray):
        return np.einsum("ij,ij->i", rows, rows)
    return xp.sum(rows * rows, axis=1)


def update_profile(xp: Any, profile: NormProfile, rows: Array, weights: Array | None) -> None:
    """Add the norms and the extremes of ``rows (n, d)`` to ``profile``."""
    squares: list[NDArray[Any]] = []
    lowest: list[NDArray[Any]] = []
    highest: list[NDArray[Any]] = []
    for part in _chunks(rows):
        squares.append(to_numpy(row_squares(xp, part), np.float64))
        lowest.append(to_numpy(xp.min(part, axis=0)))
        highest.append(to_numpy(xp.max(part, axis=0)))
    profile.update(
        np.sqrt(np.concatenate(squares)),
        np.min(lowest, axis=0),
        np.max(highest, axis=0),
        None if weights is None else to_numpy(weights, np.float64),
    )


def explain_non_finite(rows: Array, side: str, start: int) -> None:
    """Raise for the first row that is not finite, if there is one; rows start at ``start``."""
    finite = to_numpy(namespace(rows).isfinite(rows)).all(axis=1)
    if not finite.all():
        raise InputError(
            "the vector holds a NaN or an infinity",
            where=f"{side}, row {start + int(np.argmin(finite))}",
            mend="Drop or re-encode it",
        )


def fourth_order(xp: Any, cx: Array, cy: Array, weights: Array | None) -> dict[str, Array]:
    """``Σ‖a‖²‖b‖²`` and ``Σ‖a‖² b`` of the centred rows ``cx``, ``cy``, by their names."""
    a, b = row_squares(xp, cx), row_squares(xp, cy)
    wa, wb = (a, b) if weights is None else (a * weights, b * weights)
    wide_a, wide_b = to_float64(a), to_float64(b)
    return {
        "quartic_xx": xp.sum(wide_a * to_float64(wa)),
        "quartic_xy": xp.sum(wide_b * to_float64(wa)),
        "quartic_yy": xp.sum(wide_b * to_float64(wb)),
        "cubic_xx": xp.matmul(wa, cx),
        "cubic_xy": xp.matmul(wa, cy),
        "cubic_yx": xp.matmul(wb, cx),
        "cubic_yy": xp.matmul(wb, cy),
    }


def translated_fourth(
    sums: Mapping[str, Array], n: float, shift: Mapping[str, Array]
) -> dict[str, Array]:
    """Fourth-order sums of the rows ``x + shift_x``, ``y + shift_y`` from those of centred rows.

    Expand ``‖x + δ‖² = ‖x‖² + 2 x·δ + ‖δ‖²`` and drop every term linear in a centred sum.
    """
    moved: dict[str, Array] = {}
    xp = namespace(sums["xy"])
    trace = {side: xp.sum(to_float64(sums[f"square_{side}"])) for side in "xy"}
    length = {side: xp.sum(shift[side] * shift[side]) for side in "xy"}
    for a, b in ("xx", "xy", "yx", "yy"):
        second = sums["xy"].T if a + b == "yx" else sums[a + b]
        da, db = shift[a], shift[b]
        # the shift is a correction: the precision of the block's own products is enough for it
        across = to_float64(xp.matmul(xp.astype(da, second.dtype), second))
        cubic = to_float64(sums[f"cubic_{a}{b}"])
        moved[f"cubic_{a}{b}"] = cubic + trace[a] * db + 2.0 * across + n * length[a] * db
        if a + b != "yx":
            moved[f"quartic_{a}{b}"] = (
                sums[f"quartic_{a}{b}"]
                + 2.0 * xp.sum(db * cubic)
                + 2.0 * xp.sum(da * to_float64(sums[f"cubic_{b}{a}"]))
                + 4.0 * xp.sum(across * db)
                + length[b] * trace[a]
                + length[a] * trace[b]
                + n * length[a] * length[b]
            )
    return moved
