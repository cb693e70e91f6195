"""What a fit reads of the pairs: fold moments and rows of the fit part."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.adapters.chain import Chain
from isthmus.adapters.steps.base import FitRows, Pools
from isthmus.bridge.fitting import Fitting
from isthmus.bridge.grouping import Grouper, grouper
from isthmus.bridge.held_out_samples import FIT, PARTS, HeldOutSamples, RowSamples
from isthmus.bridge.weighting import KnownWeights, RowWeights
from isthmus.moments import (
    EVERYTHING,
    FoldMoments,
    GroupedFoldMoments,
    KindsApart,
    SecondMoments,
)
from isthmus.numeric import Array
from isthmus.progress import Progress, silent
from isthmus.spaces.pairs import SplitPart
from isthmus.spaces.sample import Batch
from isthmus.spaces.split import Assignment, Copies

__all__ = ["Assigned", "FitSource", "ItemPass"]


class FitSource:
    """What a fit reads of the pairs: moments and rows of the fit part, as a `MomentSource`.

    Every pass reads the pairs anew; a pass is watched by the samples until they are complete, so
    that the pairs are not read for them alone.

    Args:
        samples: of the pairs and the queries, with their split.
        fitting: how many folds, whether queries are fitted on as well, how much each row counts,
            and unpaired vectors.
        seed: of the folds.
        every_part: fit on all parts, where rows are judged by maps of the other folds.
        maps_queries: whether the map is for queries, and not for items.
        progress: told about rows.
    """

    def __init__(
        self,
        samples: HeldOutSamples,
        fitting: Fitting,
        *,
        seed: int,
        every_part: bool = False,
        maps_queries: bool = True,
        progress: Progress = silent,
    ) -> None:
        self.samples = samples
        self.split, self.queries = samples.split, samples.queries
        self.fit_on_queries = fitting.fit_on_queries and self.queries is not None
        self._folds, self._seed, self.pools = fitting.folds, seed, fitting.pools
        self._every_part, self._maps_queries = every_part, maps_queries
        self._progress = progress
        self._weights = RowWeights(
            fitting.weighting,
            self._fit_batches,
            labelled=self.split.pairs.has_labels,
            queries=self.fit_on_queries,
        )
        self.fit_rows = 0
        """Pairs used for the fit, queries included."""

    def means(self, x: Chain, y: Chain, /) -> SecondMoments:
        """Means and variances of the fit rows behind two chains."""
        return self.folds(x, y, frozenset({"square"})).total.second()

    def folds(self, x: Chain, y: Chain, keep: frozenset[str], /) -> FoldMoments:
        """Fold moments of the fit rows behind two chains.

        Raises:
            InputError: where ``keep`` or the weighting asks for labels and there are none.
        """
        pairs = self.split.pairs
        groupers = {
            name: grouper(name, self._grouped, y, self._seed)
            for name in sorted(keep - EVERYTHING - {"kinds"})
        }
        kept = keep & EVERYTHING
        widths = x.width_behind(pairs.dim_x), y.width_behind(pairs.dim_y)
        moments = GroupedFoldMoments(
            *widths,
            self._folds,
            keep=kept,
            seed=self._seed,
            groupings=groupers,
        )
        work = ItemPass(
            (x, y),
            self._assigned,
            moments,
            groupers,
            self._weights.known(),
            None if self.samples.is_complete else self.samples.begin(),
        )
        moments, kept_rows = pairs.fold(work, work.joined, progress=self._progress)
        if kept_rows is not None:
            self.samples.complete(kept_rows)
        queries = None
        if "kinds" in keep and self.fit_on_queries:
            queries = FoldMoments(*widths, self._folds, keep=kept, seed=self._seed)
        for batch in self._query_batches():
            on_x, on_y, groups = work.seen(batch)
            weights = work.weights.of(batch, True)
            moments.update(batch.ids, on_x, on_y, weights=weights, groups=groups)
            if queries is not None:
                queries.update(batch.ids, on_x, on_y, weights=weights)
        if queries is not None and 0 < queries.total.n < moments.total.n:
            moments.apart = KindsApart(
                moments.without(queries), queries, maps_queries=self._maps_queries
            )
        self.fit_rows = sum(fold.rows for fold in moments.folds)
        return moments

    @property
    def rows_at_most(self) -> int:
        """How many rows there can be, queries included."""
        queries = self.queries if self.fit_on_queries else None
        return len(self.split.pairs) + (0 if queries is None else len(queries.pairs))

    def rows(self, x: Chain, y: Chain, /) -> FitRows:
        """The fit rows behind two chains; every iteration reads them again."""
        return _Rows(self._fit_batches, x, y, self.pools)

    def _fit_batches(self) -> Iterator[tuple[Batch, bool]]:
        """The pairs of the fit part, then the queries that are fitted on; whether they are.

        A query has the id of the item that answers it, and a copy that of the item it is a copy of,
        so that they are in one fold.
        """
        for batch in self.split.pairs.batches(progress=self._progress):
            fitted = batch.select(self._assigned.fitted(batch.ids))
            if len(fitted):
                yield replace(fitted, ids=self.copies.leaders(fitted.ids)), False
        for batch in self._query_batches():
            yield batch, True

    def _query_batches(self) -> Iterator[Batch]:
        """The queries that are fitted on, with the ids of their answers."""
        if self.queries is None or not self.fit_on_queries:
            return
        for batch in self.queries.pairs.batches():
            parts = self.queries.parts(batch.ids, self.split)
            fitted = batch.select(self._assigned.among(parts))
            if len(fitted):
                answers = self.queries.answer_ids(fitted.ids)
                yield replace(fitted, ids=self.copies.leaders(answers))

    @property
    def _assigned(self) -> Assigned:
        return Assigned(self.split.assign, self._every_part)

    @property
    def copies(self) -> Copies:
        """Items that are copies of others; folds do not part them."""
        return self.split.assign.copies

    @property
    def _grouped(self) -> SplitPart:
        """The pairs that clusters are found in."""
        if not self._every_part:
            return self.split[PARTS[FIT]]
        return self.split.pairs.split({PARTS[FIT]: 1.0}, seed=self._seed)[PARTS[FIT]]


@dataclass(frozen=True)
class Assigned:
    """Which pairs are fitted on."""

    parts: Assignment
    every_part: bool

    def among(self, parts: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of these parts are fitted on."""
        return (parts >= FIT) & (parts < len(PARTS)) if self.every_part else parts == FIT

    def fitted(self, ids: NDArray[Any]) -> NDArray[np.bool_]:
        """Which of these ids are fitted on."""
        return self.among(self.parts(ids))


