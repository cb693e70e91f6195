"""Closed-form maps from a new modality into a frozen space, compared on pairs held out.

All are fitted from moments.  Rows whose item lacks the other modality pair with nothing, but they
belong to their own side's mean and covariance: they steady what few pairs leave uncertain.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from isthmus.adapters import CSA, LowRank, Procrustes, Ridge, refine_few_pairs
from isthmus.adapters.chain import Affine, Chain, RowNorm
from isthmus.adapters.scarce.few_pairs import FEWEST_PAIRS, FewPairsOptions
from isthmus.adapters.steps.base import LinearAdapter
from isthmus.adapters.steps.ridge import RidgePath
from isthmus.array_types import Embeddings, Values
from isthmus.errors import InputError
from isthmus.evaluate import parse_metric, relevant_ranks
from isthmus.evaluate.relevance import from_labels
from isthmus.moments import Moments, SecondMoments
from isthmus.nn.modality.hubs import hub_offsets, with_offsets
from isthmus.nn.modality.paired_items import PairedItems
from isthmus.numeric import unit_rows
from isthmus.threads import single_thread

__all__ = ["RIDGES", "ClosedForm", "ReducedRows", "closed_forms", "judged"]


WIDEST = 1024
"""Leading directions of the new modality's covariance that the fits look at."""
_FEW_PAIRS = 500
_ALPHAS = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.03, 0.1, 0.3, 1.0)
RIDGES = tuple(f"ridge {alpha:g}" for alpha in _ALPHAS)
"""Names of the plain ridge maps of the pairs alone, by rising strength."""
_ALPHA = 0.1
_SHARES = (1.0, 0.0)
"""Shares of the frozen space's mean in a mapped vector: 0 leaves out what all items share."""
_SHRINKAGES = (0.7, 0.3, 0.1)
_RANKS = (32, 128)
_CONSTANT = 1e-9
"""Variance of unit rows below which they are all alike."""
_POOL_ROWS, _POOL_WIDTH = 400, 256
_INNER_FOLDS = 2


@dataclass(frozen=True, eq=False)
class ClosedForm:
    """One closed form: a map of unit rows of the new modality."""

    name: str
    matrix: Values
    """``(dx, dy)``"""
    offset: Values
    """``(dy,)``"""
    alone: bool = False
    """Whether rows without a partner had a part in it."""

    def __call__(self, x: Embeddings) -> Embeddings:
        """Mapped rows of unit length; one that is mapped to nothing gets some direction."""
        mapped = Chain([Affine(self.matrix, self.offset), RowNorm("unit")])(x)
        mapped[~mapped.any(axis=1), 0] = 1.0
        return mapped


@dataclass(frozen=True, eq=False)
class ReducedRows:
    """Unit rows of the new modality in the directions that vary most, and the way back."""

    rows: Embeddings
    """``(n, r)``"""
    basis: NDArray[np.float64] | None
    """``(dx, r)``, orthonormal; None where all directions are kept."""

    @classmethod
    def of(cls, x: NDArray[Any], most: int = WIDEST) -> ReducedRows:
        """Reduce ``x (n, dx)``, brought to unit length, to at most ``most`` directions."""
        unit = unit_rows(x)
        n, width = unit.shape
        kept = min(most, width, max(n - 1, 1))
        if kept == width:
            return cls(unit, None)
        with single_thread:
            if n < width:
                # the same directions from the smaller product
                centred = unit - unit.mean(axis=0, dtype=np.float64).astype(np.float32)
                values, left = scipy.linalg.eigh(
                    (centred @ centred.T).astype(np.float64),
                    driver="evr",
                    subset_by_index=[n - kept, n - 1],
                )
                basis, _ = scipy.linalg.qr(
                    centred.T @ (left / np.sqrt(np.maximum(values, 1e-30))), mode="economic"
                )
            else:
                moments = Moments.of(unit, unit[:, :0], keep={"square", "xx"}).second()
                _, basis = scipy.linalg.eigh(
                    moments.require("xx"), driver="evr", subset_by_index=[width - kept, width - 1]
                )
        return cls(unit @ basis.astype(np.float32), np.asarray(basis, np.float64))

    def whole(self, start: ClosedForm) -> ClosedForm:
        """A map of reduced rows as a map of unit rows."""
        if self.basis is None:
            return start
        with single_thread:
            return replace(start, matrix=self.basis @ start.matrix)


def closed_forms(
    x: Embeddings,
    y: Embeddings,
    items: PairedItems,
    train_x: NDArray[np.bool_] | None = None,
    train_y: NDArray[np.bool_] | None = None,
) -> Iterable[ClosedForm]:
    """Every closed form that suits the data, the plain ridge maps first.

    Args:
        x: rows of the new modality ``(nx, r)``.
        y: unit rows of the frozen space ``(ny, dy)``.
        items: which belong together.
        train_x: the x rows to look at ``(nx,)``; all unless given.
        train_y: the y rows to look at ``(ny,)``; all unless given.
    """
    used_x = np.flatnonzero(np.ones(len(x), bool) if train_x is None else train_x)
    used_y = np.flatnonzero(np.ones(len(y), bool) if train_y is None else train_y)
    joined = items.x[used_x] < items.paired
    targets = items.target_means(y)[items.x[used_x][joined]]
    pairs = Moments.of(x[used_x][joined], targets, keep={"square", "xx", "xy", "yy"}).second()
    yield from _from_moments(pairs, "")
    alone_x, alone_y = int((~joined).sum()), int((items.y[used_y] >= items.paired).sum())
    if alone_x or alone_y:
        yield from _from_moments(_pooled(pairs, x[used_x], y[used_y]), ", unpaired rows too")
    few = len(np.unique(items.x[used_x][joined]))
    if FEWEST_PAIRS <= few <= _FEW_PAIRS and alone_x and alone_y:
        yield from _few_pairs(x, y, items, used_x[joined])


