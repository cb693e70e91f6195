"""Retrieval metrics: one value per query from the ranks of its relevant items.

Relevance is binary.  Every metric also knows its chance level: the exact expectation under a
uniformly random ranking.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.evaluate.ranks import Ranks

__all__ = [
    "METRICS",
    "MetricAt",
    "RankMetric",
    "average_precision",
    "cmc",
    "ndcg",
    "parse_metric",
    "recall",
    "reciprocal_rank",
]

PerQuery = NDArray[np.float64]


def cmc(ranks: Ranks, k: int) -> PerQuery:
    """1 where some relevant item is among the first ``k`` (cumulative match characteristic)."""
    return (_best(ranks) <= k).astype(np.float64)


def recall(ranks: Ranks, k: int) -> PerQuery:
    """Share of the relevant items that are among the first ``k``."""
    return _per_query_sum(ranks, ranks.ranks <= k) / ranks.counts


def average_precision(ranks: Ranks, k: int | None = None) -> PerQuery:
    """Mean over the relevant items of precision at their rank; beyond ``k`` an item counts 0.

    Its mean over queries is mAP.  The divisor is the number of all relevant items, with or
    without ``k`` (as trec_eval's map_cut).
    """
    return _per_query_sum(ranks, _cut(ranks, k) * ranks.ordinals / ranks.ranks) / ranks.counts


def reciprocal_rank(ranks: Ranks, k: int | None = None) -> PerQuery:
    """1 / rank of the best relevant item, 0 where that rank is beyond ``k``."""
    best = _best(ranks)
    return np.where(best <= (np.inf if k is None else k), 1 / best, 0.0)


def ndcg(ranks: Ranks, k: int | None = None) -> PerQuery:
    """Discounted gain of relevant items among the first ``k``, as a share of the ideal order's.

    Gain 1 for a relevant item, discount ``1 / log2(1 + rank)`` (Järvelin & Kekäläinen 2002).
    """
    gained = _per_query_sum(ranks, _cut(ranks, k) / np.log2(1 + ranks.ranks))
    return gained / _ideal_gain(ranks.counts, k)


def _chance_cmc(count: int, n: int, k: int) -> float:
    return 1.0 - float(_none_before(count, n, k)[-1])


def _chance_recall(count: int, n: int, k: int) -> float:
    return k / n


def _chance_reciprocal_rank(count: int, n: int, k: int) -> float:
    return float(-np.diff(_none_before(count, n, k)) @ (1 / np.arange(1, k + 1)))


def _chance_average_precision(count: int, n: int, k: int) -> float:
    # A relevant item is at rank r with probability 1/n, and is then, on average, the
    # (1 + (r - 1)(count - 1)/(n - 1))-th of them; sum over r (Bestgen 2015 for k = n).
    harmonic = float(np.sum(1 / np.arange(1, k + 1)))
    return (harmonic + (k - harmonic) * (count - 1) / max(n - 1, 1)) / n


def _chance_ndcg(count: int, n: int, k: int) -> float:
    return count / n * float(_discounts(k).sum() / _discounts(min(count, k)).sum())


@dataclass(frozen=True)
class RankMetric:
    """A metric and what is true of it: bounds, direction, whether it needs a ``k``, its chance.

    ``chance(count, n, k)`` is the expectation under a random ranking of ``n`` items, ``count`` of
    them relevant, with ``k ≤ n``.
    """

    name: str
    function: Callable[[Ranks, int], PerQuery]
    chance: Callable[[int, int, int], float]
    needs_k: bool
    bounds: tuple[float, float] = (0.0, 1.0)
    higher_is_better: bool = True

    @property
    def definition(self) -> str:
        """The metric in one sentence."""
        return (self.function.__doc__ or "").split("\n\n")[0]


METRICS: dict[str, RankMetric] = {
    metric.name: metric
    for metric in (
        RankMetric("cmc", cmc, _chance_cmc, needs_k=True),
        RankMetric("recall", recall, _chance_recall, needs_k=True),
        RankMetric("map", average_precision, _chance_average_precision, needs_k=False),
        RankMetric("mrr", reciprocal_rank, _chance_reciprocal_rank, needs_k=False),
        RankMetric("ndcg", ndcg, _chance_ndcg, needs_k=False),
    )
}
"""Every metric by the name a user writes."""


class MetricAt(NamedTuple):
    """A metric at a cut-off, or at none."""

    metric: RankMetric
    k: int | None

    @property
    def name(self) -> str:
        """The name that `parse_metric` reads back."""
        return self.metric.name if self.k is None else f"{self.metric.name}@{self.k}"

    def per_query(self, ranks: Ranks) -> PerQuery:
        """The metric of every query, ``(nq,)`` float64."""
        return self.metric.function(ranks, self.k)  # pyright: ignore[reportArgumentType]

    def chance(self, counts: NDArray[np.int64], n: int) -> float:
        """Mean of a random ranking for queries with ``counts (nq,)`` relevant of ``n`` items."""
        k = n if self.k is None else min(self.k, n)
        distinct, times = np.unique(counts, return_counts=True)
        each = [self.metric.chance(int(count), n, k) for count in distinct]
        return float(np.average(each, weights=times))


def parse_metric(text: str) -> MetricAt:
    """Read ``"recall@10"`` or ``"mrr"``; raises `InputError` for anything else.

    Example:
        >>> metric = parse_metric("recall@10")
        >>> metric.name, metric.k
        ('recall@10', 10)
    """
    match = re.fullmatch(r"\s*([a-z]+)\s*(?:@\s*([1-9]\d*))?\s*", text)
    metric = METRICS.get(match[1]) if match else None
    if match is None or metric is None or (metric.needs_k and not match[2]):
        raise InputError(
            f"{text!r} is not a metric",
            mend="Write cmc@k, recall@k, map, mrr or ndcg; the last three may also take @k",
        )
    return MetricAt(metric, int(match[2]) if match[2] else None)


def _best(ranks: Ranks) -> NDArray[np.int64]:
    return ranks.ranks[ranks.indptr[:-1]]


def _per_query_sum(ranks: Ranks, values: NDArray[np.generic]) -> PerQuery:
    return np.add.reduceat(values, ranks.indptr[:-1], dtype=np.float64)


def _cut(ranks: Ranks, k: int | None) -> NDArray[np.bool_]:
    return ranks.ranks <= (np.inf if k is None else k)


def _ideal_gain(counts: NDArray[np.int64], k: int | None) -> PerQuery:
    depth = counts if k is None else np.minimum(counts, k)
    return np.cumsum(_discounts(int(depth.max())))[depth - 1]


def _discounts(depth: int) -> PerQuery:
    return 1 / np.log2(1 + np.arange(1, depth + 1))


def _none_before(count: int, n: int, depth: int) -> PerQuery:
    """Probability that the first 0, 1, … ``depth`` of a random ranking hold no relevant item."""
    left = n - np.arange(depth)
    return np.concatenate([[1.0], np.cumprod(np.maximum(left - count, 0) / left)])
