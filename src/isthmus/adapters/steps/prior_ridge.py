"""Ridge towards a map that is already in use: refits that move only as far as the data ask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from typing_extensions import override

from isthmus.adapters.chain import Affine, Chain, RowNorm
from isthmus.adapters.steps.base import Expanded, LinearAdapter, Splits, Value
from isthmus.adapters.steps.ridge import RidgePath, relative_errors, strongest
from isthmus.array_types import Matrix
from isthmus.errors import InputError
from isthmus.moments import SecondMoments
from isthmus.strengths import widened

__all__ = ["PRIOR_ALPHAS", "PriorRidge", "prior_affine", "residual"]


PRIOR_ALPHAS: Matrix = np.logspace(-4, 4, 25)
"""25 strengths, relative to the mean eigenvalue of the source covariance; the last one keeps the
prior to a ten-thousandth."""

_GRID_STEPS = (-6, -3, 0, 3, 6)


class PriorRidge(LinearAdapter):
    """``W = (A + α s̄ I)⁻¹ (M + α s̄ W₀)``: L2-SP (Li et al. 2018) in closed form.

    The offset is fitted freely.  With few pairs, or a strong ``alpha``, the prior stays; with many
    it is forgotten.

    Args:
        prior: the map to stay near, of source rows to target rows as they are given to ``fit``: an
            `Affine`, or a `Chain` of one affine map.  None is zero, which is plain ridge.
        alpha: strength, relative to the mean eigenvalue of the source covariance.

    Raises:
        InputError: in ``fit``, for a prior of other widths, one that is no matrix, or a negative
            strength.

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).standard_normal((200, 4))
        >>> turn = np.linalg.qr(np.random.default_rng(1).standard_normal((4, 4)))[0]
        >>> from isthmus.adapters.chain import Affine
        >>> few = PriorRidge(Affine(turn), alpha=10.0).fit(x[:3], x[:3] @ turn)
        >>> bool(np.allclose(few.transform(x[:3]), x[:3] @ turn))
        True
    """

    name = "prior_ridge"
    needs = frozenset({"square", "xx", "xy"})
    automatic = frozenset({"alpha"})

    def __init__(self, prior: Affine | Chain | None = None, alpha: float = 1.0) -> None:
        self.prior = prior
        self.alpha = alpha

    @classmethod
    @override
    def expanded(cls, parameters: Mapping[str, Value], splits: Splits) -> Expanded:
        """The strength left ``auto`` replaced, the one nearest to the prior first.

        ``splits`` are moments of the `residual` of the prior, whose ridge path this is.
        """
        alpha = parameters.get("alpha", 1.0)
        if alpha != "auto":
            return [({**parameters, "alpha": alpha}, None)]
        folds = splits()
        # at the upper end stands the prior as it is
        alphas, errors = widened(
            lambda some: relative_errors(folds, some), PRIOR_ALPHAS, "prior_ridge",
            ends=(True, False),
        )  # fmt: skip
        best, last = strongest(errors), len(errors) - 1
        # the prior as it is, always: a refit has to earn its keep
        grid = {min(max(best + step, 0), last) for step in _GRID_STEPS} | {last}
        return [
            ({**parameters, "alpha": float(f"{alphas[i]:.3g}")}, float(errors[i]))
            for i in sorted(grid, reverse=True)
        ]

    @override
    def _solve(self, moments: SecondMoments) -> Matrix:
        if self.prior is None:
            return RidgePath.of(moments).map(self.alpha)
        prior = self.prior if isinstance(self.prior, Affine) else _as_affine(self.prior)
        moved = RidgePath.of(residual(moments, prior)).map(self.alpha)
        return moved + prior.apply_linear(np.eye(len(moved)))


def residual(moments: SecondMoments, prior: Affine) -> SecondMoments:
    """The moments of ``x`` with ``y − prior(x)``, from those of ``x`` with ``y``.

    Raises:
        InputError: if the widths are not those of ``prior``.
    """
    cross = moments.require("xy")
    dx, dy = cross.shape
    check_widths(prior, dx, dy)
    explained = prior.apply_linear(moments.require("xx"))
    across = prior.apply_linear(cross.T)
    twice = prior.apply_linear(explained.T)
    squares = moments.variances[1]
    return replace(
        moments,
        mean_y=moments.mean_y - prior.apply_to_mean(moments.mean_x),
        xy=cross - explained,
        yy=None if moments.yy is None else moments.yy - across - across.T + twice,
        variances=(
            moments.variances[0],
            None if squares is None else squares - 2 * np.diagonal(across) + np.diagonal(twice),
        ),
    )


def check_widths(prior: Affine, dx: int, dy: int) -> None:
    """Refuse a prior that is not of ``dx`` to ``dy`` dimensions.

    Raises:
        InputError: then.
    """
    widths = prior.dims
    if any(
        mine is not None and mine != given for mine, given in zip(widths, (dx, dy), strict=True)
    ):
        raise InputError(
            f"the prior maps {widths[0]} to {widths[1]} dimensions, the pairs have {dx} and {dy}",
            where="prior",
            mend="Give the bridge of the same two models, in the same direction",
        )
    if prior.matrix is None and dx != dy:
        raise InputError(
            f"the prior leaves rows as they are, but they have {dx} and {dy} dimensions",
            where="prior",
        )


def prior_affine(prior: Chain, front: Chain) -> Affine:
    """What a running map does between rows behind ``front`` and target rows before a last norm.

    Args:
        prior: the chain of a bridge.
        front: what source rows pass through first in the new fit; the prior has to begin in the
            same way, or with its matrix.

    Raises:
        InputError: if the prior is more than one matrix between row norms, or begins otherwise.
    """
    stages = list(prior.stages)
    first = [s for s in front.stages if isinstance(s, RowNorm)]
    if len(first) != len(front.stages):
        raise InputError(
            "a prior cannot be followed behind a fitted step that a row norm follows",
            where="prior",
            mend="Begin the recipe with unit_norm, or with the adapter",
        )
    if stages and isinstance(stages[0], RowNorm) and stages[: len(first)] == first:
        stages = stages[len(first) :]
    if stages and isinstance(stages[-1], RowNorm):
        stages.pop()
    return _as_affine(Chain(stages))


def _as_affine(prior: Chain) -> Affine:
    stages = Chain([stage.affine or stage for stage in prior.stages]).stages
    if not stages:
        return Affine()
    found = stages[0].affine
    if len(stages) > 1 or found is None:
        raise InputError(
            "the prior is more than one matrix between the row norms of the recipe",
            where="prior",
            mend="A bridge by procrustes, ridge, low_rank or lambda_orthogonal can be a prior",
        )
    return found
