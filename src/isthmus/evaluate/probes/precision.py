"""How finely the numbers are stored: quantised codes, half precision, saturation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from isthmus.evaluate.probes.result import ProbeResult
from isthmus.moments import NormProfile

__all__ = ["Precision", "precision"]

_HALF = float(np.finfo(np.float16).max)
_COLUMNS = 256
_ROWS = 512


class Precision(ProbeResult):
    """How many different numbers there are, and what rounding them cost."""

    distinct: int
    """Median over dimensions that vary of the different values other than 0 in the sample."""
    distinct_share: float
    """The same over the number of such values: 1 where every value is different."""
    distinct_in_row: float
    """Median over rows of the different values other than 0, over their number."""
    half: bool
    """Every sampled value is one that float16 holds exactly."""
    rounding_share: float
    """Variance of the rounding to float16 over the variance of the rows; 0 unless `half`."""
    saturated: tuple[int, ...]
    """Dimensions that reach ±65504, the largest number of float16, in any row."""


def precision(rows: NDArray[np.floating], profile: NormProfile) -> Precision:
    """Count the different values of a sample.

    Args:
        rows: a sample ``(n, d)``, finite.
        profile: extremes of every dimension over every row.
    """
    varying = np.flatnonzero(profile.minimum < profile.maximum)
    columns = varying[_evenly(len(varying), _COLUMNS)] if len(varying) else np.arange(1)
    by_column = [_different(rows[:, j]) for j in columns]
    by_row = [_different(row) for row in rows[:_ROWS, columns]]
    half = bool(np.abs(rows).max() <= _HALF) and bool((rows.astype(np.float16) == rows).all())
    extreme = np.maximum(np.abs(profile.minimum), np.abs(profile.maximum))
    return Precision(
        distinct=int(np.median([found for found, _ in by_column])),
        distinct_share=float(np.median([found / max(n, 1) for found, n in by_column])),
        distinct_in_row=float(np.median([found / max(n, 1) for found, n in by_row])),
        half=half,
        rounding_share=_rounding(rows) if half else 0.0,
        saturated=tuple(np.flatnonzero(extreme == _HALF).tolist()),
    )


def _evenly(n: int, most: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.int64))


def _different(values: NDArray[np.floating]) -> tuple[int, int]:
    """How many different values, and how many values, are not 0."""
    used = values[values != 0]
    return len(np.unique(used)), len(used)


def _rounding(rows: NDArray[np.floating]) -> float:
    """``Σ ulp²/12`` over the summed variance: a rounding error is uniform within half an ulp."""
    step = np.spacing(np.abs(rows).astype(np.float16)).astype(np.float64)
    spread = float(rows.astype(np.float64).var(axis=0).sum())
    noise = float((step**2 / 12).mean(axis=0).sum())
    return noise / spread if spread > 0 else 0.0
