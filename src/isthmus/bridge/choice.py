"""Who chooses the map: validation queries, or every query behind maps that have not seen it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.adapters.chain import Chain
from isthmus.adapters.cross_fitted import CrossFitted, FittedMap
from isthmus.adapters.recipe import Recipe
from isthmus.adapters.recipe_step import Step
from isthmus.adapters.select import Judge, Selection, SelectionTask, best, select
from isthmus.bridge.evidence import HeldOut, primary_metric
from isthmus.bridge.fit_source import FitSource
from isthmus.bridge.held_out_samples import TEST, VALIDATION
from isthmus.bridge.kind import BridgeKind
from isthmus.bridge.whole_index import in_whole_index
from isthmus.progress import Progress, silent

__all__ = ["Choice", "deciding"]

log = logging.getLogger(__name__)

_SEVERAL = 3.0
"""Answers to a query, on average, from which on the metric itself tells maps apart."""
_FIRSTS = 1000
"""Items of a gallery in which ranks would count by their reciprocals."""
_STEEPEST = 0.5
"""Power of the rank: a steeper one is decided by the few queries whose answers come first."""

_SEARCHED = 10_000
"""Items that candidates search among at the most, old vectors without a partner included."""


def deciding(held_out: HeldOut, kind: BridgeKind, primary: str | None) -> tuple[str, Judge]:
    """What chooses between maps, in words, and its value for each query.

    A metric of the first k results is 1 for most maps where the gallery is as small as a sample of
    few pairs, and then says nothing of them: where a query has an answer or two, the rank of the
    first decides.  The first of a hundred may be the hundredth of ten thousand, so in a gallery of
    ``n`` items each query counts ``rank ** −min(1/2, n / 1000)``: towards the logarithm of the rank
    in a small one.  Where classes or the old model's first results are relevant, the user's metric
    decides.
    """
    relevance = held_out.relevance
    if relevance is None or float(relevance.counts.mean()) >= _SEVERAL:
        return primary_metric(relevance, primary), held_out.judge(kind, primary)
    power = round(min(_STEEPEST, held_out.searched / _FIRSTS), 2)
    ranked = held_out.judge(kind, "mrr")
    return f"mean of 1 / rank^{power:g}", lambda chain: ranked(chain) ** power


class Choice:
    """The choice of a map for a fit.

    Args:
        stream: of the fit rows, with the samples of the held-out queries.
        kind: of the bridge.
        primary: the user's metric.
        cross_fit: whether all queries choose, each behind maps of the other folds.

    Attributes:
        by: what decided, in words, after `among`.
    """

    def __init__(
        self, stream: FitSource, kind: BridgeKind, primary: str | None, *, cross_fit: bool
    ) -> None:
        self.by = "the first recipe: no query was held out to choose by"
        self._stream, self._primary = stream, primary
        self._kind: BridgeKind = kind
        self._cross_fit = cross_fit
        self._judges: list[Judge] | None = None
        self._answers: list[NDArray[Any]] = []

    def among(
        self,
        recipes: Sequence[Recipe],
        *,
        cosine: bool,
        prior: Chain | None = None,
        refinements: Sequence[Step] = (),
        progress: Progress = silent,
    ) -> Selection:
        """The best of ``recipes``, also refined, and every candidate beside it."""
        task = SelectionTask(
            self._judge,
            cosine,
            self._cross_fit,
            self._stream.copies,
            prior,
            refinements,
            self._stream.rows_at_most if self._cross_fit else None,
            progress,
        )
        found = select(recipes, self._stream, task)
        log.debug(
            "chosen of %d maps: %s (%.4f)",
            len(found.candidates),
            found.chosen.recipe,
            found.chosen.score,
        )
        return found

    def out_of_fold(self, selection: Selection) -> CrossFitted | None:
        """Where choice is cross-fitted, the chosen recipe's maps of the folds.

        They are of the recipe that is served, so that thresholds, trust and the weights of ways are
        on the scale of its scores.  Beside them are the maps of the recipes that others chose.
        """
        maps = selection.chosen.chain
        if not isinstance(maps, CrossFitted):
            return None
        return replace(maps, nested=self._nested(maps, selection)).rounded()

    def _nested(self, maps: CrossFitted, selection: Selection) -> CrossFitted | None:
        """For each fold the map of the recipe that the queries of all other folds choose; None
        where that is the chosen one for every fold, or no fold chose by itself."""
        if not self._answers:
            return None
        folds = np.concatenate([maps.folds(ids) for ids in self._answers])
        chains = list(maps.chains)
        for k in range(len(chains)):
            others = folds != k
            if others.all() or not others.any():
                continue
            found = best(selection.in_order, others)
            if found.recipe != selection.chosen.recipe and isinstance(found.chain, CrossFitted):
                chains[k] = found.chain.chains[k].multiplied
        if all(one is other for one, other in zip(chains, maps.chains, strict=True)):
            return None
        return replace(maps, chains=tuple(chains), fewer=None)

    def _judge(self, chain: FittedMap) -> NDArray[np.float64]:
        # the held-out rows exist only after the first pass
        if self._judges is None:
            self._judges = self._found()
        # with no query at all, the first recipe stands
        return np.concatenate([judge(chain) for judge in self._judges] or [np.zeros(1)])

    def _found(self) -> list[Judge]:
        judges: list[Judge] = []
        asked = 0
        for part in (VALIDATION, TEST) if self._cross_fit else (VALIDATION,):
            samples = self._stream.samples
            held_out = samples.held_out(part)
            if held_out is None:
                continue
            held_out = in_whole_index(
                held_out, samples, self._kind, most=_SEARCHED - len(held_out.gallery)
            )
            metric, judge = deciding(held_out, self._kind, self._primary)
            judges.append(judge)
            asked += len(held_out.queries)
            if self._cross_fit and held_out.exclude is None:
                self._answers.append(held_out.answers)
            unseen = "each behind a map of other pairs" if self._cross_fit else "held out for it"
            self.by = f"{metric} of {asked:,} queries, {unseen}"
            if held_out.alone is not None:
                self.by += f", among {held_out.searched:,} items"
        return judges
