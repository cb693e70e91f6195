"""Procrustes shape distances from moments: what remains after the best rotation."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from isthmus.errors import InputError
from isthmus.moments import SecondMoments
from isthmus.similarity.spectra import Gradient, Singular, exact_singular, singular
from isthmus.threads import single_thread

__all__ = ["TRANSFORMS", "alignment", "alignment_gradient", "cross_singular"]

_NEARLY_EQUAL = 0.999


def cross_singular(
    second: SecondMoments,
    *,
    vectors: bool = True,
    dtype: type[np.float32 | np.float64] = np.float64,
) -> Singular:
    """The decomposition of the cross-covariance ``(dx, dy)``, vectors of ``dtype``.

    Between unequal widths its thin form is that of the semi-orthogonal map; padding with zeros
    gives the same norm.  Where the sides are nearly equal all is of float64.
    """
    cross = second.require("xy")
    found = singular(cross, vectors=vectors, dtype=dtype)
    if alignment(second, found) > _NEARLY_EQUAL:
        # distances magnify what is missing to 1: here only the most exact values will do
        return exact_singular(cross, vectors=vectors)
    return found


def alignment(second: SecondMoments, found: Singular) -> float:
    """``s = ‖M‖_* / √(tr A tr C)`` in [0, 1]: 1 where a rotation and a scale make the sides equal.

    Equal to the nuclear norm of ``XᵀY`` for centred rows of unit Frobenius norm (Schönemann 1966).

    Raises:
        InputError: if a side does not vary.
    """
    x, y = float(second.variance_x.sum()), float(second.variance_y.sum())
    if x <= 0 or y <= 0:
        raise InputError("all rows of one side are the same", where="x" if x <= 0 else "y")
    return min(float(found.values.sum()) / (x**0.5 * y**0.5), 1.0)


def alignment_gradient(second: SecondMoments, found: Singular, s: float) -> Gradient:
    """How ``s`` answers to a change of the moments: ``d‖M‖_* = ⟨UVᵀ, dM⟩``."""
    x, y = float(second.variance_x.sum()), float(second.variance_y.sum())
    nuclear = float(found.values.sum())
    kind = found.u.dtype
    with single_thread:
        polar = (found.u * kind.type(s / nuclear if nuclear > 0 else 0.0)) @ found.v.T
    return Gradient(
        xx=np.diag(np.full(len(second.variance_x), -0.5 * s / x, kind)),
        xy=polar,
        yy=np.diag(np.full(len(second.variance_y), -0.5 * s / y, kind)),
    )


TRANSFORMS: dict[str, Callable[[float], float]] = {
    "procrustes": lambda s: math.sqrt(max(2 - 2 * s, 0.0)),
    "procrustes_disparity": lambda s: 1 - s * s,
    "procrustes_angle": lambda s: math.acos(min(max(s, -1.0), 1.0)),
}
"""The three distances in use, each a falling function of ``s``."""
