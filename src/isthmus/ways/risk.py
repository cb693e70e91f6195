"""From a raw score to a probability, and to thresholds that hold with a stated confidence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.evaluate.calibration import expected_calibration_error
from isthmus.scipy_later import special
from isthmus.ways.calibration import MonotoneCurve, isotonic_curve

__all__ = [
    "INFORMATIVE",
    "LEVELS",
    "Level",
    "RiskControl",
    "area_under_curve",
    "control_risk",
    "cuts_of",
]

LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
INFORMATIVE = 0.6
"""Area under the ROC curve below which a probability says next to nothing of single rows."""
_CUTS = 20
_STARTS = 5
_FEWEST_ROWS = 40
_ROWS_PER_BIN = 20
_MOST_BINS = 50

Counts = tuple[tuple[int, int], ...]


class Level(NamedTuple):
    """A probability asked for, and what it costs to have it."""

    probability: float
    threshold: float | None
    """None where no threshold reaches the probability."""
    kept: float
    """Share of the calibration rows at or above the threshold."""
    held_out: float | None
    """Share of successes among the verification rows at or above it; they chose nothing."""
    held_out_kept: float | None
    """Share of the verification rows at or above it."""


@dataclass(frozen=True, eq=False)
class RiskControl:
    """A curve from raw scores in [0, 1] to probabilities, with the counts its thresholds stand on.

    Three sets of rows have a part: those the raw score was fitted on, which also gave the cuts;
    calibration rows, which gave the curve and decide which thresholds hold; verification rows,
    which decided nothing and show whether the thresholds hold.
    """

    curve: MonotoneCurve
    cuts: tuple[float, ...]
    """Raw scores from the strictest to the loosest that are thresholds, and 0 for the totals."""
    calibrated: Counts
    """For each cut the calibration rows at or above it, and successes among them."""
    verified: Counts
    """The same of the verification rows; empty without any."""
    error: float | None
    """Expected calibration error of the probabilities on the verification rows."""
    area: float | None
    """Area under the ROC curve there: 0.5 where the score says nothing about single rows."""

    @property
    def rows(self) -> int:
        """Calibration rows."""
        return self.calibrated[-1][0]

    @property
    def base(self) -> float:
        """Share of successes among the calibration rows."""
        return self.calibrated[-1][1] / self.rows

    @property
    def informative(self) -> bool:
        """Whether the score was seen to tell rows apart: `area` is `INFORMATIVE` or more."""
        return self.area is not None and self.area >= INFORMATIVE

    def __str__(self) -> str:
        if self.area is None:
            return "not verified: no row was left, or all rows agree"
        word = "" if self.informative else "uninformative, "
        return f"{word}AUC {self.area:.2f} on unused rows"

    @property
    def constant(self) -> bool:
        """Whether every calibration row has the same score."""
        return all(count == self.calibrated[-1] for count in self.calibrated)

    def probability(self, raw: NDArray[Any]) -> NDArray[np.float64]:
        """Raw scores ``(n,)`` to probabilities ``(n,)``, in the same order."""
        return self.curve.at(raw)

    def threshold(self, probability: float, confidence: float = 0.9) -> float | None:
        """The least probability at which the success rate is ``probability`` or more.

        Of rows like the calibration rows, those whose probability reaches the threshold succeed at
        the rate asked for, with ``confidence`` over the draw of the calibration rows.  Every cut is
        tested by the exact binomial tail (Clopper and Pearson 1934); the family-wise error of all
        cuts is held by fixed-sequence tests from five starts, as in Learn then Test (Angelopoulos
        et al. 2021).  One threshold at a time: several at once share no confidence.

        Returns:
            The threshold, or None where none can be shown to hold.

        Raises:
            InputError: for a probability or a confidence outside (0, 1).
        """
        place = self._cut(probability, confidence)
        return None if place is None else self._threshold_at(place)

    def levels(
        self, probabilities: Sequence[float] = LEVELS, confidence: float = 0.9
    ) -> tuple[Level, ...]:
        """Thresholds for several probabilities, each by itself, with what they keep and show."""
        found: list[Level] = []
        for p in probabilities:
            place = self._cut(p, confidence)
            if place is None:
                found.append(Level(p, None, 0.0, None, None))
                continue
            kept = self.calibrated[place][0] / self.rows
            shown = kept_there = None
            if self.verified:
                n, good = self.verified[place]
                shown = good / n if n else None
                kept_there = n / self.verified[-1][0]
            found.append(Level(p, self._threshold_at(place), kept, shown, kept_there))
        return tuple(found)

    def _threshold_at(self, place: int) -> float:
        # as the probabilities of float32 rows are rounded
        return float(np.float32(self.curve.at(np.array([self.cuts[place]]))[0]))

    def _cut(self, probability: float, confidence: float) -> int | None:
        for name, value in (("probability", probability), ("confidence", confidence)):
            if not 0 < value < 1:
                raise InputError(f"it must lie between 0 and 1, got {value}", where=name)
        # a start is decided by how many rows are expected above a cut, never by what they show
        fewest = math.log((1 - confidence) / _STARTS) / math.log(probability)
        places = len(self.cuts) - 1
        expected = self.rows * np.arange(1, places + 1) / max(places, 1)
        usable = np.flatnonzero(expected >= fewest)
        if not usable.size:
            return None
        starts = sorted(set(np.linspace(usable[0], places - 1, _STARTS).astype(int)))
        held: set[int] = set()
        for start in starts:
            for place in range(int(start), places):
                n, good = self.calibrated[place]
                if _tail(n, good, probability) > (1 - confidence) / len(starts):
                    break
                held.add(place)
        return max(held, default=None)

    def to_json(self) -> dict[str, Any]:
        """Everything but the knots of the curve."""
        return {
            "cuts": list(self.cuts),
            "calibrated": [list(count) for count in self.calibrated],
            "verified": [list(count) for count in self.verified],
            "error": self.error,
            "area": self.area,
        }

    @classmethod
    def of_json(cls, described: Mapping[str, Any], knots: NDArray[Any]) -> RiskControl:
        """What `to_json` and the curve's tensor gave; raises ``ValueError`` for anything else."""
        cuts = tuple(float(c) for c in described["cuts"])
        counts = {name: _counts(described[name]) for name in ("calibrated", "verified")}
        curve = MonotoneCurve.of_tensor(knots, 0.0)
        if not (
            1 <= len(cuts) <= 1000
            and all(0 <= low <= high <= 1 for high, low in pairwise(cuts))
            and cuts[-1] == 0
            and len(counts["calibrated"]) == len(cuts)
            and len(counts["verified"]) in (0, len(cuts))
            and all(rows[-1][0] > 0 for rows in counts.values() if rows)
            and curve.y[0] >= 0
            and curve.y[-1] <= 1
        ):
            raise ValueError("the cuts, counts and probabilities do not fit together")
        summary = [described[name] for name in ("error", "area")]
        if any(v is not None and not 0 <= float(v) <= 1 for v in summary):
            raise ValueError("the summary of the verification is out of range")
        error, area = (None if v is None else float(v) for v in summary)
        return cls(curve, cuts, counts["calibrated"], counts["verified"], error, area)


