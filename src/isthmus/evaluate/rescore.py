"""The cascade: one search recalls a few items, another model reorders them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.evaluate.ranks import Ranks
from isthmus.evaluate.relevance import Relevance
from isthmus.evaluate.scores import Metric

__all__ = ["default_depth", "rescored_order", "rescored_ranks", "scores_of"]

_BLOCK_CELLS = 2**22


def default_depth(n_gallery: int) -> int:
    """How many items to rescore: 50, but at most 5 % of the gallery."""
    return max(1, min(50, n_gallery // 20))


def scores_of(
    queries: NDArray[Any],
    gallery: NDArray[Any],
    indices: NDArray[np.int64],
    metric: Metric,
) -> NDArray[np.float32]:
    """Scores of chosen gallery items: ``indices (nq, K)`` to ``(nq, K)`` float32.

    Sums are float64, so that equal vectors get equal scores.
    """
    scores = np.empty(indices.shape, dtype=np.float32)
    step = max(1, _BLOCK_CELLS // (indices.shape[1] * queries.shape[1]))
    for start in range(0, len(queries), step):
        rows = slice(start, start + step)
        query = np.asarray(queries[rows], dtype=np.float64)[:, None]
        items = np.asarray(gallery[indices[rows]], dtype=np.float64)
        if metric == "l2":
            scores[rows] = -np.sum((query - items) ** 2, axis=2)
            continue
        products = np.einsum("qkd,qkd->qk", np.broadcast_to(query, items.shape), items)
        if metric == "cosine":
            products /= np.linalg.norm(query, axis=2) * np.linalg.norm(items, axis=2)
        scores[rows] = products
    return scores


def rescored_order(
    indices: NDArray[np.int64], scores: NDArray[np.floating[Any]]
) -> NDArray[np.int64]:
    """``indices (nq, K)`` by descending ``scores (nq, K)``; ties keep the order they came in."""
    return np.take_along_axis(indices, np.argsort(-scores, axis=1, kind="stable"), axis=1)


def rescored_ranks(
    ranks: Ranks,
    relevance: Relevance,
    indices: NDArray[np.int64],
    scores: NDArray[np.floating[Any]],
    *,
    depths: NDArray[np.int64] | None = None,
) -> Ranks:
    """Ranks after the recalled items ``indices (nq, K)`` are reordered by ``scores (nq, K)``.

    ``ranks`` are those of the recall.  Ties among the recalled are decided pessimistically; items
    that were not recalled keep their order after them.  With ``depths (nq,)`` only so many of the
    recalled items of each query are reordered, and the others keep their order as well.
    """
    key = np.arange(len(indices))[:, None] * relevance.n_gallery + indices
    relevant = np.isin(key, relevance.rows * relevance.n_gallery + relevance.indices)
    if depths is not None:
        reordered = np.arange(indices.shape[1]) < depths[:, None]
        relevant &= reordered
        scores = np.where(reordered, scores, -np.inf)
    order = np.lexsort((relevant, -scores), axis=1)
    _, place = np.nonzero(np.take_along_axis(relevant, order, axis=1))
    recalled = np.repeat(relevant.sum(axis=1), ranks.counts)
    # The recalled are the best ranked of their query; those left over are the last ones, and
    # already have everything recalled ahead of them.
    result = ranks.ranks.copy()
    result[ranks.ordinals <= recalled] = place + 1
    return Ranks(ranks.indptr, result)
