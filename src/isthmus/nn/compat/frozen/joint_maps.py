"""A backward and a forward map fitted together, so that old and new vectors meet in one space.

With rows x of the new model and y of the old one, both frozen, the paper (arXiv:2509.16664,
section 3) trains ``B``, new → a space comparable with the old, kept within λ of orthogonality, and
``F``, old → that space, on ``w₁ L_F + w₂ L_B`` with::

    L_F = E‖F(y) − B(x)‖²        L_B = E‖B(x)[:d] − y‖²

where the first d outputs of B are compared with the d dimensions of the old space.  For a given
``B(x) = xW`` the best F is the ridge regression of ``xW`` on y, ``(C + αI)⁻¹MᵀW``, and what it
leaves of L_F is a quadratic in W::

    L_F + α‖F‖² = tr(WᵀSW),   S = A − M (C + αI)⁻¹ Mᵀ

So W solves the λ-orthogonal problem of `isthmus.adapters.steps.lambda_path` with
``A' = w₂A + w₁S`` and ``M' = w₂M``.  Where the new space is wider, its columns beyond the first d
have no part in L_B: there ``A' = w₁S`` and ``M' = 0``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg

from isthmus.adapters.chain import Affine
from isthmus.adapters.steps.lambda_path import ROUGHLY, TOLERANCE, absolute_lambda, lambda_path
from isthmus.adapters.steps.procrustes import nearest_orthogonal
from isthmus.adapters.steps.ridge import RidgePath
from isthmus.adapters.steps.spectral_ball import NearlyOrthogonal, departure, onto_ball
from isthmus.array_types import Matrix
from isthmus.errors import InputError
from isthmus.moments import SecondMoments
from isthmus.threads import single_thread

__all__ = ["JointMaps", "joint_maps", "padded_map"]


@dataclass(frozen=True, eq=False)
class JointMaps:
    """Both maps; they end in one space of ``max(new, old)`` dimensions, the old ones first."""

    backward: Affine
    """New → common: ``(new, max(new, old))``."""
    forward: Affine
    """Old → common: ``(old, max(new, old))``."""
    lam: float
    """The bound on the departure of ``backward``, absolute."""
    departure: float
    """``‖WᵀW - I‖_F`` of its matrix, the smaller Gram matrix."""
    multiplier: float
    """0 where a larger λ would fit no better."""
    backward_error: float
    """``L_B`` on the rows that were fitted."""
    forward_error: float
    """``L_F`` on them, without the penalty."""

    def __repr__(self) -> str:
        return (
            f"JointMaps(lam={self.lam:.4g}, departure={self.departure:.4g}, "
            f"backward_error={self.backward_error:.4g}, forward_error={self.forward_error:.4g})"
        )


def joint_maps(
    moments: SecondMoments,
    lam: float = 0.25,
    *,
    relative: bool = True,
    backward_weight: float = 1.0,
    forward_weight: float = 1.0,
    alpha: float = 1e-3,
) -> JointMaps:
    """Fit the backward and the forward map together.

    Args:
        moments: x the new model, y the old one, with ``xx``, ``xy`` and ``yy``.
        lam: bound on the departure of the backward map from orthogonality.
        relative: whether it is a multiple of ``√new``, for a narrower new space too.
        backward_weight: w₂ > 0, of ``L_B``.
        forward_weight: w₁ ≥ 0, of ``L_F``.
        alpha: ridge strength of the forward map, relative to the mean eigenvalue of ``yy``.

    Raises:
        InputError: for a λ, weight or strength out of range.

    Example:
        >>> import numpy as np
        >>> from isthmus.moments import Moments
        >>> rng = np.random.default_rng(0)
        >>> old = rng.standard_normal((200, 6))
        >>> new = old @ np.linalg.qr(rng.standard_normal((6, 6)))[0]
        >>> maps = joint_maps(Moments.of(new, old).second())
        >>> maps.backward.matrix.shape, bool(maps.departure <= maps.lam + 1e-6)
        ((6, 6), True)
    """
    if not (0 < backward_weight < np.inf and 0 <= forward_weight < np.inf):
        raise InputError(
            f"the weights are {backward_weight} (backward) and {forward_weight} (forward)",
            mend="The first must be positive, the second 0 or more",
        )
    a, m, c = (moments.require(name) for name in ("xx", "xy", "yy"))
    new, old = m.shape
    radius = absolute_lambda(lam, new, relative=relative)
    with single_thread:
        back = RidgePath.of(moments.reversed())
        strength = back.filter([alpha])[0]
        left_over = a - back.rotated.T @ (strength[:, None] * back.rotated)
        compared = backward_weight * a + forward_weight * left_over
        pull = backward_weight * m
        if new > old:
            w, multiplier = padded_map(moments, compared, forward_weight * left_over, pull, radius)
        else:
            framed = replace(moments, xx=compared, xy=pull)
            found = lambda_path(framed, [radius], relative=False)[0]
            w, multiplier = found.matrix, found.multiplier
        f = back.vectors @ (strength[:, None] * (back.rotated @ w))
        spread = float(np.vdot(w, a @ w))
        first = w[:, :old]
        backward_error = np.vdot(first, a @ first - 2.0 * m) + np.trace(c)
        forward_error = spread - 2.0 * np.vdot(f, m.T @ w) + np.vdot(f, c @ f)
    centre = np.zeros(w.shape[1])
    centre[:old] = moments.mean_y
    return JointMaps(
        Affine(w, centre - moments.mean_x @ w),
        Affine(f, centre - moments.mean_y @ f),
        radius,
        departure(w),
        multiplier,
        max(float(backward_error), 0.0),
        max(float(forward_error), 0.0),
    )


def padded_map(
    moments: SecondMoments,
    compared: Matrix,
    padding: Matrix,
    pull: Matrix,
    radius: float,
    tolerance: float = TOLERANCE,
    rest: Matrix | None = None,
) -> tuple[Matrix, float]:
    """The square W whose first columns have the covariance ``compared``, the others ``padding``.

    Args:
        moments: of the pairs, new and old; what is fitted is in the other arguments.
        compared: ``(new, new)``.
        padding: ``(new, new)``.
        pull: ``(new, old)``, new > old, of the first columns.
        radius: absolute λ.
        tolerance: of the descent, relative to the objective.
        rest: ``(new, new - old)``, the pull of the other columns; 0 if not given.

    Returns:
        W and the multiplier of the constraint.
    """
    new, old = pull.shape
    least = np.zeros((new, new))
    least[:, :old] = RidgePath.of(replace(moments, xx=compared, xy=pull)).map(0.0)
    if rest is not None:
        least[:, old:] = RidgePath.of(replace(moments, xx=padding, xy=rest)).map(0.0)
    loosest = departure(least)
    if radius >= loosest:
        return least, 0.0
    if not compared.any():
        # a constant source: every map is as good
        return np.eye(new), 0.0
    u, _, vt = scipy.linalg.svd(pull, full_matrices=True, check_finite=False)
    parts = (slice(0, old), slice(old, new))
    beyond = u[:, old:]
    if rest is not None:
        beyond = beyond @ nearest_orthogonal(beyond.T @ rest)[0]
    frame, turn = np.empty((new, new)), np.zeros((new, new))
    for part, columns, quadratic in (
        (parts[0], u[:, :old] @ vt, compared),
        (parts[1], beyond, padding),
    ):
        _, vectors = scipy.linalg.eigh(
            columns.T @ quadratic @ columns, driver="evd", check_finite=False
        )
        frame[:, part], turn[part, part] = columns @ vectors, vectors
    inside = [frame.T @ quadratic @ frame for quadratic in (compared, padding)]

    def apply(z: Matrix) -> Matrix:
        return np.hstack([q @ z[:, part] for q, part in zip(inside, parts, strict=True)])

    linear = np.zeros((new, new))
    linear[:, :old] = frame.T @ pull @ turn[:old, :old]
    if rest is not None:
        linear[:, old:] = frame.T @ rest @ turn[old:, old:]
    diagonal = np.repeat(
        np.column_stack([np.diagonal(q) for q in inside]), (old, new - old), axis=1
    )
    problem = NearlyOrthogonal(apply, diagonal, linear)
    z, multiplier = np.eye(new), 0.0
    # a stiff penalty far from the solution would hold every step short: from loose to tight
    radii = [max(radius, 3e-3 * new**0.5)]
    while radii[0] < 0.1 * new**0.5:
        radii.insert(0, 4.0 * radii[0])
    for each in radii:
        guess = multiplier * 4.0 if multiplier > 0 else _first_multiplier(problem, each)
        enough = tolerance if each == radii[-1] else max(tolerance, ROUGHLY)
        z, multiplier = onto_ball(problem, z, each, guess, loosest, enough)
    w = frame @ z @ turn.T
    if radius < radii[-1]:
        u, _, vt = scipy.linalg.svd(w, check_finite=False)
        return u @ vt, np.inf
    return w, multiplier


def _first_multiplier(problem: NearlyOrthogonal, radius: float) -> float:
    """The multiplier that a rigid map's gradient suggests."""
    start = np.eye(len(problem.linear))
    gradient = problem.linear - problem.apply(start)
    return max(float(np.linalg.norm(gradient + gradient.T)) / (2.0 * radius), 1e-300)
