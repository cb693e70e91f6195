"""Who recalls the first candidates: the bridge, the old model, or the mix of both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.evaluate import Ranks, TopK, Trial, relevant_ranks, top_k
from isthmus.evaluate.rescore import scores_of
from isthmus.evaluate.trial import Side
from isthmus.ways.mixed_query import MixedQuery

__all__ = ["Recall", "RecallKind", "Recalled", "recalled"]

RecallKind = Literal["bridge", "old", "mixed"]


@dataclass(frozen=True)
class Recall:
    """A search that needs no gallery vector of the new model."""

    kind: RecallKind
    mixed: MixedQuery | None = None
    """Of ``mixed`` alone."""

    @property
    def old_query(self) -> bool:
        """Whether the old encoder must run for each query."""
        return self.kind != "bridge"

    @property
    def needs_bridge(self) -> bool:
        """Whether it rests on the bridge."""
        return self.kind != "old"

    def side(self, trial: Trial) -> Side:
        """The queries, gallery and metric of the search.

        Raises:
            InputError: for mixed queries of a corpus bridge.
        """
        if self.kind == "bridge":
            return trial.bridge
        if self.kind == "old":
            return Side(trial.query_old, trial.gallery_old, trial.metric)
        if self.mixed is None:
            raise InputError("a mixed recall needs a mixed query", where="recall")
        return self.mixed.side(trial)


@dataclass(frozen=True, eq=False)
class Recalled:
    """The best K items of every query, as the recall and the new model score them."""

    ranks: Ranks
    """Of the relevant items by the recall alone."""
    found: TopK
    """Indices and recall scores ``(nq, K)``."""
    new_scores: NDArray[np.float32]
    """Scores of the new model ``(nq, K)``."""


def recalled(trial: Trial, recall: Recall, depth: int) -> Recalled:
    """Recall ``depth`` items for each query, and rescore them all with the new model.

    Raises:
        InputError: without relevance or the gallery in the new model's vectors, and for more
            items than a query can find.
    """
    if trial.relevance is None or trial.gallery_new is None:
        missing = "relevance" if trial.relevance is None else "the gallery in the new vectors"
        raise InputError(f"without {missing} rescoring cannot be judged", where="cascade")
    side = recall.side(trial)
    ranks = relevant_ranks(
        side.queries, side.gallery, trial.relevance, metric=side.metric, exclude=trial.exclude
    )
    found = top_k(side.queries, side.gallery, depth, metric=side.metric, exclude=trial.exclude)
    metric = trial.metric_new or trial.metric
    new = scores_of(trial.query_new, trial.gallery_new, found.indices, metric)
    return Recalled(ranks, found, new)
