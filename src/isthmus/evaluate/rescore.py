"""The cascade: one search recalls a few items, another model reorders them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.evaluate.ranks import Ranks

__all__ = ["default_depth", "rescored_order", "rescored_ranks"]


def default_depth(n_gallery: int) -> int:
    """How many items to rescore: 50, but at most 5 % of the gallery."""
    return max(1, min(50, n_gallery // 20))


def rescored_order(
    indices: NDArray[np.int64], scores: NDArray[np.floating[Any]]
) -> NDArray[np.int64]:
    """``indices (nq, K)`` by descending ``scores (nq, K)``; ties keep the order they came in."""
    return np.take_along_axis(indices, np.argsort(-scores, axis=1, kind="stable"), axis=1)


def rescored_ranks(
    ranks: Ranks,
    relevant: NDArray[np.bool_],
    scores: NDArray[np.floating[Any]],
    *,
    depths: NDArray[np.int64] | None = None,
) -> Ranks:
    """Ranks after the recalled items are reordered by ``scores (nq, K)``.

    ``ranks`` are those of the recall, and ``relevant (nq, K)`` says which of the recalled items are
    among them (`Relevance.among`).  Ties among the recalled are decided pessimistically; items
    that were not recalled keep their order after them.  With ``depths (nq,)`` only so many of the
    recalled items of each query are reordered, and the others keep their order as well.
    """
    if depths is not None:
        reordered = np.arange(scores.shape[1]) < depths[:, None]
        relevant = relevant & reordered
        scores = np.where(reordered, scores, -np.inf)
    order = np.lexsort((relevant, -scores), axis=1)
    _, place = np.nonzero(np.take_along_axis(relevant, order, axis=1))
    recalled = np.repeat(relevant.sum(axis=1), ranks.counts)
    # The recalled are the best ranked of their query; those left over are the last ones, and
    # already have everything recalled ahead of them.
    result = ranks.ranks.copy()
    result[ranks.ordinals <= recalled] = place + 1
    return Ranks(ranks.indptr, result)
