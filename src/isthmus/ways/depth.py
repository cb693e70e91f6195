"""How many recalled items to rescore: the same number for all, or as many as each query needs.

A rule decides stepwise.  It sees the recall scores and what was encoded so far, and says how many
more items of each query to encode; so a rule never looks at a vector that was not paid for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from isthmus.evaluate.measured import Parameter

__all__ = [
    "DepthRule",
    "FixedDepth",
    "Fusing",
    "MarginDepth",
    "ScoreLink",
    "StoppingDepth",
    "fused_scores",
]

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


class Fusing(Protocol):
    """What fused scores are made with; a `Rescore` has it."""

    @property
    def weight(self) -> float:
        """The weight of the recall score."""
        ...

    @property
    def scale(self) -> float:
        """From the spread of recall scores to that of new scores."""
        ...


class _Rule(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @property
    def parameters(self) -> dict[str, Parameter]:
        """``depth`` and the numbers of the rule, as plain values."""
        described = self.model_dump()
        return {"depth": described.pop("kind"), **described}

    def more(
        self,
        recall_scores: Scores,
        done: NDArray[np.int64],
        best: NDArray[np.float64],
        fusing: Fusing,
    ) -> NDArray[np.int64]:
        """How many more of the recalled items of each query to encode ``(nq,)``; 0 ends it.

        Args:
            recall_scores: of the recalled items ``(nq, K)``, descending; −∞ where there is none.
            done: how many of each query are encoded ``(nq,)``.
            best: the highest fused score among those ``(nq,)``; −∞ where none is.
            fusing: how fused scores are made.
        """
        raise NotImplementedError

    def depths(
        self, recall_scores: Scores, fused: NDArray[np.float64], fusing: Fusing
    ) -> NDArray[np.int64]:
        """Where the rule ends ``(nq,)`` if every item would score ``fused (nq, K)``."""
        n, k = recall_scores.shape
        highest = np.maximum.accumulate(fused, axis=1)
        done, best = np.zeros(n, dtype=np.int64), np.full(n, -np.inf)
        while True:
            more = np.minimum(self.more(recall_scores, done, best, fusing), k - done)
            if not more.any():
                return done
            done = done + more
            best = np.where(done > 0, highest[np.arange(n), np.maximum(done, 1) - 1], -np.inf)


class FixedDepth(_Rule):
    """The first ``k``.

    Example:
        >>> from isthmus.ways import FixedDepth
        >>> FixedDepth(k=20).most
        20
    """

    kind: Literal["fixed"] = "fixed"
    k: int = Field(ge=1)

    @property
    def most(self) -> int:
        """``k``."""
        return self.k

    def more(
        self,
        recall_scores: Scores,
        done: NDArray[np.int64],
        best: NDArray[np.float64],
        fusing: Fusing,
    ) -> NDArray[np.int64]:
        """What is missing to ``k``, or to all there are."""
        there = np.count_nonzero(recall_scores[:, : self.k] > -np.inf, axis=1)
        return there - np.minimum(done, there)


class MarginDepth(_Rule):
    """Those whose recall score is within ``margin`` of the first one's; encoded in one batch.

    Example:
        >>> import numpy as np
        >>> from isthmus.ways import MarginDepth
        >>> rule = MarginDepth(margin=0.1, most=50)
        >>> scores = np.float32([[0.9, 0.85, 0.6]])
        >>> rule.more(scores, np.array([0]), np.array([-np.inf]), None).tolist()
        [2]
    """

    kind: Literal["margin"] = "margin"
    margin: float = Field(ge=0)
    most: int = Field(ge=1)

    def more(
        self,
        recall_scores: Scores,
        done: NDArray[np.int64],
        best: NDArray[np.float64],
        fusing: Fusing,
    ) -> NDArray[np.int64]:
        """At least 1, at most ``most``; where the margin is 0, all that tie with the first."""
        scores = np.asarray(recall_scores[:, : self.most], dtype=np.float64)
        near = scores >= scores[:, :1] - self.margin
        inside = np.count_nonzero(near & (scores > -np.inf), axis=1)
        return inside - np.minimum(done, inside)


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


class StoppingDepth(_Rule):
    """Encode ``step`` items at a time until the next ones can hardly beat the best so far.

    The new score of an item that is not encoded yet is expected on the line
    ``intercept + slope · recall score``; it counts as beaten if even ``z`` times ``spread`` above
    that line it stays below the best fused score so far.  Recall scores descend, so if the next
    item is beaten, all later ones are.

    Example:
        >>> from isthmus.ways import FixedDepth, Rescore, StoppingDepth, Way
        >>> rule = StoppingDepth(z=2.0, step=5, most=100)
        >>> print(Way(rescore=Rescore(depth=rule)))
        new queries through the bridge, then up to 100 items rescored by the new model
    """

    kind: Literal["stopping"] = "stopping"
    z: float = Field(ge=0)
    step: int = Field(ge=1)
    most: int = Field(ge=1)
    slope: float = 0.0
    intercept: float = 0.0
    spread: float = Field(default=0.0, ge=0)

    def more(
        self,
        recall_scores: Scores,
        done: NDArray[np.int64],
        best: NDArray[np.float64],
        fusing: Fusing,
    ) -> NDArray[np.int64]:
        """``step``, or what is left up to ``most``."""
        there = np.count_nonzero(recall_scores[:, : self.most] > -np.inf, axis=1)
        left = there - np.minimum(done, there)
        next_one = np.minimum(done, recall_scores.shape[1] - 1)
        recall = recall_scores[np.arange(len(done)), next_one].astype(np.float64)
        recall = np.where(left > 0, recall, 0.0)
        expected = self.intercept + max(self.slope, 0.0) * recall
        ceiling = (1 - fusing.weight) * (expected + self.z * self.spread)
        ceiling += fusing.weight * fusing.scale * recall
        beaten = (done > 0) & (ceiling < best)
        return np.where(beaten, 0, np.minimum(self.step, left))


DepthRule = FixedDepth | MarginDepth | StoppingDepth
