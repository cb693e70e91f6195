"""Least squares over matrices that are nearly orthogonal: ``‖WᵀW − I‖_F ≤ λ``.

The problem, with a symmetric positive operator Q on matrices (``W ↦ AW`` for rows of covariance A)
and a matrix M::

    minimise  tr(WᵀQ(W)) − 2 tr(WᵀM)   subject to   ‖WᵀW − I‖_F ≤ λ

where for a widening map, ``dx < dy``, the constraint reads ``‖WWᵀ − I‖_F ≤ λ``: the smaller of the
two Gram matrices is the one that can be the identity.  Only singular values enter the constraint,
``Σ (s² − 1)² ≤ λ²``.

**Method.**  At the optimum the gradient of the objective is ``−2μ`` times ``(WWᵀ − I)W``, with a
multiplier μ ≥ 0: the optimum also minimises the smooth function
``tr(WᵀQ(W)) − 2 tr(WᵀM) + μ/2 ‖WᵀW − I‖²_F``.  So `descend` minimises that for a fixed μ and
`onto_ball` looks for the μ whose minimiser lies on the ball.  As in trust region methods (Hebden
1973; Moré 1978) ``1/‖WᵀW − I‖`` is nearly linear in μ, so that three or four values of μ are
enough, each warm-started from the one before.  `descend` is L-BFGS (Nocedal 1980) around an exact
inverse of the Hessian's dominant part: in coordinates where Q is nearly diagonal and W nearly the
identity the Hessian couples the entry (i, j) with (j, i) alone, which leaves 2 x 2 systems.

**Optimality.**  The feasible set is not convex.  For ``dx ≤ dy`` the problem has a convex dual
nevertheless: for every symmetric S with ``A + S`` positive definite the objective of every feasible
W is at least ``−tr(Mᵀ(A + S)⁻¹M) − tr S − λ‖S‖_F``, and ``S = μ(WWᵀ − I)`` attains it at a
stationary W with ``A + S`` positive definite.  `lower_bound` evaluates this bound, which certifies
a solution to be the global optimum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from isthmus.array_types import Matrix
from isthmus.scipy_later import linalg

__all__ = [
    "NearlyOrthogonal",
    "departure",
    "descend",
    "gradient_of_departure",
    "gram_excess",
    "lower_bound",
    "onto_ball",
    "within_ball",
]


_MEMORY = 8
_MOST_STEPS = 400
_MOST_MULTIPLIERS = 30
_NEAR = 3e-3
"""Relative distance from the ball's surface within which the last, exact step is taken."""


def gram_excess(w: Matrix) -> Matrix:
    """``WᵀW − I``, or ``WWᵀ − I`` where that is smaller."""
    excess = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    excess[np.diag_indices_from(excess)] -= 1.0
    return excess


def departure(w: Matrix) -> float:
    """How far ``w (dx, dy)`` is from (semi-)orthogonal: the Frobenius norm of `gram_excess`."""
    return float(np.linalg.norm(gram_excess(w)))


def gradient_of_departure(w: Matrix) -> Matrix:
    """The gradient of `departure` with respect to w; 0 where the departure is 0."""
    excess = gram_excess(w)
    return 2.0 * _times_excess(excess, w) / max(float(np.linalg.norm(excess)), 1e-300)


def within_ball(w: Matrix, radius: float) -> Matrix:
    """``w`` itself where its departure is at most ``radius``, else moved to it.

    All squared singular values move towards 1 by one factor, which leaves none below 0.
    """
    found = departure(w)
    if found <= radius:
        return w
    u, s, vt = linalg.svd(w, full_matrices=False, check_finite=False)
    return (u * np.sqrt(1.0 + (s**2 - 1.0) * (radius / found))) @ vt


def _times_excess(excess: Matrix, w: Matrix) -> Matrix:
    """``(WWᵀ − I)W = W(WᵀW − I)``, whichever of the two Gram matrices is given."""
    return excess @ w if w.shape[0] <= w.shape[1] else w @ excess


