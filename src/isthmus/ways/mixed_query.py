"""The mixed query: a point on the great circle between the old query and the bridged new one.

While the old encoder still runs, its query and the bridged query of the new model err in different
directions; a point between them may find more than either (arXiv 2609.39836).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.evaluate import Estimate, Metric, Trial, parse_metric, relevant_ranks, resampled_means
from isthmus.evaluate.price import Price
from isthmus.evaluate.retrieval import default_metric
from isthmus.evaluate.trial import Side

__all__ = ["ALPHAS", "MixedQuery", "can_mix", "choose_mixed_query", "interpolate"]

ALPHAS = (0.0, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0)
"""Weights of the bridged query that are tried."""

_FEWEST_QUERIES = 2


def interpolate(
    old: NDArray[Any], bridged: NDArray[Any], alpha: float, metric: Metric = "cosine"
) -> NDArray[Any]:
    """Spherical interpolation ``(sin((1−α)θ) a + sin(αθ) b) / sin θ`` of two sets of rows.

    ``a`` and ``b`` are the unit vectors of ``old (n, d)`` and ``bridged (n, d)``, θ the angle
    between them (Shoemake 1985).  α = 0 points where ``old`` does, α = 1 where ``bridged`` does.
    Rows have unit length; under ``l2``, where the length of a query matters, it goes from that of
    ``old`` to that of ``bridged`` in a straight line.

    Where the great circle is not defined, there is no mixing: a zero vector leaves the other one,
    and of two opposite vectors the old one stays, unless α is 1.  Two zero vectors stay zero.

    Raises:
        InputError: for an α outside [0, 1], and for rows that do not fit together.
    """
    if not 0 <= alpha <= 1:
        raise InputError(f"the weight of the bridged query lies in [0, 1], got {alpha}")
    if old.shape != bridged.shape or old.ndim != 2:
        raise InputError(
            f"old queries have shape {old.shape}, bridged ones {bridged.shape}",
            mend="Give one row per query on both sides, both in the old space",
        )
    a, length_a = _unit(old)
    b, length_b = _unit(bridged)
    cosine = np.clip(np.einsum("nd,nd->n", a, b), -1.0, 1.0)
    # from the chord: accurate for small angles, where the arc cosine is not
    angle = 2 * np.arctan2(np.linalg.norm(a - b, axis=1), np.linalg.norm(a + b, axis=1))
    sine = np.sin(angle)
    near = (sine < 1e-7) & (cosine > 0)
    opposite = (sine < 1e-7) & (cosine < 0)
    safe = np.where(sine < 1e-7, 1.0, sine)
    weight_a = np.where(near, 1 - alpha, np.sin((1 - alpha) * angle) / safe)
    weight_b = np.where(near, alpha, np.sin(alpha * angle) / safe)
    only_a = (opposite & (alpha < 1)) | (length_b == 0)
    only_b = (opposite & (alpha == 1)) | (length_a == 0)
    weight_a = np.where(only_a, 1.0, np.where(only_b, 0.0, weight_a))
    weight_b = np.where(only_b, 1.0, np.where(only_a, 0.0, weight_b))
    mixed, _ = _unit(weight_a[:, None] * a + weight_b[:, None] * b)
    if metric == "l2":
        mixed *= ((1 - alpha) * length_a + alpha * length_b)[:, None]
    return mixed.astype(np.result_type(old.dtype, bridged.dtype, np.float32), copy=False)


def _unit(rows: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    wide = np.asarray(rows, dtype=np.float64)
    length = np.linalg.norm(wide, axis=1)
    return wide / np.where(length == 0, 1.0, length)[:, None], length


@dataclass(frozen=True)
class MixedQuery:
    """Search the old index with a point between the old query and the bridged new one.

    Both encoders run for each query.  ``alpha`` 0 is the old query, 1 the bridged one.
    """

    alpha: float
    interval: Estimate | None = None
    """Alpha with the spread of what resampled support queries would have chosen."""
    metric: Metric = "cosine"

    def __call__(self, query_old: NDArray[Any], query_bridged: NDArray[Any]) -> NDArray[Any]:
        """The queries to search the old index with, ``(n, d)``; see `interpolate`."""
        return interpolate(query_old, query_bridged, self.alpha, self.metric)

    def side(self, trial: Trial) -> Side:
        """What a trial's mixed queries search.

        Raises:
            InputError: where `can_mix` is false.
        """
        if trial.query_bridged is None or not can_mix(trial):
            raise InputError(
                "a corpus bridge maps no queries: there is nothing to mix", where="mixed query"
            )
        return Side(self(trial.query_old, trial.query_bridged), trial.gallery_old, trial.metric)

    @property
    def certain(self) -> bool:
        """Whether resampled support queries would have mixed as well."""
        low = None if self.interval is None else self.interval.low
        return low is not None and low > 0

    @property
    def price(self) -> Price:
        """Both encoders for each query, and nothing for the gallery."""
        return Price(old_query=True)


def can_mix(trial: Trial) -> bool:
    """Whether the bridge maps queries, and queries alone, into the old space."""
    return trial.query_bridged is not None and trial.gallery_bridged is None


def choose_mixed_query(
    support: Trial,
    *,
    primary: str | None = None,
    alphas: tuple[float, ...] = ALPHAS,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> MixedQuery:
    """The α that does best on support queries, with a bootstrap interval of the choice.

    Ties go to the smaller α.  With a single support query, or where every α does equally well, the
    data choose nothing: α is 0, the old query, without an interval.

    Args:
        support: answerable queries that no later test uses.
        primary: the metric that decides; `default_metric` if not given.
        alphas: tried, ascending.
        resamples: of the support queries.
        level: of the interval.
        seed: of the resamples.

    Raises:
        InputError: for a trial without relevance, and one that has nothing to mix.
    """
    if support.relevance is None:
        raise InputError("without relevance no weight can be chosen", where="mixed query")
    if not alphas or list(alphas) != sorted(alphas):
        raise InputError("the weights to try must ascend", where="alphas")
    metric = parse_metric(primary or default_metric(support.relevance))
    if support.n_queries < _FEWEST_QUERIES:
        reason = f"{support.n_queries} support query chooses nothing"
        return MixedQuery(0.0, Estimate(value=0.0, reason=reason), support.metric)
    columns: list[NDArray[np.float64]] = []
    for alpha in alphas:
        side = MixedQuery(alpha, None, support.metric).side(support)
        ranks = relevant_ranks(
            side.queries,
            side.gallery,
            support.relevance,
            metric=side.metric,
            exclude=support.exclude,
        )
        columns.append(metric.per_query(ranks))
    values = np.column_stack(columns)
    if bool((values == values[:, :1]).all()):
        reason = "every weight does equally well"
        return MixedQuery(0.0, Estimate(value=0.0, reason=reason), support.metric)
    best = np.asarray(alphas)[np.argmax(values.mean(axis=0))]
    # rounded, so that sums of equal values are equal whatever their order
    means = resampled_means(values, resamples=resamples, seed=seed).round(12)
    chosen = np.asarray(alphas)[np.argmax(means, axis=1)]
    low, high = np.quantile(chosen, [(1 - level) / 2, (1 + level) / 2], method="nearest")
    found = Estimate(value=float(best), low=float(low), high=float(high))
    return MixedQuery(float(best), found, support.metric)
