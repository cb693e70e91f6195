"""What becomes of a reranker that eats vectors: does it still put the right item first?

It is given, unchanged, vectors of queries and candidates that stand in for those it was made on;
see `isthmus.evaluate.consumers`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from isthmus.array_types import AnyArray, Values
from isthmus.errors import InputError
from isthmus.evaluate.bootstrap import Resampling
from isthmus.evaluate.consumers import (
    OWN,
    ConsumerArm,
    ConsumerReport,
    checked_arms,
    flips,
    refused,
    share,
)
from isthmus.evaluate.paired_outcomes import PairedOutcomes

__all__ = ["CandidateItems", "Reranker", "judge_reranker"]


@runtime_checkable
class Reranker(Protocol):
    """What scores items for a query by their vectors alone."""

    def score(self, queries: AnyArray, items: AnyArray, /) -> AnyArray:
        """Scores ``(n, k)`` of items ``(n, k, d)`` for queries ``(n, d)``, the best highest."""
        ...


@dataclass(frozen=True, eq=False)
class CandidateItems:
    """Queries with the items that a reranker is given: ``(n, d)`` and ``(n, k, d)``."""

    queries: AnyArray
    items: AnyArray


def judge_reranker(
    reranker: Reranker,
    arms: Mapping[str, CandidateItems],
    relevant: NDArray[np.bool_] | None = None,
    *,
    others: Mapping[str, tuple[Reranker, CandidateItems]] | None = None,
    resampling: Resampling | None = None,
) -> ConsumerReport:
    """A reranker on every kind of vectors of the same candidates.

    Args:
        reranker: made on vectors like those of the arm ``own``.
        arms: queries and candidates, by name; ``own`` is among them.
        relevant: whether each candidate is ``(n, k)``; None to measure agreement alone.
        others: further arms with a reranker of their own, by name.
        resampling: of the intervals.

    Raises:
        InputError: for arms or scores that do not fit together.
    """
    resampling = resampling or Resampling()
    given = {name: (reranker, arm) for name, arm in arms.items()} | dict(others or {})
    n = checked_arms({name: arm.queries for name, (_, arm) in given.items()}, relevant)
    orders = {name: _order(asked, arm, name) for name, (asked, arm) in given.items()}
    found = {name: _reranker_arm(name, orders, relevant, resampling) for name in orders}
    return ConsumerReport(
        kind="reranker", rows=n, known_answers=relevant is not None, arms=found,
        level=resampling.level,
    )  # fmt: skip


def _order(reranker: Reranker, arm: CandidateItems, name: str) -> NDArray[np.int64]:
    try:
        scores = np.asarray(reranker.score(arm.queries, arm.items), dtype=np.float64)
    except ValueError as error:
        raise refused("reranker", error, name) from error
    if scores.shape != arm.items.shape[:2]:
        raise InputError(
            f"it gives scores of shape {scores.shape} for candidates {arm.items.shape[:2]}",
            where=f"arm '{name}'",
        )
    return np.argsort(-scores, axis=1, kind="stable")


def _reranker_arm(
    name: str,
    orders: Mapping[str, NDArray[np.int64]],
    relevant: NDArray[np.bool_] | None,
    resampling: Resampling,
) -> ConsumerArm:
    first, own = (orders[arm][:, 0] for arm in (name, OWN))
    agreement = None if name == OWN else share(first == own, resampling)
    if relevant is None:
        return ConsumerArm(metrics={}, agreement=agreement)
    # of the arm: first right, reciprocal rank; then of its own vectors
    values = np.column_stack([_reranked(orders[arm], relevant) for arm in (name, OWN)])
    outcomes = PairedOutcomes(values, resampling)
    named = enumerate(("first result right", "mrr"))
    metrics = {metric: outcomes.mean(at) for at, metric in named}
    if name == OWN:
        return ConsumerArm(metrics=metrics)
    change = {metric: outcomes.difference(at, at + 2) for at, metric in enumerate(metrics)}
    negative, positive = flips(values[:, 2] > 0, values[:, 0] > 0, resampling)
    return ConsumerArm(
        metrics=metrics, change=change, agreement=agreement,
        negative_flips=negative, positive_flips=positive,
    )  # fmt: skip


def _reranked(order: NDArray[np.int64], relevant: NDArray[np.bool_]) -> Values:
    right = np.take_along_axis(relevant, order, axis=1)
    place = np.where(right.any(axis=1), right.argmax(axis=1) + 1, np.inf)
    return np.column_stack([right[:, 0].astype(np.float64), 1 / place])