@dataclass(frozen=True, eq=False)
class NearlyOrthogonal:
    """The objective, in coordinates where the rigid map sought is near the identity."""

    apply: Callable[[Matrix], Matrix]
    """The operator Q."""
    diagonal: Matrix
    """Its diagonal, ``(dx, dy)`` or ``(dx, 1)``: exact where Q is diagonal."""
    linear: Matrix
    """``M (dx, dy)``."""

    @property
    def scale(self) -> float:
        """The size of the objective at a rigid map, by which tolerances are relative."""
        rows, columns = self.linear.shape
        power = float(np.broadcast_to(self.diagonal, (rows, columns)).sum()) / max(rows, columns)
        return power + float(np.linalg.norm(self.linear)) * min(rows, columns) ** 0.5

    def value(self, w: Matrix) -> float:
        """``tr(WᵀQ(W)) − 2 tr(WᵀM)``."""
        return float(np.vdot(w, self.apply(w)) - 2.0 * np.vdot(w, self.linear))


@dataclass(frozen=True, eq=False)
class _Point:
    """A matrix with what `descend` needs to know there."""

    w: Matrix
    penalised: float
    gradient: Matrix
    departure: float

    @classmethod
    def at(cls, problem: NearlyOrthogonal, w: Matrix, mu: float) -> _Point:
        excess = gram_excess(w)
        square = float(np.vdot(excess, excess))
        applied = problem.apply(w)
        value = float(np.vdot(w, applied) - 2.0 * np.vdot(w, problem.linear))
        gradient = _times_excess(excess, w)
        gradient *= mu
        gradient += applied
        gradient -= problem.linear
        gradient *= 2.0
        return cls(w, value + 0.5 * mu * square, gradient, square**0.5)


@dataclass(eq=False)
class _Curvature:
    """L-BFGS around the inverse of the Hessian's 2 x 2 blocks."""

    problem: NearlyOrthogonal
    steps: list[Matrix] = field(default_factory=list[Matrix])
    changes: list[Matrix] = field(default_factory=list[Matrix])
    weights: list[float] = field(default_factory=list[float])

    def learn(self, step: Matrix, change: Matrix) -> None:
        """Remember how the gradient changed along a step."""
        curvature = float(np.vdot(step, change))
        if curvature <= 1e-12 * float(np.linalg.norm(step) * np.linalg.norm(change)):
            return
        self.steps.append(step)
        self.changes.append(change)
        self.weights.append(1.0 / curvature)
        if len(self.steps) > _MEMORY:
            del self.steps[0], self.changes[0], self.weights[0]

    def forget(self) -> None:
        """Forget the steps so far, so that the next one starts anew."""
        for known in (self.steps, self.changes, self.weights):
            known.clear()

    def direction(self, point: _Point, mu: float) -> Matrix:
        """The step that L-BFGS takes downhill."""
        solve = self._blocks(point.w, mu)
        rest = point.gradient.copy()
        shares: list[float] = []
        for i in reversed(range(len(self.steps))):
            share = self.weights[i] * float(np.vdot(self.steps[i], rest))
            rest -= share * self.changes[i]
            shares.insert(0, share)
        step = solve(rest)
        if self.steps:
            # the blocks are the Hessian but for a factor, which the last step has shown
            step /= self.weights[-1] * float(np.vdot(self.changes[-1], solve(self.changes[-1])))
        for i, share in enumerate(shares):
            back = self.weights[i] * float(np.vdot(self.changes[i], step))
            step += (share - back) * self.steps[i]
        return step

    def _blocks(self, w: Matrix, mu: float) -> Callable[[Matrix], Matrix]:
        """The inverse of ``H ↦ 2Q(H) + 2μ(HWᵀW + WHᵀW + WWᵀH − H)`` without small couplings."""
        p = min(w.shape)
        rows, columns = np.einsum("ij,ij->i", w, w), np.einsum("ij,ij->j", w, w)
        own = self.problem.diagonal + mu * (rows[:, None] + columns[None, :] - 1.0)
        floor = 1e-4 * float(self.problem.diagonal.mean()) + 1e-8 * mu
        own = np.maximum(own, floor)
        one, mutual = own[:p, :p], np.multiply.outer(np.diagonal(w), mu * np.diagonal(w))
        product = one * one.T
        most = np.sqrt(product)
        most -= 0.99 * floor
        np.minimum(mutual, most, out=mutual)
        np.maximum(mutual, np.negative(most, out=most), out=mutual)
        product -= mutual * mutual
        product *= 2.0
        # the inverse of [[own, mutual], [mutual, other]]
        mutual /= product
        straight = 0.5 / own if own.shape != one.shape else np.empty_like(own)
        np.divide(one.T, product, out=straight[:p, :p])

        def solve(right: Matrix) -> Matrix:
            step = straight * right
            step[:p, :p] -= mutual * right[:p, :p].T
            return step

        return solve


