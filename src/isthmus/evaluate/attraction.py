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

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from isthmus.array_types import Values
from isthmus.evaluate.fitted_rows import N_CROWD, N_SCORE, FittedChances, chances
from isthmus.evaluate.metrics import MetricAt
from isthmus.evaluate.ranks import Ranks
from isthmus.evaluate.relevance import Relevance
from isthmus.evaluate.scores import ScoreBlocks
from isthmus.evaluate.search import TopK
from isthmus.evaluate.seen_rows import ScoredBlock, SeenRows
from isthmus.evaluate.trial import FittedRows, GallerySearch

__all__ = [
    "AmongUnfitted",
    "first_among_unfitted",
    "judged_among_unfitted",
    "ranks_among_unfitted",
]

_DRAWS, _FEW_DRAWS = 32, 8
_CROWD = 100
"""Rows ahead beyond which no draw brings an answer to the front."""
_MOVES = np.append(0.3, np.full(N_CROWD - 1, 0.1))
"""Steps of the slopes by which it is seen what they move."""
_SCORE_MOVE = 0.1
"""The same of the slopes of scores."""
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
    (stays,) = chances(seen).each()
    draws = _Draws(ranks, seed, _DRAWS)
    for block in seen.blocks():
        draws.add(block, [stays])
    return draws.ranks[0]


@dataclass(frozen=True, eq=False)
class AmongUnfitted:
    """What one search finds among rows that no map was fitted on, and how well that is known."""

    draws: list[Ranks]
    """Draws, whose mean metric is the expected one."""
    moved: list[list[Ranks]]
    """Some draws, and the same ones with one slope after the other moved by a step."""
    influence: Values
    """Steps that each query moved the slopes by ``(nq, slopes)``, of sum zero."""

    @classmethod
    def as_found(cls, ranks: Ranks) -> Self:
        """Ranks that need no correction."""
        return cls([ranks], [[ranks]], np.zeros((len(ranks.counts), 0)))

    def values(self, metrics: Sequence[MetricAt]) -> Values:
        """Each metric of each query ``(nq, m)``."""
        return _per_query(self.draws, metrics)

    def noise(self, metrics: Sequence[MetricAt]) -> Values:
        """What each query moved the mean of all by, times their number ``(nq, m)``.

        Added to `values` it moves no mean, and widens its interval by what the chances of rows to
        stay are not known by (a sandwich estimate).
        """
        before, *after = (_per_query(draws, metrics).mean(axis=0) for draws in self.moved)
        by_step = np.reshape(after, (-1, len(metrics))) - before
        return len(self.influence) * self.influence @ by_step


def judged_among_unfitted(
    searches: Sequence[GallerySearch],
    relevance: Relevance,
    fitted: Sequence[FittedRows],
    ranks: Sequence[Ranks],
    *,
    seed: int = 0,
) -> list[AmongUnfitted] | None:
    """As `ranks_among_unfitted`, of searches that are compared, with what it is not known by.

    Args:
        searches: the same queries behind maps, and behind maps that were fitted on fewer rows.
        relevance: which items answer each query.
        fitted: which items the maps of each were fitted on.
        ranks: of the relevant items in the gallery as it is, of each.
        seed: of the draws.

    Returns:
        None where `ranks_among_unfitted` says nothing of one of them.
    """
    seen = [
        SeenRows(ScoreBlocks(one.queries, one.gallery, one.metric), relevance, rows)
        for one, rows in zip(searches, fitted, strict=True)
    ]
    if not all(_LEAST_SHARE < one.share < 1 for one in seen):
        return None
    told = chances(*seen)
    stay = told.each()
    draws: list[_Draws] = []
    moved: list[_Draws] = []
    surprises = np.zeros((len(relevance.counts), len(stay[0].inverse)))
    of_scores = [np.zeros((len(surprises), N_SCORE)) for _ in told.of_score]
    for k, (rows, found, stays) in enumerate(zip(seen, ranks, stay, strict=True)):
        draws.append(_Draws(found, seed, _DRAWS))
        moved.append(_Draws(found, seed, _FEW_DRAWS, crowd=_CROWD))
        some = [replace(stays, of_crowd=stays.of_crowd + step) for step in np.diag(_MOVES)]
        if told.of_score:
            some += [told.moved(k, slope, _SCORE_MOVE) for slope in range(N_SCORE)]
        for block in rows.blocks():
            draws[-1].add(block, [stays])
            moved[-1].add(block, [stays, *some])
            surprises[block.rows] += stays.surprises(block)
            if told.of_score:
                slopes = told.of_score[k]
                asked = stays.score_surprises(rows.counted(block), slopes) @ slopes.inverse
                of_scores[k][block.rows] = asked[:, 1:] / _SCORE_MOVE
    influences = [
        np.column_stack([(surprises @ one.inverse @ one.of_all.T) / _MOVES, *of_scores[k : k + 1]])
        for k, one in enumerate(stay)
    ]
    return [
        AmongUnfitted(drawn.ranks[0], some.ranks, influence - influence.mean(axis=0))
        for drawn, some, influence in zip(draws, moved, influences, strict=True)
    ]


def _per_query(draws: Sequence[Ranks], metrics: Sequence[MetricAt]) -> Values:
    return np.mean([np.column_stack([m.per_query(r) for m in metrics]) for r in draws], axis=0)


class _Draws:
    """Ranks without the fitted rows that go in each draw; behind ``crowd`` rows none goes.

    Of several chances to stay the draws are the same ones.
    """

    def __init__(self, ranks: Ranks, seed: int, draws: int, crowd: int | None = None) -> None:
        self._found, self._crowd = ranks, crowd
        self._rng = np.random.default_rng(seed)
        self._removed: list[NDArray[np.int64]] = []
        self._draws = draws

    def add(self, block: ScoredBlock, chances: Sequence[FittedChances]) -> None:
        """What goes of the rows of a block."""
        found, ahead = self._found, block.ahead
        if not self._removed:
            self._removed = [np.zeros((self._draws, len(found.ranks)), np.int64) for _ in chances]
        near = block.fitted[ahead.row, ahead.column]
        if self._crowd is not None:
            near &= ahead.crowd <= self._crowd
        bins = block.bins(ahead.row[near], ahead.column[near])
        cell = near[ahead.cell]
        at, entry = (np.cumsum(near) - 1)[ahead.cell[cell]], ahead.entry[cell]
        first, last = (int(found.indptr[i]) for i in (block.rows.start, block.rows.stop))
        stay = [one(bins, ahead.crowd[near]) for one in chances]
        for draw in range(self._draws):
            random = self._rng.random(len(bins))
            for chance, removed in zip(stay, self._removed, strict=True):
                less = 1 - np.floor(chance + random)
                removed[draw, first:last] = np.bincount(entry, less[at], last - first)

    @property
    def ranks(self) -> list[list[Ranks]]:
        """Of each of the chances, its draws."""
        found = self._found
        return [
            [Ranks(found.indptr, np.maximum(found.ranks - one, found.ordinals)) for one in removed]
            for removed in self._removed
        ]


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
    (stays,) = chances(seen).each()
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