def judged(
    mapped: Embeddings,
    items_x: NDArray[np.int64],
    y: Embeddings,
    items_y: NDArray[np.int64],
    metric: str,
) -> tuple[NDArray[np.int64], Values]:
    """Mean of both ways' retrieval of every item that was held out, corrected for hubs.

    Here the queries are their own bank, so that maps can be compared before there is another.

    Args:
        mapped: held-out rows of the new modality ``(q, dy)``.
        items_x: their items.
        y: the gallery, which no fit has seen paired ``(ny, dy)``.
        items_y: their items.
        metric: as `parse_metric` reads it.

    Returns:
        The items and their values.
    """
    per_query = parse_metric(metric).per_query
    asked_items = np.unique(items_x)
    here = np.flatnonzero(np.isin(items_y, asked_items))
    values = np.zeros(len(asked_items))
    ways = ((mapped, items_x, y, items_y), (y[here], items_y[here], mapped, items_x))
    for queries, asked, gallery, held in ways:
        left, right = with_offsets(queries, gallery, hub_offsets(gallery, queries))
        ranks = relevant_ranks(left, right, from_labels(asked, held), metric="dot")
        place = np.searchsorted(asked_items, asked)
        sums = np.bincount(place, per_query(ranks), len(asked_items))
        values += sums / np.bincount(place, minlength=len(asked_items)) / 2
    return asked_items, values


def _from_moments(moments: SecondMoments, note: str) -> Iterable[ClosedForm]:
    if min(moments.variance_x.sum(), moments.variance_y.sum()) <= _CONSTANT:
        return
    path = RidgePath.of(moments)
    found = [(name, _SHARES, path.map(alpha)) for name, alpha in zip(RIDGES, _ALPHAS, strict=True)]
    narrow = min(moments.require("xy").shape)
    others: list[tuple[str, tuple[float, ...], LinearAdapter]] = [
        *((f"low rank {rank}", _SHARES, LowRank(rank, _ALPHA)) for rank in _RANKS if rank < narrow),
        ("procrustes", _SHARES, Procrustes()),
        *((f"csa {shrinkage:g}", (0.0,), CSA(shrinkage)) for shrinkage in _SHRINKAGES),
    ]
    identity = np.eye(len(moments.mean_x))
    found += [
        (name, shares, adapter.fit_moments(moments).affine_.apply_linear(identity))
        for name, shares, adapter in others
    ]
    for name, shares, matrix in found:
        if not (np.isfinite(matrix).all() and np.abs(matrix).max() > 0):
            continue
        centre = moments.mean_x @ matrix
        for share in shares:
            mean = "" if share == 1.0 else ", without the mean"
            offset = share * moments.mean_y - centre
            yield ClosedForm(f"{name}{mean}{note}", matrix, offset, alone=bool(note))


def _pooled(pairs: SecondMoments, x: Embeddings, y: Embeddings) -> SecondMoments:
    """Means and covariances of each side over all its rows; between the sides over the pairs."""
    empty_x, empty_y = x[:, :0], y[:, :0]
    left = Moments.of(x, empty_x, keep={"square", "xx"}).second()
    right = Moments.of(y, empty_y, keep={"square", "xx"}).second()
    return replace(
        pairs,
        mean_x=left.mean_x,
        mean_y=right.mean_x,
        xx=left.xx,
        yy=right.xx,
        variances=(left.variances[0], right.variances[0]),
    )


def _few_pairs(
    x: Embeddings, y: Embeddings, items: PairedItems, rows: NDArray[np.int64]
) -> Iterable[ClosedForm]:
    """Pseudo-pairs from the rows of items with one modality, and the known ``rows`` of x."""
    anchors = items.target_means(y)[items.x[rows]]
    # a rotation of many more dimensions than there are pairs is slow to find, and no better
    narrow = ReducedRows.of(x, _POOL_WIDTH).rows
    try:
        found = refine_few_pairs(
            narrow[rows],
            anchors,
            narrow[items.x >= items.paired],
            y[items.y >= items.paired],
            options=FewPairsOptions(pool_rows=_POOL_ROWS, folds=_INNER_FOLDS),
        )
    except InputError:
        return  # too few distinct pairs, or sides that do not vary
    # one affine map through what the chain of row norms makes of all rows
    near = Ridge(1e-6).fit_moments(Moments.of(x, found.chain(narrow), keep={"square", "xx", "xy"}))
    yield ClosedForm("pseudo-pairs", near.matrix_, near.offset_, alone=True)
