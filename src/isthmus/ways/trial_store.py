"""A store in memory over the vectors of a trial, which also counts where relevant items stand."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.evaluate.ranks import Ranks, ranks_and_hits
from isthmus.evaluate.scores import Metric
from isthmus.evaluate.search import TopK, top_k
from isthmus.evaluate.trial import GallerySearch, Trial
from isthmus.stores import Hits, Ids, MemoryStore
from isthmus.ways.mixed_index import mixed_ranks
from isthmus.ways.recall import new_gallery_search
from isthmus.ways.search import Columns
from isthmus.ways.way import Join

__all__ = ["TrialStore"]

_Known = dict[tuple[bytes, str], tuple[Ranks | None, TopK]]


class TrialStore(MemoryStore):
    """The gallery of a trial; item i has the id i.

    A search is remembered, since many ways recall alike, and on the same scores the relevant items
    are ranked in the whole gallery: a rank is counted, where a full answer would be sorted.

    Args:
        trial: its galleries.
        depth: results that are remembered of each search.
        new: ``all`` to hold the new model's vectors of every item, a mask ``(ng,)`` for a part.
        known: searches remembered by another store of the same trial.
    """

    def __init__(
        self,
        trial: Trial,
        depth: int,
        *,
        new: NDArray[np.bool_] | bool = False,
        known: _Known | None = None,
    ) -> None:
        new_metric = trial.metric_new or trial.metric
        vectors = {"old": trial.gallery_old}
        metrics: dict[str, Metric] = {"old": trial.metric}
        if trial.gallery_bridged is not None:
            vectors["bridged"], metrics["bridged"] = trial.gallery_bridged, new_metric
        if new is True:
            vectors["new"], metrics["new"] = new_gallery_search(trial).gallery, new_metric
        super().__init__(vectors=vectors, metric=metrics, name="trial")
        self._trial, self._vectors, self._metrics = trial, vectors, metrics
        self._depth = min(depth, trial.n_gallery)
        self._known: _Known = {} if known is None else known
        if isinstance(new, np.ndarray):
            side = new_gallery_search(trial)
            self.add_column("new", side.gallery.shape[1], metric=side.metric)
            self.put(np.flatnonzero(new), side.gallery[new], column="new")
        has_new = new is True or isinstance(new, np.ndarray)
        self.columns = Columns(
            "old", "new" if has_new else None, "bridged" if "bridged" in vectors else None
        )

    @property
    def known(self) -> _Known:
        """What is remembered, for another store of the same trial."""
        return self._known

    def search(
        self, queries: NDArray[Any], k: int, *, column: str, only: Ids | None = None
    ) -> Hits:
        """See `Store.search`."""
        if only is not None or column not in self._vectors or k > self._depth:
            return super().search(queries, k, column=column, only=only)
        _, found = self._seen(queries, column)
        return Hits(found.indices[:, :k].copy(), found.scores[:, :k].copy())

    def ranks(self, queries: NDArray[Any], column: str) -> Ranks:
        """The ranks of the relevant items in the whole answer of a search, ties against them."""
        ranks, _ = self._seen(queries, column)
        assert ranks is not None
        return ranks

    def joined_ranks(
        self,
        low: tuple[NDArray[Any], str],
        new: NDArray[Any],
        part: NDArray[np.bool_],
        join: Join,
    ) -> Ranks:
        """The same where both columns are searched as one index."""
        trial = self._trial
        assert trial.relevance is not None
        return mixed_ranks(
            GallerySearch(low[0], self._vectors[low[1]], self._metrics[low[1]]),
            GallerySearch(new, *new_gallery_search(trial)[1:]),
            trial.relevance,
            [(part, join)],
            exclude=trial.exclude,
        )[0]

    def _seen(self, queries: NDArray[Any], column: str) -> tuple[Ranks | None, TopK]:
        rows = np.ascontiguousarray(queries)
        key = hashlib.blake2b(rows.view(np.uint8).data).digest(), column
        if key not in self._known:
            gallery, metric = self._vectors[column], self._metrics[column]
            relevance = self._trial.relevance
            if relevance is None:
                self._known[key] = None, top_k(queries, gallery, self._depth, metric=metric)
            else:
                self._known[key] = ranks_and_hits(
                    queries, gallery, relevance, self._depth, metric=metric,
                    exclude=self._trial.exclude,
                )  # fmt: skip
        return self._known[key]
