"""The cascade: one search recalls candidates, the new model encodes and reorders them.

With the gallery's new vectors at hand the simulation is exact: what is encoded at query time has
the vector it would have had ahead.  What was encoded is kept, so a cascade is a backfill too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.evaluate import Ranks, Trial, parse_metric
from isthmus.evaluate.extra import Parameter
from isthmus.evaluate.metrics import MetricAt
from isthmus.evaluate.price import Price, price_of_rescoring
from isthmus.evaluate.relevance import Relevance
from isthmus.evaluate.rescore import rescored_order, rescored_ranks
from isthmus.evaluate.retrieval import default_metric
from isthmus.ways.depth import (
    DepthRule,
    FixedDepth,
    MarginDepth,
    ScoreLink,
    StoppingDepth,
    fused_scores,
)
from isthmus.ways.recall import Recall, Recalled, recalled

__all__ = ["Cascade", "Outcome", "choose_cascade", "deepest"]

WEIGHTS = (0.0, 0.15, 0.3, 0.45)
"""Weights of the recall score that are tried."""

_DEPTHS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 40, 50, 70, 100)
_STOPPING = np.arange(0.5, 3.51, 0.25)
_STEP = 5
_SAVING = 0.9
"""A rule that looks at each query must cost at most this share of the fixed depth."""


class Outcome(NamedTuple):
    """What a strategy makes of a trial: the ranks, and the price."""

    ranks: Ranks
    price: Price


@dataclass(frozen=True)
class Cascade:
    """Recall by ``recall``, then let the new model rescore as many items as ``rule`` says.

    The items are ordered by ``(1 − weight) · new score + weight · scale · recall score``.
    """

    recall: Recall
    rule: DepthRule
    most: int
    """The largest number of items that is ever rescored."""
    weight: float = 0.0
    scale: float = 1.0
    trusting: bool = False
    """Whether the depth follows each query's trust, which must then be given."""

    @property
    def parameters(self) -> dict[str, Parameter]:
        """Plain values that describe it."""
        mixed = self.recall.mixed
        return {
            "recall": self.recall.kind,
            **({} if mixed is None else {"alpha": mixed.alpha}),
            "weight": self.weight,
            "scale": self.scale,
            **self.rule.parameters,
            **({"trusting": True} if self.trusting else {}),
        }

    def run(
        self,
        trial: Trial,
        *,
        trust: NDArray[np.float64] | None = None,
        known: NDArray[np.bool_] | None = None,
        found: Recalled | None = None,
    ) -> Outcome:
        """The ranks of a trial's queries, and what they cost.

        Args:
            trial: with relevance and the gallery in the new model's vectors.
            trust: of each query, in [0, 1].
            known: gallery items ``(ng,)`` that were re-embedded ahead.
            found: what `recalled` gave for this trial and recall, to a depth of at least ``most``.

        Raises:
            InputError: where the trial lacks what is needed, or has fewer items than ``most``.
        """
        found = recalled(trial, self.recall, self.most) if found is None else found
        depths = self.depths(found, trust)
        price = price_of_rescoring(
            found.found.indices[:, : self.most],
            trial.n_gallery,
            depths=depths,
            known=known,
            old_query=self.recall.old_query,
            reembedded=0.0 if known is None else float(known.mean()),
        )
        assert trial.relevance is not None
        return Outcome(self.ranks(found, trial.relevance, depths), price)

    def depths(
        self, found: Recalled, trust: NDArray[np.float64] | None = None
    ) -> NDArray[np.int64]:
        """How many items of each query are rescored ``(nq,)``.

        Raises:
            InputError: where the depth follows a trust that is not given.
        """
        if self.trusting and trust is None:
            raise InputError("the depth was chosen by trust, which is not given", where="trust")
        return self.rule.depths(
            found.found.scores[:, : self.most],
            self._fused(found),
            trust if self.trusting else None,
        )

    def ranks(self, found: Recalled, relevance: Relevance, depths: NDArray[np.int64]) -> Ranks:
        """Ranks of the relevant items once ``depths (nq,)`` of each query are reordered."""
        indices = found.found.indices[:, : self.most]
        return rescored_ranks(found.ranks, relevance, indices, self._fused(found), depths=depths)

    def rescore(
        self,
        indices: NDArray[np.int64],
        recall_scores: NDArray[np.float32],
        new_scores: NDArray[np.float32],
    ) -> NDArray[np.int64]:
        """The recalled items ``indices (nq, k)`` in their final order, once they are encoded.

        ``recall_scores`` and ``new_scores`` are ``(nq, k)``; ties keep the order of the recall.
        """
        fused = fused_scores(recall_scores, new_scores, self.weight, self.scale)
        return rescored_order(indices, fused)

    def _fused(self, found: Recalled) -> NDArray[np.float64]:
        cut = np.s_[:, : self.most]
        return fused_scores(found.found.scores[cut], found.new_scores[cut], self.weight, self.scale)


