"""Who pays for the swap: what every group of queries gains or loses, and whether gaps grow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from isthmus.array_types import Values
from isthmus.errors import InputError
from isthmus.evaluate.bootstrap import Estimate
from isthmus.plain_text import plain_line

__all__ = ["FEWEST_QUERIES", "Fairness", "GroupResult", "judge_groups"]

FEWEST_QUERIES = 10
"""Smaller groups are counted and not judged."""
_MOST_GROUPS = 200


class GroupResult(BaseModel):
    """What one group of queries has from the judged way, in the primary metric.

    Example:
        >>> from isthmus.evaluate import Estimate
        >>> e = Estimate(value=0.5)
        >>> GroupResult(name="de", n_queries=40, old=0.5, judged=0.4, change=e).judged
        0.4
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    n_queries: int
    old: float
    judged: float
    change: Estimate
    """Judged less old; its interval holds together with those of all other groups."""
    gap_old: float | None = None
    """How far the group lies behind all other queries with the old model; None for the only one."""
    amplification: Estimate | None = None
    """By how much it lies farther behind them with the judged arm: above 0, the swap widens the
    gap.  Its interval, too, holds together with those of all other groups."""
    retention: float | None = None
    """Judged over the new model with everything re-embedded, where that is known."""


class Fairness(BaseModel):
    """Every group of queries with the way that the evidence is about, the worst first.

    The gap of a group is taken to all other queries, not from the best group to the worst: the
    extremes of noisy means lie apart by chance, and no interval of their distance holds.

    Example:
        >>> import numpy as np
        >>> old = np.tile([1.0, 0.0], 100)
        >>> lost = np.concatenate([old[:100], np.zeros(100)])
        >>> found = judge_groups("bridge", old, lost, ["a"] * 100 + ["b"] * 100)
        >>> found.worst, found.groups[0].change.value, found.groups[0].amplification.value
        ('b', -0.5, 0.5)
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    judged: str
    """The name of the arm."""
    groups: tuple[GroupResult, ...]
    too_small: dict[str, int]
    """Groups with fewer than ten queries, and how many they have."""
    ungrouped: int
    """Queries that belong to no group."""

    @property
    def worst(self) -> str:
        """The group that changes worst."""
        return self.groups[0].name

    def __str__(self) -> str:
        lines = [
            f"groups of queries, {self.judged} minus old, the worst first (intervals hold together)"
        ]
        width = max(len(plain_line(g.name)) for g in self.groups)
        for g in self.groups:
            kept = "" if g.retention is None else f", retention {g.retention:.3f}"
            lines.append(
                f"  {plain_line(g.name):<{width}}  {g.n_queries:>6,} queries  "
                f"{g.old:.3f} -> {g.judged:.3f}  {g.change}{kept}"
            )
            if g.gap_old is not None:
                lines[-1] += f"; behind the others by {g.gap_old:+.3f}, more by {g.amplification}"
        if self.too_small:
            told = ", ".join(f"{plain_line(name)} ({n})" for name, n in self.too_small.items())
            lines.append(f"too small to be judged: {told}")
        return "\n".join(lines)


def judge_groups(
    judged: str,
    old: Values,
    values: Values,
    groups: Sequence[Any] | NDArray[Any],
    *,
    new: Values | None = None,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Fairness:
    """What each group of queries gains or loses, from the metric of every query.

    Queries are resampled within their group.  The intervals of the changes hold at once for all
    groups (the largest studentised deviation of each resample), so the worst of many groups is not
    called a loss by chance.

    Args:
        judged: the name of the arm.
        old: the metric of each query with the old model ``(nq,)``.
        values: the same with the judged arm ``(nq,)``.
        groups: the name of each query's group ``(nq,)``; None or an empty text for none.
        new: the metric with everything re-embedded ``(nq,)``, for retention.
        resamples: of the bootstrap behind each interval.
        level: how often an interval is to hold the truth.
        seed: of the resamples.

    Raises:
        InputError: for arrays of other lengths, and where no group has ten queries.
    """
    named = np.array(["" if g is None else str(g) for g in groups], dtype=object)
    if not len(named) == len(old) == len(values):
        raise InputError(f"{len(named)} groups for {len(old)} and {len(values)} queries")
    found, place, counts = np.unique(named.astype(str), return_inverse=True, return_counts=True)
    large = [i for i, name in enumerate(found.tolist()) if name and counts[i] >= FEWEST_QUERIES]
    if not large or len(large) > _MOST_GROUPS:
        raise InputError(
            f"there are {len(large)} groups of ten queries or more among {len(old)} queries",
            where="groups",
            mend=f"Give the group of each query, between 1 and {_MOST_GROUPS} of them",
        )
    rng = np.random.default_rng(seed)
    rows = [np.flatnonzero(place == i) for i in large]
    means = np.array([[v[r].mean() for v in (old, values)] for r in rows])
    drawn = np.stack([_resampled(old[r], values[r], resamples, rng) for r in rows])
    weight = np.array([len(r) for r in rows], dtype=np.float64)
    changes = np.column_stack([means[:, 1] - means[:, 0], drawn[:, :, 1] - drawn[:, :, 0]])
    behind = _others(changes, weight) - changes
    change, widened = (_together(values, weight, level) for values in (changes, behind))
    gap_old = _others(means[:, :1], weight) - means[:, :1]
    results = [
        GroupResult(
            name=str(found[i]),
            n_queries=len(rows[g]),
            old=float(means[g, 0]),
            judged=float(means[g, 1]),
            change=change[g],
            gap_old=float(gap_old[g, 0]) if len(rows) > 1 else None,
            amplification=widened[g] if len(rows) > 1 else None,
            retention=_ratio(values[rows[g]], None if new is None else new[rows[g]]),
        )
        for g, i in enumerate(large)
    ]
    return Fairness(
        judged=judged,
        groups=tuple(sorted(results, key=lambda g: (g.change.value or 0.0, g.name))),
        too_small={
            str(name): int(n)
            for name, n in zip(found.tolist(), counts.tolist(), strict=True)
            if name and n < FEWEST_QUERIES
        },
        ungrouped=int((named == "").sum()),
    )


def _resampled(old: Values, values: Values, resamples: int, rng: np.random.Generator) -> Values:
    """Means of both over resampled queries of one group ``(resamples, 2)``."""
    n = len(old)
    both = np.stack([old, values], axis=1)
    times = rng.multinomial(n, np.full(n, 1.0 / n), size=resamples)
    return times @ both / n


def _others(values: Values, weight: Values) -> Values:
    """Of each group ``(g, columns)`` the mean over all queries of the others."""
    total = (weight[:, None] * values).sum(axis=0)
    rest = np.maximum(weight.sum() - weight, 1.0)
    return (total - weight[:, None] * values) / rest[:, None]


def _together(values: Values, weight: Values, level: float) -> list[Estimate]:
    """Intervals that hold at once; ``values (g, 1 + resamples)``, the first of all queries."""
    deviation = values[:, 1:] - values[:, :1]
    # one outcome more of either sign: where nothing was seen to change, something may
    spread = np.sqrt(deviation.var(axis=1) + 1.0 / weight**2)
    reach = float(np.quantile((np.abs(deviation) / spread[:, None]).max(axis=0), level))
    half = max(reach, 1.0) * spread
    return [
        Estimate(value=float(v), low=float(v - h), high=float(v + h))
        for v, h in zip(values[:, 0], half, strict=True)
    ]


def _ratio(values: Values, new: Values | None) -> float | None:
    if new is None or not new.mean() > 0:
        return None
    return float(values.mean() / new.mean())
