"""Whether every row goes with its partner: rows paired wrongly, and rows of a second model.

A row behind a map that was fitted without it lies nearer to its partner than to other rows.  Where
the partner is another item's, it lies as near as to any: its score is a draw from those of
strangers.  So the scores of all rows are a mixture of two parts, one of which is known.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, norm, t

from isthmus.adapters.kmeans import kmeans
from isthmus.adapters.steps.procrustes import nearest_orthogonal
from isthmus.evaluate import Estimate
from isthmus.evaluate.probes import ProbeResult

__all__ = ["Pairing", "described", "judge_pairing"]

Rows = NDArray[np.floating]
Matrix = NDArray[np.float64]
Kind = Literal["none", "mispaired", "second model"]

_MOST_ROWS = 1500
_FEWEST = 40
_NARROWEST = 5.0
"""Dimensions in use below which chance alone puts strangers near each other."""
_WIDEST = 512
_FOLDS = 4
_RIDGE = 0.3
_NAMED = 1000
_FALSE_ALARMS = 0.001
_POWER = 0.9
_TAIL = 5
"""Degrees of freedom of the tail of rows that go together: heavier than any real pair has."""
_APART = 2.0
"""Standard deviations of strangers by which the two parts of the mixture must lie apart at least;
and one, and 2.2 times the spread of the part that goes together."""
_SEEDS = 0.05
_SMALLEST_GROUP = 20
_SPLIT = 4.0
"""Within-group standard deviations between two models' rows along the line of their means."""
_ONE_SIDED = 4.0
"""Times as far apart on the side that two models made as on the other, where subjects differ."""
_FOREIGN = 0.75
_PERMUTATIONS = 200
_Z = 4.0


class Pairing(ProbeResult):
    """What the scores of rows with their partners say."""

    kind: Kind
    share: Estimate
    """Of the rows that do not go with their partner, or that a second model made."""
    visible: float | None
    """The least share that would be found nine times in ten; None where none would."""
    rows: int
    """Rows judged."""
    lost: tuple[Any, ...] = ()
    """Ids of the judged rows concerned, at most 1,000 of them."""
    side: Literal["x", "y"] | None = None
    """Which side holds a second model."""


def judge_pairing(
    ids: NDArray[Any], x: Rows, y: Rows, *, cosine: bool = True, seed: int = 0
) -> Pairing | None:
    """Judge up to 1,500 sampled pairs; None for fewer than 40, or fewer than 5 dimensions in use.

    Rows that go together may score low too: with a Student distribution of five degrees of freedom
    for them, wrongly paired rows are claimed in at most one of a thousand healthy samples.  A
    second model is claimed where one side falls into two groups, the other does not, and a map
    learned on the one group says little of the other; or where rows that do not go with their
    partners still have the same neighbours on both sides.

    Args:
        ids: of the rows ``(n,)``.
        x, y: both sides ``(n, dx)`` and ``(n, dy)``.
        cosine: whether row lengths are ignored.
        seed: of the folds and the permutations.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = rng.standard_normal((600, 16))
        >>> y = x @ np.linalg.qr(rng.standard_normal((16, 16)))[0]
        >>> y[:60] = np.roll(y[:60], 1, axis=0)
        >>> found = judge_pairing(np.arange(600), x, y)
        >>> found.kind, sorted(found.lost)[:5]
        ('mispaired', [0, 1, 2, 3, 4])
    """
    n = min(len(x), _MOST_ROWS)
    if n < _FEWEST:
        return None
    one, other = (_narrowed(_unit(a[:n]) if cosine else a[:n].astype(float)) for a in (x, y))
    if min(_dimensions(one), _dimensions(other)) < _NARROWEST:
        return None
    ids = ids[:n]
    scores = _best_scores(one, other, seed)
    two = _two_models(one, other, scores, seed)
    if two is not None:
        side, rows = two
        return _found("second model", ids, rows, n, _visible(scores, n), side)
    healthy = _healthy_tail(scores)
    bound = int(binom.isf(_FALSE_ALARMS, n, healthy)) + 1
    below = int((scores < 0).sum())
    visible = _visible(scores, n)
    if below < bound:
        top = 2 * max(_upper(below, n) - healthy, 0.0)
        return Pairing(
            kind="none", share=Estimate(value=0.0, low=0.0, high=min(top, 1.0)), visible=visible,
            rows=n,
        )  # fmt: skip
    rows = _lost_rows(scores)
    side = _second_model(one, other, rows, seed)
    kind: Kind = "mispaired" if side is None else "second model"
    return _found(kind, ids, rows, n, visible, side, excess=2 * (below / n - healthy))


