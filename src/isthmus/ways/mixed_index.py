"""An index that is re-embedded in part, searched as one.

Each query is asked twice: in the new space against the re-embedded items, and in the space of the
others against all.  The new scores are brought to the scale of the others first; an item that has
both is judged by both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.evaluate import Ranks, Relevance, top_k
from isthmus.evaluate.reaching import Exact, count_reaching, many_bars, true_in_rows
from isthmus.evaluate.scores import ScoreBlocks
from isthmus.evaluate.trial import GallerySearch
from isthmus.ways.way import Join, ScoreMatch

__all__ = ["match_linear", "mixed_ranks"]

_BLOCK_CELLS = 2**20
_MATCHED = 20
_NOT_COUNTED = np.float32(-np.inf)
_Answers = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Rows, ascending, and columns of the relevant items of some queries."""


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
    found = [np.empty(len(relevance.indices), dtype=np.int64) for _ in settings]
    groups: dict[int, list[int]] = {}
    for place, (_, join) in enumerate(settings):
        groups.setdefault(id(join), []).append(place)
    parts = np.array([part for part, _ in settings], dtype=np.bool_).reshape(-1, n_gallery)
    pairs = _Pairs(low, new, np.any(parts, axis=0))
    for rows in pairs.low.query_rows():
        entries = slice(relevance.indptr[rows.start], relevance.indptr[rows.stop])
        counts = relevance.counts[rows]
        row, column = np.repeat(np.arange(len(counts)), counts), relevance.indices[entries]
        block = pairs.block(rows, (row, column), None if exclude is None else exclude[rows])
        for places in groups.values():
            join, some = settings[places[0]][1], parts[places]
            for place, ahead in zip(places, block.reached(join, some), strict=True):
                # the best of a query first, as fewest reach it
                found[place][entries] = ahead[np.lexsort((ahead, row))]
    whole = [Ranks(relevance.indptr, ranks) for ranks in found]
    return [Ranks(r.indptr, r.ranks + r.ordinals) for r in whole]


