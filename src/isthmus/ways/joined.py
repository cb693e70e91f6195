"""Two columns searched as one index: the exact best of joined scores, from searches of each.

Both columns give their best items.  What one column does not know of an item is looked up in the
other, but only of items that might be among the best: one that is not in a list scores there at
most what the last of the list does.  No item outside both lists can beat the last scores of the two
lists, joined; while it might be among the best, both are searched deeper (the threshold algorithm,
Fagin, Lotem and Naor 2003).
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from isthmus.evaluate.scores import Metric, scores_of
from isthmus.stores import Hits, Ids, Store
from isthmus.ways.way import Join

__all__ = ["ColumnQueries", "joined_search"]

_FIRST = 4  # times the results that are wanted
_LEAST = 64
_DEEPER = 4


class ColumnQueries(NamedTuple):
    """Queries ``(nq, d)``, the column they search, how it compares, and whether exactly."""

    queries: NDArray[Any]
    column: str
    metric: Metric
    exact: bool = True

    def of(self, some: NDArray[np.int64]) -> ColumnQueries:
        """The same for some of the queries."""
        return self._replace(queries=self.queries[some])


@runtime_checkable
class _LeftOvers(Protocol):
    """A store whose second column may hold vectors of items that are gone."""

    def candidates(self, queries: NDArray[Any], k: int, *, column: str) -> Hits:
        """As `Store.search`, those of items that are gone among them."""
        ...

    def holds(self, ids: Ids) -> NDArray[np.bool_]:
        """Which of ``ids (n,)`` are items."""
        ...


def joined_search(
    store: Store,
    low: ColumnQueries,
    new: ColumnQueries,
    join: Join,
    k: int,
) -> Hits:
    """The ``k`` best items of each query by joined scores.

    Args:
        store: where the items are.
        low: what searches the items that are not re-embedded.
        new: native queries, and the column of those that are.
        join: how the score of a re-embedded item is made.
        k: results of each query; equal scores come in the order of the ids.
    """
    n, depth = len(low.queries), max(_FIRST * k, _LEAST)
    ids: Ids | None = None
    scores = np.full((n, k), -np.inf, dtype=np.float32)
    open_ = np.arange(n)
    while len(open_):
        found, best, bound = _once(store, low.of(open_), new.of(open_), join, k, depth)
        if ids is None:
            ids = np.empty((n, k), dtype=found.dtype)
        ids[open_], scores[open_] = found, best
        # a bound of −∞: both lists came to their ends
        open_ = open_[~((best[:, -1] > bound) | np.isneginf(bound))]
        depth *= _DEEPER
    if ids is None:
        ids = store.search(low.queries, k, column=low.column).ids
    return Hits(ids, scores)


def _once(
    store: Store,
    low: ColumnQueries,
    new: ColumnQueries,
    join: Join,
    k: int,
    depth: int,
) -> tuple[Ids, NDArray[np.float32], NDArray[np.float32]]:
    """The best ``k`` of what both lists hold ``(nq, k)``, and what no other item can exceed."""
    of_low = store.search(low.queries, depth, column=low.column)
    search_new = store.candidates if isinstance(store, _LeftOvers) else store.search
    of_new = search_new(new.queries, depth, column=new.column)
    pairs = _Pairs.of(of_low, of_new)
    scores = _scored(store, pairs, low, new, join, k)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    found = np.take_along_axis(scores, best, axis=1).astype(np.float32)
    ids = pairs.unique[np.take_along_axis(pairs.code, best, axis=1)]
    with np.errstate(invalid="ignore"):
        unseen = join(pairs.low_last, pairs.new_last)
    bound = np.fmax(pairs.low_last, np.nan_to_num(unseen, nan=-np.inf, neginf=-np.inf))
    return _padded(ids, found, of_low.ids, k), _padded(found, found, found, k), bound


class _Pairs(NamedTuple):
    """Of each query, the items of its two lists, each once, in the order of the ids.

    Attributes:
        unique: the ids ``(m,)`` of all queries, sorted.
        code: ``(nq, c)``, places in ``unique``.
        low: ``(nq, c)``, scores in the list of the low side; NaN where an item is not in it.
        new: ``(nq, c)``, scores in the list of re-embedded items, likewise.
        there: ``(nq, c)``, false where there is no item.
        low_last: ``(nq,)``, the last score of the list of the low side; −∞ where the list came to
            its end, so that no other item has a vector in that column.
        new_last: ``(nq,)``, the same of re-embedded items.
    """

    unique: Ids
    code: NDArray[np.int64]
    low: NDArray[np.float32]
    new: NDArray[np.float32]
    there: NDArray[np.bool_]
    low_last: NDArray[np.float32]
    new_last: NDArray[np.float32]

    @classmethod
    def of(cls, of_low: Hits, of_new: Hits) -> _Pairs:
        unique, code = np.unique(np.hstack([of_low.ids, of_new.ids]), return_inverse=True)
        code = code.reshape(len(of_low.ids), -1)
        nowhere = np.full(of_low.scores.shape, np.nan, dtype=np.float32)
        low = np.hstack([of_low.scores, nowhere])
        new = np.hstack([nowhere, of_new.scores])
        there = np.hstack([of_low.found, of_new.found])
        # an item stands at most once in each list: equal codes are neighbours once they are sorted
        order = np.argsort(np.where(there, code, len(unique)), axis=1, kind="stable")
        code = np.take_along_axis(code, order, axis=1)
        there = np.take_along_axis(there, order, axis=1)
        low, new = (np.take_along_axis(a, order, axis=1) for a in (low, new))
        twice = np.zeros(code.shape, dtype=np.bool_)
        twice[:, 1:] = (code[:, 1:] == code[:, :-1]) & there[:, 1:] & there[:, :-1]
        second = np.nonzero(twice)
        new[second[0], second[1] - 1] = new[second]
        last = (
            np.where(h.found[:, -1], h.scores[:, -1], -np.inf).astype(np.float32)
            for h in (of_low, of_new)
        )
        return cls(unique, code, low, new, there & ~twice, *last)


def _scored(
    store: Store, pairs: _Pairs, low: ColumnQueries, new: ColumnQueries, join: Join, k: int
) -> NDArray[np.float32]:
    """The joined score of each pair ``(nq, c)``; −∞ of what is not among the best ``k``."""
    alone = Join(match=join.match, shift=join.shift)
    both = pairs.there & ~np.isnan(pairs.low) & ~np.isnan(pairs.new)
    of_low = pairs.there & np.isnan(pairs.new)
    of_new = pairs.there & np.isnan(pairs.low)
    low_ends, new_ends = np.isneginf(pairs.low_last), np.isneginf(pairs.new_last)
    scores = np.full(pairs.code.shape, -np.inf, dtype=np.float32)
    scores[both] = join(pairs.low[both], pairs.new[both])
    surely_low = of_low & new_ends[:, None]
    scores[surely_low] = pairs.low[surely_low]
    of_low &= ~new_ends[:, None]
    if low.exact and new.exact:
        with np.errstate(invalid="ignore"):
            reach_low = np.fmax(pairs.low, join(pairs.low, pairs.new_last[:, None]))
            reach_new = np.fmax(
                alone(pairs.low, pairs.new), join(pairs.low_last[:, None], pairs.new)
            )
        # a depth is more than k
        least = -np.partition(-scores, k - 1, axis=1)[:, k - 1 : k]
        of_low &= reach_low >= least
        of_new &= reach_new >= least

    embedded, found = _looked_up(store, pairs, of_low, new)
    scores[of_low] = np.where(embedded, join(pairs.low[of_low], found), pairs.low[of_low])
    if join.weight > 0:
        asked = of_new & ~low_ends[:, None]
        known, found = _looked_up(store, pairs, asked, low)
        scores[asked] = np.where(known, join(found, pairs.new[asked]), -np.inf)
        of_new[asked] = ~known
    of_new = _held(store, pairs, of_new)
    scores[of_new] = alone(pairs.low[of_new], pairs.new[of_new])
    return scores


def _held(store: Store, pairs: _Pairs, some: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Those of a mask of pairs ``(nq, c)`` whose items are still items."""
    if not isinstance(store, _LeftOvers) or not some.any():
        return some
    asked = np.unique(pairs.code[some])
    held = np.zeros(len(pairs.unique), dtype=np.bool_)
    held[asked] = store.holds(pairs.unique[asked])
    return some & held[pairs.code]


