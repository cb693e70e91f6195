"""What queries would find, did the rows that their map was fitted on not attract them.

A map of few pairs draws what it maps towards the rows that it was fitted on.  Where each query is
judged by a map that has not seen its answer, nearly all other rows are of that fit: they come
first more often than any other row of an index would, and the map seems worse than it is.  How
much more often is seen in the evidence itself, which holds rows of either kind: scores of fitted
and of unfitted rows are compared, and a fitted row that beats an answer is counted as often as an
unfitted one reaches such a score (importance weights, the ratio of the two densities).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.array_types import Values
from isthmus.evaluate.ranks import Ranks
from isthmus.evaluate.relevance import Relevance
from isthmus.evaluate.scores import ScoreBlocks
from isthmus.evaluate.search import TopK
from isthmus.evaluate.trial import FittedRows, GallerySearch

__all__ = ["first_among_unfitted", "ranks_among_unfitted"]

_DRAWS = 32
_HELD_BYTES = 8 * 2**20
_STEP, _TOP = 0.05, 20.0
"""Width and end of the bins of scores, in standard deviations above the mean of a query."""
_KNOT_SHARES = (0.2, 0.03, 0.003)
"""Shares of all rows above the scores where the slope of the regression may change."""
_RIDGE, _NEWTON_STEPS = 1.0, 25
_LARGEST = 6.0
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
    seen = _Seen(ScoreBlocks(search.queries, search.gallery, search.metric), relevance, fitted)
    if not _LEAST_SHARE < seen.share < 1:
        return None
    stays = seen.chances()
    removed = np.zeros((_DRAWS, len(ranks.ranks)), np.int64)
    rng = np.random.default_rng(seed)
    for rows, scores, may_go in seen.removable():
        first, last = int(relevance.indptr[rows.start]), int(relevance.indptr[rows.stop])
        entries = np.arange(first, last)
        owner = relevance.rows[entries] - rows.start
        bars = scores[owner, relevance.indices[entries]]
        bars = bars[np.lexsort((-bars, owner))]  # as ranks are held
        starts = relevance.indptr[rows] - first
        may_go &= scores >= np.minimum.reduceat(bars, starts)[:, None]
        row, column = np.nonzero(may_go)
        chance = stays[_bins(seen.standardised(scores, rows)[row, column])]
        score = scores[row, column]
        counts = relevance.counts[rows]
        # each row that may go, with every answer of its query that it beats
        cell = np.repeat(np.arange(len(row)), counts[row])
        place = np.arange(len(cell)) - np.repeat(np.cumsum(counts[row]) - counts[row], counts[row])
        entry = np.repeat(starts[row], counts[row]) + place
        beats = score[cell] >= bars[entry]
        cell, entry = cell[beats], entry[beats]
        for draw in removed:
            less = 1 - np.floor(chance + rng.random(len(row)))
            draw[first:last] = np.bincount(entry, less[cell], last - first).astype(np.int64)
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
    seen = _Seen(ScoreBlocks(search.queries, search.gallery, search.metric), relevance, fitted)
    if not (_LEAST_SHARE < seen.share < 1 and seen.fewest_unfitted >= k):
        return None
    stays = seen.chances()
    rng = np.random.default_rng(seed)
    indices = np.empty((seen.scores.n_queries, k), np.int64)
    best = np.empty(indices.shape, np.float32)
    for rows, scores, may_go in seen.removable():
        # fitted rows below all others, but apart: equal numbers are slow to order
        unfitted = scores - may_go * np.float32(np.ptp(scores) + 1)
        row, column = np.nonzero(scores >= np.partition(unfitted, -k, axis=1)[:, -k, None])
        chance = stays[_bins(seen.standardised(scores, rows)[row, column])]
        kept = ~may_go[row, column] | (rng.random(len(row)) < chance)
        row, column = row[kept], column[kept]
        order = np.lexsort((column, -scores[row, column], row))
        place = np.searchsorted(row, np.arange(len(scores)))[:, None] + np.arange(k)
        indices[rows] = column[order[place]]
        best[rows] = np.take_along_axis(scores, indices[rows], axis=1)
    return TopK(indices, best)


@dataclass(frozen=True, eq=False)
class _Seen:
    """Scores of all rows, and which of them each query's map was fitted on."""

    scores: ScoreBlocks
    relevance: Relevance
    fitted: FittedRows

    @property
    def share(self) -> float:
        """The share of the gallery that an average query's map was fitted on."""
        of_folds = np.bincount(self.fitted.items[self.fitted.items >= 0], minlength=1)
        other = (
            of_folds.sum() - np.append(of_folds, 0)[np.minimum(self.fitted.queries, len(of_folds))]
        )
        return float(other.mean()) / self.scores.n_gallery

    @property
    def fewest_unfitted(self) -> int:
        """Rows that no map of a query was fitted on, of the query that has fewest."""
        of_folds = np.bincount(self.fitted.items + 1, minlength=int(self.fitted.queries.max()) + 2)
        return int((of_folds[0] + of_folds[self.fitted.queries + 1]).min())

    @property
    def eligible(self) -> NDArray[np.bool_]:
        """Whether no answer of a query was fitted on ``(nq,)``."""
        own = self.fitted.queries[self.relevance.rows]
        of_item = self.fitted.items[self.relevance.indices]
        attracted = (of_item >= 0) & (of_item != own)
        return np.bincount(self.relevance.rows, attracted, self.scores.n_queries) == 0

    def blocks(self) -> Iterator[tuple[slice, NDArray[np.float32], NDArray[np.bool_]]]:
        """Some queries, their scores against the gallery, and which of its rows were fitted on."""
        n = self.scores.n_gallery
        step = max(1, _HELD_BYTES // (4 * n))
        for start in range(0, self.scores.n_queries, step):
            rows = slice(start, min(start + step, self.scores.n_queries))
            found = np.empty((rows.stop - start, n), np.float32)
            for first, scores in self.scores.against_gallery(rows):
                found[:, first : first + scores.shape[1]] = scores
            own = self.fitted.queries[rows]
            yield rows, found, (self.fitted.items >= 0) & (self.fitted.items != own[:, None])

    def removable(self) -> Iterator[tuple[slice, NDArray[np.float32], NDArray[np.bool_]]]:
        """As `blocks`, with the fitted rows that may go: no answers, and none of a query that has
        an answer which was fitted on."""
        eligible = self.eligible
        for rows, scores, known in self.blocks():
            entries = slice(self.relevance.indptr[rows.start], self.relevance.indptr[rows.stop])
            owner = self.relevance.rows[entries] - rows.start
            known[owner, self.relevance.indices[entries]] = False
            known[~eligible[rows]] = False
            yield rows, scores, known

    def standardised(self, scores: NDArray[np.float32], rows: slice) -> NDArray[np.float32]:
        """Scores in standard deviations above the mean of the rows that answer nothing."""
        entries = slice(self.relevance.indptr[rows.start], self.relevance.indptr[rows.stop])
        owner, column = self.relevance.rows[entries] - rows.start, self.relevance.indices[entries]
        own = scores[owner, column].astype(np.float64)
        n = scores.shape[1] - self.relevance.counts[rows]
        total, squares = (
            power.sum(axis=1, dtype=np.float64) - np.bincount(owner, of_own, len(scores))
            for power, of_own in ((scores, own), (np.square(scores), own * own))
        )
        mean = total / np.maximum(n, 1)
        spread = np.sqrt(np.maximum(squares / np.maximum(n, 1) - mean * mean, 0.0))
        scale = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 1e-12)
        return (scores - mean[:, None].astype(np.float32)) * scale[:, None].astype(np.float32)

    def chances(self) -> Values:
        """Of each bin of scores, how much likelier an unfitted row is there than a fitted one."""
        counted = np.zeros((2, _N_BINS))
        for rows, scores, known in self.blocks():
            entries = slice(self.relevance.indptr[rows.start], self.relevance.indptr[rows.stop])
            bins = _bins(self.standardised(scores, rows))
            answers = self.relevance.rows[entries] - rows.start, self.relevance.indices[entries]
            counts = np.bincount((bins + _N_BINS * known).ravel(), minlength=2 * _N_BINS)
            counts -= np.bincount(
                (bins[answers] + _N_BINS * known[answers]).ravel(), minlength=2 * _N_BINS
            )
            counted += counts.reshape(2, _N_BINS)
        return _ratio(*counted)


