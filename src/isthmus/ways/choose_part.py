"""Partial backfill: re-embed a small share of the corpus, and search what is mixed as one index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.evaluate import (
    Estimate,
    Resampling,
    Trial,
    parse_metric,
    relevant_ranks,
    top_k,
)
from isthmus.evaluate.judging import default_metric
from isthmus.evaluate.metrics import MetricAt
from isthmus.evaluate.paired_outcomes import PairedOutcomes
from isthmus.evaluate.trial import GallerySearch
from isthmus.ways.mixed_index import match_linear, mixed_ranks
from isthmus.ways.order import Orders, Priority, first_share
from isthmus.ways.recall import gallery_search, new_gallery_search
from isthmus.ways.way import Join, Part, Recall, ScoreMatch

__all__ = [
    "SHARES",
    "BackfillCurve",
    "ChosenPart",
    "backfill_curves",
    "backfill_values",
    "choose_part",
]

SHARES = (0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Shares of the gallery that are tried, besides none."""

_WEIGHTS = (0.5, 0.3, 0.0)
_SHIFTS = (0.0, -0.5, -1.0)  # in spreads of the best scores
_MOST_QUERIES = 512
_RESAMPLES = 1000
_MANY_RELEVANT = 4


@dataclass(frozen=True)
class BackfillCurve:
    """The metric against the share of the gallery that is re-embedded, in one order.

    Example:
        >>> from isthmus.ways import BackfillCurve
        >>> shares, values = (0.0, 0.5, 1.0), (0.25, 0.5, 0.75)
        >>> curve = BackfillCurve("popularity", "bridge", shares, values, gains=(), added=())
        >>> curve.area
        0.5
    """

    order: str
    recall: str
    """Who searches what is not re-embedded."""
    shares: tuple[float, ...]
    values: tuple[float, ...]
    gains: tuple[Estimate, ...]
    """Over the old model."""
    added: tuple[Estimate, ...]
    """Over the same search with nothing re-embedded."""

    @property
    def area(self) -> float:
        """Area under the curve from share 0 to 1 (trapezoids)."""
        x, y = np.asarray(self.shares), np.asarray(self.values)
        return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2))

    def smallest_gain(self, max_share: float) -> int | None:
        """Where the smallest share up to ``max_share`` stands that gains.

        It does if both intervals are above 0, over the old model and over nothing re-embedded.
        """
        for place, share in enumerate(self.shares):
            found = (self.gains[place], self.added[place])
            if 0 < share <= max_share and all(e.low is not None and e.low > 0 for e in found):
                return place
        return None

    def __str__(self) -> str:
        points = ", ".join(
            f"{share:.0%} {value:.3f}"
            for share, value in zip(self.shares, self.values, strict=True)
        )
        return f"{self.order} ({self.recall} queries): {points}; area {self.area:.3f}"


@dataclass(frozen=True, eq=False)
class ChosenPart:
    """What to re-embed, who searches the rest, and what showed it on the support queries."""

    recall: Recall
    part: Part
    gain: Estimate | None
    """Over the old model; None where there is a single support query."""
    curves: tuple[BackfillCurve, ...]
    """The curves of all orders."""

    @property
    def areas(self) -> dict[str, float]:
        """Areas under the curves, by order."""
        return {c.order: round(c.area, 4) for c in self.curves if c.recall == self.recall.kind}

    def at(self, share: float) -> ChosenPart:
        """The same with another share of those on the curve.

        Raises:
            InputError: for a share that was not tried.
        """
        for curve in self.curves:
            if (curve.order, curve.recall) == (self.part.order, self.recall.kind):
                for tried, gain in zip(curve.shares, curve.gains, strict=True):
                    if tried == share:
                        part = self.part.model_copy(update={"share": share})
                        return replace(self, part=part, gain=None if self.gain is None else gain)
        raise InputError(f"the share {share:g} was not tried", where="backfill")


