"""The new model rescores what was recalled (reranking), step by step and within a bound."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isthmus.evaluate.rescore import rescored_order
from isthmus.evaluate.scores import Metric, scores_of
from isthmus.stores import Hits, Ids
from isthmus.ways.items import ItemSource, Origin
from isthmus.ways.way import Rescore

__all__ = ["Limit", "NewQueries", "RecallTrace", "Rescored", "Spent", "not_rescored", "rescored"]


@dataclass(frozen=True)
class Spent:
    """What one call of a search cost, beyond searching the store.

    Example:
        >>> from isthmus.ways import Spent
        >>> Spent(queries=1, rescored=50, ahead=10, encoded=12).cold
        40
    """

    queries: int = 0
    old_queries: int = 0
    """Queries that the old model encoded, or whose old vector was given."""
    new_queries: int = 0
    """The same of the new model."""
    rescored: int = 0
    """Items that the new model scored, over all queries."""
    ahead: int = 0
    """How many of these were re-embedded before."""
    encoded: int = 0
    """Distinct items that were encoded now; the others had been kept."""
    seconds: float = 0.0

    @property
    def cold(self) -> int:
        """Encodings if nothing were kept."""
        return self.rescored - self.ahead


class NewQueries(NamedTuple):
    """The new model's vectors of the queries ``(nq, d)``, and how they are compared."""

    rows: NDArray[Any]
    metric: Metric


class RecallTrace(NamedTuple):
    """What is known of each item of an answer ``(nq, k)`` from before it was rescored.

    ``ranks`` int64 counts from 1 and ``scores`` float32 are those of the recall; ``origins`` says
    where the new model's vector came from, as `isthmus.ways.items.Origin`.

    Example:
        >>> import numpy as np
        >>> from isthmus.ways import RecallTrace
        >>> zeros = np.zeros((1, 3), dtype=np.int64)
        >>> trace = RecallTrace(np.array([[1, 2, 3]]), np.float32([[0.9, 0.8, 0.7]]), zeros)
        >>> trace.first(2).ranks.tolist()
        [[1, 2]]
    """

    ranks: NDArray[np.int64]
    scores: NDArray[np.float32]
    origins: NDArray[np.int64]

    def first(self, k: int) -> RecallTrace:
        """The same of the first ``k`` items."""
        return RecallTrace(self.ranks[:, :k], self.scores[:, :k], self.origins[:, :k])


class Rescored(NamedTuple):
    """The recalled items in their final order ``(nq, K)``, and what that took."""

    ids: Ids
    scores: NDArray[np.float64]
    depths: NDArray[np.int64]
    """How many of each query were rescored ``(nq,)``."""
    trace: RecallTrace
    spent: Spent = Spent()
    early: str | None = None
    """Why it ended before the rule was done."""


class Limit:
    """When a call must stop encoding."""

    def __init__(self, start: float, budget_ms: float | None, max_encodings: int | None) -> None:
        self.max_encodings = max_encodings
        self._budget_ms = budget_ms
        self._end = None if budget_ms is None else start + budget_ms / 1000

    def left(self, encoded: int) -> int | None:
        """How many items may still be encoded."""
        return None if self.max_encodings is None else max(self.max_encodings - encoded, 0)

    def passed(self) -> str | None:
        """Why the next step may not begin, if it may not."""
        if self._end is not None and time.monotonic() >= self._end:
            return f"{self._budget_ms:g} ms were allowed"
        return None


def not_rescored(hits: Hits) -> Rescored:
    """The items in the order of the recall."""
    n, k = hits.ids.shape
    ranks, origins = np.empty((n, k), np.int64), np.empty((n, k), np.int64)
    ranks[:] = np.arange(1, k + 1)
    origins.fill(int(Origin.NOT_RESCORED))
    trace = RecallTrace(ranks, hits.scores, origins)
    return Rescored(hits.ids, hits.scores.astype(np.float64), np.zeros(n, np.int64), trace)