_N_BINS = int(_TOP / _STEP)


def _bins(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """Of standardised scores; the lowest bin holds all below the mean."""
    return np.clip(scores / np.float32(_STEP), 0, _N_BINS - 1).astype(np.int64)


def _ratio(unfitted: Values, fitted: Values) -> Values:
    """The density of unfitted rows over that of fitted ones, by logistic regression on the score.

    The logarithm of the ratio is linear between scores that ever fewer rows reach.
    """
    both = unfitted + fitted
    centres = (np.arange(_N_BINS) + 0.5) * _STEP
    above = both[::-1].cumsum()[::-1] / both.sum()
    knots = [centres[min(np.sum(above > share), _N_BINS - 1)] for share in _KNOT_SHARES]
    inputs = np.column_stack([np.ones(_N_BINS), *(np.maximum(centres - k, 0) for k in knots)])
    usual = np.log(unfitted.sum() / fitted.sum())
    slopes = np.append(usual, np.zeros(len(knots)))
    penalty = np.diag(np.append(0.0, np.full(len(knots), _RIDGE)))
    for _ in range(_NEWTON_STEPS):
        share = 1 / (1 + np.exp(-np.clip(inputs @ slopes, -30, 30)))
        weight = both * share * (1 - share) + 1e-12
        gradient = inputs.T @ (unfitted - both * share) - penalty @ slopes
        slopes = slopes + np.linalg.solve((inputs.T * weight) @ inputs + penalty, gradient)
    return np.exp(np.clip(inputs @ slopes - usual, -_LARGEST, np.log(2)))
