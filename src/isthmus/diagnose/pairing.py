"""Whether every row goes with its partner: rows paired wrongly, and rows of the wrong model.

A row behind a map that was fitted without it lies nearer to its partner than to other rows.  Where
the partner is another item's, it lies as near as to any: its score is a draw from those of
strangers.  So the scores of all rows are a mixture of two parts, one of which is known.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isthmus.array_types import Floats, Matrix
from isthmus.diagnose.partner_scores import best_scores
from isthmus.diagnose.second_model import made_apart, related_apart, visible_share
from isthmus.diagnose.stranger_mixture import (
    healthy_tail,
    least_visible,
    lost_rows,
    lost_share,
    more_than_chance,
    upper_end,
)
from isthmus.diagnose.thresholds import threshold
from isthmus.evaluate import Estimate
from isthmus.evaluate.probes import ProbeResult
from isthmus.moments import Moments, SecondMoments
from isthmus.numeric import unit_rows
from isthmus.threads import single_thread

__all__ = ["Pairing", "described", "equal_dimensions", "judge_pairing", "unchanged_rows"]

PairingFault = Literal["none", "mispaired", "second model", "unchanged"]
"""``unchanged``: rows that hold the same vector on both sides, as no two models give."""

_MOST_ROWS = 1500
_FEWEST = 40
_NARROWEST, _NARROW = 5.0, 11.0
"""Dimensions in use below which chance alone puts strangers near each other; and, but for the
widest, below which a map must be all but exact: rows that it carries over badly look like strangers
there."""
_EXACT = 0.9
"""Median cosine behind such a map."""
_WIDEST = 512
_NAMED = 1000
_ROUNDING = 1e-3
"""Distance of equal vectors over their length, at most: float16 rounds to 3e-4."""
_RELATED = 1.0
"""Median score from which on most rows go together, so that a map is fitted on those alone."""
_ENOUGH_REST = 50
_UNCHANGED = 3, 0.005
"""Rows, and their share, from which on equal vectors are no chance."""


class Pairing(ProbeResult):
    """What the scores of rows with their partners say."""

    kind: PairingFault
    share: Estimate
    """Share of the rows that do not go with their partner, or that a second model made."""
    visible: float | None
    """The least share that would be found nine times in ten; None where none would."""
    visible_second: float | None
    """The same of rows of a second model, where its vectors have a mean of their own."""
    rows: int
    """Rows judged."""
    lost: tuple[Any, ...] = ()
    """Ids of the judged rows concerned, at most 1,000 of them."""
    side: Literal["x", "y"] | None = None
    """Which side holds a second model."""
    rest_alike: float | None = None
    """Where some rows are unchanged, `equal_dimensions` of the others, if 50 or more."""

    @property
    def one_model(self) -> bool:
        """Whether some rows are unchanged and the others are of the same model too."""
        return (self.rest_alike or 0.0) >= threshold("one_model")


def judge_pairing(
    ids: NDArray[Any], x: Floats, y: Floats, *, cosine: bool = True, seed: int = 0
) -> Pairing | None:
    """Judge up to 1,500 sampled pairs; None where they are too few or too narrow to tell.

    At least 40 pairs are needed, and a dozen dimensions in use; five where a map is all but exact.

    Rows that go together may score low too: with a Student distribution of five degrees of freedom
    for them, wrongly paired rows are claimed in at most one of a thousand healthy samples.  A
    second model is claimed, of 200 rows or more, where one side falls into two groups of 20 or
    more, the other side does not, and a map learned on the one group says less of the other; or
    where rows that do not go with their partners still have the same neighbours on both sides.
    Rows equal on both sides, where others are not, are claimed of samples of any size.

    Args:
        ids: of the rows ``(n,)``.
        x: one side ``(n, dx)``.
        y: the other side ``(n, dy)``, row by row the same items.
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
    same = unchanged_rows(x[:n], y[:n], cosine=cosine)
    if max(_UNCHANGED[0], _UNCHANGED[1] * n) <= same.sum() < n:
        rest = x[:n][~same], y[:n][~same]
        alike = None
        if len(rest[0]) >= _ENOUGH_REST:
            alike = equal_dimensions(Moments.of(*rest, keep=["square", "xy"]).second())
        found = _found("unchanged", ids[:n], same, n, None, None)
        return found.model_copy(update={"rest_alike": alike})
    if n < _FEWEST:
        return None
    one, other = (
        _narrowed(unit_rows(a[:n], np.float64) if cosine else a[:n].astype(float)) for a in (x, y)
    )
    in_use = _Dimensions.of(one), _Dimensions.of(other)
    if min(side.all for side in in_use) < _NARROWEST:
        return None
    ids = ids[:n]
    scores = best_scores(one, other, seed)
    lost = lost_rows(scores)
    if np.median(scores) >= _RELATED and _FEWEST <= n - lost.sum() < n:
        # wrong partners teach a map nothing: without them it tells the two parts better
        scores = best_scores(one, other, seed, known=~lost)
    # cosines of strangers spread by one over the root of the dimensions
    narrow = min(side.but_the_widest for side in in_use) < _NARROW
    if narrow and np.median(scores) < _EXACT * in_use[1].all ** 0.5:
        return None
    two = made_apart(one, other, scores, seed)
    if two is not None:
        side, rows = two
        return _found("second model", ids, rows, n, least_visible(scores), side)
    healthy = healthy_tail(scores)
    below = int((scores < 0).sum())
    visible = least_visible(scores)
    if below < more_than_chance(n, healthy):
        top = 2 * max(upper_end(below, n) - healthy, 0.0)
        return Pairing(
            kind="none", share=Estimate(value=0.0, low=0.0, high=min(top, 1.0)), visible=visible,
            visible_second=visible_share(n), rows=n,
        )  # fmt: skip
    rows = lost_rows(scores)
    side = related_apart(one, other, rows, seed)
    kind: PairingFault = "mispaired" if side is None else "second model"
    return _found(kind, ids, rows, n, visible, side, share=lost_share(scores))


