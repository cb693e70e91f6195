"""How much of one space a map of each kind explains of the other, on held-out folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from isthmus.adapters import Affine, Procrustes
from isthmus.adapters.steps.ridge import DEFAULT_ALPHAS, RidgePath
from isthmus.array_types import Matrix
from isthmus.diagnose.pair_pass import FOLDS
from isthmus.diagnose.thresholds import threshold
from isthmus.evaluate import Estimate
from isthmus.evaluate.probes import ProbeResult
from isthmus.moments import FoldMoments, SecondMoments
from isthmus.strengths import widened

__all__ = [
    "AS_THEY_ARE",
    "UNIT_ROWS",
    "FoldMap",
    "FoldMaps",
    "Maps",
    "best_explained",
    "explained",
    "fold_splits",
    "judge_maps",
]

Fold = tuple[int, SecondMoments, SecondMoments]
"""The number of a fold, the moments of its training rows, and those of its own rows."""

AS_THEY_ARE: Literal["rows as they are"] = "rows as they are"
UNIT_ROWS: Literal["unit rows"] = "unit rows"
RowScale = Literal["rows as they are", "unit rows"]

_MANY_DIMENSIONS = 512
_FEWER_FOLDS = 3
_WIDEST_ASSIGNMENT = 2048


@dataclass(frozen=True, eq=False)
class FoldMap:
    """A map fitted on the rows outside a fold: ``(x − mean_x) matrix + mean_y``."""

    fold: int
    matrix: Matrix
    mean_x: Matrix
    mean_y: Matrix


class Maps(ProbeResult):
    """Held-out share of the target's variance explained by maps of each kind, simplest first."""

    frame: RowScale
    """Whether the maps were fitted on the rows as they are or divided by their lengths."""
    same: Estimate | None
    """One factor and an offset; None for unequal widths."""
    per_dimension: Estimate | None
    """A factor for each dimension and an offset."""
    permutation: Estimate | None
    """Reordered, perhaps negated dimensions; None for unequal widths or very wide spaces."""
    rigid: Estimate
    """A rotation or reflection, one factor, an offset."""
    linear: Estimate
    """Any matrix, ridge-shrunk."""
    backward: Estimate
    """Any matrix, from y to x."""
    alpha: float
    """The cross-validated strength of the ridge, relative to the mean eigenvalue."""
    scale: float
    """The scale of the rigid map."""
    offset: float
    """Shift of the mean beyond scale and rotation, over the spread of y."""
    order: tuple[int, ...] | None
    """Where a permutation explains the pair: the y dimension of each x dimension."""
    negated: tuple[int, ...]
    """The x dimensions whose sign the permutation turns."""

    @property
    def turned(self) -> bool:
        """Whether one side is the other times a negative number."""
        return self.order is not None and 2 * len(self.negated) > len(self.order)


class FoldMaps(NamedTuple):
    """The maps fitted outside each fold, of two kinds."""

    rigid: tuple[FoldMap, ...]
    linear: tuple[FoldMap, ...]


def fold_splits(moments: FoldMoments) -> list[Fold]:
    """The folds with rows, fewer of them for wide spaces, whose factorisations are slow."""
    filled = [i for i, fold in enumerate(moments.folds) if fold.n > 0]
    splits = [(i, *pair) for i, pair in zip(filled, moments.splits(), strict=True)]
    wide = max(moments.folds[0].dx, moments.folds[0].dy) > _MANY_DIMENSIONS
    return splits[: _FEWER_FOLDS if wide else FOLDS]


def explained(matrix: Matrix, train: SecondMoments, held_out: SecondMoments) -> float:
    """``1 − MSE / E‖y − ȳ_train‖²`` of ``(x − x̄_train) W + ȳ_train`` on held-out rows.

    0 is what the training mean alone explains; a harmful map has less.
    """
    apart_x, apart_y = held_out.mean_x - train.mean_x, held_out.mean_y - train.mean_y
    second = held_out.require("xx") + np.multiply.outer(apart_x, apart_x)
    cross = held_out.require("xy") + np.multiply.outer(apart_x, apart_y)
    total = float(held_out.variance_y.sum() + apart_y @ apart_y)
    predicted = float(np.vdot(matrix, second @ matrix)) - 2.0 * float(np.vdot(matrix, cross))
    return -predicted / total if total > 0 else 0.0


def best_explained(splits: Sequence[Fold]) -> float:
    """The most that a factor for each dimension, a rotation or any matrix explains."""
    units = _units(splits[0][1])
    scaled = [(i, _in_units(t, units), _in_units(h, units)) for i, t, h in splits]
    fitted = [[_rigid(train) for _, train, _ in scaled], _ridge(scaled)[0]]
    if len(scaled[0][1].mean_x) == len(scaled[0][1].mean_y):
        fitted.append([_diagonal(train) for _, train, _ in scaled])
    return max(_over(scaled, matrices).value or 0.0 for matrices in fitted)


