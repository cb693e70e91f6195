"""Answers of a database made into `Hits`: always ``k`` places, ties in the order of the ids."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.evaluate.scores import Metric
from isthmus.stores.checks import no_id
from isthmus.stores.protocol import Hits, Ids, Key

__all__ = ["hits_of", "no_hits", "scores_of_distances"]


def no_hits(n_queries: int, k: int, key: Key) -> Hits:
    """Places of which none holds an item."""
    ids = np.full((n_queries, k), no_id(key))
    return Hits(ids, np.full((n_queries, k), -np.inf, dtype=np.float32))


def hits_of(
    n_queries: int, k: int, key: Key, query: NDArray[Any], ids: Ids, scores: NDArray[np.float32]
) -> Hits:
    """The hits of all queries from flat lists.

    Args:
        n_queries: number of queries.
        k: places of each.
        key: kind of the ids.
        query: ``(m,)``, to which query a found item belongs, rising.
        ids: ``(m,)``.
        scores: ``(m,)``, higher is closer, in any order within a query.
    """
    if not len(ids):
        return no_hits(n_queries, k, key)
    if len(ids) == n_queries * k and _ready(n_queries, k, query, scores):
        return Hits(ids.reshape(n_queries, k), scores.reshape(n_queries, k))
    empty = no_hits(n_queries, k, key)
    order = np.lexsort((ids, -scores, query))
    query, ids, scores = query[order], ids[order], scores[order]
    counts = np.bincount(query, minlength=n_queries)
    place = np.arange(len(query)) - np.repeat(np.cumsum(counts) - counts, counts)
    keep = place < k
    found = empty.ids.astype(np.promote_types(empty.ids.dtype, ids.dtype))
    found[query[keep], place[keep]] = ids[keep]
    empty.scores[query[keep], place[keep]] = scores[keep]
    return Hits(found, empty.scores)


def _ready(n_queries: int, k: int, query: NDArray[Any], scores: NDArray[np.float32]) -> bool:
    """Whether no place is empty and no order is open: nothing has to be moved."""
    if n_queries > 1 and not (query.reshape(n_queries, k) == np.arange(n_queries)[:, None]).all():
        return False
    table = scores.reshape(n_queries, k)
    return bool((table[:, 1:] < table[:, :-1]).all())


def scores_of_distances(distances: NDArray[Any], metric: Metric) -> NDArray[np.float32]:
    """Scores, higher is closer, of the distances most databases give.

    Those are 1 − cosine, the squared Euclidean distance, and 1 − the inner product.
    """
    found = np.asarray(distances, dtype=np.float32)
    return -found if metric == "l2" else 1 - found