class _Pairs:
    """Scores of all pairs in one space, and in the other of items that are ever re-embedded."""

    def __init__(self, low: GallerySearch, new: GallerySearch, some: NDArray[np.bool_]) -> None:
        size = max(1, _BLOCK_CELLS // len(low.gallery))
        self.some = np.flatnonzero(some)
        self.place = np.where(some, np.cumsum(some) - 1, -1)
        """Of each item, where it is in ``some``; -1 of the others."""
        self.low = ScoreBlocks(low.queries, low.gallery, low.metric, query_block=size)
        self.new = None
        if len(self.some):
            gallery = new.gallery if some.all() else new.gallery[self.some]
            self.new = ScoreBlocks(new.queries, gallery, new.metric, query_block=size)

    def block(self, rows: slice, answers: _Answers, exclude: NDArray[np.int64] | None) -> _Block:
        """Both scores of some queries."""
        counts = np.bincount(answers[0], minlength=rows.stop - rows.start)
        exact = many_bars(counts)
        low = self.low.against_all(rows, exact=exact)
        new = None if self.new is None else self.new.against_all(rows, exact=exact)
        left = np.ones(low.shape, np.bool_)
        left[answers] = False
        if exclude is not None:
            left[np.arange(len(left)), exclude] = False
        return _Block(self, rows, low, new, left, answers, counts)


@dataclass(frozen=True, eq=False)
class _Block:
    """Scores of some queries, near those of the pairs."""

    pairs: _Pairs
    rows: slice
    low: NDArray[np.float32]
    new: NDArray[np.float32] | None
    """Against the items that are ever re-embedded."""
    left: NDArray[np.bool_]
    """The pairs that are counted: no answers, and nothing that is left out."""
    answers: _Answers
    counts: NDArray[np.int64]
    """Answers of each query."""

    def reached(self, join: Join, parts: NDArray[np.bool_]) -> Iterable[NDArray[np.int64]]:
        """How many items score at least as high as each answer, for each part re-embedded.

        Args:
            join: of the two scores.
            parts: of the gallery ``(parts, ng)``.
        """
        joined = None if self.new is None else self._joined_side(join, self.new)
        if many_bars(self.counts):
            return [self._by_sorting(part, joined) for part in parts]
        return self._by_comparing(parts, joined)

    @cached_property
    def _low_side(self) -> _Side:
        scores = np.where(self.left, self.low, _NOT_COUNTED)
        return _Side(scores, self.pairs.low.slack(self.rows), self._exact_low)

    @cached_property
    def _low_of_some(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Scores of the items that are ever re-embedded, and which of them are counted."""
        some = self.pairs.some
        return self.low[:, some], self.left[:, some]

    def _joined_side(self, join: Join, new: NDArray[np.float32]) -> _Side:
        """Of the items that are ever re-embedded."""
        assert self.pairs.new is not None
        (low, left), low_slack = self._low_of_some, self._low_side.slack
        joined = join(low, new)
        slack = join.slack(low_slack, self.pairs.new.slack(self.rows), joined)
        scores = np.where(left, joined, _NOT_COUNTED)
        return _Side(scores, np.maximum(low_slack, slack), partial(self._exact_joined, join=join))

    def _exact_low(self, row: NDArray[np.int64], column: NDArray[np.int64]) -> NDArray[np.float32]:
        return self.pairs.low.exact(row + self.rows.start, column)

    def _exact_joined(
        self, row: NDArray[np.int64], column: NDArray[np.int64], join: Join
    ) -> NDArray[np.float32]:
        assert self.pairs.new is not None
        low = self._exact_low(row, self.pairs.some[column])
        return join(low, self.pairs.new.exact(row + self.rows.start, column))

    @cached_property
    def _reached_by_low(self) -> list[_Asked]:
        """Of the first answer of each query that has one, then of the second, …: what reaches it,
        if neither it nor anything else is re-embedded."""
        found: list[_Asked] = []
        first = np.cumsum(self.counts) - self.counts
        for place in range(self.counts.max(initial=0)):
            rows = np.flatnonzero(self.counts > place)
            entry = first[rows] + place
            bars = self._exact_low(rows, self.answers[1][entry])
            found.append(_Asked(entry, rows, bars, self._low_side.reaching(rows, bars)))
        return found

    def _by_comparing(self, parts: NDArray[np.bool_], joined: _Side | None) -> NDArray[np.int64]:
        """Every pair is compared once with each of two bars; a product counts for all parts."""
        column = self.answers[1]
        reached = np.empty((len(parts), len(column)), np.int64)
        weights = parts[:, self.pairs.some].T.astype(np.float32)
        for asked in self._reached_by_low:
            reached[:, asked.entry] = self._counted(asked, joined, weights)
            at = self.pairs.place[column[asked.entry]]
            rows, entry, at = asked.rows[at >= 0], asked.entry[at >= 0], at[at >= 0]
            if joined is None or not len(rows):
                continue
            bars = joined.exact(rows, at)
            embedded = _Asked(entry, rows, bars, self._low_side.reaching(rows, bars))
            own = parts[:, column[entry]]
            ahead = self._counted(embedded, joined, weights)
            reached[:, entry] = np.where(own, ahead, reached[:, entry])
        return reached

    def _counted(
        self, asked: _Asked, joined: _Side | None, weights: NDArray[np.float32]
    ) -> NDArray[np.int64]:
        """Items that reach the bars, for each part ``(parts, rows)``.

        Args:
            asked: the bars.
            joined: the scores of items that are re-embedded.
            weights: 1 for what is in a part ``(some, parts)``.
        """
        ahead = true_in_rows(asked.low)
        if joined is None:
            return np.broadcast_to(ahead, (weights.shape[1], len(ahead)))
        # whole numbers below 2^24 are exact in float32
        more = joined.reaching(asked.rows, asked.bars).astype(np.float32)
        more -= asked.low[:, self.pairs.some]
        return (more @ weights).T.astype(np.int64) + ahead

    def _by_sorting(self, part: NDArray[np.bool_], joined: _Side | None) -> NDArray[np.int64]:
        """Of exact scores, as they are where there are many bars."""
        row, column = self.answers
        low = self._low_side
        bars, scores = low.exact(row, column), low.scores.copy()
        if joined is not None:
            own, embedded = part[column], part[self.pairs.some]
            bars[own] = joined.exact(row[own], self.pairs.place[column[own]])
            scores[:, self.pairs.some[embedded]] = joined.scores[:, embedded]
        return count_reaching(scores, bars, self.counts, low.slack, low.exact)


class _Asked(NamedTuple):
    """An answer of each of some queries."""

    entry: NDArray[np.int64]
    """Which of all answers of the block."""
    rows: NDArray[np.int64]
    bars: NDArray[np.float32]
    """Its scores."""
    low: NDArray[np.bool_]
    """Which items score as high without being re-embedded ``(rows, ng)``."""


class _Side(NamedTuple):
    """Scores of pairs, near the exact ones; −∞ of those that are not counted."""

    scores: NDArray[np.float32]
    slack: NDArray[np.float32]
    exact: Exact

    def reaching(self, rows: NDArray[np.int64], bars: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which pairs of some rows score at least as high as the bar of the row ``(rows, n)``."""
        scores = self.scores if len(rows) == len(self.scores) else self.scores[rows]
        slack = self.slack[rows]
        over = scores >= (bars + slack)[:, None]
        open_ = np.flatnonzero(over ^ (scores >= (bars - slack)[:, None]))
        at, column = np.divmod(open_, scores.shape[1])
        over[at, column] = self.exact(rows[at], column) >= bars[at]
        return over