def _looked_up(
    store: Store, pairs: _Pairs, some: NDArray[np.bool_], by: ColumnQueries
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Of the pairs of a mask, which items have a vector in a column, and their scores; else NaN."""
    query, place = np.nonzero(some)
    code = pairs.code[query, place]
    scores = np.full(len(code), np.nan, dtype=np.float32)
    if not len(code):
        return np.zeros(0, dtype=np.bool_), scores
    asked, row = np.unique(code, return_inverse=True)
    rows = store.fetch(pairs.unique[asked], column=by.column)
    present = rows.present[row]
    if present.any():
        held = row[present][:, None]
        owner = query[present]
        scores[present] = scores_of(by.queries, rows.vectors, held, by.metric, rows=owner)[:, 0]
    return present, scores


def _padded(rows: NDArray[Any], scores: NDArray[Any], like: NDArray[Any], k: int) -> NDArray[Any]:
    """``rows (nq, ≤ k)`` with places that hold nothing up to ``k``."""
    lacking = k - rows.shape[1]
    empty: Any = -np.inf if rows.dtype.kind == "f" else -1 if rows.dtype.kind in "iu" else ""
    if lacking > 0:
        rows = np.hstack([rows, np.full((len(rows), lacking), empty, dtype=rows.dtype)])
    if rows.dtype.kind != "f":
        gone = np.zeros(rows.shape, dtype=np.bool_)
        gone[:, : scores.shape[1]] = np.isneginf(scores)
        gone[:, scores.shape[1] :] = True
        rows = np.where(gone, np.asarray(empty, dtype=rows.dtype), rows)
    return rows
