"""What one search by mapped queries is told to find: more and less than its ranks say as they are.

A map that has not seen a query was fitted on other rows of the gallery, which it attracts; on fewer
pairs than the map that is served; and it is of the recipe that the same queries chose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np

from isthmus.array_types import Values
from isthmus.evaluate import Ranks, Trial, relevant_ranks
from isthmus.evaluate.attraction import AmongUnfitted, judged_among_unfitted
from isthmus.evaluate.metrics import MetricAt
from isthmus.evaluate.trial import FewerPairs
from isthmus.ways.recall import gallery_search
from isthmus.ways.way import Recall

__all__ = ["JudgedRecall", "WhichMaps"]

WhichMaps = Literal["found", "fewer", "nested"]
"""Those of `JudgedRecall`."""


@dataclass(frozen=True, eq=False)
class JudgedRecall:
    """One search of a gallery, and the same behind other maps."""

    ranks: Ranks
    """Ranks of the relevant items in the gallery as it is."""
    found: AmongUnfitted | None = None
    """Among rows that no map was fitted on; None where `ranks` need no correction."""
    fewer: AmongUnfitted | None = None
    """Behind maps that were fitted on fewer pairs; None without such maps."""
    nested: AmongUnfitted | None = None
    """Behind maps that others chose; None where those are the same."""
    pairs: FewerPairs | None = None
    """How many those of `fewer` were fitted on."""

    @classmethod
    def of(cls, trial: Trial, recall: Recall, ranks: Ranks, *, seed: int = 0) -> Self:
        """Search behind every map that the trial has.

        Args:
            trial: with relevance.
            recall: what searches; where it does not ask the bridge, its ranks are all.
            ranks: of the relevant items in the gallery as it is.
            seed: of the draws.
        """
        if not recall.rests_on_bridge:
            return cls(ranks)
        relevance = trial.relevance
        assert relevance is not None
        others = {"fewer": trial.of_fewer, "nested": trial.of_nested}
        beside = {name: one for name, one in others.items() if one is not None}
        trials = (trial, *beside.values())
        sides = [gallery_search(one, recall) for one in trials]
        found = [ranks] + [
            relevant_ranks(
                one.queries, one.gallery, relevance, metric=one.metric, exclude=trial.exclude
            )
            for one in sides[1:]
        ]
        fitted = [one.fitted for one in trials if one.fitted is not None]
        judged = None
        if len(fitted) == len(trials):
            judged = judged_among_unfitted(sides, relevance, fitted, found, seed=seed)
        own, *rest = judged or [None, *map(AmongUnfitted.as_found, found[1:])]
        return cls(ranks, own, **dict(zip(beside, rest, strict=True)), pairs=trial.fewer)

    @property
    def adjusted(self) -> bool:
        """Whether it is told otherwise than it was found."""
        return (self.found, self.fewer, self.nested) != (None, None, None)

    def values(self, metrics: Sequence[MetricAt]) -> Values:
        """Each metric of each query ``(nq, m)``, expected among rows that no map was fitted on."""
        return self._as_searched.values(metrics)

    def told(self, metrics: Sequence[MetricAt]) -> Values:
        """`values`, and what the map of all pairs is expected to find more ``(nq, m)``."""
        found = self.values(metrics)
        if self.pairs is None or self.fewer is None:
            return found
        return found + self.pairs.next(found, self.fewer.values(metrics))

    def noise(self, metrics: Sequence[MetricAt]) -> Values:
        """What each query moves the mean of `told` by beside its own values ``(nq, m)``."""
        own = self._as_searched.noise(metrics)
        if self.pairs is None or self.fewer is None:
            return own
        found, less = self.values(metrics), self.fewer.values(metrics)
        step = self.pairs.next(found + own, less + self.fewer.noise(metrics))
        return own + step - self.pairs.next(found, less)

    def luck(self, metrics: Sequence[MetricAt]) -> Values:
        """What the map finds more than those that others chose ``(nq, m)``."""
        if self.nested is None:
            return np.zeros((len(self.ranks.counts), len(metrics)))
        return self.values(metrics) - self.nested.values(metrics)

    def luck_noise(self, metrics: Sequence[MetricAt]) -> Values:
        """What each query moves the mean of `luck` by beside its own values ``(nq, m)``."""
        return self._as_searched.noise(metrics) - (self.nested or self._as_searched).noise(metrics)

    @property
    def _as_searched(self) -> AmongUnfitted:
        return self.found or AmongUnfitted.as_found(self.ranks)

    def middle(self, metric: MetricAt, of: WhichMaps = "found") -> Ranks | None:
        """The draw of ranks whose metric is nearest to that of all; None where it was not searched
        behind such maps."""
        judged: AmongUnfitted | None = getattr(self, of)
        if judged is None:
            return self.ranks if of == "found" else None
        means = np.array([metric.per_query(ranks).mean() for ranks in judged.draws])
        return judged.draws[int(np.argmin(np.abs(means - means.mean())))]
