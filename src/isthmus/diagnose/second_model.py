"""Whether two models made the rows of one side.

Another model has a mean of its own, so that side falls into two groups along a line; and who is in
which group has nothing to do with the items, so the other side does not fall into them.  Subjects
lie apart on both sides.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isthmus.adapters.kmeans import kmeans
from isthmus.array_types import Mask, Matrix
from isthmus.diagnose.partner_scores import (
    FOLDS,
    folds_of,
    held_out_rows,
    partner_scores,
    rigid,
    shrunken,
)
from isthmus.diagnose.stranger_mixture import more_than_chance, tail_below
from isthmus.numeric import unit_rows

__all__ = ["FEWEST_TO_SEE", "TwoGroups", "made_apart", "related_apart", "visible_share"]

SideName = Literal["x", "y"]

_SMALLEST_GROUP = 20
"""Rows of one model below which its map cannot be told from another."""
_FEWEST = 200
FEWEST_TO_SEE = 600
"""Pairs from which on a second model is found nine times in ten."""
_AXES = 3
_LOWEST = (0.025, 0.05, 0.1, 0.2)
_SPLIT = 2.8
"""Within-group standard deviations between two models' rows, on rows that did not choose the line;
and two standard errors more.  Two halves of one normal cloud lie 2.7 apart."""
_UNEXPLAINED = 1.1
"""The same, of what a map from the other side leaves; subjects of real texts leave up to 1.0."""
_PLAIN = 2.0, 2.5
"""What a map leaves lies so far apart in few healthy samples; the rows themselves need to lie less
far apart there."""
_SHARED = 0.15
"""The most that the other side's groups lie apart, of that, and a standard error more: subjects of
real texts do by 0.45, and by 0.15 to 0.25 where the other model hardly tells them (a mean of GloVe
vectors)."""
_FOREIGN = 0.75
_EITHER_WAY = 0.9
_SPREAD = 1.2
"""Largest spread of the scores of rows that one model made; real text encoders have 0.8 to 1.2."""
_PERMUTATIONS = 200
_Z = 4.0


class TwoGroups(NamedTuple):
    """Two groups of the rows of one side, and how far they lie apart, in spreads within them."""

    rows: Mask
    """Which rows are of the smaller group."""
    apart: float
    shared: float
    """On the other side."""
    unexplained: float
    """In what a map from there leaves of this side."""

    @property
    def are_models(self) -> bool:
        """Whether two models would lie so, and no two subjects do."""
        error = float(self.rows.sum()) ** -0.5
        split = _PLAIN[1] if self.unexplained >= _PLAIN[0] else _SPLIT
        return (
            self.apart >= split + 2 * error
            and abs(self.shared) + error <= _SHARED * self.apart
            and self.unexplained >= _UNEXPLAINED
        )


def made_apart(x: Matrix, y: Matrix, scores: Matrix, seed: int) -> tuple[SideName, Mask] | None:
    """The side that two models made, and the rows of the smaller group, where a split shows them.

    The rows must fall into two groups on that side and not on the other, neither there nor in what
    a map from the other side leaves of them; and a map learned on the larger group must say less
    of the smaller than of its own rows.

    Args:
        x: one side ``(n, dx)``.
        y: the other side ``(n, dy)``, row by row the same items; None for fewer than 200 rows.
        scores: of each row with its partner ``(n,)``.
        seed: of the folds and the clusters.
    """
    if len(x) < _FEWEST:
        return None
    fold = folds_of(len(x), seed)
    sides: tuple[tuple[SideName, Matrix, Matrix], ...] = (("x", x, y), ("y", y, x))
    for name, side, other in sides:
        left = side - held_out_rows(other, side, fold, shrunken)
        found = [_groups(side, other, left, start, fold) for start in _starts(side, left, scores)]
        models = [groups for groups in found if groups is not None and groups.are_models]
        if models:
            rows = max(models, key=lambda groups: groups.apart - abs(groups.shared)).rows
            if _foreign(x, y, rows, seed):
                return name, rows
    return None


def visible_share(n: int) -> float | None:
    """The least share of a second model that is found nine times in ten; None where none is.

    Of texts in two encoders of one family: a tenth of 600 rows, 6 % of 1,000
    (`python -m benchmarks.pairing_study`).
    """
    return None if n < FEWEST_TO_SEE else max(0.05, 60 / n)


def _starts(side: Matrix, left: Matrix, scores: Matrix) -> Iterator[Mask]:
    """Guesses of one group: rows far from their partners, and halves along the widest axes."""
    for share in _LOWEST:
        count = max(_SMALLEST_GROUP, round(share * len(scores)))
        yield scores <= np.sort(scores)[count - 1]
    for rows in (left, side):
        centred = rows - rows.mean(axis=0)
        yield from (centred @ _widest_axes(centred) > 0).T
    yield kmeans(left, 2, seed=0, restarts=1).labels == 1


def _groups(
    side: Matrix, other: Matrix, left: Matrix, start: Mask, fold: NDArray[np.int64]
) -> TwoGroups | None:
    rows = _split(side, left, start)
    if rows is None:
        return None
    apart, shared, unexplained = (_apart(a, rows, fold) for a in (side, other, left))
    return TwoGroups(rows, apart, shared, unexplained)


def _split(side: Matrix, left: Matrix, rows: Mask) -> Mask | None:
    """The smaller of two groups along one line; None where one becomes too small.

    The line goes through the means of what is ``left``, where subjects do not lie apart.  Every row
    goes to the likelier of two normal parts of one spread, until none moves.
    """
    for _ in range(40):
        if min(int(rows.sum()), int((~rows).sum())) < _SMALLEST_GROUP:
            return None
        along = side @ (left[rows].mean(axis=0) - left[~rows].mean(axis=0))
        share, high, low = float(rows.mean()), along[rows].mean(), along[~rows].mean()
        within = share * along[rows].var() + (1 - share) * along[~rows].var()
        odds = ((along - low) ** 2 - (along - high) ** 2) / (2 * max(within, 1e-300))
        moved = odds > np.log((1 - share) / share)
        if (moved == rows).all():
            break
        rows = moved
    return rows if rows.mean() <= 0.5 else ~rows


def _apart(side: Matrix, rows: Mask, fold: NDArray[np.int64]) -> float:
    """Within-group standard deviations between the groups, along lines drawn without each fold."""
    along = np.empty(len(side))
    for f in range(FOLDS):
        own, rest = fold == f, fold != f
        line = side[rest & rows].mean(axis=0) - side[rest & ~rows].mean(axis=0)
        along[own] = side[own] @ (line / max(float(np.linalg.norm(line)), 1e-300))
    share = float(rows.mean())
    within = share * along[rows].var() + (1 - share) * along[~rows].var()
    return float((along[rows].mean() - along[~rows].mean()) / max(float(within), 1e-300) ** 0.5)


def _foreign(x: Matrix, y: Matrix, rows: Mask, seed: int) -> bool:
    """Whether the rows are of a model of their own, and the others of one model.

    Maps learned on either group must say less of the other than of their own kind.  Where rows are
    paired wrongly among the others, a subject looks like a model: its other side is elsewhere.
    """
    of_most, others = _told(x, y, ~rows, seed)
    if np.median(of_most) <= 1.0 or _has_strangers(of_most):
        return False
    own, most = _told(x, y, rows, seed)
    says, says_of_others, tells, tells_of_others = (
        float(np.median(scores)) for scores in (of_most, others, own, most)
    )
    either_way = (says_of_others + tells_of_others) / max(says + tells, 1e-300)
    if says_of_others >= _FOREIGN * says and either_way >= _EITHER_WAY:
        return False
    return _go_together(x, y, rows, seed)


def _has_strangers(scores: Matrix) -> bool:
    """Whether more rows lie as far from their partners as strangers than one model's would."""
    tail = tail_below(float(np.median(scores)), _SPREAD)
    return int((scores < 0).sum()) >= more_than_chance(len(scores), tail)