def _found(
    kind: Kind,
    ids: NDArray[Any],
    rows: NDArray[np.bool_],
    n: int,
    visible: float | None,
    side: Literal["x", "y"] | None,
    *,
    excess: float | None = None,
) -> Pairing:
    share = float(rows.mean()) if excess is None else min(max(excess, 0.0), 1.0)
    # half of those that are lost show below the middle of strangers
    spread = 1.96 * (share * (1 if excess is None else 2) / n) ** 0.5
    return Pairing(
        kind=kind,
        share=Estimate(
            value=share, low=max(share - spread, 0.0), high=min(share + spread, 1.0)
        ),
        visible=visible,
        rows=n,
        lost=tuple(ids[rows][:_NAMED].tolist()),
        side=side,
    )  # fmt: skip


def described(found: Pairing, sides: tuple[str, str], *, named: int = 5) -> str:
    """What was found, in one sentence without its end; empty where every row goes with its partner.

    Args:
        found: from `judge_pairing`.
        sides: what x and y are called.
        named: how many rows are named.
    """
    if found.kind == "none":
        return ""
    first = ", ".join(str(name) for name in found.lost[:named])
    more = "" if len(found.lost) <= named else ", ..."
    share = f"{found.share.value:.0%} of {found.rows:,} sampled rows"
    if found.kind == "mispaired":
        return (
            f"about {share} are probably paired wrongly: they lie no nearer to their partners than "
            f"to other rows ({first}{more})"
        )
    side = sides[0] if found.side == "x" else sides[1]
    return (
        f"{share} of {side} seem to come from another model than the rest: a map learned on the "
        f"rest says little of them, though they go with their partners ({first}{more})"
    )


# ---- scores -------------------------------------------------------------------------------------


def _best_scores(x: Matrix, y: Matrix, seed: int) -> Matrix:
    """Scores behind a rotation or a shrunken least-squares map, whichever tells more."""
    fold = np.random.default_rng(seed).permutation(len(x)) % _FOLDS
    tried = [_scores(_held_out(x, y, fold, fit), y) for fit in (_rigid, _shrunk)]
    return max(tried, key=lambda scores: float(np.median(scores)))


class _Fit(NamedTuple):
    matrix: Matrix
    mean_x: Matrix
    mean_y: Matrix

    def __call__(self, x: Matrix) -> Matrix:
        return (x - self.mean_x) @ self.matrix + self.mean_y


def _rigid(x: Matrix, y: Matrix) -> _Fit:
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    one, other = (x - mean_x).T, (y - mean_y).T
    if len(x) < min(len(one), len(other)):
        # within what the rows span alone: beyond it a rotation would be arbitrary
        (q, r), (p, s) = np.linalg.qr(one), np.linalg.qr(other)
        return _Fit(q @ nearest_orthogonal(r @ s.T)[0] @ p.T, mean_x, mean_y)
    return _Fit(nearest_orthogonal(one @ other.T)[0], mean_x, mean_y)


def _shrunk(x: Matrix, y: Matrix) -> _Fit:
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    square = (x - mean_x).T @ (x - mean_x)
    d = len(square)
    square[np.diag_indices(d)] += _RIDGE * max(float(np.trace(square)) / d, 1e-300)
    return _Fit(np.linalg.solve(square, (x - mean_x).T @ (y - mean_y)), mean_x, mean_y)


