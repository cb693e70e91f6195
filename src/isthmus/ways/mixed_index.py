"""An index that is re-embedded in part, searched as one.

Each query is asked twice: in the new space against the re-embedded items, and in the space of the
others against all.  The new scores are brought to the scale of the others first; an item that has
both is judged by both.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.evaluate import Ranks, Relevance, top_k
from isthmus.evaluate.reaching import count_reaching, many_bars
from isthmus.evaluate.scores import ScoreBlocks, leave_out, scores_of
from isthmus.evaluate.trial import GallerySearch
from isthmus.ways.way import Join, ScoreMatch

__all__ = ["match_linear", "mixed_ranks"]

_BLOCK_CELLS = 2**20
_MATCHED = 20


def match_linear(
    first: GallerySearch, second: GallerySearch, /, *, exclude: NDArray[np.int64] | None = None
) -> ScoreMatch:
    """The line that takes the best scores of one search to the mean and spread of another's.

    Matched are the 20 best scores of every query in each space.  Where one of them has no spread,
    the slope is 1.
    """
    levels: list[tuple[float, float]] = []
    for side in (first, second):
        available = len(side.gallery) - (exclude is not None)
        best = top_k(
            side.queries,
            side.gallery,
            min(_MATCHED, available),
            metric=side.metric,
            exclude=exclude,
        ).scores.astype(np.float64)
        levels.append((float(best.mean()), float(best.std())))
    (mean, spread), (other_mean, other_spread) = levels
    slope = other_spread / spread if min(spread, other_spread) > 1e-9 else 1.0
    return ScoreMatch(slope=slope, offset=other_mean - slope * mean)


def mixed_ranks(
    low: GallerySearch,
    new: GallerySearch,
    relevance: Relevance,
    settings: Sequence[tuple[NDArray[np.bool_], Join]],
    *,
    exclude: NDArray[np.int64] | None = None,
) -> list[Ranks]:
    """Ranks of the relevant items for each choice of what is re-embedded and how it is scored.

    Both scores of every pair are computed once for all settings.  Ties are decided pessimistically,
    as in `relevant_ranks`.

    Args:
        low: the queries and gallery of the items that are not re-embedded.
        new: the same in the new model's space; row i is the same item on both sides.
        relevance: of every query, which must have at least one relevant item.
        settings: a mask ``(ng,)`` of the re-embedded items, of which there may be none, and how
            their scores are made.
        exclude: one gallery item left out for each query ``(nq,)``.

    Raises:
        InputError: for sides and masks that do not fit together.
    """
    n_queries, n_gallery = len(low.queries), len(low.gallery)
    if (len(new.queries), len(new.gallery)) != (n_queries, n_gallery):
        raise InputError(
            f"{n_queries} queries and {n_gallery} items on one side, {len(new.queries)} and "
            f"{len(new.gallery)} on the other",
            where="mixed index",
        )
    relevance.check_shape(n_queries, n_gallery)
    for part, _ in settings:
        if part.shape != (n_gallery,) or part.dtype != np.bool_:
            raise InputError(
                f"expected a mask of {n_gallery} gallery items, found {part.dtype} of shape "
                f"{part.shape}",
                where="mixed index",
            )
    some = np.zeros(n_gallery, dtype=np.bool_)
    for part, _ in settings:
        some |= part
    found = [np.empty(len(relevance.indices), dtype=np.int64) for _ in settings]
    pairs = _Pairs(low, new, some)
    for rows in pairs.low.query_rows():
        entries = slice(relevance.indptr[rows.start], relevance.indptr[rows.stop])
        counts = relevance.counts[rows]
        row = np.repeat(np.arange(len(counts)), counts)
        column = relevance.indices[entries]
        low_scores, new_scores, low_slack, new_slack = pairs.near(rows, many_bars(counts))
        joined: dict[int, NDArray[np.float32]] = {}
        for (part, join), ranks in zip(settings, found, strict=True):
            if id(join) not in joined:
                joined = {id(join): join(low_scores, new_scores)}
            scores = np.where(part, joined[id(join)], low_scores)
            slack = np.maximum(low_slack, join.slack(low_slack, new_slack, scores))

            def exact(
                r: NDArray[np.int64],
                c: NDArray[np.int64],
                part: NDArray[np.bool_] = part,
                join: Join = join,
                first: int = rows.start,
            ) -> NDArray[np.float32]:
                return pairs.exact(r + first, c, part, join)

            bars = exact(row, column)
            scores[row, column] = -np.inf
            leave_out(scores, 0, None if exclude is None else exclude[rows])
            bars = bars[np.lexsort((-bars, row))]
            ranks[entries] = count_reaching(scores, bars, counts, slack, exact)
    whole = [Ranks(relevance.indptr, ranks) for ranks in found]
    return [Ranks(r.indptr, r.ranks + r.ordinals) for r in whole]


class _Pairs:
    """Scores of all pairs in both spaces; new scores of items in ``some`` alone."""

    def __init__(self, low: GallerySearch, new: GallerySearch, some: NDArray[np.bool_]) -> None:
        size = max(1, _BLOCK_CELLS // len(low.gallery))
        self._sides, self._some = (low, new), some
        self.low = ScoreBlocks(low.queries, low.gallery, low.metric, query_block=size)
        self._new = None
        if some.any():
            gallery = new.gallery if some.all() else new.gallery[some]
            self._new = ScoreBlocks(new.queries, gallery, new.metric, query_block=size)

    def near(
        self, rows: slice, exact: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Low and new scores of ``rows`` against the whole gallery, and the slack of both."""
        low = _against_all(self.low, rows, exact)
        if self._new is None:
            return low, np.zeros_like(low), self.low.slack(rows), np.zeros(len(low), np.float32)
        new = _against_all(self._new, rows, exact)
        if not self._some.all():
            new, found = np.zeros_like(low), new
            new[:, self._some] = found
        return low, new, self.low.slack(rows), self._new.slack(rows)

    def exact(
        self,
        rows: NDArray[np.int64],
        columns: NDArray[np.int64],
        part: NDArray[np.bool_],
        join: Join,
    ) -> NDArray[np.float32]:
        """The joined scores of pairs."""
        low = self.low.exact(rows, columns)
        there = np.flatnonzero(part[columns])
        side = self._sides[1]
        new = scores_of(
            side.queries, side.gallery, columns[there][:, None], side.metric, rows=rows[there]
        )[:, 0]
        low[there] = join(low[there], new)
        return low


def _against_all(blocks: ScoreBlocks, rows: slice, exact: bool) -> NDArray[np.float32]:
    scores = np.empty((rows.stop - rows.start, blocks.n_gallery), np.float32)
    for start, part in blocks.against_gallery(rows, exact=exact):
        scores[:, start : start + part.shape[1]] = part
    return scores
