"""What each kind of recall searches in a trial, and what it recalls."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.evaluate import Ranks, TopK, Trial, relevant_ranks, top_k
from isthmus.evaluate.attraction import ranks_among_unfitted
from isthmus.evaluate.metrics import MetricAt
from isthmus.evaluate.ranks import ranks_and_hits
from isthmus.evaluate.scores import scores_of
from isthmus.evaluate.trial import GallerySearch
from isthmus.ways.way import Recall

__all__ = [
    "Recalled",
    "can_mix",
    "gallery_search",
    "new_gallery_search",
    "recalled",
    "values_of",
]


def can_mix(trial: Trial) -> bool:
    """Whether the bridge maps queries, and queries alone, into the old space."""
    return trial.query_bridged is not None and trial.gallery_bridged is None


def new_gallery_search(trial: Trial) -> GallerySearch:
    """Native queries among re-embedded items.

    Raises:
        InputError: where the gallery is not known in the new model's vectors.
    """
    if trial.gallery_new is None:
        raise InputError(
            "the gallery is not known in the new model's vectors",
            where="trial",
            mend="Give gallery_new",
        )
    return GallerySearch(trial.query_new, trial.gallery_new, trial.metric_new or trial.metric)


def gallery_search(trial: Trial, recall: Recall) -> GallerySearch:
    """The queries, gallery and metric that a recall searches with and among.

    Raises:
        InputError: for mixed queries of a corpus bridge, and for a new gallery that is not known.
    """
    if recall.kind == "bridge":
        return trial.bridge
    if recall.kind == "new":
        return new_gallery_search(trial)
    if recall.rests_on_bridge and not can_mix(trial):
        raise InputError(
            "a corpus bridge maps no queries: there is nothing to mix", where="mixed query"
        )
    queries = recall.queries(trial.query_old, trial.query_new, trial.query_bridged, trial.metric)
    return GallerySearch(queries, trial.gallery_old, trial.metric)


def values_of(
    trial: Trial, recall: Recall, metric: MetricAt, *, seed: int = 0
) -> NDArray[np.float64]:
    """The metric of each query ``(nq,)`` by one search, expected among rows no map was fitted on.

    Args:
        trial: with relevance; every query has a relevant item.
        recall: what searches.
        metric: of the ranks.
        seed: of the draws.
    """
    assert trial.relevance is not None
    side = gallery_search(trial, recall)
    ranks = relevant_ranks(
        side.queries, side.gallery, trial.relevance, metric=side.metric, exclude=trial.exclude
    )
    drawn = None
    if trial.fitted is not None and recall.rests_on_bridge:
        drawn = ranks_among_unfitted(side, trial.relevance, trial.fitted, ranks, seed=seed)
    drawn = drawn or [ranks]
    return np.mean([metric.per_query(one) for one in drawn], axis=0)


@dataclass(frozen=True, eq=False)
class Recalled:
    """The best K items of every query, as the recall and the new model score them."""

    ranks: Ranks
    """The ranks of the relevant items by the recall alone."""
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
    side, new = gallery_search(trial, recall), new_gallery_search(trial)
    if trial.exclude is None:
        ranks, found = ranks_and_hits(
            side.queries, side.gallery, trial.relevance, depth, metric=side.metric
        )
    else:
        ranks = relevant_ranks(
            side.queries, side.gallery, trial.relevance, metric=side.metric, exclude=trial.exclude
        )
        found = top_k(side.queries, side.gallery, depth, metric=side.metric, exclude=trial.exclude)
    scores = scores_of(new.queries, new.gallery, found.indices, new.metric)
    return Recalled(ranks, found, scores)