def _held_out(x: Matrix, y: Matrix, fold: NDArray[np.int64], fit: Any) -> Matrix:
    mapped = np.empty((len(x), y.shape[1]))
    for f in range(_FOLDS):
        mapped[fold == f] = fit(x[fold != f], y[fold != f])(x[fold == f])
    return mapped


def _scores(mapped: Matrix, y: Matrix) -> Matrix:
    """Cosine with the own partner, in standard deviations of those with all others ``(n,)``."""
    mean = y.mean(axis=0)
    all_pairs = _unit(mapped - mean) @ _unit(y - mean).T
    own = np.diagonal(all_pairs).copy()
    others = len(own) - 1
    middle = (all_pairs.sum(axis=1) - own) / others
    spread = (np.einsum("ij,ij->i", all_pairs, all_pairs) - own**2) / others - middle**2
    return (own - middle) / np.sqrt(np.maximum(spread, 1e-12))


# ---- the mixture --------------------------------------------------------------------------------


def _healthy_tail(scores: Matrix) -> float:
    """The share of rows that go together and still score below the middle of strangers."""
    mean, spread, _ = _mixture(scores)
    if not _are_apart(mean, spread):
        # not two parts that can be told apart: the bulk alone says where the others lie
        mean = float(np.median(scores))
        upper, lower = np.quantile(scores, (0.84, 0.3))
        spread = max(float(upper) - mean, (mean - float(lower)) / 0.524)
    if mean <= 0:
        return 0.5
    return float(t.cdf(-mean / max(spread, 0.3), _TAIL))


def _mixture(scores: Matrix) -> tuple[float, float, Matrix]:
    """Mean and spread of the rows that go together, and each row's probability to be none.

    Expectation and maximisation; strangers are standard normal by construction.
    """
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


def _lost_rows(scores: Matrix) -> NDArray[np.bool_]:
    mean, spread, lost = _mixture(scores)
    return lost > 0.5 if _are_apart(mean, spread) else scores < 0


def _are_apart(mean: float, spread: float) -> bool:
    return mean >= max(_APART, 1 + 2.2 * spread)


def _visible(scores: Matrix, n: int) -> float | None:
    healthy = _healthy_tail(scores)
    bound = int(binom.isf(_FALSE_ALARMS, n, healthy)) + 1
    for share in np.geomspace(0.005, 0.8, 60):
        if binom.sf(bound - 1, n, healthy * (1 - share) + share / 2) >= _POWER:
            return float(share)
    return None


def _upper(count: int, n: int) -> float:
    """The upper end of Wilson's 95 % interval."""
    z = 1.96
    centre, width = count + z * z / 2, z * (count * (n - count) / n + z * z / 4) ** 0.5
    return float((centre + width) / (n + z * z))


# ---- a second model -----------------------------------------------------------------------------


def _second_model(
    x: Matrix, y: Matrix, rows: NDArray[np.bool_], seed: int
) -> Literal["x", "y"] | None:
    """The side whose ``rows`` another model made; None where they are paired wrongly.

    Rows of another model go together among themselves: who is near whom is the same on both sides,
    as among the rest.  Of wrongly paired rows it is not.
    """
    few = np.flatnonzero(rows)[:500]
    rest = np.flatnonzero(~rows)[:500]
    if len(few) < 10 or len(rest) < 10:
        return None
    near, z = _near_alike(x[few], y[few], seed)
    usual, _ = _near_alike(x[rest], y[rest], seed)
    if z < _Z or near < usual / 2:
        return None
    return "x" if _apart(x, rows) > _apart(y, rows) else "y"


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
    unit = _unit(rows - rows.mean(axis=0))
    return unit @ unit.T


