"""One pass over the pairs feeds everything: fold moments of the fit part, samples of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.adapters.chain import Chain
from isthmus.adapters.steps.base import FitRows
from isthmus.bridge.evidence import HeldOut, Qrels
from isthmus.bridge.grouping import grouper
from isthmus.bridge.weighting import RowWeights, Weighting
from isthmus.errors import InputError
from isthmus.moments import (
    EVERYTHING,
    FoldMoments,
    GroupedFoldMoments,
    SecondMoments,
)
from isthmus.numeric import Array
from isthmus.progress import Progress, silent
from isthmus.spaces.pairs import Pairs, Split
from isthmus.spaces.sample import Batch, Sampler

__all__ = ["PARTS", "UNUSED", "PairStream", "Queries", "SampleSizes", "has_ids"]

PARTS: tuple[str, ...] = ("fit", "validation", "test")
UNUSED = "unused"
"""A further part: neither fitted on nor asked about, but searched among."""
FIT, VALIDATION, TEST = range(3)


def has_ids(pairs: Pairs) -> bool:
    """Whether items are known by ids, and not by their row numbers alone."""
    return pairs.source.ids is not None or pairs.target.ids is not None


@dataclass(frozen=True)
class SampleSizes:
    """How many rows are held in memory for retrieval; more rows, narrower intervals."""

    test: int = 2000
    validation: int = 1000
    gallery: int = 10_000
    validation_gallery: int = 5000


@dataclass(frozen=True, eq=False)
class Queries:
    """Separate queries in both spaces, and what answers them.

    A query belongs to the part of the split that its first answer belongs to, so that no held-out
    query's document was used in the fit.
    """

    pairs: Pairs
    """The queries in the source and in the target space."""
    qrels: Qrels | None = None
    """None: a query is answered by the item of the same id."""

    def answers(self, query: Any) -> Sequence[Any]:
        """The ids of the items that answer a query."""
        return (query,) if self.qrels is None else self.qrels.get(query, ())

    def parts(self, ids: NDArray[Any], split: Split) -> NDArray[np.int64]:
        """The part of each query; -1 for one that nothing answers."""
        if self.qrels is None:
            return split.assign(ids)
        first = [self.answers(q) for q in ids.tolist()]
        answered = np.array([len(a) > 0 for a in first])
        parts = np.full(len(ids), -1, dtype=np.int64)
        if answered.any():
            parts[answered] = split.assign(np.array([a[0] for a in first if len(a) > 0]))
        return parts


class PairStream:
    """The `MomentSource` of a fit, which samples held-out rows on its first pass."""

    def __init__(
        self,
        split: Split,
        queries: Queries | None,
        *,
        folds: int,
        seed: int,
        sizes: SampleSizes,
        fit_on_queries: bool,
        weighting: Weighting = None,
        progress: Progress = silent,
    ) -> None:
        self.split = split
        self.queries = queries
        self.fit_on_queries = fit_on_queries and queries is not None
        self._folds, self._seed, self._sizes = folds, seed, sizes
        self._progress = progress
        self._weighted = RowWeights(
            weighting,
            self._fit_batches,
            labelled=split.pairs.has_labels,
            queries=self.fit_on_queries,
        )
        self._samplers = {
            VALIDATION: Sampler(sizes.validation, seed=seed),
            TEST: Sampler(sizes.test, seed=seed),
        }
        self._gallery = Sampler(sizes.gallery, seed=seed + 1)
        self._answers: list[Batch] = []
        self._wanted: NDArray[Any] | None = None
        self._sampled_once = False
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
            name: grouper(name, self.split[PARTS[FIT]], y, self._seed)
            for name in sorted(keep - EVERYTHING)
        }
        moments = GroupedFoldMoments(
            pairs.dim_x,
            pairs.dim_y,
            self._folds,
            keep=keep & EVERYTHING,
            seed=self._seed,
            groupings=groupers,
        )
        for batch, weights in self._weighted:
            on_x, on_y = _behind(x, batch.x), _behind(y, batch.y)
            groups = {name: of(batch, on_y) for name, of in groupers.items()}
            moments.update(batch.ids, on_x, on_y, weights=weights, groups=groups)
        self.fit_rows = sum(fold.rows for fold in moments.folds)
        return moments

    def rows(self, x: Chain, y: Chain, /) -> FitRows:
        """The fit rows behind two chains; every iteration reads them again."""
        return _Rows(lambda: (batch for batch, _ in self._fit_batches()), x, y)

    def _fit_batches(self) -> Iterator[tuple[Batch, bool]]:
        """The pairs of the fit part, then the queries that are fitted on; whether they are."""
        for batch, parts in self._batches():
            fitted = batch.select(parts == FIT)
            if len(fitted):
                yield fitted, False
        if self.queries is not None and self.fit_on_queries:
            for batch in self.queries.pairs.batches():
                fitted = batch.select(self.queries.parts(batch.ids, self.split) == FIT)
                if len(fitted):
                    yield fitted, True

    def read_samples(self) -> None:
        """A pass for the samples alone."""
        for _ in self._batches():
            pass

    def _batches(self) -> Iterator[tuple[Batch, NDArray[np.int64]]]:
        """Every pair with its part; the first time round, samples are taken on the way."""
        first, self._sampled_once = not self._sampled_once, True
        if first:
            self._sample_queries()
        for batch, parts in self.split.batches_with_parts(progress=self._progress):
            if first:
                self._sample(batch, parts)
            yield batch, parts

    def _sample_queries(self) -> None:
        if self.queries is None:
            return
        for batch in self.queries.pairs.batches():
            parts = self.queries.parts(batch.ids, self.split)
            for part, sampler in self._samplers.items():
                sampler.update(batch.select(parts == part))
        wanted: set[Any] = set()
        for part in self._samplers:
            batch = self._sampled(part)
            for q in [] if batch is None else batch.ids.tolist():
                wanted.update(self.queries.answers(q))
        self._wanted = np.array(sorted(wanted)) if wanted else None

    def _sample(self, batch: Batch, parts: NDArray[np.int64]) -> None:
        self._gallery.update(batch)
        if self.queries is None:
            for part, sampler in self._samplers.items():
                sampler.update(batch.select(parts == part))
        elif self._wanted is not None:
            self._answers.append(batch.select(np.isin(batch.ids, self._wanted)))

    def _sampled(self, part: int) -> Batch | None:
        try:
            return self._samplers[part].sample()
        except InputError:
            return None

    @property
    def sample(self) -> Batch:
        """A uniform sample of all pairs."""
        return self._gallery.sample()

    def test_part(self) -> HeldOut:
        """Queries of the test part with their gallery.

        Raises:
            InputError: if there is none.
        """
        held_out = self.held_out(TEST)
        if held_out is not None:
            return held_out
        pairs = len(self.split.pairs)
        if self.queries is None:
            raise InputError(
                f"of {pairs:,} pairs none fell into the test part, so nothing can be said",
                mend="Give more pairs: a few hundred at the least, 4,000 for a good map",
            )
        raise InputError(
            f"of {len(self.queries.pairs):,} queries none is answered by an item of the test part",
            where="queries",
            mend="Give more queries; check that their ids, and those of their answers, are the "
            "ones that the relevance judgements and the items have",
        )

    def held_out(self, part: int) -> HeldOut | None:
        """Queries of a part with their gallery; None if no query fell into the part."""
        queries = self._sampled(part)
        if queries is None:
            return None
        gallery = self.sample
        if part == VALIDATION:
            gallery = gallery.select(slice(0, self._sizes.validation_gallery))
        if self.queries is None:
            return HeldOut.of_items(queries, gallery)
        qrels = {q: self.queries.answers(q) for q in queries.ids.tolist()}
        wanted = np.array(sorted({item for items in qrels.values() for item in items}))
        answers = [b.select(np.isin(b.ids, wanted)) for b in self._answers]
        items = Batch(
            np.concatenate([b.ids for b in answers]),
            np.concatenate([b.x for b in answers]),
            np.concatenate([b.y for b in answers]),
        )
        return HeldOut.of_queries(queries, qrels, items, gallery)


@dataclass(frozen=True)
class _Rows:
    """Batches with both sides behind their chains."""

    read: Callable[[], Iterator[Batch]]
    x: Chain
    y: Chain

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.read():
            yield replace(batch, x=_behind(self.x, batch.x), y=_behind(self.y, batch.y))


def _behind(chain: Chain, rows: Array) -> Array:
    return chain(rows) if chain.stages else rows
