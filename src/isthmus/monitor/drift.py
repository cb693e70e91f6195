"""Drift of a stream of rows against a reference, by tests that may always be looked at.

Every row of the stream gets a score, and the score its rank among the scores of held-out reference
rows, between 0 and 1.  While both come from one distribution, ranks have mean 1/2, up to the error
of the reference itself; one bets against that (`isthmus.monitor.sequential`).  A score may be
learned, as the classifier's and the kernel's are, from the stream's own past and the other half of
the reference: the next rows and the held-out half know nothing of each other.

Sources: Podkopaev and Ramdas, *Sequential predictive two-sample and independence testing*, NeurIPS
2023; Pandeva et al., *E-valuating classifier two-sample tests*, TMLR 2024.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.array_types import Matrix
from isthmus.errors import InputError
from isthmus.monitor.sequential import MeanTest
from isthmus.monitor.two_sample import SampleDifference, difference, discriminant, witness
from isthmus.numeric import unit_rows
from isthmus.spaces.profile import Profile
from isthmus.spaces.ranges import NORM_TOLERANCE

__all__ = ["FEWEST_REFERENCE", "Drift"]

_Score = Callable[[Matrix], Matrix]

FEWEST_REFERENCE = 100
_MOST_HALF = 2000
_MOST_BASIS = 400
"""Rows of each side that a kernel's witness is made of."""
_FIRST = 128
"""Rows of the stream after which scores are first learned; learned anew at twice as many."""
_MOST_LEARNED = 24
_LEARNED_AT = tuple(_FIRST * 2**k for k in range(_MOST_LEARNED))
_REFERENCE_SHARE = 0.1
"""Share of the allowed false alarms for a reference that is unlike what it was drawn from."""
FIXED = ("distance", "length")
LEARNED = ("classifier", "kernel")