def _apart(side: Matrix, rows: NDArray[np.bool_]) -> float:
    """The distance of the two groups' means over the spread, squared."""
    gap = side[rows].mean(axis=0) - side[~rows].mean(axis=0)
    return float(gap @ gap / max(float(side.var(axis=0).sum()), 1e-300))


def _two_models(
    x: Matrix, y: Matrix, scores: Matrix, seed: int
) -> tuple[Literal["x", "y"], NDArray[np.bool_]] | None:
    """The side that two models made, and the rows of the smaller group, where a split shows them.

    Two models lie apart on the side that they made, and their items do not on the other; subjects
    lie apart on both.  The split begins with the rows that score lowest, and with two clusters.
    """
    names: tuple[Literal["x", "y"], Literal["x", "y"]] = ("x", "y")
    lowest = max(_SMALLEST_GROUP, round(_SEEDS * len(scores)))
    low = scores <= np.sort(scores)[min(lowest, len(scores)) - 1]
    for name, side, other in zip(names, (x, y), (y, x), strict=True):
        for start in (low, kmeans(side, 2, seed=seed, restarts=1).labels == 1):
            rows = _split(side, start)
            if rows is None or _apart(side, rows) < _ONE_SIDED * _apart(other, rows):
                continue
            if _foreign(x, y, rows, seed):
                return name, rows
    return None


def _split(side: Matrix, rows: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """The smaller of two groups along the line of their means; None where they are not apart.

    Every row goes to the likelier of two normal parts of one spread, until none moves.
    """
    for _ in range(30):
        if min(int(rows.sum()), int((~rows).sum())) < _SMALLEST_GROUP:
            return None
        along = side @ (side[rows].mean(axis=0) - side[~rows].mean(axis=0))
        share, high, low = float(rows.mean()), along[rows].mean(), along[~rows].mean()
        within = share * along[rows].var() + (1 - share) * along[~rows].var()
        odds = ((along - low) ** 2 - (along - high) ** 2) / (2 * max(within, 1e-300))
        moved = odds > np.log((1 - share) / share)
        if (moved == rows).all():
            apart = high - low >= _SPLIT * within**0.5
            return (rows if share <= 0.5 else ~rows) if apart else None
        rows = moved
    return None


def _foreign(x: Matrix, y: Matrix, rows: NDArray[np.bool_], seed: int) -> bool:
    """Whether a map learned on the other rows says less of these than of its own kind."""
    others = ~rows
    fold = np.random.default_rng(seed).permutation(int(others.sum())) % _FOLDS
    own = np.median(_scores(_held_out(x[others], y[others], fold, _rigid), y[others]))
    mapped = _rigid(x[others], y[others])(x[rows])
    # about their own mean: what tells the groups apart is no help
    mapped += y[rows].mean(axis=0) - mapped.mean(axis=0)
    return bool(own > 1.0 and np.median(_scores(mapped, y[rows])) < _FOREIGN * own)


def _dimensions(rows: Matrix) -> float:
    """The participation ratio ``(tr C)² / tr C²`` of the covariance ``C``."""
    centred = rows - rows.mean(axis=0)
    flat = centred if len(rows) < rows.shape[1] else centred.T
    square = flat @ flat.T
    return float(np.trace(square) ** 2 / max(float(np.vdot(square, square)), 1e-300))


def _narrowed(rows: Matrix) -> Matrix:
    """At most 512 dimensions: those of most variance, by a random sketch (Halko et al. 2011)."""
    if rows.shape[1] <= _WIDEST:
        return rows
    centred = rows - rows.mean(axis=0)
    sketch = np.random.default_rng(0).standard_normal((len(rows), _WIDEST))
    axes = np.linalg.qr(centred.T @ (centred @ (centred.T @ sketch)))[0]
    return rows @ axes


def _unit(rows: Rows) -> Matrix:
    wide = np.asarray(rows, np.float64)
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    return wide / np.maximum(norms, 1e-12 * max(float(norms.max()), 1e-300))
