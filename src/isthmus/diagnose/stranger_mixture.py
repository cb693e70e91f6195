"""Scores of partners as a mixture of two parts: of rows that go together, and of strangers.

A score is the cosine of a row with its partner in standard deviations of those with all others, so
the scores of strangers are standard normal by construction.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtr

from isthmus.array_types import Matrix

__all__ = [
    "healthy_tail",
    "least_visible",
    "lost_rows",
    "lost_share",
    "more_than_chance",
    "tail_below",
    "upper_end",
]


_FALSE_ALARMS = 0.001
_POWER = 0.9
_TAIL = 5
"""Degrees of freedom of the tail of rows that go together: heavier than any real pair has."""
_APART = 2.0
"""Standard deviations of strangers by which the two parts of the mixture must lie apart at least:
this many, and no fewer than one and 2.2 times the spread of the rows that go together."""


def healthy_tail(scores: Matrix) -> float:
    """The share of rows that go together and still score below the middle of strangers."""
    mean, spread, _ = _mixture(scores)
    if not _are_apart(mean, spread):
        # not two parts that can be told apart: the bulk alone says where the others lie
        mean = float(np.median(scores))
        upper, lower = np.quantile(scores, (0.84, 0.3))
        spread = max(float(upper) - mean, (mean - float(lower)) / 0.524)
    return tail_below(mean, spread)


def tail_below(mean: float, spread: float) -> float:
    """The share of rows of that mean and spread that score below the middle of strangers."""
    return 0.5 if mean <= 0 else float(stdtr(_TAIL, -mean / max(spread, 0.3)))


def lost_rows(scores: Matrix) -> NDArray[np.bool_]:
    """Which rows are likelier strangers to their partners ``(n,)``."""
    mean, spread, lost = _mixture(scores)
    return lost > 0.5 if _are_apart(mean, spread) else scores < 0


def lost_share(scores: Matrix) -> float:
    """The share of strangers, half of whom score below their middle.

    Rows that go together are taken as normal here, as they nearly are: the heavier tail by which
    strangers are claimed would make the share too small.
    """
    mean, spread, _ = _mixture(scores)
    healthy = float(ndtr(-mean / spread)) if _are_apart(mean, spread) else healthy_tail(scores)
    below = float((scores < 0).mean())
    return min(max((below - healthy) / max(0.5 - healthy, 1e-9), 0.0), 1.0)


def more_than_chance(n: int, healthy: float) -> int:
    """How many of ``n`` rows below the middle of strangers are more than chance puts there.

    Args:
        n: rows.
        healthy: the share of rows that go together and still score so low.
    """
    from scipy.stats import binom  # takes half a second to import

    return int(binom.isf(_FALSE_ALARMS, n, healthy)) + 1


def least_visible(scores: Matrix) -> float | None:
    """The least share of strangers that is found nine times in ten; None where none is."""
    from scipy.stats import binom  # takes half a second to import

    n, healthy = len(scores), healthy_tail(scores)
    bound = more_than_chance(n, healthy)
    for share in np.geomspace(0.005, 0.8, 60):
        if binom.sf(bound - 1, n, healthy * (1 - share) + share / 2) >= _POWER:
            return float(share)
    return None


def upper_end(count: int, n: int) -> float:
    """The upper end of Wilson's 95 % interval of a share."""
    z = 1.96
    centre, width = count + z * z / 2, z * (count * (n - count) / n + z * z / 4) ** 0.5
    return float((centre + width) / (n + z * z))


def _mixture(scores: Matrix) -> tuple[float, float, Matrix]:
    """Mean and spread of the rows that go together, and each row's probability to be none.

    Expectation and maximisation; the part of strangers stays as it is.
    """
    from scipy.stats import norm  # takes half a second to import

    mean, spread, share = float(np.quantile(scores, 0.8)), 1.0, 0.2
    lost = np.zeros(len(scores))
    for _ in range(100):
        stranger = share * norm.pdf(scores)
        own = (1 - share) * norm.pdf(scores, mean, spread)
        lost = stranger / np.maximum(stranger + own, 1e-300)
        lost[scores > mean] = 0.0
        weight = 1 - lost
        total = max(float(weight.sum()), 1e-9)
        mean = float(weight @ scores) / total
        spread = max(float(weight @ (scores - mean) ** 2 / total) ** 0.5, 0.3)
        share = float(lost.mean())
    return mean, spread, lost


def _are_apart(mean: float, spread: float) -> bool:
    return mean >= max(_APART, 1 + 2.2 * spread)
