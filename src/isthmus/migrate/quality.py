"""Queries with known answers, asked on a live index."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.evaluate.bootstrap import Estimate
from isthmus.evaluate.paired_outcomes import PairedOutcomes
from isthmus.migrate.models import Models
from isthmus.migrate.plan import AskedQueries, Plan
from isthmus.stores import Store
from isthmus.ways.search import Columns, Search
from isthmus.ways.way import Recall, Way

__all__ = ["DEPTH", "Compared", "answered", "compare", "recalls"]

DEPTH = 10
"""Results of each query that count."""


def answered(search: Search, asked: AskedQueries) -> NDArray[np.float64]:
    """Recall at 10 of each query ``(nq,)``: the share of its answers among its first ten."""
    found = search(list(asked.texts), DEPTH)
    return recalls(found.ids, asked.clicked)


def recalls(
    ids: NDArray[np.generic], clicked: tuple[tuple[int | str, ...], ...]
) -> NDArray[np.float64]:
    """The share of each query's answers among its results ``(nq, k)``."""
    shares = [
        len(set(row).intersection(answers)) / min(len(set(answers)), DEPTH)
        for row, answers in zip(ids.tolist(), clicked, strict=True)
    ]
    return np.array(shares, dtype=np.float64)


@dataclass(frozen=True)
class Compared:
    """Both models on the live index: the mean recall at 10 of each, and the gain of the new one."""

    new: float
    old: float
    gain: Estimate


def compare(plan: Plan, store: Store, models: Models) -> Compared:
    """Ask the plan's queries of both models; where the old one is gone, what it found before."""
    asked, target = plan.queries, plan.target
    columns = Columns(target.old_column, target.new_column)
    new = Search(
        Way(recall=Recall(kind="new")), store, columns=columns, new=models.new,
        new_metric=target.metric,
    )  # fmt: skip
    after = answered(new, asked)
    before = np.array(asked.before)
    if models.old is not None:
        old = Search(Way(recall=Recall(kind="old")), store, columns=columns, old=models.old)
        before = answered(old, asked)
    outcomes = PairedOutcomes(np.column_stack([after, before]))
    return Compared(float(after.mean()), float(before.mean()), outcomes.difference(0, 1))
