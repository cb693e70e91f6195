"""How many recalled items to rescore: the same number for all, or as many as each query needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.evaluate.extra import Parameter

__all__ = ["DepthRule", "FixedDepth", "MarginDepth", "ScoreLink", "StoppingDepth", "fused_scores"]

Scores = NDArray[np.float32]


def fused_scores(
    recall_scores: Scores, new_scores: Scores, weight: float, scale: float
) -> NDArray[np.float64]:
    """``(1 − weight) · new + weight · scale · recall``, elementwise in float64.

    ``scale`` brings the spread of recall scores to that of the new model's.
    """
    new = np.asarray(new_scores, dtype=np.float64)
    if weight == 0:
        return new
    return (1 - weight) * new + (weight * scale) * np.asarray(recall_scores, dtype=np.float64)


class DepthRule(Protocol):
    """Decides how many of the recalled items of each query are encoded by the new model."""

    @property
    def parameters(self) -> dict[str, Parameter]:
        """What it is made of, as plain values."""
        ...

    def depths(
        self, recall_scores: Scores, fused: NDArray[np.float64], trust: NDArray[np.float64] | None
    ) -> NDArray[np.int64]:
        """How many to rescore ``(nq,)``.

        Args:
            recall_scores: of the recalled items ``(nq, K)``, descending.
            fused: what each of them would score once it is encoded ``(nq, K)``; a rule reads no
                entry that it has not already decided to encode.
            trust: in [0, 1] for each query ``(nq,)``, where it is known: the less a query is
                trusted, the more is rescored.
        """
        ...


@dataclass(frozen=True)
class FixedDepth:
    """The first ``k``."""

    k: int

    @property
    def parameters(self) -> dict[str, Parameter]:
        """``depth`` and ``k``."""
        return {"depth": "fixed", "k": self.k}

    def depths(
        self, recall_scores: Scores, fused: NDArray[np.float64], trust: NDArray[np.float64] | None
    ) -> NDArray[np.int64]:
        """``k``, or all there are."""
        return np.full(len(recall_scores), min(self.k, recall_scores.shape[1]), dtype=np.int64)


@dataclass(frozen=True)
class MarginDepth:
    """Those whose recall score is within a margin of the first one's; encoded in one batch.

    With trust the margin of a query is ``2 (1 − trust) · margin``: a half leaves it as it is.
    """

    margin: float
    most: int

    @property
    def parameters(self) -> dict[str, Parameter]:
        """``depth``, ``margin`` and ``most``."""
        return {"depth": "margin", "margin": self.margin, "most": self.most}

    def depths(
        self, recall_scores: Scores, fused: NDArray[np.float64], trust: NDArray[np.float64] | None
    ) -> NDArray[np.int64]:
        """At least 1, at most ``most``; where the margin is 0, all that tie with the first."""
        margin = self.margin * _slack(trust, len(recall_scores))
        scores = np.asarray(recall_scores[:, : self.most], dtype=np.float64)
        return np.sum(scores >= scores[:, :1] - margin[:, None], axis=1)


@dataclass(frozen=True)
class ScoreLink:
    """What a recall score says about the new model's score: a line and the spread about it."""

    slope: float
    intercept: float
    spread: float

    @classmethod
    def of(cls, recall_scores: Scores, new_scores: Scores) -> ScoreLink:
        """Least squares over all recalled pairs ``(nq, K)``; a flat line where scores are equal."""
        x = np.asarray(recall_scores, dtype=np.float64).ravel()
        y = np.asarray(new_scores, dtype=np.float64).ravel()
        x_mean, y_mean = x.mean(), y.mean()
        variance = float(np.mean((x - x_mean) ** 2))
        # a recall whose scores are equal up to rounding says nothing
        known = variance > 1e-12 * (x_mean**2 + 1e-12)
        slope = float(np.mean((x - x_mean) * (y - y_mean)) / variance) if known else 0.0
        intercept = float(y_mean - slope * x_mean)
        spread = float(np.sqrt(np.mean((y - slope * x - intercept) ** 2)))
        return cls(slope, intercept, spread)


@dataclass(frozen=True)
class StoppingDepth:
    """Encode ``step`` items at a time until the next ones can hardly beat the best so far.

    The new score of an item that is not encoded yet is expected on the line of ``link``; it counts
    as beaten if even ``z`` spreads above that line it stays below the best fused score so far.
    With trust, ``z`` of a query is ``2 (1 − trust) · z``.  Recall scores descend, so if the next
    item is beaten, all later ones are.
    """

    z: float
    step: int
    most: int
    link: ScoreLink
    weight: float
    scale: float
    """``weight`` and ``scale`` of the fused scores."""

    @property
    def parameters(self) -> dict[str, Parameter]:
        """``depth``, ``z``, ``step``, ``most`` and the line."""
        return {
            "depth": "stopping",
            "z": self.z,
            "step": self.step,
            "most": self.most,
            "slope": self.link.slope,
            "intercept": self.link.intercept,
            "spread": self.link.spread,
        }

    def depths(
        self, recall_scores: Scores, fused: NDArray[np.float64], trust: NDArray[np.float64] | None
    ) -> NDArray[np.int64]:
        """A multiple of ``step``, or all up to ``most``."""
        recall = np.asarray(recall_scores[:, : self.most], dtype=np.float64)
        n, most = recall.shape
        z = self.z * _slack(trust, n)
        expected = self.link.intercept + max(self.link.slope, 0.0) * recall
        ceiling = (1 - self.weight) * (expected + z[:, None] * self.link.spread)
        ceiling += self.weight * self.scale * recall
        best = np.maximum.accumulate(fused[:, :most], axis=1)
        stops = np.arange(self.step, most, self.step)
        beaten = np.ones((n, len(stops) + 1), dtype=np.bool_)  # at the end all stop
        beaten[:, :-1] = ceiling[:, stops] < best[:, stops - 1]
        return np.append(stops, most)[np.argmax(beaten, axis=1)]


def _slack(trust: NDArray[np.float64] | None, n: int) -> NDArray[np.float64]:
    """How much wider to look: 0 for a query that is trusted wholly, 2 for one that is not."""
    if trust is None:
        return np.ones(n)
    trust = np.asarray(trust, dtype=np.float64)
    if trust.shape != (n,) or not ((trust >= 0) & (trust <= 1)).all():
        raise InputError(
            f"expected one value in [0, 1] for each of {n} queries, found shape {trust.shape}",
            where="trust",
        )
    return 2.0 * (1.0 - trust)