@dataclass(frozen=True, eq=False)
class ItemPass:
    """Moments of the fit rows among some batches of items, and samples of all their rows."""

    frame: tuple[Chain, Chain]
    assigned: Assigned
    empty: GroupedFoldMoments
    groupers: Mapping[str, Grouper]
    weights: KnownWeights
    samples: RowSamples | None

    def __call__(self, batches: Iterator[Batch]) -> tuple[GroupedFoldMoments, RowSamples | None]:
        """Moments, and samples where some are to be taken."""
        moments, samples = deepcopy(self.empty), deepcopy(self.samples)
        for batch in batches:
            parts = self.assigned.parts(batch.ids)
            if samples is not None:
                samples.update(batch, parts)
            fitted = batch.select(self.assigned.among(parts))
            if len(fitted):
                x, y, groups = self.seen(fitted)
                weights = self.weights.of(fitted, False)
                ids = self.assigned.parts.copies.leaders(fitted.ids)
                moments.update(ids, x, y, weights=weights, groups=groups)
        return moments, samples

    def seen(self, batch: Batch) -> tuple[Array, Array, dict[str, NDArray[Any]]]:
        """Both sides behind their chains, and the groups of the rows."""
        x, y = _behind(self.frame[0], batch.x), _behind(self.frame[1], batch.y)
        return x, y, {name: of(batch, y) for name, of in self.groupers.items()}

    @staticmethod
    def joined(
        one: tuple[GroupedFoldMoments, RowSamples | None],
        other: tuple[GroupedFoldMoments, RowSamples | None],
    ) -> tuple[GroupedFoldMoments, RowSamples | None]:
        """Both results as one; the first is changed."""
        moments, samples = one
        moments += other[0]
        if samples is not None and other[1] is not None:
            samples.merge(other[1])
        return moments, samples


@dataclass(frozen=True)
class _Rows:
    """Batches with both sides behind their chains."""

    read: Callable[[], Iterator[tuple[Batch, bool]]]
    x: Chain
    y: Chain
    unpaired: Pools | None

    def __iter__(self) -> Iterator[Batch]:
        for batch, _ in self.read():
            yield self._framed(batch)

    @property
    def items(self) -> Iterator[Batch]:
        """The items alone."""
        return (self._framed(batch) for batch, are_queries in self.read() if not are_queries)

    @property
    def asked(self) -> Iterator[Batch]:
        """The queries alone, with the ids of the items that answer them."""
        return (self._framed(batch) for batch, are_queries in self.read() if are_queries)

    @property
    def pools(self) -> Pools | None:
        """The unpaired vectors."""
        if self.unpaired is None:
            return None
        return Pools(_behind(self.x, self.unpaired.source), _behind(self.y, self.unpaired.target))

    def _framed(self, batch: Batch) -> Batch:
        return replace(batch, x=_behind(self.x, batch.x), y=_behind(self.y, batch.y))


def _behind(chain: Chain, rows: Array) -> Array:
    return chain(rows) if chain.stages else rows
