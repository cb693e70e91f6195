"""Held-out queries and a gallery, and what a map makes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.adapters.cross_fitted import CrossFitted, FittedMap, mapped_rows
from isthmus.bridge.kind import BridgeKind
from isthmus.errors import InputError
from isthmus.evaluate import parse_metric, relevant_ranks, top_k
from isthmus.evaluate.judging import default_metric
from isthmus.evaluate.relevance import Relevance, from_labels, from_pairs
from isthmus.evaluate.trial import FewerPairs, FittedRows, Trial
from isthmus.spaces.id_likeness import alike_but_for
from isthmus.spaces.metric import Metric
from isthmus.spaces.sample import Batch

__all__ = ["HeldOut", "OldAlone", "Qrels", "primary_metric"]

Qrels = Mapping[Any, Sequence[Any]]
"""For each query id, the ids of the gallery items that answer it."""

_NEIGHBOURS = 10
_BLOCK_ROWS = 8192


@dataclass(frozen=True, eq=False)
class OldAlone:
    """Items of the index that have no new vector, and what answers the queries among all items."""

    ids: NDArray[Any]
    old: NDArray[Any]
    """Their old vectors ``(n, d)``."""
    relevance: Relevance | None
    """Over the paired items, then these."""

    def widened(self, trial: Trial, bridged: NDArray[Any] | None) -> Trial:
        """The trial among all items, the paired ones first.

        Args:
            trial: among the paired items.
            bridged: mapped vectors of these items, where the corpus is mapped.
        """
        gallery_bridged = None
        if trial.gallery_bridged is not None and bridged is not None:
            gallery_bridged = np.concatenate([trial.gallery_bridged, bridged])
        ids = None
        if trial.gallery_ids is not None:
            ids = np.concatenate([trial.gallery_ids, self.ids])
        return replace(
            trial,
            gallery_old=np.concatenate([trial.gallery_old, self.old]),
            gallery_new=None,
            gallery_bridged=gallery_bridged,
            gallery_error=None,
            gallery_ids=ids,
            relevance=self.relevance,
            paired=trial,
            fitted=None if trial.fitted is None else trial.fitted.widened(len(self.ids)),
        )


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Queries and a gallery in both spaces, none of the queries' items used in the fit."""

    queries: Batch
    gallery: Batch
    relevance: Relevance | None
    exclude: NDArray[np.int64] | None
    """The query's own place in the gallery, where queries are gallery items."""
    metric: Metric = "cosine"
    """How vectors are compared, in both spaces."""
    answer_ids: NDArray[Any] | None = None
    """The item that answers each query first; None where queries are items themselves."""
    alone: OldAlone | None = None
    """Further items of the index, known in old vectors alone."""
    left_out: int = 0
    """Queries that do not ask, since the map was fitted on an answer of theirs."""
    half_seen: int = 0
    """Queries that ask although it was."""

    @classmethod
    def of_items(cls, items: Batch, others: Batch, metric: Metric = "cosine") -> HeldOut:
        """Items that search among themselves and ``others``, each leaving itself out.

        With labels, items of the same label are relevant.  Without, nothing says what is relevant,
        and maps can only be judged by their agreement with the old model.
        """
        gallery = _union(items, others)
        exclude = np.arange(len(items))
        relevance = None
        if items.labels is not None and gallery.labels is not None:
            relevance = from_labels(items.labels, gallery.labels, exclude=exclude)
        return cls(items, gallery, relevance, exclude, metric)

    @classmethod
    def of_queries(
        cls, queries: Batch, qrels: Qrels, items: Batch, others: Batch, metric: Metric = "cosine"
    ) -> HeldOut:
        """Separate queries that search among ``items`` (which answer them) and ``others``."""
        gallery = _union(items, others)
        known = set(gallery.ids.tolist())
        pairs = [
            (q, item) for q in queries.ids.tolist() for item in qrels.get(q, ()) if item in known
        ]
        relevance = from_pairs(queries.ids.tolist(), gallery.ids.tolist(), pairs)
        answerable = relevance.answerable
        if not answerable.any():
            asked_for = [item for q in queries.ids.tolist() for item in qrels.get(q, ())]
            called = _named(asked_for, known)
            raise InputError(
                f"no held-out query has its relevant item among the pairs{called}",
                where="queries",
                mend="Give relevance judgements, or query ids equal to the ids of their documents",
            )
        asked = queries.select(answerable)
        first = np.asarray([qrels[q][0] for q in asked.ids.tolist()])
        return cls(asked, gallery, relevance.of(answerable), None, metric, first)

    def seen(self, chain: FittedMap, fitted: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
        """Which queries ``(nq,)`` have an answer that the map which judges them was fitted on.

        Args:
            chain: the map, or one for each fold.
            fitted: the items ``(ng,)`` that a single map was fitted on.
        """
        if self.exclude is not None or self.relevance is None:
            return np.zeros(len(self.queries), np.bool_)
        rows, items = self.relevance.rows, self.relevance.indices
        if isinstance(chain, CrossFitted):
            apart = chain.folds(self.gallery.ids)[items] != chain.folds(self.answers)[rows]
        else:
            apart = np.zeros(len(items), np.bool_) if fitted is None else fitted[items]
        return np.bincount(rows, apart, len(self.queries)) > 0

    def without(self, seen: NDArray[np.bool_]) -> HeldOut:
        """Without some of the queries ``(nq,)``."""
        if not seen.any():
            return self
        assert self.relevance is not None
        return replace(
            self,
            queries=self.queries.select(~seen),
            relevance=self.relevance.of(~seen),
            answer_ids=None if self.answer_ids is None else self.answer_ids[~seen],
            left_out=self.left_out + int(seen.sum()),
        )

    def mapped_queries(self, chain: FittedMap) -> NDArray[Any]:
        """The queries ``(nq, dy)`` behind a map that has not seen their answers."""
        return mapped_rows(chain, self.answers, self.queries.x)

    def _mapped_by_fewer(self, chain: FittedMap) -> FewerPairs | None:
        """The queries behind maps that were fitted without one fold more."""
        if not isinstance(chain, CrossFitted) or chain.fewer is None or self.exclude is not None:
            return None
        return FewerPairs(self.mapped_queries(chain.fewer), len(chain.chains))

    def _mapped_by_nested(self, chain: FittedMap) -> NDArray[Any] | None:
        """The queries behind maps that others chose."""
        if not isinstance(chain, CrossFitted) or chain.nested is None or self.exclude is not None:
            return None
        return self.mapped_queries(chain.nested)

    @property
    def answers(self) -> NDArray[Any]:
        """The item ``(nq,)`` whose fold a query is of."""
        return self.queries.ids if self.answer_ids is None else self.answer_ids

    def fitted(self, chain: FittedMap) -> FittedRows | None:
        """Which items attract the mapped queries, where their answers are rows of no such fit."""
        if not isinstance(chain, CrossFitted) or self.exclude is not None:
            return None
        ids = self.gallery.ids
        return FittedRows(chain.folds(self.answers), chain.folds(ids), groups=chain.groups(ids))

    @property
    def searched(self) -> int:
        """Items of the old index that are searched."""
        return len(self.gallery) + (0 if self.alone is None else len(self.alone.ids))

    def trial(self, chain: FittedMap, kind: BridgeKind, *, errors: bool = False) -> Trial:
        """Every way to serve the new model, with the mapped vectors of ``chain``.

        ``errors`` adds what the map gets wrong on each gallery item, on unit vectors under cosine.
        Among `alone` as well, where they are given.
        """
        paired = self._paired(chain, kind, errors=errors)
        if self.alone is None:
            return paired
        bridged = None
        if kind == "corpus":
            bridged = mapped_rows(chain, self.alone.ids, self.alone.old)
        return self.alone.widened(paired, bridged)

    def _paired(self, chain: FittedMap, kind: BridgeKind, *, errors: bool) -> Trial:
        q, g = self.queries, self.gallery
        mapped = mapped_rows(chain, g.ids, g.x) if errors or kind == "corpus" else None
        missed = (
            _squared_errors(mapped, g.y, self.metric) if errors and mapped is not None else None
        )
        if kind == "query":
            return Trial(
                query_old=q.y,
                query_new=q.x,
                query_bridged=self.mapped_queries(chain),
                gallery_old=g.y,
                gallery_new=g.x,
                relevance=self.relevance,
                exclude=self.exclude,
                metric=self.metric,
                gallery_error=missed,
                query_ids=q.ids,
                gallery_ids=g.ids,
                fitted=self.fitted(chain),
                fewer=self._mapped_by_fewer(chain),
                query_nested=self._mapped_by_nested(chain),
            )
        return Trial(
            query_old=q.x,
            query_new=q.y,
            gallery_old=g.x,
            gallery_new=g.y,
            gallery_bridged=mapped,
            relevance=self.relevance,
            exclude=self.exclude,
            metric=self.metric,
            gallery_error=missed,
            query_ids=q.ids,
            gallery_ids=g.ids,
        )

    def judge(
        self, kind: BridgeKind, primary: str | None
    ) -> Callable[[FittedMap], NDArray[np.float64]]:
        """The user's metric of each query as a function of the map; for choosing between maps."""
        relevance = self.relevance if self.alone is None else self.alone.relevance
        name = primary_metric(relevance, primary)
        if relevance is None:
            relevance = self.agreement(kind)
        metric = parse_metric(name)
        # an item whose label no other has asks for nothing
        kept = relevance.answerable
        if not kept.any():
            raise InputError(
                "no held-out item shares its label with another: nothing is relevant to anything",
                where="labels",
                mend="Give labels of classes, not of single items, or none",
            )
        relevance = relevance.of(kept)

        def value(chain: FittedMap) -> NDArray[np.float64]:
            side = self.trial(chain, kind).bridge
            ranks = relevant_ranks(
                side.queries[kept],
                side.gallery,
                relevance,
                metric=side.metric,
                exclude=None if self.exclude is None else self.exclude[kept],
            )
            return metric.per_query(ranks)

        return value

    def agreement(self, kind: BridgeKind) -> Relevance:
        """What the old model finds counts as relevant; raises InputError for a single item."""
        q, g = self.queries, self.gallery
        asked, items = (q.y, g.y) if kind == "query" else (q.x, g.x)
        if self.alone is not None:
            items = np.concatenate([items, self.alone.old])
        k = min(_NEIGHBOURS, len(items) - 1)
        if k < 1:
            raise InputError(
                "the gallery holds a single item: nothing can be searched",
                mend="Give more pairs: a few hundred at the least, 4,000 for a good map",
            )
        found = top_k(asked, items, k, metric=self.metric, exclude=self.exclude).indices
        first = np.sort(found, axis=1).reshape(-1)
        return Relevance(np.arange(len(q) + 1) * k, first, len(items))


def primary_metric(relevance: Relevance | None, primary: str | None) -> str:
    """The metric that decides: the user's, or recall@10 where ten results can hold every answer."""
    if relevance is None:
        return f"recall@{_NEIGHBOURS}"
    if primary is not None:
        return parse_metric(primary).name
    return default_metric(relevance)


def _squared_errors(
    mapped: NDArray[Any], target: NDArray[Any], metric: Metric
) -> NDArray[np.float64]:
    """Squared distance of each mapped row ``(n, d)`` to its target; of unit vectors for cosine."""
    errors = np.empty(len(mapped))
    for start in range(0, len(mapped), _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        a, b = (np.asarray(side[rows], dtype=np.float64) for side in (mapped, target))
        if metric == "cosine":
            a, b = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (a, b))
        errors[rows] = np.einsum("nd,nd->n", a - b, a - b)
    return errors


def _named(asked_for: Sequence[Any], known: set[Any]) -> str:
    """How judged items and the items that there are are called, where none is both."""
    if not asked_for or not known or not known.isdisjoint(asked_for):
        return ""
    alike = alike_but_for(asked_for, known)
    return f" (judgements name items such as {asked_for[0]!r}, the pairs {min(known)!r}{alike})"


def _union(first: Batch, second: Batch) -> Batch:
    """The rows of ``first``, then those of ``second`` that are not among them."""
    extra = second.select(~np.isin(second.ids, first.ids))
    return Batch.joined([first, extra]) if len(extra) else first