def descend(
    problem: NearlyOrthogonal,
    start: Matrix,
    mu: float,
    tolerance: float,
    curvature: _Curvature | None = None,
) -> _Point:
    """The minimiser for one multiplier ``mu``, near ``start``.

    Args:
        problem: the objective.
        start: where to begin.
        mu: weight of half the squared departure.
        tolerance: the expected decrease, relative to the size of the objective, at which to stop.
        curvature: what earlier descents have learnt.
    """
    curvature = _Curvature(problem) if curvature is None else curvature
    enough = tolerance * problem.scale
    point = _Point.at(problem, start, mu)
    for _ in range(_MOST_STEPS):
        step = curvature.direction(point, mu)
        expected = float(np.vdot(point.gradient, step))
        if expected <= enough:
            break
        found = _downhill(problem, point, mu, step, expected)
        if found is None:
            # where singular values are far from 1 the blocks are not the Hessian
            curvature.forget()
            step = _short_step(problem, point, mu)
            found = _downhill(problem, point, mu, step, float(np.vdot(point.gradient, step)))
        if found is None:
            break
        curvature.learn(found.w - point.w, found.gradient - point.gradient)
        point = found
    return point


def _downhill(
    problem: NearlyOrthogonal, point: _Point, mu: float, step: Matrix, expected: float
) -> _Point | None:
    """The first point along ``−step`` that decreases enough (Armijo); None where none does."""
    length = 1.0
    while length > 1e-6:
        tried = _Point.at(problem, point.w - length * step, mu)
        if tried.penalised <= point.penalised - 1e-4 * length * expected:
            return tried
        length *= 0.5
    return None


def _short_step(problem: NearlyOrthogonal, point: _Point, mu: float) -> Matrix:
    """The gradient over a bound on the curvature near the point."""
    largest = 1.0 + point.departure
    return point.gradient / (2.0 * (float(problem.diagonal.max()) + 3.0 * mu * largest))


def onto_ball(
    problem: NearlyOrthogonal,
    start: Matrix,
    radius: float,
    mu: float,
    loosest: float,
    tolerance: float,
) -> tuple[Matrix, float]:
    """The minimiser with departure ``radius``, and its multiplier.

    Args:
        problem: the objective.
        start: where to begin.
        radius: λ > 0.
        mu: a guess of the multiplier.
        loosest: the departure at multiplier 0, more than ``radius``.
        tolerance: as of `descend`.

    Where less departure than ``radius`` costs nothing within the tolerance, it is left so.
    """
    curvature = _Curvature(problem)
    search = _Multipliers(1.0 / radius, 1.0 / loosest)
    loose, before = 100.0 * tolerance, -1.0
    w = start
    for _ in range(_MOST_MULTIPLIERS):
        point = descend(problem, w, mu, loose, curvature)
        w = point.w
        found = max(point.departure, 1e-300)
        off = abs(found / radius - 1.0)
        gain = 0.5 * mu * (radius**2 - found**2)
        if loose <= tolerance and (off < _NEAR or 0 <= gain < tolerance * problem.scale):
            break
        if loose > tolerance and off <= 0.03:
            # what is left may be as much the descent's fault as the multiplier's
            loose = tolerance
            continue
        if loose > tolerance:
            loose = tolerance if off <= 0.2 else max(tolerance, 0.1 * loose)
        elif found == before:
            # too loose to notice that μ has changed
            loose = max(0.1 * loose, 1e-4 * tolerance)
        before = found
        if off >= 0.3 * _NEAR:
            mu = search.after(mu, 1.0 / found)
    w = _retracted(w, radius)
    return w, _multiplier_at(problem, w, mu)


