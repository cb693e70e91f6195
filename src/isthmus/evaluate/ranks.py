"""Exact ranks of relevant items in the whole gallery, ties against them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.evaluate.reaching import count_reaching, many_bars
from isthmus.evaluate.relevance import Relevance
from isthmus.evaluate.scores import (
    GALLERY_BLOCK,
    QUERY_BLOCK,
    Metric,
    ScoreBlocks,
    checked_exclude,
    leave_out,
)
from isthmus.evaluate.search import Best, TopK
from isthmus.progress import Progress, silent

__all__ = ["Ranks", "ranks_and_hits", "relevant_ranks"]

# Score blocks of one set of queries are held while they fit here, and computed twice beyond; so
# few queries are taken at a time that they fit, unless that would make the products slow.
_HELD_BYTES = 64 * 2**20
_FEWEST_QUERIES = 128


@dataclass(frozen=True)
class Ranks:
    """Ranks of the relevant items of every query, best is 1, ascending within a query.

    Query ``q`` has ``ranks[indptr[q]:indptr[q + 1]]``, never empty; both arrays are int64.

    Example:
        >>> import numpy as np
        >>> Ranks(np.array([0, 1, 3]), np.array([1, 2, 5])).ranks
        array([1, 2, 5])
    """

    indptr: NDArray[np.int64]
    ranks: NDArray[np.int64]

    @classmethod
    def joined(cls, parts: Sequence[Ranks]) -> Ranks:
        """Those of several sets of queries, one behind the other."""
        counts = np.concatenate([part.counts for part in parts])
        indptr = np.concatenate([[0], np.cumsum(counts)])
        return cls(indptr, np.concatenate([part.ranks for part in parts]))

    @property
    def counts(self) -> NDArray[np.int64]:
        """Number of relevant items of each query, ``(nq,)``."""
        return np.diff(self.indptr)

    @property
    def ordinals(self) -> NDArray[np.int64]:
        """Of each entry of ``ranks``, its place among its query's own: 1, 2, …"""
        return np.arange(len(self.ranks)) - np.repeat(self.indptr[:-1], self.counts) + 1


def relevant_ranks(
    queries: NDArray[Any],
    gallery: NDArray[Any],
    relevance: Relevance,
    *,
    metric: Metric = "cosine",
    exclude: NDArray[np.int64] | None = None,
    query_block: int | None = None,
    gallery_block: int = GALLERY_BLOCK,
    progress: Progress = silent,
) -> Ranks:
    """Rank every relevant item of ``queries (nq, d)`` within all of ``gallery (ng, d)``.

    Rank of the j-th best relevant item = (number of irrelevant items that score at least as
    high) + j: ties are decided pessimistically, so a gallery of equal vectors earns nothing.
    Scores are compared as `scores_of` computes them, bit by bit.  ``exclude (nq,)`` names one
    gallery item left out for each query.  Raises `InputError` for arrays that `ScoreBlocks`
    refuses, for a query without relevant items, and for an excluded item that is relevant.

    Example:
        >>> import numpy as np
        >>> from isthmus.evaluate import from_ids
        >>> gallery = np.eye(3, dtype=np.float32)
        >>> relevant_ranks(gallery + 0.1, gallery, from_ids("abc", "abc")).ranks
        array([1, 1, 1])
    """
    if query_block is None:
        fitting = _HELD_BYTES // (4 * max(len(gallery), 1))
        query_block = min(QUERY_BLOCK, max(_FEWEST_QUERIES, fitting))
    blocks = ScoreBlocks(
        queries, gallery, metric, query_block=query_block, gallery_block=gallery_block
    )
    return _ranks(blocks, relevance, exclude, None, progress)


def ranks_and_hits(
    queries: NDArray[Any],
    gallery: NDArray[Any],
    relevance: Relevance,
    k: int,
    *,
    metric: Metric = "cosine",
    exclude: NDArray[np.int64] | None = None,
    query_block: int = QUERY_BLOCK,
    progress: Progress = silent,
) -> tuple[Ranks, TopK]:
    """`relevant_ranks` and the ``k`` best of the whole gallery, from the same scores.

    ``exclude`` leaves an item out of the ranks alone; the ``k`` best are those of `top_k` without
    it.  Raises `InputError` as both do.
    """
    blocks = ScoreBlocks(queries, gallery, metric, query_block=query_block)
    if not 1 <= k <= blocks.n_gallery:
        raise InputError(f"k is {k}, but {blocks.n_gallery} gallery items can be found", where="k")
    best = Best(blocks, k)
    ranks = _ranks(blocks, relevance, exclude, best, progress)
    return ranks, best.top()