def cuts_of(raw: NDArray[Any]) -> tuple[float, ...]:
    """Scores that keep 5 %, 10 %, … 100 % of ``raw (n,)``, and 0.

    Below all of ``raw`` there is no threshold: what lies there is like nothing that was seen.
    """
    shares = np.arange(1, _CUTS + 1) / _CUTS
    strict = np.quantile(np.asarray(raw, dtype=np.float64), 1 - shares, method="lower")
    return (*(float(v) for v in strict), 0.0)


def control_risk(
    cuts: tuple[float, ...],
    raw: NDArray[Any],
    success: NDArray[np.bool_],
    verify_raw: NDArray[Any],
    verify_success: NDArray[np.bool_],
) -> RiskControl:
    """Calibrate raw scores on some rows and verify them on others.

    The probability is an isotonic curve through bins of 20 rows or more; a bin without failures,
    or without successes, counts as having half a one.  With fewer than 40 rows it is one constant,
    ``(successes + 1) / (rows + 2)``, and with scores that are all equal another, the overall rate.
    It goes to 0 with the raw score below all calibration rows, and rises by a hundredth of what is
    missing to 1 above them, so that order is never lost.

    Args:
        cuts: of `cuts_of`, from rows that are in neither set.
        raw: scores ``(n,)`` in [0, 1] of the calibration rows.
        success: ``(n,)`` of the calibration rows.
        verify_raw: scores of the verification rows, which may be none.
        verify_success: of the verification rows.

    Raises:
        InputError: without calibration rows.
    """
    raw = np.asarray(raw, dtype=np.float64)
    if not len(raw):
        raise InputError("there are no rows to calibrate trust on", mend="Hold out more rows")
    n, good = len(raw), int(success.sum())
    if n < _FEWEST_ROWS:
        at, value = np.array([raw.min()]), np.array([(good + 1) / (n + 2)])
    else:
        binned = isotonic_curve(*_bins(raw, success), most=_MOST_BINS)
        at, value = binned.x, binned.y
    if at[0] > 0:
        at, value = np.append(0.0, at), np.append(0.0, value)
    if at[-1] < 1:
        at, value = np.append(at, 1.0), np.append(value, value[-1] + 0.01 * (1 - value[-1]))
    curve = MonotoneCurve(at, value)
    error = area = None
    if len(verify_raw):
        error = expected_calibration_error(curve.at(verify_raw), verify_success)
        area = area_under_curve(verify_raw, verify_success)
    return RiskControl(
        curve,
        cuts,
        _counted(cuts, raw, success),
        _counted(cuts, verify_raw, verify_success) if len(verify_raw) else (),
        error,
        area,
    )


