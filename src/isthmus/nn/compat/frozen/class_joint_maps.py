"""A backward and a forward map fitted together, with classes: the contrastive loss in closed form.

`joint_maps` solves the squared losses of λ-orthogonal adapters (arXiv:2509.16664) exactly.  Their
third loss, contrastive by class, needs rows and a training; what it is there for, rows of a class
together and classes apart, follows from the class means as well.  With ``B(x) = xW`` and ``F(y)``,
both models frozen, minimised over ``‖WᵀW − I‖_F ≤ λ`` is::

    w₂ E‖B(x)[:d] − y'‖² + w₁ min_F E‖F(y) − B(x)‖² + w₃ E‖B(x) − B(x̄_c)‖²

where ``y' = (1 − η) y + η ȳ_c`` is drawn towards the mean of its class, and the last term is the
scatter within classes, which λ keeps from being shrunk to nothing.  It is quadratic in W::

    A' = w₂A + w₁(A − M(C + αI)⁻¹Mᵀ) + w₃(A − Σ p_c x̄_c x̄_cᵀ)
    M' = w₂((1 − η)M + η Σ p_c x̄_c ȳ_cᵀ)

and the forward map is the ridge regression, on y, of ``B(x)`` drawn towards ``u_c``, the direction
of the mean image of its class at the length that old vectors have::

    (C + αI)⁻¹((1 − η_F) MᵀW + η_F Σ p_c ȳ_c u_cᵀ)

Both maps are linear without an offset, so that λ bounds how much a cosine can change; A, M and C
are taken about 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from isthmus.adapters.chain import Affine
from isthmus.adapters.steps.lambda_path import TOLERANCE, absolute_lambda, lambda_path
from isthmus.adapters.steps.ridge import RidgePath
from isthmus.adapters.steps.spectral_ball import departure
from isthmus.errors import InputError
from isthmus.moments import SecondMoments
from isthmus.moments.groups import GroupSums
from isthmus.nn.compat.frozen.class_sums import PairedClassMeans, about_zero
from isthmus.nn.compat.frozen.held import Held
from isthmus.nn.compat.frozen.joint_maps import JointMaps, padded_map
from isthmus.threads import single_thread

__all__ = ["ClassTerms", "class_joint_maps"]


@dataclass(frozen=True)
class ClassTerms:
    """The weights of the objective, and how far targets are drawn towards their class."""

    backward_weight: float = 1.0
    """w₂ > 0."""
    forward_weight: float = 1.0
    """w₁ ≥ 0."""
    class_weight: float = 5.0
    """w₃ ≥ 0, of the scatter within classes."""
    backward_eta: float = 0.5
    """η in [0, 1]."""
    forward_eta: float = 0.5
    """η_F in [0, 1]; nearer to 1, classes gather and single neighbours are lost."""
    alpha: float = 1e-3
    """Ridge strength of the forward map, relative to the mean eigenvalue of ``yy``."""

    def __post_init__(self) -> None:
        weights = (self.forward_weight, self.class_weight)
        if not (0 < self.backward_weight < np.inf and all(0 <= w < np.inf for w in weights)):
            raise InputError(
                f"the weights are {self.backward_weight} (backward) and {weights} (forward, class)",
                mend="The first must be positive, the others 0 or more",
            )
        if not (0 <= self.backward_eta <= 1 and 0 <= self.forward_eta <= 1):
            raise InputError(
                f"shares of a class mean lie in [0, 1], got {self.backward_eta}, {self.forward_eta}"
            )


def class_joint_maps(
    moments: SecondMoments,
    classes: GroupSums,
    lam: float = 0.25,
    *,
    relative: bool = True,
    terms: ClassTerms | None = None,
    tolerance: float = TOLERANCE,
    held: Held | None = None,
) -> JointMaps:
    """Fit both maps to labelled pairs, from sums alone.

    Args:
        moments: x the new model, y the old one, with ``xx``, ``xy`` and ``yy``.
        classes: sums of the same rows by class.
        lam: bound on the departure of the backward map from orthogonality.
        relative: whether it is a multiple of ``√new``.
        terms: of the objective; `ClassTerms` if not given.
        tolerance: expected decrease, relative to the objective, at which the descent stops; 1e-4
            serves as a start of `refine_maps`.
        held: rows whose cosines are to be kept.

    Returns:
        Maps whose offsets are 0.

    Raises:
        InputError: for a λ, weight, share or strength out of range, sums of other rows, or fewer
            than two classes.
    """
    terms = ClassTerms() if terms is None else terms
    a, m, c = (about_zero(moments, name) for name in ("xx", "xy", "yy"))
    new, old = m.shape
    means = PairedClassMeans.of(moments, classes)
    between_xy = means.x.T @ (means.y * means.share)
    radius = absolute_lambda(lam, new, relative=relative)
    with single_thread:
        framed = replace(moments, mean_x=np.zeros(new), mean_y=np.zeros(old))
        back = RidgePath.of(
            replace(
                framed, mean_x=framed.mean_y, mean_y=framed.mean_x, xx=c, xy=m.T, yy=a,
                variances=(np.diagonal(c), np.diagonal(a)),
            )
        )  # fmt: skip
        strength = back.filter([terms.alpha])[0]
        padding = terms.forward_weight * (a - back.rotated.T @ (strength[:, None] * back.rotated))
        padding += terms.class_weight * means.within_x(moments)
        compared = terms.backward_weight * a + padding
        pull = terms.backward_weight * (
            (1 - terms.backward_eta) * m + terms.backward_eta * between_xy
        )
        rest = None
        if held is not None:
            compared, padding = compared + held.second, padding + held.second
            pull, rest = pull + held.pull[:, :old], held.pull[:, old:]
        if new > old:
            w, multiplier = padded_map(framed, compared, padding, pull, radius, tolerance, rest)
        else:
            found = lambda_path(
                replace(framed, xx=compared, xy=pull), [radius], relative=False,
                tolerance=tolerance,
            )[0]  # fmt: skip
            w, multiplier = found.matrix, found.multiplier
        image = means.x @ w
        lengths = np.maximum(np.linalg.norm(image, axis=1, keepdims=True), 1e-300)
        target = (1 - terms.forward_eta) * (m.T @ w)
        length = float(np.trace(c)) ** 0.5
        target += terms.forward_eta * length * (means.y.T @ (means.share * image / lengths))
        f = back.vectors @ (strength[:, None] * (back.vectors.T @ target))
        spread = float(np.vdot(w, a @ w))
        first = w[:, :old]
        backward_error = float(np.vdot(first, a @ first - 2.0 * m) + np.trace(c))
        forward_error = float(spread - 2.0 * np.vdot(f, m.T @ w) + np.vdot(f, c @ f))
    nothing = np.zeros(w.shape[1])
    return JointMaps(
        Affine(w, nothing),
        Affine(f, nothing),
        radius,
        departure(w),
        multiplier,
        max(backward_error, 0.0),
        max(forward_error, 0.0),
    )
