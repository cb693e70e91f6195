"""One pass over a block of paired rows: what is left after the products are formed from it.

Rows are taken about a point near their mean, in runs that stay in the processor's cache while
every sum of first and fourth order and every norm is read off them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.numeric import Array, row_squares, to_float64, to_numpy

__all__ = ["RowChoice", "Shifted", "first_rows_mean", "shifted"]

_RUN = 512  # short enough for a cache, and for float32 sums; long enough to outweigh the calls

RowChoice = slice | NDArray[np.int64]
"""Which rows of an array make the block."""


@dataclass
class Shifted:
    """A block about ``near``, and the sums that one pass over it gives.

    With weights the rows are multiplied by their roots, so that products are weighted sums.
    """

    x: Array
    """``(n, dx)``"""
    y: Array
    linear: dict[str, Array] = field(default_factory=dict[str, Array])
    """For each side ``Σ w (x - near)`` in float64."""
    spread: dict[str, Array] = field(default_factory=dict[str, Array])
    """For each side the mean square about ``near`` of the first rows ``(d,)``."""
    fourth: dict[str, Array] = field(default_factory=dict[str, Array])
    """``quartic_ab = Σ w ‖a‖²‖b‖²`` and ``cubic_ab = Σ w ‖a‖² b``, about ``near``."""
    norms: dict[str, list[NDArray[Any]]] = field(default_factory=dict[str, list[NDArray[Any]]])
    """For each side and run the squared lengths of the rows as given, where they were asked for."""
    lowest: dict[str, Array] = field(default_factory=dict[str, Array])
    highest: dict[str, Array] = field(default_factory=dict[str, Array])

    def add(self, sums: dict[str, Array], more: dict[str, Array]) -> None:
        """Add each array of ``more`` to its namesake in ``sums``."""
        for name, value in more.items():
            sums[name] = sums[name] + value if name in sums else value


def first_rows_mean(xp: Any, rows: Array, which: RowChoice) -> Array:
    """The mean of the first rows of a block, in their dtype: near enough to the mean of all."""
    first = (
        slice(which.start, min(which.start + _RUN, which.stop))
        if isinstance(which, slice)
        else which[:_RUN]
    )
    return xp.mean(rows[first, ...], axis=0)


def shifted(
    xp: Any,
    sides: tuple[Array, Array],
    which: RowChoice,
    near: tuple[Array, Array],
    weights: Array | None,
    *,
    norms: bool,
    fourth: bool,
    room: tuple[Array, Array] | None,
) -> Shifted:
    """The rows ``which`` of both ``sides`` about ``near``.

    Args:
        xp: the namespace of the sides.
        sides: x ``(N, dx)`` and y ``(N, dy)``.
        which: of their rows.
        near: a point for each side.
        weights: of the rows of the block ``(n,)``, not negative.
        norms: also the norms and extremes of the rows as given.
        fourth: also the fourth-order sums.
        room: where numpy puts the shifted rows: arrays of at least ``n`` rows.
    """
    n = which.stop - which.start if isinstance(which, slice) else len(which)
    step = n if room is None else _RUN
    made = Shifted(None, None) if room is None else Shifted(room[0][:n], room[1][:n])
    for a in range(0, n, step):
        b = min(a + step, n)
        run = slice(which.start + a, which.start + b) if isinstance(which, slice) else which[a:b]
        spaces = (None, None) if room is None else (made.x[a:b], made.y[a:b])
        given = {
            side: _rows(rows, run, space)
            for side, rows, space in zip("xy", sides, spaces, strict=True)
        }
        if norms:
            _add_norms(xp, made, given)
        w = None if weights is None else weights[a:b]
        moved: dict[str, Array] = {}
        for side, point, space in zip("xy", near, spaces, strict=True):
            if space is None:
                moved[side] = given[side] - point[None, :]
            else:
                moved[side] = np.subtract(given[side], point, out=space)
        if a == 0:
            few = slice(0, min(_RUN, n))
            first = {side: rows[few, ...] for side, rows in moved.items()}
            made.spread = {side: xp.mean(rows * rows, axis=0) for side, rows in first.items()}
        _add_sums(xp, made, moved, w, fourth)
        if w is not None:
            root = xp.sqrt(w)[:, None]
            for side, rows in moved.items():
                if room is None:
                    moved[side] = rows * root
                else:
                    rows *= root
        if room is None:
            made.x, made.y = moved["x"], moved["y"]
    return made


def _rows(rows: Array, run: RowChoice, space: Array | None) -> Array:
    """The rows of a run, gathered in ``space`` where there is some."""
    if space is None or isinstance(run, slice):
        return rows[run, ...]
    # clipped, which nothing is: checked, NumPy would gather them elsewhere first
    return np.take(rows, run, axis=0, out=space, mode="clip")


def _add_norms(xp: Any, made: Shifted, given: dict[str, Array]) -> None:
    for side, rows in given.items():
        made.norms.setdefault(side, []).append(to_numpy(row_squares(rows)))
        low, high = xp.min(rows, axis=0), xp.max(rows, axis=0)
        if side in made.lowest:
            low = xp.minimum(made.lowest[side], low)
            high = xp.maximum(made.highest[side], high)
        made.lowest[side], made.highest[side] = low, high


def _add_sums(
    xp: Any, made: Shifted, moved: dict[str, Array], w: Array | None, fourth: bool
) -> None:
    one = xp.ones_like(moved["x"][:, 0]) if w is None else w
    made.add(made.linear, {k: to_float64(xp.matmul(one, rows)) for k, rows in moved.items()})
    if not fourth:
        return
    squares = {side: row_squares(rows) for side, rows in moved.items()}
    weighted = squares if w is None else {side: s * w for side, s in squares.items()}
    wide = {side: to_float64(s) for side, s in squares.items()}
    more: dict[str, Array] = {}
    for a, b in ("xx", "xy", "yx", "yy"):
        more[f"cubic_{a}{b}"] = to_float64(xp.matmul(weighted[a], moved[b]))
        if a + b != "yx":
            more[f"quartic_{a}{b}"] = xp.sum(wide[b] * to_float64(weighted[a]))
    made.add(made.fourth, more)
