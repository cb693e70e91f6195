"""The scores of all rows of a gallery, and which of them the map of each query was fitted on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from isthmus.evaluate.relevance import Relevance
from isthmus.evaluate.scores import ScoreBlocks
from isthmus.evaluate.trial import FittedRows

__all__ = ["BIN_STEP", "N_BINS", "RowsAhead", "ScoreSpread", "ScoredBlock", "SeenRows"]

_BLOCK_BYTES = 8 * 2**20
_HELD_CELLS = 2**24
"""Scores of up to so many pairs are kept between passes; of more they are computed again."""
BIN_STEP, _TOP = 0.05, 20.0
"""Width and end of the bins of scores, in standard deviations above the mean of a query."""
N_BINS = int(_TOP / BIN_STEP)


class RowsAhead(NamedTuple):
    """Rows of a block that score as high as an answer of their query."""

    row: NDArray[np.int64]
    column: NDArray[np.int64]
    crowd: NDArray[np.int64]
    """How many rows beat the best answer that it beats."""
    cell: NDArray[np.int64]
    """Where in ``row`` and ``column`` is each row, with each answer that it beats."""
    entry: NDArray[np.int64]
    """Which answer of the block, the best of a query first, it beats."""


class ScoreSpread(NamedTuple):
    """Of the scores of rows that answer nothing, for each query."""

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    """One over the standard deviation."""

    @classmethod
    def of(
        cls, scores: NDArray[np.float32], owner: NDArray[np.int64], column: NDArray[np.int64]
    ) -> ScoreSpread:
        """Of queries and their scores ``(q, n)``, without those of each answer."""
        own = scores[owner, column].astype(np.float64)
        n = scores.shape[1] - np.bincount(owner, minlength=len(scores))
        total, squares = (
            power.sum(axis=1, dtype=np.float64) - np.bincount(owner, of_own, len(scores))
            for power, of_own in ((scores, own), (np.square(scores), own * own))
        )
        mean = total / np.maximum(n, 1)
        spread = np.sqrt(np.maximum(squares / np.maximum(n, 1) - mean * mean, 0.0))
        scale = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 1e-12)
        return cls(mean.astype(np.float32), scale.astype(np.float32))


@dataclass(frozen=True, eq=False)
class ScoredBlock:
    """Some queries and their scores against the whole gallery."""

    rows: slice
    scores: NDArray[np.float32]
    fitted: NDArray[np.bool_]
    """Rows that a query's map was fitted on; no answers, and none of a query with a fitted one."""
    aside: NDArray[np.bool_]
    """Answers of a query and copies of them, which are in no fold but the query's own, and items
    of no fold, copies of any answer among them: they tell nothing of fitted and unfitted rows."""
    own: NDArray[np.bool_]
    """Whether no answer of a query was fitted on."""
    owner: NDArray[np.int64]
    """The query of each answer."""
    column: NDArray[np.int64]
    """Where in the gallery each answer is."""
    spread: ScoreSpread

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Answers of each query."""
        return np.bincount(self.owner, minlength=len(self.scores))

    def standardised(self) -> NDArray[np.float32]:
        """Scores in standard deviations above the mean of the rows that answer nothing."""
        mean, scale = self.spread
        return (self.scores - mean[:, None]) * scale[:, None]

    def counted(self) -> NDArray[np.int32]:
        """Unfitted and fitted rows in each bin of scores, of each query ``(q, 2, bins)``."""
        n, kinds = len(self.scores), 2 * N_BINS
        code = _bins_of(self.standardised())
        np.add(code, N_BINS, out=code, where=self.fitted)
        # what tells nothing goes into one bin behind the others
        np.copyto(code, kinds, where=self.aside)
        code[~self.own] = kinds
        code += (kinds + 1) * np.arange(n)[:, None]
        found = np.bincount(code.ravel(), minlength=(kinds + 1) * n).reshape(n, kinds + 1)
        return found[:, :kinds].reshape(n, 2, N_BINS).astype(np.int32)

    def bins(self, row: NDArray[np.int64], column: NDArray[np.int64]) -> NDArray[np.int64]:
        """Of some rows, the bins of their standardised scores."""
        mean, scale = self.spread
        return _bins_of((self.scores[row, column] - mean[row]) * scale[row])

    @cached_property
    def _bars(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Scores of the answers, best first, and where those of each query start."""
        bars = self.scores[self.owner, self.column]
        return bars[np.lexsort((-bars, self.owner))], np.cumsum(self.counts) - self.counts

    @cached_property
    def ahead(self) -> RowsAhead:
        """The rows that beat an answer, of queries none of whose answers was fitted on."""
        bars, starts = self._bars
        over = self.scores >= np.minimum.reduceat(bars, starts)[:, None]
        over[self.owner, self.column] = False
        over[~self.own] = False
        row, column = np.divmod(np.flatnonzero(over), over.shape[1])
        counts = self.counts[row]
        cell = np.repeat(np.arange(len(row)), counts)
        place = np.arange(len(cell)) - np.repeat(np.cumsum(counts) - counts, counts)
        entry = np.repeat(starts[row], counts) + place
        beats = self.scores[row, column][cell] >= bars[entry]
        cell, entry = cell[beats], entry[beats]
        first = np.searchsorted(cell, np.arange(len(row)))
        crowd = np.bincount(entry, minlength=len(bars))[entry[first]]
        return RowsAhead(row, column, crowd, cell, entry)


