"""Whether one side is the other moved by a few rows: a lost line, a header read as data."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from isthmus.spaces.pairs import Pairs

__all__ = ["row_shift"]

_ROWS = 1500
_FURTHEST = 5
_FEWEST = 100
_CLEAR = 8.0


def row_shift(pairs: Pairs) -> int | None:
    """How many rows later the partner stands, or None where no shift stands out.

    Linear CKA of the first rows of both sides at every shift up to five; one that exceeds the
    median of the others by eight of their mean absolute deviations is the answer.  Only sides
    paired by position can be shifted.
    """
    if pairs.source.ids is not None and pairs.target.ids is not None:
        return None
    count = min(_ROWS, len(pairs) - _FURTHEST)
    if count < _FEWEST + _FURTHEST:
        return None
    x, y = (_finite(side.rows(0, count + _FURTHEST)) for side in (pairs.source, pairs.target))
    shifts = np.arange(-_FURTHEST, _FURTHEST + 1)
    inner = count - _FURTHEST
    base = _centred(x[_FURTHEST : _FURTHEST + inner])
    values = np.array(
        [_cka(base, _centred(y[_FURTHEST + s : _FURTHEST + s + inner])) for s in shifts]
    )
    best = int(np.argmax(values))
    rest = np.delete(values, best)
    spread = float(np.abs(rest - np.median(rest)).mean())
    if shifts[best] == 0 or values[best] - np.median(rest) <= _CLEAR * max(spread, 1e-6):
        return None
    return int(shifts[best])


def _finite(rows: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.nan_to_num(rows.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)


def _centred(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = rows - rows.mean(axis=0)
    norms = np.sqrt(np.einsum("nd,nd->n", centred, centred))
    return centred / np.where(norms > 0, norms, 1.0)[:, None]


def _cka(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Up to a factor that equals at every shift, ``‖xᵀy‖²``."""
    return float(np.square(x.T @ y).sum())
