"""An index that is re-embedded in part, searched as one.

Each query is asked twice: in the new space against the re-embedded items, and in the space of the
others against all.  The new scores are brought to the scale of the others first; an item that has
both is judged by both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.evaluate import Ranks, Relevance, top_k
from isthmus.evaluate.scores import ScoreBlocks, leave_out
from isthmus.evaluate.trial import Side
from isthmus.ways.way import Join, ScoreMatch

__all__ = ["match_linear", "mixed_ranks"]

_BLOCK_CELLS = 2**20
_MATCHED = 20
# With more relevant items than this, sorting a row is cheaper than comparing it with each.
_FEW = 4


def match_linear(
    first: Side, second: Side, /, *, exclude: NDArray[np.int64] | None = None
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
    low: Side,
    new: Side,
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
    for rows, low_scores, new_scores in _blocks(low, new, some):
        entries = slice(relevance.indptr[rows.start], relevance.indptr[rows.stop])
        counts = relevance.counts[rows]
        row = np.repeat(np.arange(len(counts)), counts)
        column = relevance.indices[entries]
        joined: dict[int, NDArray[np.float32]] = {}
        for (part, join), ranks in zip(settings, found, strict=True):
            if id(join) not in joined:
                joined = {id(join): join(low_scores, new_scores)}
            scores = np.where(part, joined[id(join)], low_scores)
            bars = scores[row, column]
            scores[row, column] = -np.inf
            leave_out(scores, 0, None if exclude is None else exclude[rows])
            ranks[entries] = _ahead(scores, row, bars, counts)
    whole = [Ranks(relevance.indptr, ranks) for ranks in found]
    return [Ranks(r.indptr, r.ranks + r.ordinals) for r in whole]


def _blocks(
    low: Side, new: Side, some: NDArray[np.bool_]
) -> Iterator[tuple[slice, NDArray[np.float32], NDArray[np.float32]]]:
    """Some rows at a time, with their scores against the whole gallery in both spaces.

    New scores of items that are not in ``some`` are left as they are found: they are not looked at.
    """
    size = max(1, _BLOCK_CELLS // len(low.gallery))
    whole = bool(some.all())
    gallery = new.gallery if whole else new.gallery[some]
    of_low = ScoreBlocks(low.queries, low.gallery, low.metric, query_block=size)
    of_new = None
    if len(gallery):
        of_new = ScoreBlocks(new.queries, gallery, new.metric, query_block=size)
    for rows in of_low.query_rows():
        low_scores = _against_all(of_low, rows)
        new_scores = np.zeros(low_scores.shape, np.float32)
        if of_new is not None:
            found = _against_all(of_new, rows)
            if whole:
                new_scores = found
            else:
                new_scores[:, some] = found
        yield rows, low_scores, new_scores


def _against_all(blocks: ScoreBlocks, rows: slice) -> NDArray[np.float32]:
    scores = np.empty((rows.stop - rows.start, blocks.n_gallery), np.float32)
    for start, part in blocks.against_gallery(rows):
        scores[:, start : start + part.shape[1]] = part
    return scores


def _ahead(
    scores: NDArray[np.float32],
    row: NDArray[np.int64],
    bars: NDArray[np.float32],
    counts: NDArray[np.int64],
) -> NDArray[np.int64]:
    """For each relevant entry, best first within its row, the irrelevant scores that reach it."""
    bars = bars[np.lexsort((-bars, row))]
    reached = np.empty(len(bars), dtype=np.int64)
    first = np.cumsum(counts) - counts
    if counts.max(initial=0) <= _FEW:
        for place in range(counts.max(initial=0)):
            rows = np.flatnonzero(counts > place)
            entry = first[rows] + place
            some = scores if len(rows) == len(scores) else scores[rows]
            reached[entry] = np.count_nonzero(some >= bars[entry, None], axis=1)
        return reached
    ordered = np.sort(scores, axis=1)
    for place, start in enumerate(first):
        entries = slice(start, start + counts[place])
        reached[entries] = scores.shape[1] - np.searchsorted(ordered[place], bars[entries])
    return reached
