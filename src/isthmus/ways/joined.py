"""Two columns searched as one index: the exact best of joined scores, from searches of each.

Both columns give their best items; what one column does not know of an item is looked up in the
other.  No item outside both lists can beat the last scores of the two lists, joined; while it might
be among the best, both are searched deeper (the threshold algorithm, Fagin, Lotem and Naor 2003).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isthmus.evaluate.scores import Metric, scores_of
from isthmus.stores import Hits, Ids, Store
from isthmus.ways.way import Join

__all__ = ["Asked", "joined_search"]

_FIRST = 4  # times the results that are wanted
_LEAST = 64
_DEEPER = 4


class Asked(NamedTuple):
    """Queries ``(nq, d)``, the column they search, and how it compares."""

    queries: NDArray[Any]
    column: str
    metric: Metric

    def of(self, some: NDArray[np.int64]) -> Asked:
        """The same for some of the queries."""
        return self._replace(queries=self.queries[some])


def joined_search(
    store: Store,
    low: Asked,
    new: Asked,
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
    low: Asked,
    new: Asked,
    join: Join,
    k: int,
    depth: int,
) -> tuple[Ids, NDArray[np.float32], NDArray[np.float32]]:
    """The best ``k`` of what both lists hold ``(nq, k)``, and what no other item can exceed."""
    of_low = store.search(low.queries, depth, column=low.column)
    of_new = store.search(new.queries, depth, column=new.column)
    unique, code = np.unique(np.hstack([of_low.ids, of_new.ids]), return_inverse=True)
    code = code.reshape(len(low.queries), -1)
    nowhere = np.full(of_low.scores.shape, np.nan, dtype=np.float32)
    low_scores = np.hstack([of_low.scores, nowhere])
    new_scores = np.hstack([nowhere, of_new.scores])
    there = np.hstack([of_low.found, of_new.found])
    # an item stands at most once in each list: equal codes are neighbours once they are sorted
    order = np.argsort(np.where(there, code, len(unique)), axis=1, kind="stable")
    code = np.take_along_axis(code, order, axis=1)
    there = np.take_along_axis(there, order, axis=1)
    low_scores, new_scores = (
        np.take_along_axis(a, order, axis=1) for a in (low_scores, new_scores)
    )
    twice = np.zeros(code.shape, dtype=np.bool_)
    twice[:, 1:] = (code[:, 1:] == code[:, :-1]) & there[:, 1:] & there[:, :-1]
    second = np.nonzero(twice)
    new_scores[second[0], second[1] - 1] = new_scores[second]
    there &= ~twice

    embedded = np.zeros(len(unique), dtype=np.bool_)
    embedded[code[there & ~np.isnan(new_scores)]] = True
    asked = np.unique(code[there & np.isnan(new_scores)])
    rows = store.fetch(unique[asked], column=new.column)
    embedded[asked[rows.present]] = True
    joins = there & embedded[code]
    _look_up(
        new_scores, joins & np.isnan(new_scores), code, asked, rows.vectors, new,
    )  # fmt: skip
    lacks = joins & np.isnan(low_scores)
    if join.weight > 0 and lacks.any():
        asked = np.unique(code[lacks])
        rows = store.fetch(unique[asked], column=low.column)
        known = np.zeros(len(unique), dtype=np.bool_)
        known[asked[rows.present]] = True
        _look_up(
            low_scores, lacks & known[code], code, asked, rows.vectors, low,
        )  # fmt: skip
    alone = Join(match=join.match, shift=join.shift)
    joined = np.where(
        np.isnan(low_scores), alone(low_scores, new_scores), join(low_scores, new_scores)
    )
    scores = np.where(there, np.where(embedded[code], joined, low_scores), -np.inf)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    found = np.take_along_axis(scores, best, axis=1).astype(np.float32)
    ids = unique[np.take_along_axis(code, best, axis=1)]
    last = [np.where(h.found[:, -1], h.scores[:, -1], -np.inf) for h in (of_low, of_new)]
    with np.errstate(invalid="ignore"):
        unseen = join(*(np.asarray(v, dtype=np.float32) for v in last))
    bound = np.fmax(last[0], np.nan_to_num(unseen, nan=-np.inf, neginf=-np.inf))
    return _padded(ids, found, of_low.ids, k), _padded(found, found, found, k), bound


def _look_up(
    scores: NDArray[np.float32],
    where: NDArray[np.bool_],
    code: NDArray[np.int64],
    asked: NDArray[np.int64],
    vectors: NDArray[np.float32],
    by: Asked,
) -> None:
    """Fill in the scores of pairs whose vectors were fetched."""
    query, place = np.nonzero(where)
    if len(query):
        row = np.searchsorted(asked, code[query, place])
        scores[query, place] = scores_of(by.queries[query], vectors, row[:, None], by.metric)[:, 0]


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