def backfill_curves(
    trial: Trial,
    orders: Sequence[Mapping[str, Priority]],
    halves: NDArray[np.bool_],
    recall: Recall,
    join: Join,
    *,
    primary: str | None = None,
    shares: Sequence[float] = SHARES,
    resampling: Resampling | None = None,
) -> list[BackfillCurve]:
    """The metric against the share of the gallery that is re-embedded, for each order.

    Args:
        trial: with relevance and the gallery in the new model's vectors.
        orders: priorities by name, for each half of the queries (twice the same if they do not
            depend on the queries).
        halves: ``(nq,)``, true for the second half.
        recall: who searches what is not re-embedded.
        join: how the score of a re-embedded item is made.
        primary: the metric; `default_metric` if not given.
        shares: ascending, in (0, 1]; none is added.
        resampling: of the queries, for the intervals of the gains over the old model; 1,000
            resamples unless given.

    Raises:
        InputError: where the trial lacks what is needed.

    Example:
        >>> import numpy as np
        >>> from isthmus.evaluate import Trial, from_ids
        >>> from isthmus.ways import Join, Recall, backfill_curves
        >>> rng = np.random.default_rng(0)
        >>> old, new = rng.standard_normal((2, 60, 8)).astype(np.float32)
        >>> same = from_ids(range(60), range(60))
        >>> trial = Trial(old, new, old, new, query_bridged=old, relevance=same)
        >>> first, halves = {"first": -np.arange(60.0)}, np.arange(60) % 2 == 0
        >>> curve, = backfill_curves(
        ...     trial, (first, first), halves, Recall(kind="old"), Join(), shares=(0.5, 1.0)
        ... )
        >>> curve.shares
        (0.0, 0.5, 1.0)
    """
    _judged_search(trial)
    assert trial.relevance is not None
    resampling = resampling or Resampling(_RESAMPLES)
    metric = parse_metric(primary or default_metric(trial.relevance))
    shares = (0.0, *shares)
    names = list(orders[0])
    values = np.column_stack(
        [
            backfill_values(trial, orders, halves, recall, join, metric, shares),
            _old_values(trial, metric),
        ]
    )
    old = len(names) * len(shares)
    outcomes, found = PairedOutcomes(values, resampling), values.mean(axis=0)
    curves: list[BackfillCurve] = []
    for i, name in enumerate(names):
        first = i * len(shares)
        columns = range(first, first + len(shares))
        curves.append(
            BackfillCurve(
                name,
                recall.kind,
                tuple(shares),
                tuple(found[columns].tolist()),
                tuple(outcomes.difference(column, old) for column in columns),
                tuple(outcomes.difference(column, first) for column in columns),
            )
        )
    return curves


def backfill_values(
    trial: Trial,
    orders: Sequence[Mapping[str, Priority]],
    halves: NDArray[np.bool_],
    recall: Recall,
    join: Join,
    metric: MetricAt,
    shares: Sequence[float],
) -> NDArray[np.float64]:
    """The metric of each query, for each order, at each share ``(nq, orders * shares)``.

    Args:
        trial: as in `backfill_curves`.
        orders: as in `backfill_curves`.
        halves: as in `backfill_curves`.
        recall: as in `backfill_curves`.
        join: as in `backfill_curves`.
        metric: of each query.
        shares: of the gallery, each as it is.
    """
    names = list(orders[0])
    values = np.empty((trial.n_queries, len(names) * len(shares)))
    for half, priorities in zip((~halves, halves), orders, strict=True):
        if half.any():
            settings = [
                (first_share(priorities[name], share), join) for name in names for share in shares
            ]
            values[half] = _values(trial.of(half), recall, metric, settings)
    return values


def choose_part(
    support: Trial,
    recalls: Sequence[Recall],
    *,
    primary: str | None = None,
    max_share: float = 0.1,
    shares: Sequence[float] = SHARES,
    seed: int = 0,
) -> ChosenPart:
    """The smallest share of the gallery whose re-embedding gains, on support queries.

    For each way to search the rest, the scores of re-embedded items are matched on a line,
    and their weight and shift chosen at ``max_share``; then the whole curve of every order is
    drawn.  Taken is the smallest share up to ``max_share`` whose gain over the old model, and over
    nothing re-embedded, has its interval above 0, and of equal shares the one that gains most; if
    there is none, or a single query, the best at ``max_share``.  The orders, the random control
    among them, are those of `Orders`.

    Args:
        support: answerable queries that no later test uses; ``gallery_error`` gives the order by
            predicted error.
        recalls: who may search what is not re-embedded.
        primary: the metric that decides; `default_metric` if not given.
        max_share: of the gallery.
        shares: tried, ascending, in (0, 1].
        seed: of the halves, the clusters, the control and the resamples.

    Raises:
        InputError: where the trial lacks what is needed, and for a share that is none.
    """
    if not 0 < max_share <= 1:
        raise InputError(f"a share of the gallery lies in (0, 1], got {max_share}")
    shares = sorted({*shares, max_share})
    _judged_search(support)
    support = _fewer_queries(support, seed)
    new = _judged_search(support)
    assert support.relevance is not None
    primary = parse_metric(primary or default_metric(support.relevance)).name
    halves = np.random.default_rng(seed).permutation(support.n_queries) % 2 == 1
    found: list[tuple[float, float, ChosenPart]] = []
    common: dict[str, Priority] = {}
    for recall in recalls:
        low = gallery_search(support, recall)
        orders = Orders(support, recall, seed)
        common = common or orders.of_support()
        priorities = [
            {"popularity": counts} | common for counts in orders.popularity_of_halves(halves)
        ]
        match = match_linear(new, low, exclude=support.exclude)
        join = _chosen_join(support, recall, priorities, halves, match, primary, max_share)
        curves = tuple(
            backfill_curves(
                support, priorities, halves, recall, join,
                primary=primary, shares=shares, resampling=Resampling(_RESAMPLES, seed=seed),
            )
        )  # fmt: skip
        for curve in curves:
            # a single query has no spread, and so no interval to choose by
            place = curve.smallest_gain(max_share) if support.n_queries > 1 else None
            shown = place is not None
            if place is None:
                place = curve.shares.index(max_share)
            share, gain = curve.shares[place], curve.gains[place]
            known = gain if support.n_queries > 1 else None
            part = Part(share=share, order=curve.order, join=join)
            one = ChosenPart(recall, part, known, curves)
            found.append((share if shown else 2.0, -(gain.value or 0.0), one))
    return min(found, key=lambda f: f[:2])[2]


