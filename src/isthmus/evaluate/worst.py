"""The queries that lose most in one way to serve: where to look first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from isthmus.evaluate.ranks import Ranks
from isthmus.evaluate.relevance import Relevance

__all__ = ["MOST_SHOWN", "WorstQuery", "worst_by_agreement", "worst_by_relevance"]

MOST_SHOWN = 20


class WorstQuery(BaseModel):
    """One query, and what a way finds beside ``old`` and, where it is known, ``new``.

    Example:
        >>> WorstQuery(id="q7", loss=0.5, values={"old": 1.0, "bridge": 0.5}).loss
        0.5
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    id: str
    """The id of the query; its row among the judged queries where ids are not known."""
    loss: float
    """What the way loses, in the primary metric, against the better of the old and new model."""
    values: dict[str, float]
    """The primary metric, by arm."""
    ranks: dict[str, int] = Field(default_factory=dict[str, int])
    """Rank of the best relevant item, by arm; empty where relevance is not known.  An arm is left
    out where none is among the results that were looked at."""
    answer: str | None = None
    """Id of the first relevant item, where relevance is known."""
    answers: int = 0
    """How many relevant items there are."""
    found: str | None = None
    """Id of the item that the way finds first."""


def worst_by_relevance(
    values: Mapping[str, NDArray[np.float64]],
    ranks: Mapping[str, Ranks],
    relevance: Relevance,
    first: NDArray[np.int64],
    query_ids: NDArray[Any] | None,
    gallery_ids: NDArray[Any] | None,
    *,
    way: str = "bridge",
    depth: int | None = None,
) -> tuple[WorstQuery, ...]:
    """The queries where a way loses most; of equal losses, those that fall farthest.

    Args:
        values: the primary metric of each query ``(nq,)``, by arm; ``old`` and ``way`` among them.
        ranks: of the relevant items, by arm.
        relevance: of the same queries, all answerable.
        first: gallery row that the way finds first, ``(nq,)``.
        query_ids: ``(nq,)``; row numbers if None.
        gallery_ids: ``(ng,)``; row numbers if None.
        way: the arm that is looked at.
        depth: results of each query that were looked at; None where all were.
    """
    arms = [arm for arm in dict.fromkeys(("old", way, "new")) if arm in values]
    best = {arm: ranks[arm].ranks[ranks[arm].indptr[:-1]] for arm in arms}
    others = [arm for arm in arms if arm != way]
    loss = np.max([values[arm] for arm in others], axis=0) - values[way]
    fall = np.log(best[way] / np.min([best[arm] for arm in others], axis=0))
    order = np.lexsort((-fall, -loss))[:MOST_SHOWN]
    return tuple(
        WorstQuery(
            id=_id(query_ids, i),
            loss=float(loss[i]),
            values={arm: float(values[arm][i]) for arm in arms},
            ranks={
                arm: int(best[arm][i]) for arm in arms if depth is None or best[arm][i] <= depth
            },
            answer=_id(gallery_ids, int(relevance.indices[relevance.indptr[i]])),
            answers=int(relevance.counts[i]),
            found=_id(gallery_ids, int(first[i])),
        )
        for i in order.tolist()
        if loss[i] > 0
    )


def worst_by_agreement(
    overlap: NDArray[np.float64], query_ids: NDArray[Any] | None
) -> tuple[WorstQuery, ...]:
    """The queries whose results behind the bridge share least with the old model's, ``(nq,)``."""
    order = np.argsort(overlap, kind="stable")[:MOST_SHOWN]
    return tuple(
        WorstQuery(
            id=_id(query_ids, i),
            loss=float(1.0 - overlap[i]),
            values={"old": 1.0, "bridge": float(overlap[i])},
        )
        for i in order.tolist()
        if overlap[i] < 1
    )


def _id(ids: NDArray[Any] | None, row: int) -> str:
    return str(row if ids is None else ids[row])