@dataclass(frozen=True, eq=False)
class SeenRows:
    """Scores of all rows, and which of them each query's map was fitted on."""

    scores: ScoreBlocks
    relevance: Relevance
    fitted: FittedRows
    _spreads: dict[int, ScoreSpread] = field(default_factory=dict[int, ScoreSpread])
    _held: dict[int, NDArray[np.float32]] = field(default_factory=dict[int, NDArray[np.float32]])
    _counts: dict[int, NDArray[np.int32]] = field(default_factory=dict[int, NDArray[np.int32]])

    @cached_property
    def _unfitted(self) -> NDArray[np.int64]:
        """Rows that the map of each query was not fitted on ``(nq,)``."""
        of_folds = np.bincount(self.fitted.items + 1, minlength=1)
        unfitted = np.full(self.scores.n_queries, of_folds[0])
        for folds in (self.fitted.queries, self.fitted.spared):
            if folds is not None:
                known = folds + 1 < len(of_folds)
                unfitted += np.where(known, of_folds[np.where(known, folds + 1, 0)], 0)
        return unfitted

    @property
    def share(self) -> float:
        """The share of the gallery that an average query's map was fitted on."""
        return 1 - float(self._unfitted.mean()) / self.scores.n_gallery

    @property
    def fewest_unfitted(self) -> int:
        """Rows that no map of a query was fitted on, of the query that has fewest."""
        return int(self._unfitted.min())

    @cached_property
    def _own(self) -> NDArray[np.bool_]:
        """Whether no answer of a query was fitted on ``(nq,)``."""
        rows, of_item = self.relevance.rows, self.fitted.items[self.relevance.indices]
        attracted = (of_item >= 0) & (of_item != self.fitted.queries[rows])
        return np.bincount(rows, attracted, self.scores.n_queries) == 0

    @cached_property
    def _copies(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Queries in ascending order, and gallery items that are copies of their answers."""
        answers = self.relevance.indices
        if self.fitted.groups is None:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        groups = self.fitted.groups
        order = np.argsort(groups, kind="stable")
        ends = np.searchsorted(groups[order], np.arange(groups.max(initial=-1) + 2))
        some = np.flatnonzero(groups[answers] >= 0)
        first, last = ends[groups[answers[some]]], ends[groups[answers[some]] + 1]
        counts = last - first
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        items = order[np.repeat(first, counts) + within]
        return np.repeat(self.relevance.rows[some], counts), items

    def blocks(self) -> Iterator[ScoredBlock]:
        """Some queries at a time."""
        n, indptr = self.scores.n_gallery, self.relevance.indptr
        step = max(1, _BLOCK_BYTES // (4 * n))
        for start in range(0, self.scores.n_queries, step):
            rows = slice(start, min(start + step, self.scores.n_queries))
            found = self._scored(rows)
            fitted = self.fitted.mask(rows)
            entries = slice(indptr[rows.start], indptr[rows.stop])
            owner = self.relevance.rows[entries] - rows.start
            column = self.relevance.indices[entries]
            own = self._own[rows]
            fitted[owner, column] = False
            fitted[~own] = False
            aside = np.zeros(fitted.shape, np.bool_)
            aside[owner, column] = True
            asked, copies = self._copies
            some = slice(*np.searchsorted(asked, (rows.start, rows.stop)))
            aside[asked[some] - rows.start, copies[some]] = True
            aside[:, self.fitted.items < 0] = True
            if start not in self._spreads:
                self._spreads[start] = ScoreSpread.of(found, owner, column)
            yield ScoredBlock(rows, found, fitted, aside, own, owner, column, self._spreads[start])

    def _scored(self, rows: slice) -> NDArray[np.float32]:
        if rows.start in self._held:
            return self._held[rows.start]
        found = self.scores.against_all(rows)
        if self.scores.n_queries * self.scores.n_gallery <= _HELD_CELLS:
            self._held[rows.start] = found
        return found

    def counted(self, block: ScoredBlock) -> NDArray[np.int32]:
        """`ScoredBlock.counted`, once for each block."""
        start = block.rows.start
        if start not in self._counts:
            self._counts[start] = block.counted()
        return self._counts[start]


def _bins_of(standardised: NDArray[np.float32]) -> NDArray[np.int64]:
    """Bins of standardised scores; the lowest holds all below the mean."""
    return np.clip(standardised / np.float32(BIN_STEP), 0, N_BINS - 1).astype(np.int64)
