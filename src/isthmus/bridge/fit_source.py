"""What a fit reads of the pairs: fold moments and rows of the fit part."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from isthmus.adapters.chain import Chain
from isthmus.adapters.steps.base import FitRows
from isthmus.bridge.grouping import grouper
from isthmus.bridge.held_out_samples import FIT, PARTS, HeldOutSamples
from isthmus.bridge.weighting import RowWeights, Weighting
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

__all__ = ["FitSource"]


class FitSource:
    """What a fit reads of the pairs: moments and rows of the fit part, as a `MomentSource`.

    Every pass reads the pairs anew; a pass is watched by the samples until they are complete, so
    that the pairs are not read for them alone.

    Args:
        samples: of the pairs and the queries, with their split.
        folds: of the cross-validation.
        seed: of the folds.
        fit_on_queries: whether queries are fitted on as well.
        weighting: how much each row counts.
        every_part: fit on all parts, where rows are judged by maps of the other folds.
        maps_queries: whether the map is for queries, and not for items.
        progress: told about rows.
    """

    def __init__(
        self,
        samples: HeldOutSamples,
        *,
        folds: int,
        seed: int,
        fit_on_queries: bool,
        weighting: Weighting = None,
        every_part: bool = False,
        maps_queries: bool = True,
        progress: Progress = silent,
    ) -> None:
        self.samples = samples
        self.split, self.queries = samples.split, samples.queries
        self.fit_on_queries = fit_on_queries and self.queries is not None
        self._folds, self._seed = folds, seed
        self._every_part, self._maps_queries = every_part, maps_queries
        self._progress = progress
        self._weighted = RowWeights(
            weighting,
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
        moments = GroupedFoldMoments(
            pairs.dim_x,
            pairs.dim_y,
            self._folds,
            keep=kept,
            seed=self._seed,
            groupings=groupers,
        )
        queries = None
        if "kinds" in keep and self.fit_on_queries:
            queries = FoldMoments(pairs.dim_x, pairs.dim_y, self._folds, keep=kept, seed=self._seed)
        for batch, are_queries, weights in self._weighted:
            on_x, on_y = _behind(x, batch.x), _behind(y, batch.y)
            groups = {name: of(batch, on_y) for name, of in groupers.items()}
            moments.update(batch.ids, on_x, on_y, weights=weights, groups=groups)
            if queries is not None and are_queries:
                queries.update(batch.ids, on_x, on_y, weights=weights)
        if queries is not None and 0 < queries.total.n < moments.total.n:
            moments.apart = KindsApart(
                moments.without(queries), queries, maps_queries=self._maps_queries
            )
        self.fit_rows = sum(fold.rows for fold in moments.folds)
        return moments

    def rows(self, x: Chain, y: Chain, /) -> FitRows:
        """The fit rows behind two chains; every iteration reads them again."""
        return _Rows(self._fit_batches, x, y)

    def _fit_batches(self) -> Iterator[tuple[Batch, bool]]:
        """The pairs of the fit part, then the queries that are fitted on; whether they are.

        A query has the id of the item that answers it, so that both are in one fold.
        """
        for batch, parts in self._batches():
            fitted = batch.select(self._fitted(parts))
            if len(fitted):
                yield fitted, False
        if self.queries is not None and self.fit_on_queries:
            for batch in self.queries.pairs.batches():
                fitted = batch.select(self._fitted(self.queries.parts(batch.ids, self.split)))
                if len(fitted):
                    yield replace(fitted, ids=self.queries.answer_ids(fitted.ids)), True

    @property
    def _grouped(self) -> SplitPart:
        """The pairs that clusters are found in."""
        if not self._every_part:
            return self.split[PARTS[FIT]]
        return self.split.pairs.split({PARTS[FIT]: 1.0}, seed=self._seed)[PARTS[FIT]]

    def _fitted(self, parts: NDArray[np.int64]) -> NDArray[np.bool_]:
        return (parts >= FIT) & (parts < len(PARTS)) if self._every_part else parts == FIT

    def _batches(self) -> Iterator[tuple[Batch, NDArray[np.int64]]]:
        """Every pair with its part."""
        batches = self.split.batches_with_parts(progress=self._progress)
        return batches if self.samples.complete else self.samples.watch(batches)


@dataclass(frozen=True)
class _Rows:
    """Batches with both sides behind their chains."""

    read: Callable[[], Iterator[tuple[Batch, bool]]]
    x: Chain
    y: Chain

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

    def _framed(self, batch: Batch) -> Batch:
        return replace(batch, x=_behind(self.x, batch.x), y=_behind(self.y, batch.y))


def _behind(chain: Chain, rows: Array) -> Array:
    return chain(rows) if chain.stages else rows
