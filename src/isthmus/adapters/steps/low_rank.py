"""Reduced-rank regression: the best map through few dimensions, kept as two thin matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from typing_extensions import override

from isthmus.adapters.chain import Affine, Stage, Thin
from isthmus.adapters.steps.base import Expanded, LinearAdapter, Splits, Value
from isthmus.adapters.steps.ridge import DEFAULT_ALPHAS, RidgePath, relative_errors, strongest
from isthmus.array_types import Matrix
from isthmus.errors import InputError
from isthmus.moments import SecondMoments
from isthmus.scipy_later import linalg
from isthmus.strengths import widened
from isthmus.threads import single_thread

__all__ = ["LowRank", "rank_errors"]


_RANK_SHARES = (0.25, 0.5, 0.75, 1.0)
"""Ranks tried, as shares of the one with the least cross-validated error."""
_ALPHA_STEPS = (6, 3, 0)
"""Strengths tried, in thirds of a decade above the cross-validated best."""


@dataclass(frozen=True, eq=False)
class _RankPath:
    """The ridge map of one strength in the basis in which its rank is cut: ``W V_r V_rᵀ``.

    ``V`` are the right singular vectors of the whitened regression ``(A + α s̄ I)^(−1/2) M``, so
    that cutting is optimal in the metric of the (penalised) outputs and not of the weights:
    Eckart and Young (1936), for ridge Mukherjee and Zhu (2011).
    """

    left: Matrix
    """``W V (dx, dy)``, the most important direction first."""
    right: Matrix
    """``V (dy, dy)``"""

    @classmethod
    def of(cls, path: RidgePath, alpha: float, rank: int | None = None) -> _RankPath:
        dy = path.rotated.shape[1]
        first = 0 if rank is None else dy - rank
        scale = path.filter([alpha])[0].astype(path.rotated.dtype)
        scaled = scale[:, None] * path.rotated
        with single_thread:
            gram = path.rotated.T @ scaled
            _, vectors = linalg.eigh(
                (gram + gram.T) / 2,
                driver="evr",
                subset_by_index=[first, dy - 1],
                check_finite=False,
            )
            right = np.ascontiguousarray(vectors[:, ::-1])
            left = path.vectors @ (scaled @ right)
        return cls(left, right)

    def errors(self, held_out: SecondMoments, train: SecondMoments) -> Matrix:
        """Mean squared error on held-out rows of every rank from 1 on, ``(ranks,)``.

        In this basis the columns of the map have errors of their own, so that the error of a rank
        is a cumulative sum: ``tr(WᵀA_f W) − 2 tr(WᵀM_f) + tr C_f`` about the training means.
        """
        dtype = self.left.dtype
        shift_x = (held_out.mean_x - train.mean_x).astype(dtype)
        shift_y = held_out.mean_y - train.mean_y
        with single_thread:
            explained = np.einsum(
                "ij,ij->j", self.left, held_out.require("xx").astype(dtype) @ self.left
            )
            explained += (shift_x @ self.left) ** 2
            aligned = np.einsum(
                "ij,ij->j", self.left, held_out.require("xy").astype(dtype) @ self.right
            )
            aligned += (shift_x @ self.left) * (shift_y.astype(dtype) @ self.right)
        gains = explained.astype(np.float64) - 2.0 * aligned.astype(np.float64)
        return np.cumsum(gains) + float(held_out.variance_y.sum() + shift_y @ shift_y)


def rank_errors(
    folds: Sequence[tuple[SecondMoments, SecondMoments]],
    alphas: Sequence[float],
    dtype: type[np.floating[Any]] = np.float32,
) -> Matrix:
    """Cross-validated mean squared error of every rank, ``(folds, len(alphas), min(dx, dy))``.

    Args:
        folds: of each fold, the moments of its training rows and of its held-out rows.
        alphas: strengths relative to the mean eigenvalue of the source covariance.
        dtype: of the decompositions, one of ``(dx, dx)`` for each fold and one of ``(dy, dy)`` for
            each strength in it.
    """
    errors: list[list[Matrix]] = []
    for train, held_out in folds:
        path = RidgePath.of(train, dtype)
        ranks = min(path.rotated.shape)
        errors.append(
            [_RankPath.of(path, alpha).errors(held_out, train)[:ranks] for alpha in alphas]
        )
    return np.array(errors)


class LowRank(LinearAdapter):
    """Ridge regression whose map passes through ``rank`` dimensions.

    ``W = W_ridge V_r V_rᵀ`` with ``V_r`` the leading right singular vectors of the whitened fit.
    Where the two thin matrices are cheaper than one full one, ``rank · (dx + dy) < dx · dy``, they
    are kept apart in a chain and in its file.

    Args:
        rank: at most the smaller width; None does not reduce it.  In a recipe it is left to
            cross-validation where it is not given.
        alpha: as of `Ridge`.

    Attributes:
        left_: ``(dx, rank)``.
        right_: ``(rank, dy)``, with orthonormal rows.

    Raises:
        InputError: in ``fit``, for a rank that is no whole number from 1 to the smaller width.

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).standard_normal((200, 4))
        >>> turn = np.linalg.qr(np.random.default_rng(1).standard_normal((4, 4)))[0]
        >>> found = LowRank(rank=2).fit(x, x @ turn)
        >>> found.left_.shape, found.right_.shape
        ((4, 2), (2, 4))
    """

    name = "low_rank"
    needs = frozenset({"square", "xx", "xy"})
    automatic = frozenset({"rank", "alpha"})

    left_: Matrix
    right_: Matrix

    def __init__(self, rank: int | None = None, alpha: float = 1e-3) -> None:
        self.rank = rank
        self.alpha = alpha

    @classmethod
    @override
    def expanded(cls, parameters: Mapping[str, Value], splits: Splits) -> Expanded:
        """Every ``auto`` replaced, the lowest rank and the strongest regularisation first."""
        rank, alpha = parameters.get("rank", "auto"), parameters.get("alpha", "auto")
        if rank != "auto" and alpha != "auto":
            return [({**parameters, "rank": rank, "alpha": alpha}, None)]
        folds = splits()
        alphas = [float(alpha)] if alpha != "auto" else _strengths(folds)
        if not folds:
            return [
                ({**parameters, "rank": 1 if rank == "auto" else rank, "alpha": alphas[0]}, None)
            ]
        weights = np.array([fold.n for _, fold in folds])
        spread = float(weights @ [fold.variance_y.sum() for _, fold in folds])
        errors = np.einsum("f,far->ar", weights, rank_errors(folds, alphas))
        errors = errors / spread if spread > 0 else errors
        tried: list[tuple[int, float, float]] = []
        for of_alpha, strength in zip(errors, alphas, strict=True):
            if rank == "auto":
                best = int(np.argmin(of_alpha)) + 1
                ranks = {max(1, round(share * best)) for share in _RANK_SHARES}
            else:
                ranks = {_checked_rank(rank, len(of_alpha))}
            tried += [(r, strength, float(of_alpha[r - 1])) for r in ranks]
        tried.sort(key=lambda t: (t[0], -t[1]))
        return [({**parameters, "rank": r, "alpha": a}, error) for r, a, error in tried]

    @override
    def _solve(self, moments: SecondMoments) -> Matrix:
        dx, dy = moments.require("xy").shape
        rank = min(dx, dy) if self.rank is None else _checked_rank(self.rank, min(dx, dy))
        path = _RankPath.of(RidgePath.of(moments), self.alpha, rank)
        self.left_, self.right_ = path.left, np.ascontiguousarray(path.right.T)
        return self.left_ @ self.right_

    @override
    def stages(self, before: Affine, after: Affine) -> list[Stage]:
        inner = before.then(Affine(self.left_))
        outer = Affine(self.right_, self.offset_).then(after)
        left, right, offset = inner.matrix, outer.matrix, outer.offset
        if left is None or right is None or offset is None:
            raise AssertionError("a low-rank map has two matrices and an offset")
        if inner.offset is not None:
            offset = offset + inner.offset @ right
        thin = Thin(left, right, offset)
        (dx, rank), dy = left.shape, right.shape[1]
        return [thin if rank * (dx + dy) < dx * dy else thin.affine]


def _strengths(folds: Sequence[tuple[SecondMoments, SecondMoments]]) -> list[float]:
    """The cross-validated best strength of the full map, and stronger ones."""
    alphas, errors = widened(lambda some: relative_errors(folds, some), DEFAULT_ALPHAS, "low_rank")
    best, last = strongest(errors), len(alphas) - 1
    grid = sorted({min(best + step, last) for step in _ALPHA_STEPS}, reverse=True)
    return [float(f"{alphas[i]:.3g}") for i in grid]


def _checked_rank(rank: Value, largest: int) -> int:
    if isinstance(rank, bool | str) or rank != int(rank) or not 1 <= rank <= largest:
        raise InputError(
            f"the rank is {rank}, and a map between these spaces has one of 1 to {largest}",
            where="low_rank",
            mend=f"Choose a whole number up to {largest}, the smaller of the two widths",
        )
    return int(rank)
