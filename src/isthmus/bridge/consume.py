"""A consumer of vectors, judged with a bridge before it on rows that no map has seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.bridge.assess import unseen_map_of, unseen_samples
from isthmus.bridge.bridge import Bridge
from isthmus.bridge.head_bridge import fit_head_bridge
from isthmus.bridge.held_out_samples import Queries
from isthmus.bridge.unseen_rows import unseen_rows
from isthmus.evaluate.bootstrap import Resampling
from isthmus.evaluate.consumers import (
    OWN,
    ConsumerReport,
    judge_consumer,
)
from isthmus.evaluate.rerankers import CandidateItems, Reranker, judge_reranker
from isthmus.spaces.pairs import Pairs
from isthmus.ways import Way
from isthmus.ways.bench import search_of

__all__ = ["Consumed", "consume", "consume_reranker"]


@dataclass(frozen=True)
class Consumed:
    """What became of a consumer."""

    report: ConsumerReport
    head_bridge: Bridge | None = None
    """Fitted on rows of the fit, where it was asked for; the arm ``head bridge`` of the report."""


def consume(
    bridge: Bridge,
    estimator: Any,
    pairs: Pairs,
    *,
    retrained: Any = None,
    head_bridge: bool = False,
    resampling: Resampling | None = None,
) -> Consumed:
    """Judge a consumer of the target's vectors with the bridge before it.

    Arms: ``own``, the vectors of the target that it was made on; ``bridge``, mapped vectors;
    ``naive``, source vectors as they are, where they are as wide; ``head bridge``, a map made for
    this consumer (`fit_head_bridge`); ``retrained``, another consumer on the source vectors.  Rows
    that the bridge was fitted on are left out, as far as they can be recognised.

    Args:
        bridge: maps source vectors into the space that the consumer eats.
        estimator: a classifier, regressor or clustering.
        pairs: the same items in both spaces, with their answers as labels where they are known.
        retrained: a consumer that was made on source vectors.
        head_bridge: whether to fit one, on the rows that the bridge was fitted on.
        resampling: of the intervals.

    Raises:
        InputError: where no row is left, and as `judge_consumer` and `fit_head_bridge`.
        WrongSpaceError: for vectors of other models than the bridge's.
    """
    resampling = resampling or Resampling()
    rows = unseen_rows(bridge, pairs, learn=head_bridge, seed=resampling.seed)
    test, known = rows.asked, rows.known
    arms: dict[str, NDArray[Any]] = {OWN: test.y, "bridge": rows.mapped}
    if test.x.shape[1] == test.y.shape[1]:
        arms["naive"] = test.x
    made = None
    if known is not None:
        made = fit_head_bridge(
            bridge, estimator, known.x, known.y, known.labels, seed=resampling.seed
        )
        arms["head bridge"] = made.chain(test.x)
    others = {} if retrained is None else {"retrained": (retrained, test.x)}
    report = judge_consumer(estimator, arms, test.labels, others=others, resampling=resampling)
    return Consumed(report, made)


def consume_reranker(
    bridge: Bridge,
    reranker: Reranker,
    pairs: Pairs,
    queries: Queries,
    *,
    retrained: Reranker | None = None,
    candidates: int = 20,
    resampling: Resampling | None = None,
) -> ConsumerReport:
    """Judge a reranker of the target's vectors with the bridge before it.

    Each query that the bridge was not fitted on is searched through the bridge, by the code that
    serves it, and the reranker orders what is found.  Arms: as `consume`.

    Args:
        bridge: maps queries or items into the space that the reranker eats.
        reranker: scores items for queries.
        pairs: the items in both spaces.
        queries: in both spaces, with what answers them.
        retrained: one that was made on vectors of the source.
        candidates: items that the reranker is given for each query.
        resampling: of the intervals.

    Raises:
        InputError: where no query is left, and as `judge_reranker`.
        WrongSpaceError: for vectors of other models than the bridge's.
    """
    samples = unseen_samples(bridge, pairs, queries)
    trial = samples.judging_part().trial(unseen_map_of(bridge, samples), bridge.kind)
    found = search_of(trial, Way(), depth=candidates)(
        {"new": trial.query_new}
        if trial.query_bridged is None
        else {"new": trial.query_new, "bridged": trial.query_bridged},
        min(candidates, trial.n_searchable),
    ).ids
    new, old = (trial.query_new, trial.gallery_new), (trial.query_old, trial.gallery_old)
    target, source = (old, new) if bridge.kind == "query" else (new, old)

    def given(asked: NDArray[Any], items: NDArray[Any] | None) -> CandidateItems:
        assert items is not None
        return CandidateItems(asked, items[found])

    arms = {OWN: given(*target), "bridge": given(*trial.bridge[:2])}
    if trial.query_new.shape[1] == trial.gallery_old.shape[1]:
        arms["naive"] = given(trial.query_new, trial.gallery_old)
    relevant = None
    if trial.relevance is not None:
        relevant = trial.relevance.among(found.astype(np.int64))
    others = {} if retrained is None else {"retrained": (retrained, given(*source))}
    return judge_reranker(reranker, arms, relevant, others=others, resampling=resampling)
