"""A scale and a shift for each dimension: for two versions of one space in the same axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from typing_extensions import override

from isthmus.adapters.chain import Affine
from isthmus.adapters.steps.base import Expanded, LinearAdapter, Splits, Value
from isthmus.array_types import Matrix
from isthmus.errors import InputError
from isthmus.moments import SecondMoments
from isthmus.strengths import widened

__all__ = ["Diagonal"]


_ALPHAS: Matrix = np.logspace(-3, 3, 7)


class Diagonal(LinearAdapter):
    """``y_j ≈ s_j x_j + b_j``, each scale shrunk towards the one scale of all dimensions.

    ``s_j = (M_jj + α ā s̄) / (A_jj + α ā)`` with ``ā`` the mean variance of the source and
    ``s̄ = tr M / tr A`` the common scale: ridge regression towards ``s̄``.  A dimension that does
    not vary takes the common scale.  It maps a quantised, re-normalised or fine-tuned version of
    one model to another; between models of different axes it cannot do anything.

    Args:
        alpha: strength, relative to the mean variance of the source.

    Attributes:
        scale_: ``(d,)``.
        common_scale_: ``s̄``.

    Raises:
        InputError: in ``fit``, for spaces of different widths or a negative strength.

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).standard_normal((200, 3))
        >>> Diagonal().fit(x, x * [1.0, 2.0, 3.0] + 1).scale_.round(2)
        array([1., 2., 3.])
    """

    name = "diagonal"
    needs = frozenset({"square", "xy"})
    automatic = frozenset({"alpha"})

    def __init__(self, alpha: float = 1e-3) -> None:
        self.alpha = alpha

    @classmethod
    @override
    def expanded(cls, parameters: Mapping[str, Value], splits: Splits) -> Expanded:
        """The strength left ``auto`` replaced, the strongest first."""
        if parameters.get("alpha", 1e-3) != "auto":
            return [({"alpha": 1e-3, **parameters}, None)]
        folds = splits()
        if not folds:
            return [({**parameters, "alpha": float(alpha)}, None) for alpha in _ALPHAS[::-1]]
        alphas, errors = widened(lambda some: _errors(folds, some), _ALPHAS, "diagonal")
        return [
            ({**parameters, "alpha": float(f"{alpha:.3g}")}, float(error))
            for alpha, error in zip(alphas[::-1], errors[::-1], strict=True)
        ]

    @override
    def _solve(self, moments: SecondMoments) -> Matrix:
        if not self.alpha >= 0:
            raise InputError(f"a strength is 0 or more, got {self.alpha}", where="diagonal")
        self.scale_, self.common_scale_ = _scales(moments, self.alpha)
        return np.diag(self.scale_)

    @property
    @override
    def affine_(self) -> Affine:
        self._check_fitted()
        return Affine(self.scale_, self.offset_)


def _scales(moments: SecondMoments, alpha: float) -> tuple[Matrix, float]:
    cross = moments.require("xy")
    if cross.shape[0] != cross.shape[1]:
        raise InputError(
            f"the spaces have widths {cross.shape[0]} and {cross.shape[1]}, and a diagonal map "
            "needs equal ones",
            where="diagonal",
            mend="Use procrustes, ridge or low_rank",
        )
    own, variance = np.diagonal(cross), moments.variance_x
    total = float(variance.sum())
    common = float(own.sum()) / total if total > 1e-200 else 1.0
    weight = alpha * total / len(own)
    denominator = variance + weight
    usable = denominator > max(1e-12 * float(denominator.max()), 1e-300)
    scale = np.full(len(own), common)
    scale[usable] = (own + weight * common)[usable] / denominator[usable]
    return scale, common


def _errors(folds: Sequence[tuple[SecondMoments, SecondMoments]], alphas: Matrix) -> Matrix:
    """Cross-validated error of every strength over the target's variance."""
    total, spread = np.zeros(len(alphas)), 0.0
    for train, held_out in folds:
        shift_x, shift_y = held_out.mean_x - train.mean_x, held_out.mean_y - train.mean_y
        variance = held_out.variance_x + shift_x**2
        cross = np.diagonal(held_out.require("xy")) + shift_x * shift_y
        rest = float(held_out.variance_y.sum())
        for i, alpha in enumerate(alphas):
            scale, _ = _scales(train, float(alpha))
            error = float(scale**2 @ variance - 2 * scale @ cross + shift_y @ shift_y) + rest
            total[i] += held_out.n * error
        spread += held_out.n * rest
    return total / spread if spread > 0 else total
