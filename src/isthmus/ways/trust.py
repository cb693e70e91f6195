"""How far to trust each mapped vector: the probability that it finds what the old model finds.

Four quantities are read off a source vector, all from one thin product with the principal
directions of the fit: how far it lies from what the map was fitted on (Mahalanobis), how large its
residual will be, how clear the old model's first result will be, and how likely that result is
kept.  A logistic model joins them, an isotonic curve makes a probability of it, and thresholds are
controlled on rows that had no other part.  No neighbours are stored.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import exp, log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.array_types import Embeddings, Matrix
from isthmus.errors import InputError
from isthmus.numeric import Array, as_floating, like
from isthmus.scipy_later import special
from isthmus.spaces.profile import Profile
from isthmus.ways.readout import Readout, host_dtype
from isthmus.ways.risk import LEVELS, Level, RiskControl, control_risk, cuts_of

__all__ = ["SearchedRows", "Trust", "search_features"]


_BLOCK_ROWS = 4096
_LEAST_LOGIT = 1e-6
_FARTHEST = 700.0  # of a logistic argument, where the exponential is still finite
_TENSORS = ("weights", "ranges", "curve", "search_curve")


@dataclass(frozen=True, eq=False)
class SearchedRows:
    """Rows that searched an index, and what they found there."""

    source: NDArray[Any]
    """``(n, dx)``"""
    preserved: NDArray[np.bool_]
    """``(n,)``, whether the mapped vector has the first result of the true target vector."""
    scores: NDArray[Any]
    """Scores of the first results of the mapped vector, best first, ``(n, k)`` with k ≥ 2."""


@dataclass(frozen=True, eq=False)
class Trust:
    """A fitted model of trust.  Calling it gives the probability for source vectors.

    The probability is that of the old model's first result being the first of the mapped vector
    too, in an index of about as many items as it was calibrated among (`searched`): among more
    there are more that can take its place.  `recalibrated` makes it that of another index.  A
    vector that lies farther out than all rows the model was fitted on is trusted less in proportion
    to the square of how much farther: nothing like it was seen.
    """

    profile: Profile
    """The profile of the source vectors: those the map was fitted on, or such as it will map."""
    weights: Embeddings
    """``(2 r + 2, 3)``: coordinates, their squares, the rest and 1, to log residual, log margin
    of the old model and preservation."""
    ranges: Embeddings
    """``(2, 3)``: predictions are kept between what was predicted for the fitted rows."""
    coefficients: tuple[float, ...]
    """Intercept, then those of the log distance and of the three predictions."""
    reach: float
    """The largest distance among the fitted rows."""
    control: RiskControl
    search_coefficients: tuple[float, ...]
    """Intercept, then those of the log odds of trust, the first score and the log margin."""
    margin_floor: float
    search_control: RiskControl
    searched: int | None = None
    """Items that the rows of the calibration searched."""

    def __call__(self, x: Array) -> Array:
        """Trust ``(n,)`` in [0, 1] of source rows ``(n, dx)``, or of one vector ``(dx,)``.

        Same library and dtype as ``x`` (float16 widens to float32).
        """
        if type(x) is np.ndarray and x.dtype.char == "f" and len(x) == 1 and x.ndim == 2:
            found = self.one(x[0])
            if found is not None:
                return np.array([found])
        x = as_floating(x, "vectors")
        rows = x[None, :] if x.ndim == 1 else x
        probability = like(
            rows, self.control.probability(self.raw(rows)).astype(host_dtype(rows), copy=False)
        )
        return probability[0] if x.ndim == 1 else probability

    @np.errstate(over="ignore", invalid="ignore")  # a row so far out is far out
    def raw(self, rows: Array) -> Matrix:
        """The logistic score in [0, 1] before calibration, ``(n,)`` float64 on the host."""
        n = int(rows.shape[0])
        step = _BLOCK_ROWS if isinstance(rows, np.ndarray) else max(n, 1)
        raw = np.empty(n)
        for start in range(0, n, step):
            predicted, rest, distance = self._readout(rows[start : start + step, :])
            predicted += self.weights[-2][:, None] * rest + self.weights[-1][:, None]
            # the first of the two turns what overflowed into a number
            predicted = np.fmin(
                np.fmax(predicted, self.ranges[0][:, None]), self.ranges[1][:, None]
            )
            raw[start : start + step] = self._joined(np.maximum(distance, 1e-30), predicted)
        return raw

    @cached_property
    def one(self) -> Callable[[Embeddings], np.float32 | None]:
        """Trust of one float32 vector ``(dx,)``: a closure, for callers who count microseconds.

        It returns None for a vector that is zero, not finite or very far out, which calling the
        trust itself tells about.
        """
        read = self._readout.one
        by_rest = self.weights[-2].astype(float).tolist()
        constant = (self.weights[-1] + np.array(self._readout.constants)).tolist()
        low, high = self.ranges.astype(float).tolist()
        intercept, near, *others = self.coefficients
        # one after another below: a loop over them takes a microsecond
        (s1, c1, l1, h1, w1), (s2, c2, l2, h2, w2), (s3, c3, l3, h3, w3) = zip(
            by_rest, constant, low, high, others, strict=True
        )
        reach, x, y = self.reach, self.control.curve.x.tolist(), self.control.curve.y.tolist()
        last = len(x) - 1
        slopes = [(y[i + 1] - y[i]) / (x[i + 1] - x[i]) for i in range(last)]
        if self.control.curve.tail:
            return lambda vector: None

        def trusted(vector: Embeddings) -> np.float32 | None:
            found = read(vector)
            if found is None:
                return None
            (a, b, c), rest, distance = found
            a, b, c = a + s1 * rest + c1, b + s2 * rest + c2, c + s3 * rest + c3
            z = intercept + near * log(distance if distance > 1e-30 else 1e-30)
            z += w1 * (l1 if a < l1 else h1 if a > h1 else a)
            z += w2 * (l2 if b < l2 else h2 if b > h2 else b)
            z += w3 * (l3 if c < l3 else h3 if c > h3 else c)
            raw = 1.0 / (1.0 + exp(-z)) if z > -_FARTHEST else 0.0
            if distance > reach:
                raw *= (reach / distance) ** 2
            place = bisect_right(x, raw)
            if place == 0 or place > last:
                return np.float32(y[0 if place == 0 else last])
            return np.float32(y[place - 1] + slopes[place - 1] * (raw - x[place - 1]))

        return trusted

    @cached_property
    def _readout(self) -> Readout:
        return Readout(self.profile, self.weights[:-2].astype(np.float64))

    def _joined(self, distance: Matrix, predicted: Matrix) -> Matrix:
        intercept, near, *others = self.coefficients
        z = intercept + near * np.log(distance) + np.array(others) @ predicted
        return special.expit(z) * np.minimum(1.0, self.reach / distance) ** 2

    def threshold(self, probability: float, confidence: float = 0.9) -> float | None:
        """Trust from which on a share ``probability`` keeps its first result; see `RiskControl`."""
        return self.control.threshold(probability, confidence)

    def levels(self, probabilities: tuple[float, ...] = LEVELS) -> tuple[Level, ...]:
        """Thresholds of the vector alone for several probabilities."""
        return self.control.levels(probabilities)

    def after_search(self, trust: NDArray[Any], scores: NDArray[Any]) -> NDArray[np.float64]:
        """Trust ``(n,)`` once the search is done: the first two scores tell much more.

        Its thresholds are those of `search_control`.  In an index of more items than `searched`
        margins are smaller, which lowers this trust as it should, but not by a measured amount.

        Args:
            trust: of the vectors, ``(n,)``.
            scores: of the results in the target's metric, ``(n, k)``, best first, k ≥ 2.

        Raises:
            InputError: for shapes that do not fit and for values that are not finite.
        """
        trust, scores = np.asarray(trust), np.asarray(scores)
        if trust.ndim != 1 or scores.ndim != 2 or scores.shape[1] < 2 or len(trust) != len(scores):
            raise InputError(
                f"expected trust (n,) and scores (n, k) with k of 2 or more, got {trust.shape} "
                f"and {scores.shape}",
                where="after_search",
            )
        for name, values in (("trust", trust), ("scores", scores)):
            finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
            if not finite.all():
                raise InputError(
                    "a value is not finite", where=f"{name}, row {int(np.argmin(finite))}"
                )
        return self.search_control.probability(self.raw_after_search(trust, scores))

    def raw_after_search(self, trust: NDArray[Any], scores: NDArray[Any]) -> Matrix:
        """The logistic score behind `after_search`, before calibration."""
        features = search_features(self.control.curve.inverse_at(trust), scores, self.margin_floor)
        intercept, *coefficients = self.search_coefficients
        return special.expit(intercept + features @ np.array(coefficients))

    def recalibrated(self, rows: SearchedRows, *, searched: int, seed: int = 0) -> Trust:
        """The same order of vectors, with the probabilities of the index that the rows searched.

        One half of the rows calibrates them, the other shows whether they hold.

        Args:
            rows: of the source, on which the map was neither fitted nor chosen.
            searched: items of the index.
            seed: of the halves.

        Raises:
            InputError: without rows, or for scores that `after_search` refuses.
        """
        order = np.random.default_rng(seed).permutation(len(rows.source))
        middle = -(-len(order) // 2)
        halves = [np.sort(order[:middle]), np.sort(order[middle:])]

        def control(raw: Matrix) -> RiskControl:
            parts = [(raw[half], rows.preserved[half]) for half in halves]
            return control_risk(cuts_of(raw), *parts[0], *parts[1])

        own = replace(self, control=control(self.raw(rows.source)), searched=searched)
        found = own.raw_after_search(np.asarray(own(rows.source)), rows.scores)
        return replace(own, search_control=control(found))

    # ---- files ---------------------------------------------------------------------------------

    def pack(self) -> tuple[dict[str, Any], dict[str, NDArray[np.float32]]]:
        """JSON and float32 tensors from which `unpack` makes the same model, given the profile."""
        described: dict[str, Any] = {
            "coefficients": list(self.coefficients),
            "reach": self.reach,
            "control": self.control.to_json(),
            "search_coefficients": list(self.search_coefficients),
            "margin_floor": self.margin_floor,
            "search_control": self.search_control.to_json(),
        }
        if self.searched is not None:
            described["searched"] = self.searched
        tensors = {
            "weights": self.weights,
            "ranges": self.ranges,
            "curve": self.control.curve.tensor(),
            "search_curve": self.search_control.curve.tensor(),
        }
        return described, tensors

    @classmethod
    def unpack(
        cls, described: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]], profile: Profile
    ) -> Trust:
        """What `pack` gave, with the ``profile`` of the source that it was fitted with.

        Raises:
            KeyError, TypeError, ValueError: for anything else.
        """
        r = profile.full.shape[1]
        unknown = set(tensors) - {*_TENSORS}
        if unknown:
            raise ValueError(f"nothing uses the tensors {sorted(unknown)[:3]} of trust")
        shapes = {
            "weights": (2 * r + 2, 3),
            "ranges": (2, 3),
        }
        for name, shape in shapes.items():
            if tensors[name].shape != shape or not np.isfinite(tensors[name]).all():
                raise ValueError(
                    f"'{name}' of trust has shape {tensors[name].shape}, expected finite {shape}"
                )
        numbers = {name: float(described[name]) for name in ("reach", "margin_floor")}
        if not all(0 < v < np.inf for v in numbers.values()):
            raise ValueError(f"trust has scales that are not positive: {numbers}")
        searched = described.get("searched")
        if searched is not None and not (type(searched) is int and 0 < searched < 2**53):
            raise ValueError(f"trust was calibrated among a number of items, found {searched!r}")
        return cls(
            profile,
            tensors["weights"],
            tensors["ranges"],
            _coefficients(described["coefficients"], 5),
            numbers["reach"],
            RiskControl.of_json(described["control"], tensors["curve"]),
            _coefficients(described["search_coefficients"], 4),
            numbers["margin_floor"],
            RiskControl.of_json(described["search_control"], tensors["search_curve"]),
            searched,
        )


def search_features(raw: NDArray[Any], scores: NDArray[Any], floor: float) -> Matrix:
    """What `Trust.after_search` joins ``(n, 3)``: log odds, the first score, the log margin."""
    odds = special.logit(np.clip(raw, _LEAST_LOGIT, 1 - _LEAST_LOGIT))
    first, second = scores[:, 0].astype(np.float64), scores[:, 1].astype(np.float64)
    return np.column_stack([odds, first, np.log(np.maximum(first - second, 0.0) + floor)])


def _coefficients(listed: Any, count: int) -> tuple[float, ...]:
    found = tuple(float(v) for v in listed)
    if len(found) != count or not np.isfinite(found).all():
        raise ValueError(f"trust has {len(found)} coefficients, expected {count} finite ones")
    return found
