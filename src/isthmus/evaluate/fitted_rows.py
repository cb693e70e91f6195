"""How much likelier a row that no map was fitted on is where it is seen than one that was.

Told by its score and by how many rows are ahead of the answer, in two logistic regressions: the
second starts from what the first says, and is held to it where little was seen.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isthmus.array_types import Values
from isthmus.evaluate.seen_rows import BIN_STEP, N_BINS, ScoredBlock, SeenRows

__all__ = ["N_CROWD", "N_SCORE", "Chances", "FittedChances", "chances"]

_KNOT_SHARES = (0.2, 0.03, 0.003)
"""Shares of all rows above the scores where the slope of the first regression may change."""
N_SCORE = len(_KNOT_SHARES)
_CROWD_KNOTS = np.arange(6.0)
"""Logarithms of the rows ahead (base 2) where the slope of the second may change."""
N_CROWD = 1 + len(_CROWD_KNOTS)
_CROWD_STEP = 0.25
_SCORE_RIDGE, _CROWD_RIDGE = 1.0, 4.0
_APART_RIDGE = 32.0
"""What holds the slopes of searches that are compared to each other."""
_NEWTON_STEPS, _SETTLED = 25, 1e-9
_LARGEST = 6.0


class ScoreSlopes(NamedTuple):
    """The first regression of a search: what a score says of a row."""

    inputs: Values
    """What each bin of scores says ``(bins, slopes)``: a constant first."""
    slopes: Values
    inverse: Values
    """How the slopes follow sums of surprises."""

    def moved(self, slope: int, step: float) -> ScoreSlopes:
        """With one of the slopes, counted behind the constant, moved by a step."""
        return self._replace(slopes=self.slopes + step * np.eye(len(self.slopes))[1 + slope])

    @property
    def told(self) -> Values:
        """The logarithms of the odds, beside the usual ones, of each bin."""
        return self.inputs @ self.slopes


@dataclass(frozen=True, eq=False)
class FittedChances:
    """Of a row that was fitted on, how much likelier an unfitted one is to be where it is."""

    of_score: Values
    """Logarithms, one for each bin of scores."""
    of_crowd: Values
    """What is added for rows ahead of an answer: a constant, and slopes by the logarithm of their
    number."""
    usual: float = 0.0
    """The logarithm of unfitted rows to a fitted one."""
    inverse: Values = field(default_factory=lambda: np.zeros((N_CROWD, N_CROWD)))
    """How the slopes of all searches that were told together follow sums of their surprises."""
    of_all: Values = field(default_factory=lambda: np.eye(N_CROWD))
    """These slopes by those of all searches."""

    def __call__(self, bins: NDArray[np.int64], ahead: NDArray[np.int64]) -> Values:
        """Of rows in these bins, so many of which are ahead of an answer (0: they are not)."""
        told = self.of_score[bins]
        told = told + np.where(ahead > 0, _crowds(np.maximum(ahead, 1)) @ self.of_crowd, 0.0)
        return np.exp(np.clip(told, -_LARGEST, np.log(2)))

    def surprises(self, block: ScoredBlock) -> Values:
        """What the rows ahead of each query of a block ask of the slopes ``(q, slopes)``."""
        ahead = block.ahead
        at = ahead.row, ahead.column
        inputs = _crowds(ahead.crowd)
        known = self.usual + np.clip(self.of_score[block.bins(*at)], -_LARGEST, np.log(2))
        apart = ~block.fitted[at] - _shares(known + inputs @ self.of_crowd)
        apart *= ~block.aside[at]
        n = len(block.scores)
        sums = [np.bincount(ahead.row, apart * column, n) for column in inputs.T]
        return np.column_stack(sums) @ self.of_all

    def score_surprises(self, counted: NDArray[np.int32], told: ScoreSlopes) -> Values:
        """What all rows of each query ask of the slopes of scores ``(q, slopes)``.

        Args:
            counted: as of `SeenRows.counted`.
            told: the slopes.
        """
        of_bin = _shares(told.told + self.usual)
        counts = counted.astype(np.float64)
        apart = counts[:, 0] - counts.sum(axis=1) * of_bin
        return apart @ told.inputs


class _Crowded(NamedTuple):
    """The rows ahead of answers in one search, in cells of their number and score."""

    inputs: Values
    """What each cell says, for the slopes of all searches."""
    counts: Values
    """Unfitted and fitted rows in each."""
    score: NDArray[np.int64]
    """The bin of scores of each."""


@dataclass(frozen=True, eq=False)
class Chances:
    """What rows of either kind tell of each other in several searches for the same answers.

    What the number of rows ahead says is nearly the same in all: what is not known of it is no
    difference between them.
    """

    of_score: list[ScoreSlopes]
    """The slopes of each search; none where one shows no rows of one kind."""
    _usual: list[float]
    _crowded: list[_Crowded]
    _of_all: list[Values]

    def each(self, of_score: list[ScoreSlopes] | None = None) -> list[FittedChances]:
        """Of each search; with other slopes of scores, if they are given."""
        if not self.of_score:
            return [FittedChances(np.zeros(N_BINS), np.zeros(N_CROWD)) for _ in self._of_all]
        told = [one.told for one in of_score or self.of_score]
        known = [
            usual + np.clip(one[cells.score], -_LARGEST, np.log(2))
            for usual, one, cells in zip(self._usual, told, self._crowded, strict=True)
        ]
        ridge = np.full(self._of_all[0].shape[1], _APART_RIDGE)
        # the searches are of the same queries: they say no more than one of them
        ridge[:N_CROWD] = _CROWD_RIDGE * len(told)
        slopes, inverse = _logistic(
            np.concatenate([cells.inputs for cells in self._crowded]),
            np.concatenate([cells.counts for cells in self._crowded], axis=1),
            np.concatenate(known),
            ridge,
        )
        return [
            FittedChances(one, of_all @ slopes, usual, inverse, of_all)
            for one, of_all, usual in zip(told, self._of_all, self._usual, strict=True)
        ]

    def moved(self, search: int, slope: int, step: float) -> FittedChances:
        """Of one search, with a slope of its scores moved by a step and the others told anew."""
        other = list(self.of_score)
        other[search] = other[search].moved(slope, step)
        return self.each(other)[search]


def chances(*seen: SeenRows) -> Chances:
    """What rows of either kind tell of each other, of each search."""
    common = np.eye(N_CROWD)
    # one search by itself has none of its own: those would be the common ones again
    own = np.eye(len(seen)) if len(seen) > 1 else np.empty((1, 0))
    of_all = [np.hstack([common, *(mine * common for mine in one)]) for one in own]
    scored = [_scored(one) for one in seen]
    if not all(one.any(axis=1).all() for one in scored):
        return Chances([], [], [], of_all)
    usual = [float(np.log(one[0].sum() / one[1].sum())) for one in scored]
    of_score = [_of_score(*one) for one in zip(scored, usual, strict=True)]
    cells: list[_Crowded] = []
    for k, one in enumerate(seen):
        counted = _crowded(one)
        level, score = np.nonzero(counted.sum(axis=0))
        inputs = _crowds(np.exp2(level * _CROWD_STEP)) @ of_all[k]
        cells.append(_Crowded(inputs, counted[:, level, score], score))
    return Chances(of_score, usual, cells, of_all)


def _scored(seen: SeenRows) -> Values:
    """Unfitted and fitted rows in each bin of scores."""
    scored = np.zeros((2, N_BINS))
    for block in seen.blocks():
        scored += seen.counted(block).sum(axis=0)
    return scored


def _of_score(counted: Values, usual: float) -> ScoreSlopes:
    """The logarithm of the density of unfitted rows over that of fitted ones.

    Linear between scores that ever fewer rows reach.
    """
    both = counted.sum(axis=0)
    centres = (np.arange(N_BINS) + 0.5) * BIN_STEP
    above = both[::-1].cumsum()[::-1] / both.sum()
    knots = [centres[min(np.sum(above > share), N_BINS - 1)] for share in _KNOT_SHARES]
    inputs = np.column_stack([np.ones(N_BINS), *(np.maximum(centres - k, 0) for k in knots)])
    penalty = np.append(0.0, np.full(len(knots), _SCORE_RIDGE))
    return ScoreSlopes(inputs, *_logistic(inputs, counted, np.full(N_BINS, usual), penalty))


def _crowded(seen: SeenRows) -> Values:
    """Rows ahead of an answer, by kind, by their number and by bins of scores."""
    levels = int(np.log2(max(seen.scores.n_gallery, 2)) / _CROWD_STEP) + 2
    counted = np.zeros((2, levels, N_BINS))
    for block in seen.blocks():
        ahead = block.ahead
        told = ~block.aside[ahead.row, ahead.column]
        at = ahead.row[told], ahead.column[told]
        level = np.rint(np.log2(ahead.crowd[told]) / _CROWD_STEP).astype(np.int64)
        code = (block.fitted[at] * levels + level) * N_BINS + block.bins(*at)
        counted += np.bincount(code, minlength=counted.size).reshape(counted.shape)
    return counted


def _crowds(ahead: NDArray[Any]) -> Values:
    """The inputs of the second regression for so many rows ahead ``(n,)``."""
    logarithm = np.log2(ahead)
    return np.column_stack(
        [np.ones(len(logarithm)), *(np.maximum(logarithm - k, 0) for k in _CROWD_KNOTS)]
    )


def _logistic(
    inputs: Values, counted: Values, known: Values, penalty: Values
) -> tuple[Values, Values]:
    """Slopes of the odds of ``counted[0]`` among both, beside what is known of them already.

    And the inverse of what their surprises are curved by.
    """
    slopes, both = np.zeros(inputs.shape[1]), counted.sum(axis=0)
    inverse = np.zeros((len(slopes), len(slopes)))
    for _ in range(_NEWTON_STEPS):
        share = _shares(inputs @ slopes + known)
        weight = both * share * (1 - share) + 1e-12
        gradient = inputs.T @ (counted[0] - both * share) - penalty * slopes
        inverse = np.linalg.inv((inputs.T * weight) @ inputs + np.diag(penalty))
        step = inverse @ gradient
        slopes = slopes + step
        if np.abs(step).max() < _SETTLED:
            break
    return slopes, inverse


def _shares(odds: Values) -> Values:
    """Of the logarithms of odds."""
    return 1 / (1 + np.exp(-np.clip(odds, -30, 30)))
