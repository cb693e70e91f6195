"""GULP: how far ridge predictors on two spaces can differ, in the worst case over tasks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isthmus.array_types import Floats, Matrix
from isthmus.similarity.measure import ROTATION, Computed, MomentMeasure
from isthmus.similarity.null import Null, kernel_null
from isthmus.similarity.paired_moments import PairedMoments
from isthmus.similarity.permuted_rows import PermutedSides
from isthmus.similarity.spectra import Gradient, Spectra
from isthmus.threads import single_thread

__all__ = ["DECLARED", "GULP_LAMBDA", "Gulp", "gulp", "gulp_gradient"]

_NEARLY_EQUAL = 1e-3

GULP_LAMBDA = 0.01
"""The ridge, relative to sides of trace 1."""


@dataclass(frozen=True)
class Gulp:
    """The parts of the squared distance, and the shapes its null is made of.

    Attributes:
        own_x: ``tr (A(A+λ)⁻¹)²`` of x.
        own_y: the same of y.
        common: ``‖(A+λ)^-½ M (C+λ)^-½‖²``.
        shrink_x: ``a / (a + λ)`` of every eigenvalue of x.
        shrink_y: the same of y.
    """

    own_x: float
    own_y: float
    common: float
    shrink_x: Matrix
    shrink_y: Matrix

    @property
    def distance(self) -> float:
        """``√(own_x + own_y − 2 common)``, 0 for spaces equal up to rotation, offset and scale."""
        return max(self.own_x + self.own_y - 2 * self.common, 0.0) ** 0.5


def gulp(spectra: Spectra, ridge: float = GULP_LAMBDA, *, whitened: Matrix | None = None) -> Gulp:
    """The parts of GULP between sides scaled to ``tr A = tr C = 1``.

    Boix-Adserà et al. 2022, arXiv 2210.06545, eq. 3 in the form with covariances: the squared
    distance is ``tr (A_λ⁻¹A)² + tr (C_λ⁻¹C)² − 2 tr A_λ⁻¹ M C_λ⁻¹ Mᵀ`` with ``A_λ = A + λI``.

    ``whitened (rx, ry)`` takes the place of that of ``spectra``, where the pairing is another.
    """
    shrunk: list[Matrix] = []
    for eigen in (spectra.x, spectra.y):
        values = eigen.values / eigen.total
        shrunk.append(values / (values + ridge))
    shrink_x, shrink_y = shrunk
    with single_thread:
        # a whitened correlation times √(a/(a+λ)) on both sides
        m = spectra.whitened if whitened is None else whitened
        common = float(shrink_x @ m**2 @ shrink_y)
    return Gulp(
        own_x=float((shrink_x**2).sum()),
        own_y=float((shrink_y**2).sum()),
        common=common,
        shrink_x=shrink_x,
        shrink_y=shrink_y,
    )


def gulp_gradient(spectra: Spectra, ridge: float = GULP_LAMBDA) -> Gradient:
    """How the squared distance answers to a change of the covariances.

    In the eigenbases, with both sides of trace 1 and ``E = A_λ⁻¹ M C_λ⁻¹``: by M it is ``−4E``, by
    A ``f'(a)`` on the diagonal and ``2 E C_λ Eᵀ``, where ``f(a) = (a/(a+λ))²``; and the scaling to
    trace 1 takes away what would change the trace alone.
    """
    total_x, total_y = spectra.x.total, spectra.y.total
    a, c = spectra.x.values / total_x, spectra.y.values / total_y
    cross = spectra.cross / (total_x * total_y) ** 0.5
    e = cross / (a + ridge)[:, None] / (c + ridge)
    of_cross = -2 * float(np.vdot(e, cross))  # half of ⟨−4E, M⟩: a trace scales M by its root
    own = float(((a / (a + ridge)) ** 2).sum() + ((c / (c + ridge)) ** 2).sum())
    # nearly equal sides: the distance magnifies what the terms do not cancel
    kind = np.float64 if own + of_cross < _NEARLY_EQUAL * own else spectra.dtype
    vx, vy = (eigen.vectors.astype(kind, copy=False) for eigen in (spectra.x, spectra.y))

    def side(
        values: Matrix, vectors: Floats, spread: Floats, e: Matrix, other: Matrix, total: float
    ) -> Floats:
        slope = 2 * values * ridge / (values + ridge) ** 3
        trace = 2 * float(values @ e**2 @ (other + ridge)) + float(slope @ values) + of_cross
        roots = (np.sqrt(s / total).astype(kind) for s in (2 * (other + ridge), slope))
        # 2 V E C_λ Eᵀ Vᵀ + V f'(a) Vᵀ as one product with its own transpose
        root = np.concatenate([m * r for m, r in zip((spread, vectors), roots, strict=True)], 1)
        with single_thread:
            gradient = root @ root.T
        gradient[np.diag_indices(len(gradient))] -= trace / total
        return gradient

    narrow = e.astype(kind, copy=False)
    with single_thread:
        of_x, of_y = vx @ narrow, vy @ narrow.T
        xy = (of_x * kind(-4 / (total_x * total_y) ** 0.5)) @ vy.T
    return Gradient(
        xx=side(a, vx, of_x, e, c, total_x), xy=xy, yy=side(c, vy, of_y, e.T, a, total_y)
    )


# ---- the measure -------------------------------------------------------------------------------


def _gulp(moments: PairedMoments) -> Computed:
    found = gulp(moments.spectra)
    norm = (found.own_x * found.own_y) ** 0.5
    shapes = moments.whitened_shapes(found.shrink_x, found.shrink_y)
    null, warnings = moments.null(
        kernel_null(moments.rows, *shapes, found.common / norm), shapes, _common
    )

    def distance(common: float) -> float:
        return max(found.own_x + found.own_y - 2 * norm * common, 0.0) ** 0.5

    ends = [distance(null.mean + e * null.sd) for e in (1, -1)]
    interval = moments.interval_by_slopes(
        found.distance**2, lambda: gulp_gradient(moments.spectra), low=0.0, by_length=True
    )
    return Computed(
        found.distance,
        Null(mean=distance(null.mean), sd=(ends[1] - ends[0]) / 2, p=null.p, method=null.method),
        None if interval is None else (interval[0] ** 0.5, interval[1] ** 0.5),
        [*warnings, *moments.lengths_told],
    )


def _common(sides: PermutedSides) -> float:
    return gulp(sides.rows.spectra, whitened=sides.whitened).common


DECLARED = (
    MomentMeasure(
        name="gulp",
        words="GULP distance",
        definition="gulp.distance.lambda=0.01.unit-trace",
        formula="root of tr (A/(A+l))^2 + tr (C/(C+l))^2 - 2 tr M' M / (A+l)(C+l); "
        "traces 1, l = 0.01",
        source="Boix-Adserà et al. 2022, arXiv 2210.06545",
        higher_is_closer=False,
        low=0.0,
        high=None,
        at_identity=0.0,
        invariances=ROTATION,
        compute=_gulp,
    ),
)
