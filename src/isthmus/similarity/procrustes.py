"""Procrustes shape distances from moments: what remains after the best rotation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from isthmus.errors import InputError
from isthmus.moments import SecondMoments
from isthmus.similarity.measure import ROTATION, Computed, MomentMeasure
from isthmus.similarity.null import NormLaw, Null, chance_warning
from isthmus.similarity.paired_moments import PairedMoments
from isthmus.similarity.spectra import Gradient, Singular, exact_singular, singular
from isthmus.threads import single_thread

__all__ = ["DECLARED", "TRANSFORMS", "alignment", "alignment_gradient", "cross_singular"]

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


# ---- the measures ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Alignment:
    """``s`` with its law without relation, its null, what is said of it, and its interval."""

    s: float
    law: NormLaw
    null: Null
    warnings: list[str]
    interval: tuple[float, float] | None


def _aligned(moments: PairedMoments) -> _Alignment:
    cross = cross_singular(moments.second, vectors=moments.by_fold, dtype=moments.dtype)
    s = alignment(moments.second, cross)
    x, y = moments.spectra.x, moments.spectra.y
    # rounding can leave one direction more than n rows have
    most = round(moments.n) - 1
    law = moments.norm_law(x.values[:most] / x.total, y.values[:most] / y.total)
    interval = moments.interval_by_slopes(
        s, lambda: alignment_gradient(moments.second, cross, s), low=0.0, high=1.0, by_length=True
    )
    third_x, third_y = moments.thirds
    null, warnings = moments.null(
        law.null(law.mean, law.sd, law.upper_tail(s)),
        (moments.sums.shape("x", third_x), moments.sums.shape("y", third_y)),
        lambda sides: float(singular(sides.cross, vectors=False).values.sum()),
    )
    return _Alignment(s, law, null, [*warnings, *moments.lengths_told], interval)


def _distance(transform: Callable[[float], float], moments: PairedMoments) -> Computed:
    found = moments.shared(_aligned)
    s, law, interval = found.s, found.law, found.interval
    low, high = (transform(min(max(law.mean + e * law.sd, 0.0), 1.0)) for e in (1, -1))
    return Computed(
        transform(s),
        found.null.model_copy(
            update={"mean": transform(min(law.mean, 1.0)), "sd": (high - low) / 2}
        ),
        None if interval is None else (transform(interval[1]), transform(interval[0])),
        [*chance_warning(law.mean), *found.warnings],
        {"alignment": s},
        z=(s - law.mean) / law.sd,
    )


def _declared(
    name: str, words: str, definition: str, formula: str, source: str, high: float
) -> MomentMeasure:
    return MomentMeasure(
        name=name,
        words=words,
        definition=definition,
        formula=formula,
        source=source,
        higher_is_closer=False,
        low=0.0,
        high=high,
        at_identity=0.0,
        invariances=ROTATION,
        compute=partial(_distance, TRANSFORMS[name]),
    )


DECLARED = (
    _declared(
        "procrustes",
        "Procrustes distance",
        "procrustes.distance",
        "sqrt(2 - 2s), s = |X'Y|_* / (|X| |Y|), nuclear over Frobenius norms",
        "Schönemann 1966; Williams et al. 2021, arXiv 2110.14739",
        2.0**0.5,
    ),
    _declared(
        "procrustes_disparity",
        "Procrustes disparity",
        "procrustes.disparity",
        "1 - s^2: the residual after the best rotation and scale",
        "Gower 1975; scipy.spatial.procrustes",
        1.0,
    ),
    _declared(
        "procrustes_angle",
        "Procrustes angle (radians)",
        "procrustes.angle",
        "arccos s, in radians: a metric",
        "Williams et al. 2021, arXiv 2110.14739",
        math.pi / 2,
    ),
)
