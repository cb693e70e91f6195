"""The least-squares map within a distance λ of orthogonality, from moments, for every λ.

See `isthmus.adapters.steps.lambda_orthogonal` for what it is good for and for the definitions; the
problem is brought into the eigenbasis of the source covariance here and solved by
`isthmus.adapters.steps.spectral_ball`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.adapters.steps.base import Value
from isthmus.adapters.steps.procrustes import nearest_orthogonal
from isthmus.adapters.steps.ridge import RidgePath
from isthmus.adapters.steps.spectral_ball import NearlyOrthogonal, departure, lower_bound, onto_ball
from isthmus.array_types import Matrix
from isthmus.errors import InputError
from isthmus.moments import SecondMoments
from isthmus.scipy_later import linalg
from isthmus.threads import single_thread

__all__ = ["LambdaMap", "absolute_lambda", "lambda_path", "optimality_gap"]


TOLERANCE = 1e-7
"""The error of a solution, relative to the size of the objective."""
ROUGHLY = 1e-6
"""Enough to compare errors by, and for solutions on the way."""

_NEARLY_RIGID = 3e-3
"""Relative λ from which a narrowing map is rounded to the semi-orthogonal one."""


@dataclass(frozen=True, eq=False)
class LambdaMap:
    """The best map within one λ."""

    matrix: Matrix
    """``W (dx, dy)`` for centred rows."""
    lam: float
    """The bound on the departure, absolute."""
    departure: float
    """``‖WᵀW - I‖_F``, of the smaller side."""
    multiplier: float
    """μ ≥ 0 of the constraint: relaxing ``λ²/2`` by ε lowers the squared error by about ``με``.
    0 where the constraint is not active, ∞ for λ = 0."""

    @property
    def active(self) -> bool:
        """Whether a larger λ would fit better."""
        return self.multiplier > 0

    def __repr__(self) -> str:
        dx, dy = self.matrix.shape
        return (
            f"LambdaMap({dx} to {dy}, lam={self.lam:.4g}, departure={self.departure:.4g}, "
            f"{'active' if self.active else 'not active'})"
        )


def lambda_path(
    moments: SecondMoments,
    lams: Sequence[float],
    *,
    relative: bool = True,
    near: Sequence[LambdaMap] | None = None,
    tolerance: float = TOLERANCE,
) -> list[LambdaMap]:
    """The best map for every λ, each warm-started from its neighbour.

    Args:
        moments: with ``xx (dx, dx)`` and ``xy (dx, dy)``.
        lams: bounds of 0 or more, ∞ for least squares, in any order.
        relative: whether they are multiples of ``√min(dx, dy)``.
        near: solutions for the same ``lams`` on similar moments, such as another fold's: their
            multipliers spare most of the search.  (Their matrices are no better a start than a
            rotation: in directions of little variance folds have nothing in common.)
        tolerance: of the objective, relative to its size.

    Returns:
        The maps in the order of ``lams``.

    Raises:
        InputError: for a λ that is negative or not a number.
    """
    smaller = min(moments.require("xy").shape)
    radii = [absolute_lambda(lam, smaller, relative=relative) for lam in lams]
    with single_thread:
        fit = _Fit.of(moments)
        found: dict[int, LambdaMap] = {}
        # from the end where the solution is known: rotation, or least squares for narrowing maps
        order = sorted(range(len(radii)), key=lambda i: radii[i], reverse=fit.narrowing)
        behind: list[LambdaMap] = []
        for i in order:
            known = near[i].multiplier if near is not None else 0.0
            found[i] = fit.map(radii[i], fit.ahead(behind, radii[i]), tolerance, known)
            if 0 < found[i].multiplier < np.inf:
                behind.append(found[i])
    return [found[i] for i in range(len(radii))]


def optimality_gap(moments: SecondMoments, found: LambdaMap) -> float:
    """How far at most the squared error of ``found`` is above that of the best map within its λ.

    A bound that holds whatever the solver did, in the units of the squared error; from a convex
    dual problem (see `isthmus.adapters.steps.spectral_ball`).

    Raises:
        InputError: for narrowing maps, where no such bound is known, and for λ = 0 or ∞.
    """
    a, m = moments.require("xx"), moments.require("xy")
    if m.shape[0] > m.shape[1]:
        raise InputError(f"a map of {m.shape[0]} to {m.shape[1]} dimensions has no such bound")
    if not 0 < found.lam < np.inf:
        raise InputError(f"the bound needs a λ above 0 and below infinity, got {found.lam}")
    w = found.matrix
    with single_thread:
        value = float(np.vdot(w, a @ w) - 2.0 * np.vdot(w, m))
        return max(value - lower_bound(a, m, w, found.multiplier, found.lam), 0.0)


def absolute_lambda(lam: Value, smaller: int, *, relative: bool) -> float:
    """λ as a bound on the departure, from a multiple of ``√smaller`` where it is ``relative``.

    Raises:
        InputError: if it is negative or not a number.
    """
    if isinstance(lam, bool | str) or not lam >= 0:
        raise InputError(
            f"λ is {lam!r}, and a distance from orthogonality is 0 or more",
            where="lambda_orthogonal",
            mend="Use 0 for a rotation, .1 to .4 (relative) between, inf for least squares",
        )
    return float(lam) * (smaller**0.5 if relative else 1.0)


@dataclass(frozen=True, eq=False)
class _Fit:
    """One problem in the eigenbasis of A: ``W = left Z rightᵀ``, with Z near the identity."""

    left: Matrix
    right: Matrix
    problem: NearlyOrthogonal
    rigid: Matrix
    """The (semi-)orthogonal map that is best aligned, ``(dx, dy)``."""
    least: Matrix
    """The least-squares map of the least norm, ``(dx, dy)``."""
    nearest: Matrix
    """The least-squares map of the least departure, ``(dx, dy)``."""
    loosest: float
    """The distance from orthogonality of `nearest`."""
    pull: float
    """``‖S‖`` in the rigid limit, where the departure is ``‖S‖/μ``."""

    @classmethod
    def of(cls, moments: SecondMoments) -> _Fit:
        a, m = moments.require("xx"), moments.require("xy")
        dx, dy = m.shape
        path = RidgePath.of(moments)
        left = np.ascontiguousarray(path.vectors[:, ::-1])
        values = path.values[::-1].copy()
        rigid, _ = nearest_orthogonal(m)
        least = path.map(0.0)
        nearest = _filled(left, path.filter([0.0])[0][::-1] == 0, least)
        if dx > dy:
            u, _, vt = linalg.svd(left[:, :dy].T @ nearest, check_finite=False)
            right = (u @ vt).T
            gradient = rigid.T @ (m - a @ rigid)
        else:
            right = _row_basis(rigid.T @ left, m)
            gradient = (m - a @ rigid) @ rigid.T if dx == dy else m @ rigid.T - a
        column = values[:, None]
        problem = NearlyOrthogonal(lambda z: column * z, column, left.T @ m @ right)
        pull = float(np.linalg.norm(gradient + gradient.T)) / 2.0
        return cls(left, right, problem, rigid, least, nearest, departure(nearest), pull)

    @property
    def narrowing(self) -> bool:
        """Whether ``dx > dy``."""
        return self.rigid.shape[0] > self.rigid.shape[1]

    def map(
        self, radius: float, near: LambdaMap | None, tolerance: float, known: float = 0.0
    ) -> LambdaMap:
        """The solution for one absolute λ, from ``near`` and with a multiplier ``known`` before."""
        norm = departure(self.least)
        if radius >= norm:
            return LambdaMap(self.least, radius, norm, 0.0)
        if radius >= self.loosest:
            return LambdaMap(self.nearest, radius, self.loosest, 0.0)
        rounded = radius == 0
        if rounded:
            if not self.narrowing:
                return LambdaMap(self.rigid, 0.0, departure(self.rigid), np.inf)
            radius = _NEARLY_RIGID * self.rigid.shape[1] ** 0.5
        if self.narrowing and (self.loosest if near is None else near.lam) > 4.0 * radius:
            # a stiff penalty far from the solution would hold every step short
            near = self.map(4.0 * radius, near, max(tolerance, ROUGHLY))
        guess = self._multiplier(radius)
        # a direction that least squares leaves at 0 would stay there: its gradient is 0
        start = 0.9 * self.nearest + 0.1 * self.rigid if self.narrowing else self.rigid
        if near is not None and near.multiplier > 0:
            start = near.matrix
            usual = self._multiplier(near.lam)
            guess *= near.multiplier / usual if usual > 0 else 1.0
        if 0 < known < np.inf:
            guess = known
        z = self.left.T @ start @ self.right
        if self.loosest > radius:
            z, guess = onto_ball(self.problem, z, radius, guess, self.loosest, tolerance)
        w = self.left @ z @ self.right.T
        if rounded:
            w, _ = nearest_orthogonal(w)
            return LambdaMap(w, 0.0, departure(w), np.inf)
        return LambdaMap(w, radius, departure(w), guess)

    def ahead(self, behind: Sequence[LambdaMap], radius: float) -> LambdaMap | None:
        """Where the line through the last two solutions points for the next λ."""
        if len(behind) < 2 or behind[-1].lam == behind[-2].lam:
            return behind[-1] if behind else None
        before, last = behind[-2:]
        share = min((radius - last.lam) / (last.lam - before.lam), 2.0)
        trend = self._multiplier(before.lam) / before.multiplier
        trend *= last.multiplier / self._multiplier(last.lam)
        return LambdaMap(
            last.matrix + share * (last.matrix - before.matrix),
            last.lam,
            last.departure,
            last.multiplier * min(max(trend, 0.5), 2.0),
        )

    def _multiplier(self, radius: float) -> float:
        floor = 1e-12 * self.problem.scale + 1e-300
        return max((1.0 / radius - 1.0 / max(self.loosest, radius)) * self.pull, floor)


def _row_basis(aligned: Matrix, m: Matrix) -> Matrix:
    """A basis ``(dy, q)`` in which the rows of the best map lie, the ``dx`` of the rigid first.

    The optimum is ``(A + S)⁻¹M`` and so has the row space of M where that is ``dx``-dimensional.
    """
    dx, dy = m.shape
    if dx == dy:
        return aligned
    size = linalg.svdvals(m, check_finite=False)
    if size[-1] > 1e-10 * size[0]:
        return aligned
    return np.hstack([aligned, linalg.null_space(aligned.T)])


def _filled(left: Matrix, unused: NDArray[np.bool_], least: Matrix) -> Matrix:
    """The least-squares map with the directions that the source never uses put to work.

    Rows of W there cost nothing; they take the output directions that W shortens most and bring
    them to length 1.
    """
    free = int(unused.sum())
    if free == 0:
        return least
    square, directions = linalg.eigh(least.T @ least, driver="evd", check_finite=False)
    count = min(free, len(square))
    lengths = np.sqrt(np.maximum(1.0 - np.maximum(square[:count], 0.0), 0.0))
    places = np.flatnonzero(unused)[:count]
    return least + left[:, places] @ (lengths[:, None] * directions[:, :count].T)