def _ranks(
    blocks: ScoreBlocks,
    relevance: Relevance,
    exclude: NDArray[np.int64] | None,
    best: Best | None,
    progress: Progress,
) -> Ranks:
    exclude = checked_exclude(exclude, blocks.n_queries, blocks.n_gallery)
    _check_relevance(relevance, blocks, exclude)
    ranks = np.empty(len(relevance.indices), dtype=np.int64)
    for rows in blocks.query_rows():
        entries = slice(relevance.indptr[rows.start], relevance.indptr[rows.stop])
        counts = relevance.counts[rows]
        ranks[entries] = _ranks_of_rows(
            blocks,
            rows,
            np.repeat(np.arange(len(counts)), counts),
            relevance.indices[entries],
            None if exclude is None else exclude[rows],
            best,
        )
        progress("rank", rows.stop, blocks.n_queries)
    return Ranks(relevance.indptr, ranks)


def _ranks_of_rows(
    blocks: ScoreBlocks,
    rows: slice,
    row: NDArray[np.int64],
    column: NDArray[np.int64],
    exclude: NDArray[np.int64] | None,
    best: Best | None,
) -> NDArray[np.int64]:
    """Ranks of the relevant entries ``(row, column)`` of a few queries."""
    n = rows.stop - rows.start
    bars = np.empty(len(row), dtype=np.float32)

    def irrelevant(start: int, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Note the relevant scores of a block, and leave only irrelevant ones in it."""
        here = np.flatnonzero((column >= start) & (column < start + scores.shape[1]))
        at = row[here], column[here] - start
        bars[here] = scores[at]
        scores[at] = -np.inf
        leave_out(scores, start, exclude)
        return scores

    counts = np.bincount(row, minlength=n)
    exact = many_bars(counts)
    held: list[tuple[int, NDArray[np.float32]]] = []
    hold = n * blocks.n_gallery * 4 <= _HELD_BYTES
    for start, scores in blocks.against_gallery(rows, exact=exact):
        if best is not None:
            best.see(rows, start, scores)
        scores = irrelevant(start, scores)
        if hold:
            # of one block alone nothing is overwritten
            alone = scores.shape[1] == blocks.n_gallery
            held.append((start, scores if alone else scores.copy()))
    if not exact:
        bars = blocks.exact(row + rows.start, column)
    # Rows stay ascending, scores descend within each.
    ordered = bars[np.lexsort((-bars, row))]

    ahead = np.zeros(len(row), dtype=np.int64)
    slack = blocks.slack(rows)
    for start, scores in held if hold else blocks.against_gallery(rows, exact=exact):
        ahead += count_reaching(
            scores if hold else irrelevant(start, scores),
            ordered,
            counts,
            slack,
            lambda r, c, start=start: blocks.exact(r + rows.start, c + start),
        )
    return ahead + Ranks(np.concatenate([[0], np.cumsum(counts)]), ahead).ordinals


def _check_relevance(
    relevance: Relevance, blocks: ScoreBlocks, exclude: NDArray[np.int64] | None
) -> None:
    relevance.check_shape(blocks.n_queries, blocks.n_gallery)
    if not relevance.answerable.all():
        raise InputError(
            "the query has no relevant gallery item",
            where=f"relevance, row {int(np.argmin(relevance.answerable))}",
            mend=f"Drop {int((~relevance.answerable).sum())} such query(ies) with Relevance.of",
        )
    if exclude is not None:
        clash = relevance.indices == exclude[relevance.rows]
        if clash.any():
            raise InputError(
                "the excluded gallery item is also relevant",
                where=f"relevance, row {int(relevance.rows[np.argmax(clash)])}",
                mend="Build the relevance with the same exclude",
            )