def judge_maps(
    splits: Sequence[Fold], whole: SecondMoments, *, frame: RowScale = AS_THEY_ARE
) -> tuple[Maps, FoldMaps]:
    """Fit every kind of map on the training rows of each fold, and judge it on the fold.

    Args:
        splits: from `fold_splits`; at least two.
        whole: of all rows.
        frame: what the moments are of.
    """
    square = len(whole.mean_x) == len(whole.mean_y)
    # in units of each side's spread: float32 factorisations serve at any scale
    units = _units(whole)
    original, splits = splits, [(i, _in_units(t, units), _in_units(h, units)) for i, t, h in splits]
    whole = _in_units(whole, units)
    rigid = [_rigid(train) for _, train, _ in splits]
    rigid_explained = _over(splits, rigid)
    linear, alpha = _ridge(splits)
    backward, _ = _ridge([(i, t.reversed(), h.reversed()) for i, t, h in splits])
    permutation = order = signs = None
    if square and len(whole.mean_x) <= _WIDEST_ASSIGNMENT:
        matrix, order, signs = _permutation(splits[0][1])
        # one assignment is enough: it is compared with the rotation on the same fold
        gap = explained(matrix, *splits[0][1:]) - explained(rigid[0], *splits[0][1:])
        value = (rigid_explained.value or 0.0) + gap
        permutation = Estimate(value=value, reason="from one fold")
        if value < (rigid_explained.value or 0.0) - threshold("simpler_map"):
            order = signs = None  # a rotation explains more
    fitted = Procrustes(scale=True).fit_moments(whole)
    apart = whole.mean_y - whole.mean_x @ fitted.matrix_
    reverse_splits = [(i, t.reversed(), h.reversed()) for i, t, h in splits]
    judged = Maps(
        frame=frame,
        same=_over(splits, [_same(t) for _, t, _ in splits]) if square else None,
        per_dimension=_over(splits, [_diagonal(t) for _, t, _ in splits]) if square else None,
        permutation=permutation,
        rigid=rigid_explained,
        linear=_over(splits, linear),
        backward=_over(reverse_splits, backward),
        alpha=alpha,
        scale=fitted.scale_ * units[1] / units[0],
        offset=float(np.linalg.norm(apart)),
        order=None if order is None else tuple(order.tolist()),
        negated=() if signs is None else tuple(np.flatnonzero(signs < 0).tolist()),
    )
    return judged, FoldMaps(_maps(original, rigid, units), _maps(original, linear, units))


def _units(moments: SecondMoments) -> tuple[float, float]:
    """The spread of either side."""
    return (
        max(float(np.sqrt(moments.variance_x.sum())), 1e-300),
        max(float(np.sqrt(moments.variance_y.sum())), 1e-300),
    )


def _in_units(moments: SecondMoments, units: tuple[float, float]) -> SecondMoments:
    on_x, on_y = (
        Affine(np.full(len(mean), 1.0 / unit))
        for mean, unit in zip((moments.mean_x, moments.mean_y), units, strict=True)
    )
    return moments.mapped(on_x, on_y)


def _over(splits: Sequence[Fold], matrices: Sequence[Matrix]) -> Estimate:
    """Mean over folds, with Student's interval for their number."""
    values = np.array(
        [explained(w, train, held) for w, (_, train, held) in zip(matrices, splits, strict=True)]
    )
    mean = float(values.mean())
    if len(values) < 2:
        return Estimate(value=mean, reason="one fold")
    error = float(values.std(ddof=1)) / len(values) ** 0.5
    half = float(stdtrit(len(values) - 1, 0.975)) * error
    return Estimate(value=mean, low=mean - half, high=mean + half)


def _maps(
    splits: Sequence[Fold], matrices: Sequence[Matrix], units: tuple[float, float]
) -> tuple[FoldMap, ...]:
    return tuple(
        FoldMap(i, w * (units[1] / units[0]), train.mean_x, train.mean_y)
        for w, (i, train, _) in zip(matrices, splits, strict=True)
    )


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator > 0 else 0.0


def _same(train: SecondMoments) -> Matrix:
    scale = _ratio(float(np.trace(train.require("xy"))), float(train.variance_x.sum()))
    return np.diag(np.full(len(train.mean_x), scale))


def _diagonal(train: SecondMoments) -> Matrix:
    variance, shared = train.variance_x, np.diagonal(train.require("xy"))
    return np.diag(np.where(variance > 0, shared / np.where(variance > 0, variance, 1.0), 0.0))


def _rigid(train: SecondMoments) -> Matrix:
    return Procrustes(scale=True).fit_moments(train).matrix_


def _permutation(train: SecondMoments) -> tuple[Matrix, NDArray[np.int64], NDArray[np.int64]]:
    """The signed permutation, scaled, that fits best: an assignment on ``|M|``.

    ``tr(WᵀM)`` over signed permutations W is the sum of the ``|M_ij|`` chosen.
    """
    cross = train.require("xy")
    from scipy.optimize import linear_sum_assignment  # takes long to import

    rows, order = linear_sum_assignment(np.abs(cross), maximize=True)
    signs = np.where(cross[rows, order] < 0, -1, 1)
    scale = _ratio(float(np.abs(cross[rows, order]).sum()), float(train.variance_x.sum()))
    matrix = np.zeros_like(cross)
    matrix[rows, order] = scale * signs
    return matrix, order, signs


def _ridge(splits: Sequence[Fold]) -> tuple[list[Matrix], float]:
    """The ridge map of every fold at the strength that cross-validation prefers."""
    paths = [RidgePath.of(train, np.float32) for _, train, _ in splits]

    def errors_of(alphas: Matrix) -> Matrix:
        errors = [
            path.errors(held, train, alphas) / max(float(held.variance_y.sum()), 1e-300)
            for path, (_, train, held) in zip(paths, splits, strict=True)
        ]
        return np.mean(errors, axis=0)

    alphas, errors = widened(errors_of, DEFAULT_ALPHAS, "the ridge map of the diagnosis")
    alpha = float(alphas[int(np.argmin(errors))])
    return [path.map(alpha) for path in paths], alpha