def rescored(
    rescore: Rescore,
    asked: NewQueries,
    hits: Hits,
    items: ItemSource,
    limit: Limit,
) -> Rescored:
    """Encode and reorder the first items of each query, as many as the rule says.

    All queries take a step together, so that what they need is encoded in one batch.
    """
    queries, new_metric = asked
    window = np.s_[:, : rescore.most]
    ids, recall_scores = hits.ids[window], hits.scores[window]
    n, width = ids.shape
    fused = np.full((n, width), -np.inf)
    origins = np.full((n, width), int(Origin.NOT_RESCORED))
    done, best = np.zeros(n, dtype=np.int64), np.full(n, -np.inf)
    ahead = encoded = 0
    early = None
    while early is None:
        more = rescore.depth.more(recall_scores, done, best, rescore)
        more = np.minimum(more, width - done)
        early = limit.passed() if more.any() else None
        if early is not None or not more.any():
            break
        rows = np.flatnonzero(more)
        places = done[rows, None] + np.arange(more.max())
        inside = np.arange(more.max()) < more[rows, None]
        places = np.minimum(places, width - 1)
        named = ids[rows[:, None], places]
        unique, which = _in_order_of_rank(named, inside)
        found = items.of(unique, limit.left(encoded))
        origin = np.where(inside, found.origin[which], int(Origin.NO_TEXT))
        # what was not afforded ends a query there
        short = np.cumsum((origin == Origin.NOT_AFFORDED) & inside, axis=1) > 0
        inside &= ~short
        if short.any():
            early = f"{limit.max_encodings} encodings were allowed"
        new = scores_of(queries[rows], found.rows, which, new_metric)
        old = recall_scores[rows[:, None], places]
        scored = np.where(origin > Origin.NO_TEXT, rescore.fused(old, new), -np.inf)
        fused[rows[:, None], places] = np.where(inside, scored, fused[rows[:, None], places])
        before = origins[rows[:, None], places]
        origins[rows[:, None], places] = np.where(inside, origin, before)
        best[rows] = np.maximum(best[rows], np.where(inside, scored, -np.inf).max(axis=1))
        done[rows] += inside.sum(axis=1)
        ahead += int(np.count_nonzero((origin == Origin.COLUMN) & inside))
        encoded += int(np.count_nonzero(found.origin == Origin.ENCODED))
    order = rescored_order(np.broadcast_to(np.arange(width), ids.shape), fused)
    reordered = np.arange(width) < done[:, None]
    as_recalled = not_rescored(hits)

    def moved(all_places: NDArray[Any], values: NDArray[Any]) -> NDArray[Any]:
        out = all_places.copy()
        out[window] = np.take_along_axis(values, order, axis=1)
        return out

    trace = as_recalled.trace
    trace = RecallTrace(
        moved(trace.ranks, trace.ranks[window]),
        moved(trace.scores, recall_scores),
        moved(trace.origins, origins),
    )
    scores = as_recalled.scores
    scores[window] = np.where(reordered, np.take_along_axis(fused, order, axis=1), recall_scores)
    spent = Spent(rescored=int(done.sum()), ahead=ahead, encoded=encoded)
    return Rescored(moved(hits.ids, ids), scores, done, trace, spent, early)


def _in_order_of_rank(items: Ids, inside: NDArray[np.bool_]) -> tuple[Ids, NDArray[np.int64]]:
    """The distinct items, those that stand first in their query first; where each place is there.

    Places that are not ``inside`` point anywhere.
    """
    flat = items.T[inside.T]
    unique, first, which = np.unique(flat, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    place_of = np.empty(len(order), dtype=np.int64)
    place_of[order] = np.arange(len(order))
    found = np.zeros(items.T.shape, dtype=np.int64)
    found[inside.T] = place_of[which]
    return unique[order], np.ascontiguousarray(found.T)
