"""How many scores of a row reach a bar, where products say so only within a slack."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["Exact", "count_reaching", "many_bars", "true_in_rows"]

Exact = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]
"""The scores of pairs: rows ``(m,)`` and columns ``(m,)`` to ``(m,)``."""

_FEW = 4
_CELLS = 2**20
_LONG = 1000


def many_bars(counts: NDArray[np.int64]) -> bool:
    """Whether sorting a row is cheaper than comparing it with each of its bars.

    Then so many pairs lie within a slack that all scores had better be exact.
    """
    return bool(counts.max(initial=0) > _FEW)


def count_reaching(
    scores: NDArray[np.float32],
    bars: NDArray[np.float32],
    counts: NDArray[np.int64],
    slack: NDArray[np.float32],
    exact: Exact,
) -> NDArray[np.int64]:
    """For each bar, how many scores of its row are at least as high.

    Args:
        scores: ``(n, columns)``, each at most the ``slack`` of its row from the score of the pair,
            and exact where there are `many_bars`; −∞ leaves a pair out.
        bars: exact, row after row.
        counts: bars of each row ``(n,)``.
        slack: of each row ``(n,)``.
        exact: asked for the pairs that the slack leaves open.

    Returns:
        ``(bars,)`` int64.
    """
    first = np.cumsum(counts) - counts
    reached = np.empty(len(bars), dtype=np.int64)
    if not many_bars(counts):
        wide = np.repeat(slack, counts)
        low, high = bars - wide, bars + wide
        for place in range(counts.max(initial=0)):
            rows = np.flatnonzero(counts > place)
            entry = first[rows] + place
            some = scores if len(rows) == len(scores) else scores[rows]
            reached[entry] = true_in_rows(some >= high[entry, None])
            near = true_in_rows(some >= low[entry, None]) > reached[entry]
            for part in _parts(np.flatnonzero(near), scores.shape[1]):
                bar = entry[part]
                open_ = (some[part] >= low[bar, None]) & (some[part] < high[bar, None])
                at, column = np.divmod(np.flatnonzero(open_), scores.shape[1])
                over = exact(rows[part][at], column) >= bars[bar][at]
                reached[bar] += np.bincount(at[over], minlength=len(bar))
        return reached
    ordered = np.sort(scores, axis=1)
    for place, start in enumerate(first):
        here = slice(start, start + counts[place])
        reached[here] = scores.shape[1] - np.searchsorted(ordered[place], bars[here])
    return reached


def true_in_rows(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many of each row; a long row by itself is counted faster than along an axis."""
    if mask.shape[1] < _LONG:
        return np.count_nonzero(mask, axis=1)
    return np.fromiter(map(np.count_nonzero, mask), np.int64, len(mask))


def _parts(rows: NDArray[np.int64], columns: int) -> list[NDArray[np.int64]]:
    """So few rows at a time that all their pairs may be open."""
    step = max(1, _CELLS // max(columns, 1))
    return [rows[start : start + step] for start in range(0, len(rows), step)]
