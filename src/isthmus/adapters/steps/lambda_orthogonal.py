"""λ-orthogonal maps: as rigid as a rotation, but for a stated amount.

A rotation keeps every angle and length of the source and can hardly overfit; least squares fits
best and distorts.  A λ-orthogonal map (Ricci, Biondi, Pernici, Patras and Del Bimbo,
arXiv:2509.16664) lies between: of all maps whose distance from orthogonality is at most λ, the
best.  From the moments ``A = xx``, ``M = xy``, ``C = yy`` of centred pairs::

    minimise  tr(WᵀAW) − 2 tr(WᵀM) + tr C   subject to   ‖WᵀW − I‖_F ≤ λ

which is the mean squared error of ``y ≈ x W``.  λ = 0 is orthogonal Procrustes, λ = ∞ least
squares.  The paper trains W by Adam on the rows with a penalty that a sigmoid switches on above λ
(its equation 6); here the constraint holds exactly, and no row is read again.

**Unequal widths.**  For ``dx < dy`` the constraint is ``‖WWᵀ − I‖_F ≤ λ``: always the Gram matrix
of the smaller side, of size ``p = min(dx, dy)``, so that λ = 0 is a semi-orthogonal map.  For
``dx > dy`` λ = 0 is the *least-squares* semi-orthogonal map (the unbalanced Procrustes problem,
Eldén and Park 1999), which `Procrustes`, that maximises alignment, is not.

**Relative λ.**  ``λ/√p`` is the root mean square of ``s² − 1`` over the singular values s of W and
means the same at any width: the paper's λ = 12 at 1,024 dimensions is .375.

**Choice of λ.**  Squared error falls steadily in λ while retrieval peaks and falls again, so error
alone must not decide: `choose_lambda` takes the most rigid λ within one standard error of the best
cross-validated error, and a recipe with ``lam=auto`` tries several on held-out retrieval.

`isthmus.nn.compat.joint_maps` fits a backward map together with a forward map, as the paper does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from typing_extensions import override

from isthmus.adapters.steps.base import Expanded, LinearAdapter, Splits, Value
from isthmus.adapters.steps.lambda_path import ROUGHLY, LambdaMap, lambda_path
from isthmus.array_types import Matrix
from isthmus.errors import InputError
from isthmus.moments import SecondMoments
from isthmus.threads import single_thread

__all__ = [
    "DEFAULT_LAMBDAS",
    "LambdaChoice",
    "LambdaOrthogonal",
    "choose_lambda",
]


DEFAULT_LAMBDAS: tuple[float, ...] = (0.05, 0.1, 0.2, 0.3, 0.4, 0.6)
"""Relative λ that cross-validation compares."""


@dataclass(frozen=True, eq=False)
class LambdaChoice:
    """What cross-validation says of several λ."""

    lams: tuple[float, ...]
    """Ascending, as they were given: relative or absolute."""
    errors: Matrix
    """Mean squared error on the held-out rows of every fold, ``(folds, len(lams))``."""
    weights: Matrix
    """Rows of each fold, ``(folds,)``."""
    chosen: float
    """The least λ within one standard error of the least error."""

    @property
    def mean(self) -> Matrix:
        """The mean squared error of each λ over all held-out rows, ``(len(lams),)``."""
        return self.weights @ self.errors / self.weights.sum()

    @property
    def best(self) -> float:
        """The λ of the least error."""
        return self.lams[int(np.argmin(self.mean))]

    def __repr__(self) -> str:
        rows = ", ".join(f"{lam:g}: {e:.4g}" for lam, e in zip(self.lams, self.mean, strict=True))
        return f"LambdaChoice(chosen={self.chosen:g}, best={self.best:g}, errors={{{rows}}})"


def choose_lambda(
    splits: Sequence[tuple[SecondMoments, SecondMoments]],
    lams: Sequence[float] = DEFAULT_LAMBDAS,
    *,
    relative: bool = True,
) -> LambdaChoice:
    """The most rigid λ within one standard error of the best cross-validated squared error.

    Held-out retrieval should decide where it can be measured: squared error prefers maps that are
    too loose.

    Args:
        splits: of each fold, the moments of its training rows and of its held-out rows, as
            `FoldMoments.splits` gives them.
        lams: what to compare.
        relative: whether they are multiples of ``√min(dx, dy)``.

    Raises:
        InputError: without folds or λ, or for a λ that is negative or not a number.
    """
    if len(splits) < 2 or not len(lams):
        raise InputError(f"to compare {len(lams)} values of λ on {len(splits)} folds is impossible")
    grid = tuple(sorted(lams))
    errors: list[list[float]] = []
    near: list[LambdaMap] | None = None
    for train, held_out in splits:
        near = lambda_path(train, grid, relative=relative, near=near, tolerance=ROUGHLY)
        errors.append([_held_out_error(one.matrix, train, held_out) for one in near])
    table, weights = np.array(errors), np.array([held_out.n for _, held_out in splits])
    mean = weights @ table / weights.sum()
    best = int(np.argmin(mean))
    # folds differ by more than maps do: the error is of the difference to the best
    apart = table - table[:, [best]]
    scatter = np.sqrt(weights @ (apart - weights @ apart / weights.sum()) ** 2 / weights.sum())
    within = mean - mean[best] <= scatter / (len(splits) - 1) ** 0.5
    return LambdaChoice(grid, table, weights, grid[int(np.argmax(within))])


def _held_out_error(matrix: Matrix, train: SecondMoments, held_out: SecondMoments) -> float:
    """``tr(WᵀA_f W) − 2 tr(WᵀM_f) + tr C_f`` about the means of the training rows."""
    shift_x, shift_y = held_out.mean_x - train.mean_x, held_out.mean_y - train.mean_y
    with single_thread:
        gain = np.vdot(matrix, held_out.require("xx") @ matrix - 2.0 * held_out.require("xy"))
        moved = shift_x @ matrix - shift_y
    return float(gain + held_out.variance_y.sum() + moved @ moved)


class LambdaOrthogonal(LinearAdapter):
    """The best map whose distance from orthogonality is at most λ: ``‖WᵀW − I‖_F ≤ λ``.

    Nearly as hard to overfit as a rotation and a better fit; from a few hundred pairs on it
    usually finds more than either a rotation or least squares.

    Args:
        lam: λ; 0 is a rotation, ∞ least squares.
        relative: whether λ is a multiple of ``√min(dx, dy)``, and so means the same at any width.

    Attributes:
        departure_: ``‖WᵀW − I‖_F`` of the fitted map, absolute.
        multiplier_: 0 where a larger λ would change nothing.

    Raises:
        InputError: in ``fit``, for a λ that is negative or not a number.

    Source: arXiv:2509.16664; solved exactly, see `isthmus.adapters.steps.spectral_ball`.

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).standard_normal((200, 4))
        >>> turn = np.linalg.qr(np.random.default_rng(1).standard_normal((4, 4)))[0]
        >>> found = LambdaOrthogonal(lam=0.0).fit(x, 2 * x @ turn)
        >>> bool(found.departure_ < 1e-6)  # a rotation, though the target is longer
        True
    """

    name = "lambda_orthogonal"
    needs = frozenset({"square", "xx", "xy"})
    automatic = frozenset({"lam"})

    departure_: float
    multiplier_: float

    def __init__(self, lam: float = 0.25, relative: bool = True) -> None:
        self.lam = lam
        self.relative = relative

    @classmethod
    @override
    def expanded(cls, parameters: Mapping[str, Value], splits: Splits) -> Expanded:
        """Every λ up to the one of the least cross-validated error, the most rigid first.

        Squared error falls in λ while retrieval peaks, so none of the smaller ones is left out.
        """
        relative = bool(parameters.get("relative", True))
        if parameters.get("lam", 0.25) != "auto":
            return [(dict(parameters), None)]
        folds = splits()
        if len(folds) < 2:
            return [({**parameters, "lam": lam, "relative": True}, None) for lam in DEFAULT_LAMBDAS]
        width = min(folds[0][0].require("xy").shape) ** 0.5
        grid = [lam if relative else float(f"{lam * width:.3g}") for lam in DEFAULT_LAMBDAS]
        choice = choose_lambda(folds, grid, relative=relative)
        spread = float(choice.weights @ [fold.variance_y.sum() for _, fold in folds])
        errors = choice.weights @ choice.errors / (spread if spread > 0 else 1.0)
        return [
            ({**parameters, "lam": lam, "relative": relative}, float(error))
            for lam, error in zip(choice.lams, errors, strict=True)
            if lam <= choice.best
        ]

    @override
    def _solve(self, moments: SecondMoments) -> Matrix:
        found = lambda_path(moments, [self.lam], relative=self.relative)[0]
        self.departure_, self.multiplier_ = found.departure, found.multiplier
        return found.matrix