def area_under_curve(scores: NDArray[Any], success: NDArray[np.bool_]) -> float | None:
    """Chance that a success has the higher score than a failure, ties half (area under the ROC).

    None where there are only successes or only failures.
    """
    good = int(success.sum())
    bad = len(success) - good
    if not good or not bad:
        return None
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    rank = np.cumsum(count) - (count - 1) / 2
    return float((rank[place][success].sum() - good * (good + 1) / 2) / (good * bad))


def _bins(
    raw: NDArray[np.float64], success: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Mean score, success rate and size of bins of equally many rows; ties stay whole."""
    bins = min(_MOST_BINS, len(raw) // _ROWS_PER_BIN)
    _, place, count = np.unique(raw, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - count / 2
    bin_of = np.minimum(middle * bins / len(raw), bins - 1).astype(np.int64)[place]
    bin_of = np.unique(bin_of, return_inverse=True)[1]
    size = np.bincount(bin_of).astype(np.float64)
    rate = np.clip(np.bincount(bin_of, weights=success), 0.5, size - 0.5) / size
    return np.bincount(bin_of, weights=raw) / size, rate, size


def _counted(cuts: tuple[float, ...], raw: NDArray[Any], success: NDArray[np.bool_]) -> Counts:
    return tuple((int((kept := raw >= cut).sum()), int(success[kept].sum())) for cut in cuts)


def _tail(n: int, good: int, probability: float) -> float:
    """``P(Binomial(n, probability) ≥ good)``."""
    return float(special.betainc(good, n - good + 1, probability)) if good else 1.0


def _counts(listed: Any) -> Counts:
    pairs = [tuple(int(v) for v in pair) for pair in listed]
    if not all(len(p) == 2 and 0 <= p[1] <= p[0] < 2**53 for p in pairs):
        raise ValueError("counts are pairs of rows and successes among them")
    return cast(Counts, tuple(pairs))
