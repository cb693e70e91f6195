"""Is a new version at least as good as the one before it: a paired test of non-inferiority."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict

from isthmus.array_types import Values
from isthmus.errors import InputError
from isthmus.evaluate.bootstrap import Estimate, Resampling
from isthmus.evaluate.paired_outcomes import PairedOutcomes

__all__ = ["Regression", "judge_regression"]


class Regression(BaseModel):
    """A version beside the one before it, on the same queries.

    Example:
        >>> import numpy as np
        >>> hits = (np.arange(300) % 4 > 0).astype(float)
        >>> judge_regression(hits, hits, metric="recall@10", margin=0.05).passed
        True
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    metric: str
    ways: tuple[str, str]
    """The names of the ways that were run, before and after."""
    queries: int
    before: float
    after: float
    change: Estimate
    """After less before; its lower end decides."""
    lost: int
    """Queries that are worse."""
    won: int
    """Queries that are better."""
    margin: float
    """The loss that is still called none."""

    @property
    def passed(self) -> bool:
        """Whether a loss beyond the margin is ruled out."""
        return self.change.low is not None and self.change.low >= -self.margin

    def __str__(self) -> str:
        told = "no loss beyond" if self.passed else "a loss cannot be ruled out beyond"
        return (
            f"against the version before: {self.metric} {self.before:.3f} ({self.ways[0]}) -> "
            f"{self.after:.3f} ({self.ways[1]}), "
            f"change {self.change} on {self.queries:,} queries ({self.lost:,} worse, {self.won:,} "
            f"better): {told} the margin of {self.margin:g}"
        )


def judge_regression(
    before: Values,
    after: Values,
    *,
    metric: str,
    ways: tuple[str, str] = ("bridge", "bridge"),
    margin: float = 0.01,
    resampling: Resampling | None = None,
) -> Regression:
    """Hold the metric of every query ``(nq,)`` of a version against that of the one before.

    Raises:
        InputError: for values of other lengths, and a margin below 0.
    """
    if before.shape != after.shape or before.ndim != 1:
        raise InputError(f"values of {before.shape} and {after.shape} are not of the same queries")
    if not margin >= 0:
        raise InputError(f"a margin is 0 or more, got {margin}", where="margin")
    outcomes = PairedOutcomes(np.column_stack([before, after]), resampling)
    return Regression(
        metric=metric,
        ways=ways,
        queries=len(before),
        before=float(before.mean()),
        after=float(after.mean()),
        change=outcomes.difference(1, 0),
        lost=int((after < before).sum()),
        won=int((after > before).sum()),
        margin=margin,
    )
