"""Both spaces in one picture: a small sample of the pairs in two dimensions."""

from __future__ import annotations

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from isthmus.evaluate.probes import ProbeResult
from isthmus.threads import single_thread

__all__ = ["Projection", "project"]

_POINTS = 300


class Projection(ProbeResult):
    """Points of the same items from both sides, ``(m, 2)`` each, on the axes of the y side.

    Example:
        >>> import numpy as np
        >>> from isthmus import diagnose
        >>> x = np.random.default_rng(0).standard_normal((120, 4))
        >>> shown = diagnose(x, 2 * x).projection
        >>> len(shown.ids) == len(shown.x) == len(shown.y)
        True
    """

    ids: tuple[str, ...]
    x: tuple[tuple[float, float], ...]
    """The x side, mapped into the space of y by maps that had not seen these rows."""
    y: tuple[tuple[float, float], ...]
    explained: tuple[float, float]
    """Share of the sampled variance of y on each axis."""


def project(
    ids: NDArray[np.generic], mapped: NDArray[np.float64] | None, y: NDArray[np.floating]
) -> Projection | None:
    """Principal axes of the y rows, and both sides upon them; None without a common frame.

    Args:
        ids: of the sampled rows ``(m,)``, in random order.
        mapped: the x rows carried into the space of y, ``(m, dy)``.
        y: ``(m, dy)``.
    """
    if mapped is None or len(y) < 3:
        return None
    rows = slice(0, _POINTS)
    other = y[rows].astype(np.float64)
    mean = other.mean(axis=0)
    with single_thread:
        _, values, axes = scipy.linalg.svd(other - mean, full_matrices=False)
    if not values[0] > 0:
        return None
    plane = np.zeros((other.shape[1], 2))
    plane[:, : min(2, len(axes))] = axes[:2].T
    shares = np.pad((values**2 / (values**2).sum())[:2], (0, max(0, 2 - len(values))))
    return Projection(
        ids=tuple(str(i) for i in ids[rows].tolist()),
        x=_points((mapped[rows] - mean) @ plane),
        y=_points((other - mean) @ plane),
        explained=(float(shares[0]), float(shares[1])),
    )


def _points(rows: NDArray[np.float64]) -> tuple[tuple[float, float], ...]:
    return tuple((round(float(a), 6), round(float(b), 6)) for a, b in rows)