def _told(x: Matrix, y: Matrix, known: Mask, seed: int) -> tuple[Matrix, Matrix]:
    """Scores behind maps of the ``known`` rows: of themselves, held out, and of the rest."""
    one, other, rest = x[known], y[known], ~known
    fold = folds_of(len(one), seed)
    own = partner_scores(held_out_rows(one, other, fold, rigid), other)
    mapped = rigid(one, other)(x[rest])
    # about their own mean: what tells the groups apart is no help
    mapped += y[rest].mean(axis=0) - mapped.mean(axis=0)
    return own, partner_scores(mapped, y[rest])


def related_apart(x: Matrix, y: Matrix, rows: Mask, seed: int) -> SideName | None:
    """The side whose ``rows`` another model made; None where they are paired wrongly.

    Rows of another model go together among themselves: who is near whom is the same on both sides,
    as among the rest.  Of wrongly paired rows it is not.

    Args:
        x: one side ``(n, dx)``.
        y: the other side ``(n, dy)``, row by row the same items.
        rows: those that do not go with their partners ``(n,)``.
        seed: of the permutations.
    """
    if not _go_together(x, y, rows, seed):
        return None
    fold = folds_of(len(x), seed)
    return "x" if _apart(x, rows, fold) > _apart(y, rows, fold) else "y"


def _go_together(x: Matrix, y: Matrix, rows: Mask, seed: int) -> bool:
    """Whether who is near whom among the rows is the same on both sides, as it is among the rest.

    Twenty rows tell this, of which no map could be learned.  Subjects are left out: rows that
    were chosen because their partners are of another subject fall into the same two on both sides.
    """
    few = np.flatnonzero(rows)[:500]
    rest = np.flatnonzero(~rows)[:500]
    if len(few) < 10 or len(rest) < 10:
        return False
    x, y = _within_subjects(x), _within_subjects(y)
    near, z = _near_alike(x[few], y[few], seed)
    usual, _ = _near_alike(x[rest], y[rest], seed)
    return z >= _Z and near >= usual / 2


def _near_alike(x: Matrix, y: Matrix, seed: int) -> tuple[float, float]:
    """Correlation of the cosines within ``x`` with those within ``y``, and its permutation z."""
    one, other = (_cosines(side) for side in (x, y))
    upper = np.triu_indices(len(one), 1)
    flat = one[upper] - one[upper].mean()
    norms = np.linalg.norm(flat) * np.linalg.norm(other[upper] - other[upper].mean())

    def correlation(order: NDArray[np.int64]) -> float:
        return float(flat @ other[np.ix_(order, order)][upper] / max(norms, 1e-300))

    rng = np.random.default_rng(seed)
    found = correlation(np.arange(len(one)))
    chance = [correlation(rng.permutation(len(one))) for _ in range(_PERMUTATIONS)]
    return found, (found - float(np.mean(chance))) / max(float(np.std(chance)), 1e-12)


def _cosines(rows: Matrix) -> Matrix:
    unit = unit_rows(rows - rows.mean(axis=0), np.float64)
    return unit @ unit.T


def _widest_axes(centred: Matrix) -> Matrix:
    """The three axes along which rows differ most ``(d, 3)``."""
    return np.linalg.eigh(centred.T @ centred)[1][:, -_AXES:]


def _within_subjects(rows: Matrix) -> Matrix:
    """Rows without their widest axes, which are those of subjects."""
    centred = rows - rows.mean(axis=0)
    axes = _widest_axes(centred)
    return centred - (centred @ axes) @ axes.T