class Drift:
    """A reference, and the money that was bet on the stream differing from it.

    Args:
        reference: rows ``(n, d)`` of the healthy stream, at least 100; half of them, at most 2000,
            are held out.
        unit: rows are compared after division by their length.
        alpha: the chance of any alarm, ever, while nothing drifts.
        seed: of the halves.

    Raises:
        InputError: for fewer rows.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> drift = Drift(rng.standard_normal((1000, 8)), unit=False)
        >>> drift.update(rng.standard_normal((500, 8)))
        ()
        >>> "classifier" in drift.update(rng.standard_normal((500, 8)) + 0.8)
        True
    """

    def __init__(
        self, reference: NDArray[Any], *, unit: bool, alpha: float = 0.01, seed: int = 0
    ) -> None:
        if reference.ndim != 2 or len(reference) < FEWEST_REFERENCE:
            raise InputError(
                f"a reference has {FEWEST_REFERENCE} rows or more, got {reference.shape}",
                where="reference",
            )
        self.unit, self.alpha, self.seed = unit, alpha, seed
        self.reference = _drawn(reference, seed)
        self.past = np.empty((0, reference.shape[1]), np.float32)
        self.learned_from = self.past
        self.seen = 0
        names = (*FIXED, *LEARNED)
        # both sides of the fixed scores, one of those that were learned to be larger
        each = alpha * (1 - _REFERENCE_SHARE) / (2 * len(FIXED) + len(LEARNED))
        slack = self._slack()
        self.tests = {
            (name, side): MeanTest(0.5 + slack if side == "at most" else 0.5 - slack, side, each)
            for name in names
            for side in (("at most", "at least") if name in FIXED else ("at most",))
        }
        self._prepare()

    def is_of(self, reference: NDArray[Any]) -> bool:
        """Whether ``reference (n, d)`` is what this one was made of."""
        return np.array_equal(_drawn(reference, self.seed), self.reference)

    def _slack(self) -> float:
        """How far the mean rank may lie from 1/2 for the reference's own error.

        The mean rank is a mean over the held-out half of uniform values, whose moments are below
        those of a normal variable of variance 1/12; the chance is shared by all scores, each new
        one being learned without the held-out half.
        """
        held = len(self.reference) - len(self.reference) // 2
        scores = 2 * (len(FIXED) + len(LEARNED) * _MOST_LEARNED)
        return math.sqrt(math.log(scores / (_REFERENCE_SHARE * self.alpha)) / (6 * held))

    def _prepare(self) -> None:
        half = len(self.reference) // 2
        self._known = self._comparable(self.reference[:half])
        self._held = self._comparable(self.reference[half:])
        profile = Profile.of_rows(self.reference[:half], unit=self.unit)
        self._usual_length = float(np.median(np.linalg.norm(self.reference[half:], axis=1)))
        self._lengths = np.sort(self._length_steps(self.reference[half:]))
        self._scores: dict[str, tuple[_Score, Matrix]] = {}
        self._put("distance", lambda rows: profile.coordinates(rows)[2])
        if len(self.learned_from):
            self._learn()

    def update(self, rows: NDArray[Any]) -> tuple[str, ...]:
        """Bet on the next rows ``(n, d)`` of the stream; the names of the scores with an alarm.

        Raises:
            InputError: for rows of another width, or that are not finite.
        """
        if (
            rows.ndim != 2
            or rows.shape[1] != self.reference.shape[1]
            or not np.isfinite(rows).all()
        ):
            raise InputError(
                f"expected finite rows of {self.reference.shape[1]} components, got {rows.shape}",
                where="rows of the stream",
            )
        start = 0
        while start < len(rows):
            stop = min(len(rows), start + max(1, self._next() - self.seen))
            self._bet(rows[start:stop])
            start = stop
        return self.alarms

    def _next(self) -> int:
        """After how many rows of the stream the scores are learned next."""
        return next((at for at in _LEARNED_AT if at > self.seen), 2 * _LEARNED_AT[-1])

    def _bet(self, rows: NDArray[Any]) -> None:
        wide = self._comparable(rows)
        ranks = {name: _ranks(held, score(wide)) for name, (score, held) in self._scores.items()}
        ranks["length"] = _ranks(self._lengths, self._length_steps(rows))
        for (name, _), test in self.tests.items():
            if name in ranks:
                test.update(ranks[name])
        self.seen += len(rows)
        kept = np.concatenate([self.past, np.asarray(rows, np.float32)])
        # the newest rows tell best what the stream is now
        self.past = np.ascontiguousarray(kept[-_MOST_HALF:])
        if self.seen in _LEARNED_AT:
            self.learned_from = self.past
            self._learn()

    def _learn(self) -> None:
        live = self._comparable(self.learned_from)
        direction, _ = discriminant(self._known, live)
        self._put("classifier", lambda rows: rows @ direction)
        self._put("kernel", witness(self._known[:_MOST_BASIS], live[-_MOST_BASIS:]))

    def _put(self, name: str, score: _Score) -> None:
        self._scores[name] = score, np.sort(score(self._held))

    def _length_steps(self, rows: NDArray[Any]) -> Matrix:
        """Lengths in steps of what rounding does to one: decimals of a log are no drift."""
        lengths = np.linalg.norm(np.asarray(rows, np.float64), axis=1)
        return np.round(lengths / max(self._usual_length, 1e-300) / NORM_TOLERANCE)

    def _comparable(self, rows: NDArray[Any]) -> Matrix:
        wide = np.asarray(rows, np.float64)
        return unit_rows(wide, None) if self.unit else wide

    @property
    def alarms(self) -> tuple[str, ...]:
        """The scores that broke away from the reference."""
        return tuple(dict.fromkeys(name for (name, _), test in self.tests.items() if test.alarm))

    def difference(self) -> SampleDifference | None:
        """Effect sizes between the newest rows and the reference; None for fewer than 20 rows."""
        if len(self.past) < 20:
            return None
        return difference(
            np.concatenate([self._known, self._held]), self._comparable(self.past), seed=self.seed
        )

    def as_state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """JSON and tensors from which `of_state` goes on."""
        tests = [[*key, test.as_state()] for key, test in self.tests.items()]
        described = {
            "unit": self.unit,
            "alpha": self.alpha,
            "seed": self.seed,
            "seen": self.seen,
            "tests": tests,
        }
        return described, {
            "reference": self.reference,
            "past": self.past,
            "learned_from": self.learned_from,
        }

    @classmethod
    def of_state(cls, described: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> Drift:
        """What `as_state` gave.

        Raises:
            KeyError, TypeError, ValueError: for anything else.
        """
        reference, past = tensors["reference"], tensors["past"]
        learned_from = tensors["learned_from"]
        for rows in (past, learned_from):
            if rows.ndim != 2 or rows.shape[1:] != reference.shape[1:] or len(rows) > _MOST_HALF:
                raise ValueError("the past of a stream is as wide as its reference")
        found = cls(
            reference,
            unit=bool(described["unit"]),
            alpha=float(described["alpha"]),
            seed=int(described["seed"]),
        )
        found.reference, found.past, found.learned_from = reference, past, learned_from
        found.seen = int(described["seen"])
        found.tests = {(name, side): MeanTest.of_state(s) for name, side, s in described["tests"]}
        found._prepare()
        return found


def _drawn(reference: NDArray[Any], seed: int) -> NDArray[np.float32]:
    order = np.random.default_rng(seed).permutation(len(reference))[: 2 * _MOST_HALF]
    return np.ascontiguousarray(reference[order], np.float32)


def _ranks(held: Matrix, scores: Matrix) -> Matrix:
    """Where scores stand among sorted ones, from 0 to 1; in the middle of those that are equal."""
    low, high = (np.searchsorted(held, scores, side=side) for side in ("left", "right"))
    return (low + high) / (2 * len(held))
