"""Do thresholds that were translated for a way to serve still let through what the old ones do?

Shadow traffic asks the old model the same queries: of the first results of each, as many are to
pass the old threshold by the old model's scores as pass the translated one by those that are
served (see `isthmus.ways.thresholds`).  Both are of one index, whatever its size is by now.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.bridge import Bridge

__all__ = ["PassedThreshold", "ScoreCalibration", "ScoreReport"]

ObservedScores = tuple[float, ...]


@dataclass(frozen=True)
class PassedThreshold:
    """A threshold, its translation, and the share of first results that passes each."""

    old: float
    served: float
    by_old: float
    by_served: float


@dataclass(frozen=True)
class ScoreReport:
    """What became of some thresholds in live traffic."""

    way: str
    queries: int
    error: float
    """Mean distance of the two shares over the thresholds."""
    thresholds: tuple[PassedThreshold, ...]


class ScoreCalibration:
    """Counts, over live queries, what passes the thresholds that a bridge translates.

    Args:
        bridge: whose thresholds.
        way: the name of the arm that serves; None for the recommended one.  Where no thresholds
            are known for that one nothing is counted.

    Raises:
        InputError: for a way that the bridge has no thresholds for.
    """

    def __init__(self, bridge: Bridge, way: str | None = None) -> None:
        known = bridge.thresholds
        if way is None and known is not None and bridge.recommended is not None:
            way = next((name for name in known.ways if name == bridge.recommended[0]), None)
        translated = [] if known is None or way is None else known.examples(way)
        self.way = way if translated else None
        pairs = [(t.old, t.new) for t in translated if t.new is not None]
        self._k = 0 if known is None else known.k
        self.thresholds: NDArray[np.float64] = np.array(pairs, np.float64).reshape(-1, 2)
        """``(m, 2)``: of the old model, and translated."""
        self.queries = 0
        self.passed = np.zeros(self.thresholds.shape)
        """The same shape: sums over queries of the shares that passed."""

    def update(self, seen: Sequence[tuple[ObservedScores, ObservedScores]]) -> NDArray[np.float64]:
        """Count some queries: scores of the old model and those served, of the first results.

        Returns:
            Of each query that has as many as the thresholds are of, the share that passed
            translated thresholds less that of the old ones, in their mean: ``(n,)`` in [-1, 1].
        """
        k = self._k
        used = [pair for pair in seen if min(map(len, pair)) >= k]
        if not used or not len(self.thresholds):
            return np.empty(0)
        scores = np.array([[old[:k], served[:k]] for old, served in used])
        shares = (scores[:, :, :, None] >= self.thresholds.T[:, None, :]).mean(axis=2)
        self.queries += len(used)
        self.passed += shares.sum(axis=0).T
        return (shares[:, 1] - shares[:, 0]).mean(axis=1)

    def report(self) -> ScoreReport | None:
        """What was counted; None where nothing was."""
        if not self.queries or self.way is None:
            return None
        shares = self.passed / self.queries
        return ScoreReport(
            self.way,
            self.queries,
            float(np.abs(shares[:, 1] - shares[:, 0]).mean()),
            tuple(
                PassedThreshold(*pair, *both)
                for pair, both in zip(self.thresholds.tolist(), shares.tolist(), strict=True)
            ),
        )

    def as_state(self) -> dict[str, Any]:
        """JSON from which `restore` goes on."""
        return {"way": self.way, "queries": self.queries, "passed": self.passed.tolist()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on with what `as_state` gave.

        Raises:
            KeyError, TypeError, ValueError: for anything else.
        """
        passed = np.array(state["passed"], np.float64).reshape(self.thresholds.shape)
        if not np.isfinite(passed).all():
            raise ValueError("shares are finite")
        self.queries, self.passed = int(state["queries"]), passed
