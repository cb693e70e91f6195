"""One pass over a block of paired rows, which leaves every sum of it.

Rows are taken about a point near their mean, in runs that stay in the processor's cache while the
norms and the sums of first and fourth order are read off them.  Some runs together are long enough
for the products, and are not yet far from the cache.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.moments.block_products import add_products
from isthmus.moments.row_blocks import Room, run_rows
from isthmus.numeric import Array, row_squares, to_float64, to_numpy

__all__ = ["RowChoice", "Shifted", "first_rows_mean", "shifted"]

_FIRST = 512  # rows that tell a point near the mean, and the spread about it

RowChoice = slice | NDArray[np.int64]
"""Which rows of an array make the block."""


@dataclass
class Shifted:
    """The sums of a block about ``near``, weighted where there are weights."""

    first: int
    """Rows that `spread` still lacks."""
    linear: dict[str, Array] = field(default_factory=dict[str, Array])
    """For each side ``Σ w (x - near)`` in float64."""
    spread: dict[str, Array] = field(default_factory=dict[str, Array])
    """For each side the mean square about ``near`` of the first rows ``(d,)``."""
    fourth: dict[str, Array] = field(default_factory=dict[str, Array])
    """``quartic_ab = Σ w ‖a‖²‖b‖²`` and ``cubic_ab = Σ w ‖a‖² b``, about ``near``."""
    products: dict[str, Array] = field(default_factory=dict[str, Array])
    """What `add_products` sums."""
    norms: dict[str, list[NDArray[Any]]] = field(default_factory=dict[str, list[NDArray[Any]]])
    """For each side and run the squared lengths of the rows as given, where they were asked for."""
    lowest: dict[str, Array] = field(default_factory=dict[str, Array])
    highest: dict[str, Array] = field(default_factory=dict[str, Array])


def first_rows_mean(xp: Any, rows: Array, which: RowChoice) -> Array:
    """The mean of the first rows of a block, in their dtype: near enough to the mean of all."""
    return xp.mean(rows[_part(which, 0, min(_FIRST, _length(which))), ...], axis=0)


def shifted(
    xp: Any,
    sides: tuple[Array, Array],
    which: RowChoice,
    near: tuple[Array, Array],
    weights: Array | None,
    *,
    keep: Set[str],
    room: Room | None,
) -> Shifted:
    """The sums of the rows ``which`` of both ``sides`` about ``near``.

    Args:
        xp: the namespace of the sides.
        sides: x ``(N, dx)`` and y ``(N, dy)``.
        which: of their rows.
        near: a point for each side.
        weights: of the rows of the block ``(n,)``, not negative.
        keep: which sums, as `Moments` names them.
        room: where numpy puts as many shifted rows as are multiplied at once.
    """
    n = _length(which)
    first = min(n, _FIRST)
    made = Shifted(first)
    step = n if room is None else len(room[0])
    for start in range(0, n, step):
        stop = min(start + step, n)
        chosen = _part(which, start, stop)
        w = None if weights is None else weights[start:stop]
        if room is None:
            given = {side: rows[chosen, ...] for side, rows in zip("xy", sides, strict=True)}
            moved = _add_run(xp, made, given, near, None, w, keep)
        else:
            moved = {side: space[: stop - start] for side, space in zip("xy", room, strict=True)}
            _add_runs(made, sides, chosen, near, moved, w, keep)
        add_products(xp, keep, made.products, moved)
    made.spread = {side: total / first for side, total in made.spread.items()}
    return made


def _add_runs(
    made: Shifted,
    sides: tuple[NDArray[Any], NDArray[Any]],
    which: RowChoice,
    near: tuple[NDArray[Any], NDArray[Any]],
    moved: dict[str, NDArray[Any]],
    weights: NDArray[Any] | None,
    keep: Set[str],
) -> None:
    """Put the rows ``which`` about ``near`` into ``moved``, and add their sums to ``made``."""
    n = _length(which)
    step = run_rows(sides[0].shape[1], sides[1].shape[1])
    for a in range(0, n, step):
        b = min(a + step, n)
        run = _part(which, a, b)
        spaces = {side: rows[a:b] for side, rows in moved.items()}
        given = {
            side: _rows(rows, run, spaces[side]) for side, rows in zip("xy", sides, strict=True)
        }
        w = None if weights is None else weights[a:b]
        _add_run(np, made, given, near, spaces, w, keep)


def _add_run(
    xp: Any,
    made: Shifted,
    given: dict[str, Array],
    near: tuple[Array, Array],
    spaces: dict[str, Array] | None,
    w: Array | None,
    keep: Set[str],
) -> dict[str, Array]:
    """Add the sums of some rows to ``made``.

    Returns:
        The rows about ``near``, in ``spaces`` where they are given; with weights multiplied by
        their roots, so that products are weighted sums.
    """
    if "norms" in keep:
        _add_norms(xp, made, given)
    moved: dict[str, Array] = {}
    for (side, rows), point in zip(given.items(), near, strict=True):
        if spaces is None:
            moved[side] = rows - point[None, :]
        else:
            moved[side] = np.subtract(rows, point, out=spaces[side])
    few = min(made.first, int(moved["x"].shape[0]))
    if few:
        made.first -= few
        for side, rows in moved.items():
            _add(made.spread, {side: xp.sum(rows[:few, ...] ** 2.0, axis=0)})
    _add_sums(xp, made, moved, w, "fourth" in keep)
    if w is not None:
        root = xp.sqrt(w)[:, None]
        for side, rows in moved.items():
            if spaces is None:
                moved[side] = rows * root
            else:
                rows *= root
    return moved


def _length(which: RowChoice) -> int:
    return which.stop - which.start if isinstance(which, slice) else len(which)


def _part(which: RowChoice, a: int, b: int) -> RowChoice:
    """The rows ``a .. b-1`` of the chosen ones."""
    return slice(which.start + a, which.start + b) if isinstance(which, slice) else which[a:b]


def _rows(rows: Array, run: RowChoice, space: Array) -> Array:
    """The rows of a run, gathered in ``space`` where they do not lie together."""
    if isinstance(run, slice):
        return rows[run, ...]
    # clipped, which nothing is: checked, NumPy would gather them elsewhere first
    return np.take(rows, run, axis=0, out=space, mode="clip")


def _add(sums: dict[str, Array], more: dict[str, Array]) -> None:
    for name, value in more.items():
        sums[name] = sums[name] + value if name in sums else value


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
    _add(made.linear, {k: to_float64(xp.matmul(one, rows)) for k, rows in moved.items()})
    if not fourth:
        return
    squares = {side: row_squares(rows) for side, rows in moved.items()}
    weighted = squares if w is None else {side: s * w for side, s in squares.items()}
    _add(made.fourth, {
        f"cubic_{a}{b}": to_float64(xp.matmul(weights, rows))
        for a, weights in weighted.items()
        for b, rows in moved.items()
    })  # fmt: skip
    wide, heavy = ([to_float64(s) for s in of.values()] for of in (squares, weighted))
    _add(made.fourth, {
        "quartic_xx": heavy[0] @ wide[0],
        "quartic_xy": heavy[0] @ wide[1],
        "quartic_yy": heavy[1] @ wide[1],
    })  # fmt: skip