def _multiplier_at(problem: NearlyOrthogonal, w: Matrix, mu: float) -> float:
    """The μ with which ``w`` is most nearly stationary: ``M − Q(W) = μ (WWᵀ − I)W``."""
    outward = _times_excess(gram_excess(w), w)
    square = float(np.vdot(outward, outward))
    apart = float(np.vdot(problem.linear - problem.apply(w), outward))
    return apart / square if 0.3 * mu * square < apart < 3.0 * mu * square else mu


@dataclass(eq=False)
class _Multipliers:
    """The search for the multiplier at which ``1/departure`` is ``wanted``.

    ``1/departure - lowest`` grows about as a power of μ, the first in the rigid limit.  The power
    comes from values of μ that are well apart: descents that stop early blur what is closer.
    """

    wanted: float
    lowest: float
    """``1/departure`` at multiplier 0."""
    power: float = 1.0
    last: tuple[float, float] | None = None

    def after(self, mu: float, inverse: float) -> float:
        """What to try after ``mu``, whose minimiser has the departure ``1/inverse``."""
        tiny = 1e-9 * self.wanted
        height = np.log(max(inverse - self.lowest, tiny))
        place = np.log(mu)
        if self.last is not None and abs(place - self.last[0]) > 0.02:
            rise = (height - self.last[1]) / (place - self.last[0])
            self.power = float(np.clip(rise, 0.3, 4.0))
        self.last = (place, height)
        missing = np.log(max(self.wanted - self.lowest, tiny)) - height
        return float(mu * np.exp(np.clip(missing / self.power, -1.6, 1.6)))


def _retracted(w: Matrix, radius: float) -> Matrix:
    """``w`` moved along the constraint's gradient until its departure is ``radius``.

    With E the Gram excess, ``W − τ(WWᵀ − I)W`` has the excess ``E − 2τ(E + E²) + τ²(E² + E³)``, so
    that the squared departure is a quartic in τ.
    """
    excess = gram_excess(w)
    square = excess @ excess
    cube = excess @ square
    terms = (excess, -2.0 * (excess + square), square + cube)
    products = np.array([[float(np.vdot(a, b)) for a in terms] for b in terms])
    coefficients = np.array(
        [
            products[2, 2],
            2.0 * products[1, 2],
            2.0 * products[0, 2] + products[1, 1],
            2.0 * products[0, 1],
            products[0, 0] - radius**2,
        ]
    )
    tau = 0.0
    slope = np.polyder(coefficients)
    for _ in range(20):
        steepness = float(np.polyval(slope, tau))
        if steepness >= 0:
            return w
        change = float(np.polyval(coefficients, tau)) / steepness
        tau -= change
        if abs(change) <= 1e-14 * (1.0 + abs(tau)):
            break
    return w if abs(tau) > 0.05 else w - tau * _times_excess(excess, w)


def lower_bound(a: Matrix, m: Matrix, w: Matrix, mu: float, radius: float) -> float:
    """A value that the objective with ``Q(W) = aW`` has nowhere on the ball, for ``dx ≤ dy``.

    The dual function at ``S = mu (WWᵀ − I)``, with the eigenvalues of ``a + S`` raised to a small
    positive value where they are below it; several such values are tried.
    """
    values, vectors = linalg.eigh(a + mu * gram_excess(w), driver="evd", check_finite=False)
    power = np.einsum("ij,ij->i", vectors.T @ m, vectors.T @ m)
    best = -np.inf
    for share in 10.0 ** np.arange(-12, 0):
        lifted = np.maximum(values, share * float(np.abs(values).max()) + 1e-300)
        dual = (vectors * lifted) @ vectors.T - a
        bound = -float((power / lifted).sum()) - float(np.trace(dual))
        best = max(best, bound - radius * float(np.linalg.norm(dual)))
    return best