def unchanged_rows(x: Floats, y: Floats, *, cosine: bool = True) -> NDArray[np.bool_]:
    """Which rows of ``x (n, d)`` hold the vector of ``y (n, d)``, up to rounding ``(n,)``.

    Rows of zeros hold none; nor does any row where the widths differ.

    Args:
        x: one side ``(n, dx)``.
        y: the other side ``(n, dy)``, row by row the same items.
        cosine: whether row lengths are ignored.

    Example:
        >>> unchanged_rows(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[2.0, 4.0], [4.0, 3.0]]))
        array([ True, False])
    """
    if x.shape != y.shape:
        return np.zeros(len(x), dtype=np.bool_)
    one, other = (unit_rows(a, np.float64) if cosine else a.astype(np.float64) for a in (x, y))
    lengths = np.linalg.norm(other, axis=1)
    return (np.linalg.norm(one - other, axis=1) <= _ROUNDING * lengths) & (lengths > 0)


def equal_dimensions(second: SecondMoments) -> float | None:
    """Mean absolute correlation of equal dimensions of x and y; None for unequal widths.

    Near 0 for two models, whose axes have nothing to do with each other.

    Example:
        >>> x = np.random.default_rng(0).standard_normal((500, 4))
        >>> equal_dimensions(Moments.of(x, -2 * x).second())
        1.0
    """
    if len(second.mean_x) != len(second.mean_y):
        return None
    spread = np.sqrt(second.variance_x * second.variance_y)
    used = spread > 1e-12 * float(spread.max())
    if not used.any():
        return 0.0
    return float(np.abs(np.diagonal(second.require("xy"))[used] / spread[used]).mean())


def _found(
    kind: PairingFault,
    ids: NDArray[Any],
    rows: NDArray[np.bool_],
    n: int,
    visible: float | None,
    side: Literal["x", "y"] | None,
    *,
    share: float | None = None,
) -> Pairing:
    counted = share is None
    share = float(rows.mean()) if share is None else share
    # half of those that are lost show below the middle of strangers
    spread = 1.96 * (share * (1 if counted else 2) / n) ** 0.5
    return Pairing(
        kind=kind,
        share=Estimate(
            value=share, low=max(share - spread, 0.0), high=min(share + spread, 1.0)
        ),
        visible=visible,
        visible_second=visible_share(n),
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
    if found.one_model:
        return (
            f"both sides seem to be one model that was used in two ways: {share} hold the same "
            "vector on both, and equal dimensions of the others go together"
        )
    if found.kind == "unchanged" and (found.share.value or 0.0) > 0.5:
        return (
            f"{share} hold the same vector on both sides, and only the others differ: there one "
            "side is of another model, or of other texts"
        )
    if found.kind == "mispaired":
        return (
            f"about {share} are probably paired wrongly: they lie no nearer to their partners than "
            f"to other rows ({first}{more})"
        )
    if found.kind == "unchanged":
        return (
            f"{share} hold the same vector on both sides, as no two models give: one side was not "
            f"encoded anew there ({first}{more})"
        )
    side = sides[0] if found.side == "x" else sides[1]
    return (
        f"{share} of {side} seem to come from another model than the rest: a map learned on the "
        f"rest says little of them, though they go with their partners ({first}{more})"
    )


# ---- dimensions ---------------------------------------------------------------------------------


class _Dimensions(NamedTuple):
    """Participation ratios ``(tr C)² / tr C²`` of a covariance ``C``."""

    all: float
    but_the_widest: float
    """Two subjects are one wide axis, and leave the others as they are."""

    @classmethod
    def of(cls, rows: Matrix) -> _Dimensions:
        centred = rows - rows.mean(axis=0)
        flat = centred if len(rows) < rows.shape[1] else centred.T
        widths = np.maximum(np.linalg.eigvalsh(flat @ flat.T), 0.0)
        return cls(*(float(w.sum() ** 2 / max(w @ w, 1e-300)) for w in (widths, widths[:-1])))


def _narrowed(rows: Matrix) -> Matrix:
    """At most 512 dimensions: all that few rows span, else those of most variance.

    The latter by a random sketch (Halko et al. 2011).
    """
    if rows.shape[1] <= _WIDEST:
        return rows
    with single_thread:
        if len(rows) <= _WIDEST:
            return np.linalg.qr(rows.T)[1].T
        centred = rows - rows.mean(axis=0)
        sketch = np.random.default_rng(0).standard_normal((len(rows), _WIDEST))
        axes = np.linalg.qr(centred.T @ (centred @ (centred.T @ sketch)))[0]
        return rows @ axes
