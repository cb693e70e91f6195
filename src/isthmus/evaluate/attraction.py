"""What queries would find, did the rows that their map was fitted on not attract them.

A map of few pairs draws what it maps towards the rows that it was fitted on.  Where each query is
judged by a map that has not seen its answer, nearly all other rows are of that fit: they come
first more often than any other row of an index would, and the map seems worse than it is.  How
much more often is seen in the evidence itself, which holds rows of either kind: scores of fitted
and of unfitted rows are compared, and a fitted row that beats an answer is counted as often as an
unfitted one reaches such a score (importance weights, the ratio of the two densities).  A query
that few rows beat is seldom beaten by unfitted ones: those few are mostly drawn there.  So the
weights are also told by how many rows are ahead of an answer.
"""

from __future__ import annotations

import numpy as np

from isthmus.evaluate.fitted_rows import FittedChances, SeenRows, chances
from isthmus.evaluate.ranks import Ranks
from isthmus.evaluate.relevance import Relevance
from isthmus.evaluate.scores import ScoreBlocks
from isthmus.evaluate.search import TopK
from isthmus.evaluate.trial import FittedRows, GallerySearch

__all__ = ["first_among_unfitted", "ranks_among_unfitted", "ranks_beside_fewer"]

_DRAWS = 32
_LEAST_SHARE = 0.25
"""Share of the gallery below which what rows attract is small beside any interval."""


def ranks_among_unfitted(
    search: GallerySearch,
    relevance: Relevance,
    fitted: FittedRows,
    ranks: Ranks,
    *,
    seed: int = 0,
) -> list[Ranks] | None:
    """Draws of the ranks that relevant items have among rows that no map was fitted on.

    In each draw a fitted row that beats an answer counts as often, on average, as an unfitted row
    has its score: seldom where fitted rows crowd.  A query of which a relevant item was fitted on
    keeps its ranks: it is attracted itself.

    Args:
        search: mapped queries ``(nq, d)``, the gallery ``(ng, d)`` and the metric.
        relevance: which items answer each query.
        fitted: which items the map of each query was fitted on.
        ranks: of the relevant items in the gallery as it is.
        seed: of the draws.

    Returns:
        Ranks whose mean metric is the expected one; None where a quarter of the gallery or less
        was fitted on, or no row was left out.

    Example:
        >>> import numpy as np
        >>> from isthmus.evaluate import from_ids, relevant_ranks
        >>> from isthmus.evaluate.trial import FittedRows, GallerySearch
        >>> rows = np.random.default_rng(0).standard_normal((200, 3)).astype(np.float32)
        >>> asked = rows + np.random.default_rng(1).standard_normal((200, 3)).astype(np.float32)
        >>> same, folds = from_ids(range(200), range(200)), np.arange(200) % 5
        >>> found = relevant_ranks(asked, rows, same)
        >>> search = GallerySearch(asked, rows, "cosine")
        >>> drawn = ranks_among_unfitted(search, same, FittedRows(folds, folds), found)
        >>> len(drawn), drawn[0].ranks.shape
        (32, (200,))
    """
    seen = SeenRows(ScoreBlocks(search.queries, search.gallery, search.metric), relevance, fitted)
    if not _LEAST_SHARE < seen.share < 1:
        return None
    return _drawn(seen, ranks, chances(seen)[0], seed)


def ranks_beside_fewer(
    searches: tuple[GallerySearch, GallerySearch],
    relevance: Relevance,
    fitted: tuple[FittedRows, FittedRows],
    ranks: tuple[Ranks, Ranks],
    *,
    seed: int = 0,
) -> tuple[list[Ranks], list[Ranks]] | None:
    """As `ranks_among_unfitted`, of two searches that are compared.

    Args:
        searches: the same queries behind maps, and behind maps that were fitted on fewer rows.
        relevance: which items answer each query.
        fitted: which items the maps of each were fitted on.
        ranks: of the relevant items in the gallery as it is, of each.
        seed: of the draws.

    Returns:
        Ranks of both; None where `ranks_among_unfitted` says nothing of one of them.
    """
    seen = [
        SeenRows(ScoreBlocks(one.queries, one.gallery, one.metric), relevance, rows)
        for one, rows in zip(searches, fitted, strict=True)
    ]
    if not all(_LEAST_SHARE < one.share < 1 for one in seen):
        return None
    first, second = (_drawn(*one, seed) for one in zip(seen, ranks, chances(*seen), strict=True))
    return first, second


def _drawn(seen: SeenRows, ranks: Ranks, stays: FittedChances, seed: int) -> list[Ranks]:
    """Ranks without the fitted rows that go in each draw."""
    removed = np.zeros((_DRAWS, len(ranks.ranks)), np.int64)
    rng = np.random.default_rng(seed)
    for block in seen.blocks():
        ahead = block.ahead
        at = ahead.row, ahead.column
        chance = np.where(block.fitted[at], stays(block.bins(*at), ahead.crowd), 1)
        first, last = (int(ranks.indptr[i]) for i in (block.rows.start, block.rows.stop))
        for draw in removed:
            less = 1 - np.floor(chance + rng.random(len(chance)))
            draw[first:last] = np.bincount(ahead.entry, less[ahead.cell], last - first)
    return [Ranks(ranks.indptr, np.maximum(ranks.ranks - draw, ranks.ordinals)) for draw in removed]


def first_among_unfitted(
    search: GallerySearch, relevance: Relevance, fitted: FittedRows, k: int, *, seed: int = 0
) -> TopK | None:
    """The ``k`` best items of each query among rows that no map was fitted on: one draw.

    A fitted row stays as likely as an unfitted one has its score, as in `ranks_among_unfitted`.

    Args:
        search: mapped queries ``(nq, d)``, the gallery ``(ng, d)`` and the metric.
        relevance: which items answer each query: those stay.
        fitted: which items the map of each query was fitted on.
        k: how many, at most as many as no map of a query was fitted on.
        seed: of the draw.

    Returns:
        None where a quarter of the gallery or less was fitted on, or too few rows were left out.
    """
    seen = SeenRows(ScoreBlocks(search.queries, search.gallery, search.metric), relevance, fitted)
    if not (_LEAST_SHARE < seen.share < 1 and seen.fewest_unfitted >= k):
        return None
    (stays,) = chances(seen)
    rng = np.random.default_rng(seed)
    indices = np.empty((seen.scores.n_queries, k), np.int64)
    best = np.empty(indices.shape, np.float32)
    for block in seen.blocks():
        rows, scores = block.rows, block.scores
        # fitted rows below all others, but apart: equal numbers are slow to order
        unfitted = scores - block.fitted * np.float32(np.ptp(scores) + 1)
        crowd = np.zeros(scores.shape, np.int64)
        crowd[block.ahead.row, block.ahead.column] = block.ahead.crowd
        row, column = np.nonzero(scores >= np.partition(unfitted, -k, axis=1)[:, -k, None])
        chance = stays(block.bins(row, column), crowd[row, column])
        kept = ~block.fitted[row, column] | (rng.random(len(row)) < chance)
        row, column = row[kept], column[kept]
        order = np.lexsort((column, -scores[row, column], row))
        place = np.searchsorted(row, np.arange(len(scores)))[:, None] + np.arange(k)
        indices[rows] = column[order[place]]
        best[rows] = np.take_along_axis(scores, indices[rows], axis=1)
    return TopK(indices, best)