def _judged_search(trial: Trial) -> GallerySearch:
    if trial.gallery_new is None or trial.relevance is None:
        missing = "relevance" if trial.relevance is None else "the gallery in the new vectors"
        raise InputError(f"without {missing} a backfill cannot be judged", where="backfill")
    return new_gallery_search(trial)


def _fewer_queries(support: Trial, seed: int) -> Trial:
    """Where queries have many relevant items, ranking them is slow, and some queries are enough."""
    assert support.relevance is not None
    few = int(support.relevance.counts.max()) <= _MANY_RELEVANT
    if few or support.n_queries <= _MOST_QUERIES:
        return support
    kept = np.zeros(support.n_queries, dtype=np.bool_)
    kept[np.random.default_rng(seed).permutation(support.n_queries)[:_MOST_QUERIES]] = True
    return support.of(kept)


def _values(
    trial: Trial,
    recall: Recall,
    metric: MetricAt,
    settings: Sequence[tuple[NDArray[np.bool_], Join]],
) -> NDArray[np.float64]:
    """The metric of each query in each setting ``(nq, settings)``."""
    assert trial.relevance is not None
    ranks = mixed_ranks(
        gallery_search(trial, recall),
        _judged_search(trial),
        trial.relevance,
        settings,
        exclude=trial.exclude,
    )
    return np.column_stack([metric.per_query(r) for r in ranks])


def _old_values(trial: Trial, metric: MetricAt) -> NDArray[np.float64]:
    assert trial.relevance is not None
    ranks = relevant_ranks(
        trial.query_old,
        trial.gallery_old,
        trial.relevance,
        metric=trial.metric,
        exclude=trial.exclude,
    )
    return metric.per_query(ranks)


def _chosen_join(
    support: Trial,
    recall: Recall,
    priorities: Sequence[Mapping[str, Priority]],
    halves: NDArray[np.bool_],
    match: ScoreMatch,
    primary: str,
    share: float,
) -> Join:
    """The weight and shift that do best on average over two orders at the given share."""
    unit = _spread_of_best(gallery_search(support, recall), support.exclude)
    joins = [
        Join(match=match, weight=weight, shift=float(f"{shift * unit:.4g}"))
        for weight in _WEIGHTS
        for shift in _SHIFTS
    ]
    totals = np.zeros(len(joins))
    for half, orders in zip((~halves, halves), priorities, strict=True):
        if not half.any():
            continue
        masks = [first_share(orders[name], share) for name in ("popularity", "random")]
        settings = [(mask, join) for join in joins for mask in masks]
        values = _values(support.of(half), recall, parse_metric(primary), settings)
        totals += values.reshape(len(values), len(joins), len(masks)).sum(axis=(0, 2))
    return joins[int(np.argmax(totals.round(9)))]


def _spread_of_best(search: GallerySearch, exclude: NDArray[np.int64] | None) -> float:
    """Standard deviation of the best scores of all queries."""
    available = len(search.gallery) - (exclude is not None)
    best = top_k(
        search.queries, search.gallery, min(20, available), metric=search.metric, exclude=exclude
    )
    return float(best.scores.std(dtype=np.float64))