def deepest(*trials: Trial) -> int:
    """How many items a cascade may rescore: 100, but at most 5 % of the smallest gallery."""
    smallest = min(trial.n_searchable for trial in trials)
    return max(1, min(100, smallest // 20))


def choose_cascade(
    support: Trial,
    recall: Recall,
    *,
    primary: str | None = None,
    most: int | None = None,
    price: float | None = None,
    tolerance: float = 0.005,
    trust: NDArray[np.float64] | None = None,
    found: Recalled | None = None,
) -> Cascade:
    """The cheapest cascade that does about as well as the best, on support queries.

    First the weight of the recall score is chosen at the largest depth.  Then a fixed number of
    items, all within a margin of the best recall score, and stopping when the rest can hardly
    matter are tried at many settings each.  Taken is the one of the fewest encodings per query
    whose metric is within one standard error, or within ``tolerance``, of the best.  A rule that
    looks at each query must save a tenth against the best fixed number.  A single support query
    chooses nothing: then the largest number of items is rescored, and ordered by the new model
    alone.

    Args:
        support: answerable queries that no later test uses.
        recall: who recalls.
        primary: the metric that decides; `default_metric` if not given.
        most: items rescored at the most; `deepest` if not given.
        price: encodings per query that may not be exceeded, on average; the best setting within
            it is the one that others are compared with.
        tolerance: loss of the metric that a lower price is worth.
        trust: of each support query, in [0, 1]; used where it saves encodings.
        found: what `recalled` gave for these queries, to a depth of at least ``most``.

    Raises:
        InputError: for a trial without relevance or new gallery vectors, more items than can be
            found, and a price that no setting meets.
    """
    most = deepest(support) if most is None else most
    if not 1 <= most <= support.n_searchable:
        raise InputError(
            f"cannot rescore {most} of {support.n_searchable} gallery items", where="most"
        )
    if price is not None and price < 1:
        raise InputError(
            f"no cascade costs {price:g} encodings per query or less",
            where="price",
            mend="Allow at least one",
        )
    if support.n_queries < 2:
        most = most if price is None else min(most, int(price))
        return Cascade(recall, FixedDepth(most), most)
    found = recalled(support, recall, most) if found is None else found
    assert support.relevance is not None
    metric = parse_metric(primary or default_metric(support.relevance))
    bench = _Bench(found, support.relevance, metric)
    link = ScoreLink.of(found.found.scores[:, :most], found.new_scores[:, :most])
    scale = _scale(found.found.scores[:, :most], found.new_scores[:, :most])
    whole = [Cascade(recall, FixedDepth(most), most, w, scale) for w in WEIGHTS]
    best = max((bench.measured(c) for c in whole), key=lambda m: float(m.values.mean()))
    weight = best.cascade.weight

    def measured(rules: Iterable[DepthRule], given: NDArray[np.float64] | None) -> list[_Measured]:
        some = [Cascade(recall, r, most, weight, scale, given is not None) for r in rules]
        found = [bench.measured(cascade, given) for cascade in some]
        return [m for m in found if price is None or m.mean_depth <= price]

    adaptive: list[DepthRule] = [
        *(MarginDepth(m, most) for m in _margins(found.found.scores[:, :most])),
        *(StoppingDepth(float(z), _STEP, most, link, weight, scale) for z in _STOPPING),
    ]
    fixed = measured(_fixed(most), None)
    fine = measured(adaptive, None)
    if trust is not None:
        fine += measured(adaptive, trust)
    top = max([*fixed, *fine], key=lambda m: (float(m.values.mean()), -m.mean_depth))
    cheapest = _cheapest(fixed, top, tolerance)
    finest = _cheapest(fine, top, tolerance)
    if cheapest is None:
        return (finest or top).cascade
    if finest is not None and finest.mean_depth <= _SAVING * cheapest.mean_depth:
        return finest.cascade
    return cheapest.cascade


class _Measured(NamedTuple):
    cascade: Cascade
    values: NDArray[np.float64]
    mean_depth: float

    def about(self, best: _Measured, tolerance: float) -> bool:
        gap = best.values - self.values
        return float(gap.mean()) <= max(tolerance, float(gap.std()) / len(gap) ** 0.5)


def _cheapest(some: list[_Measured], best: _Measured, tolerance: float) -> _Measured | None:
    enough = [m for m in some if m.about(best, tolerance)]
    return min(enough, key=lambda m: m.mean_depth, default=None)


@dataclass(frozen=True, eq=False)
class _Bench:
    """Support queries that cascades of one recall are measured on."""

    found: Recalled
    relevance: Relevance
    metric: MetricAt

    def measured(self, cascade: Cascade, trust: NDArray[np.float64] | None = None) -> _Measured:
        depths = cascade.depths(self.found, trust)
        ranks = cascade.ranks(self.found, self.relevance, depths)
        return _Measured(cascade, self.metric.per_query(ranks), float(depths.mean()))


def _fixed(most: int) -> list[FixedDepth]:
    return [FixedDepth(k) for k in sorted({*(k for k in _DEPTHS if k < most), most})]


def _margins(recall_scores: NDArray[np.float32]) -> list[float]:
    """Margins that let through as many items on average as the fixed depths do."""
    behind = np.asarray(recall_scores[:, :1], dtype=np.float64) - recall_scores
    most = behind.shape[1]
    shares = [k / most for k in _DEPTHS if k < most]
    return sorted({0.0, *(float(f"{m:.4g}") for m in np.quantile(behind, shares))})


def _scale(recall_scores: NDArray[Any], new_scores: NDArray[Any]) -> float:
    """Spread of new scores within a query over that of recall scores; 1 where one has none."""

    def spread(scores: NDArray[Any]) -> float:
        wide = np.asarray(scores, dtype=np.float64)
        return float(np.sqrt(np.mean((wide - wide.mean(axis=1, keepdims=True)) ** 2)))

    recall, new = spread(recall_scores), spread(new_scores)
    return float(f"{new / recall:.4g}") if min(recall, new) > 1e-9 else 1.0
