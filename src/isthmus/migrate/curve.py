"""What is to be expected while an index fills: the way at each share, and its quality.

Whether the full index finds more than the old model rests on no map, so that every query judges it
(where old vectors are mapped in place of new ones: every query whose answers the map has not seen).
What lies between rests on the bridge: it is judged by queries that its map has not seen, each half
of them in the ways that the other half chose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from isthmus.array_types import Mask
from isthmus.bridge import Bridge, StoreSample
from isthmus.bridge.unseen_sample import UnseenSample, unseen_answers, unseen_sample
from isthmus.evaluate import (
    Estimate,
    PairedOutcomes,
    Relevance,
    Resampling,
    Trial,
    parse_metric,
)
from isthmus.migrate.filling_order import FillingOrder, chosen_order, relative_error
from isthmus.ways.choose_part import ChosenPart, backfill_values, choose_part
from isthmus.ways.mixed_index import match_linear
from isthmus.ways.order import ErrorModel
from isthmus.ways.recall import gallery_search, new_gallery_search, values_of
from isthmus.ways.way import Join, Recall

__all__ = ["FEWEST_QUERIES", "SHARES", "Curve", "serving_curve"]

SHARES = (0.05, 0.1, 0.25, 0.5, 0.75, 1.0)
_JOINED_AT = (0.1, 0.5, 1.0)
"""Filled shares for which a join is chosen; each is used from the middle to its neighbour on."""
_FROM = (0.0, 0.25, 0.75)
_METRIC = "recall@10"
_RESAMPLES = 1000
FEWEST_QUERIES = 20
"""Queries below which nothing is chosen by them."""


@dataclass(frozen=True)
class Curve:
    """How to serve, and what it is expected to reach.

    Attributes:
        recall: who searches what is not filled.
        joins: from which share on which join is used.
        points: share, value, gain over keeping the old model; the full index alone where queries
            that the bridge has not seen are too few.
        kept: what keeping the old model reaches; None where nothing could be judged.
        order: what is filled first; None where nothing could choose it.
    """

    recall: Recall
    joins: tuple[tuple[float, Join], ...]
    points: tuple[tuple[float, float, Estimate], ...] = ()
    kept: float | None = None
    order: FillingOrder | None = None


def serving_curve(
    sample: StoreSample,
    bridge: Bridge | None,
    *,
    old_runs: bool,
    seed: int = 0,
    mapped_by: Bridge | None = None,
) -> Curve:
    """How to serve while the index fills, and what each share of it is expected to reach.

    With too few queries that the bridge was not fitted on, the scores of both columns are brought
    to one scale by the items themselves.

    Args:
        sample: items and queries by both models.
        bridge: of queries, fitted on the sample or on others; None where the old model has to
            encode them until all is filled.
        old_runs: whether the old model can encode queries meanwhile.
        seed: of the halves.
        mapped_by: the corpus bridge that made the sample's new vectors of items, if one did.
    """
    unseen = None if bridge is None else unseen_sample(bridge, sample)
    items = Trial(
        query_old=sample.old, query_new=sample.new, gallery_old=sample.old, gallery_new=sample.new,
        query_bridged=None if unseen is None else unseen.mapped_items,
        metric=sample.column.metric, exclude=np.arange(len(sample)),
    )  # fmt: skip
    if unseen is not None and unseen.items.any():
        items = items.of(unseen.items)
    recalls = _recalls(bridge, old_runs=old_runs)
    asked = _asked(sample, unseen, mapped_by)
    if len(asked) < FEWEST_QUERIES:
        return Curve(recalls[0], _joins_by_items(items, recalls[0]))
    assert sample.old_queries is not None and sample.new_queries is not None
    trial = replace(
        items,
        query_old=sample.old_queries,
        query_new=sample.new_queries,
        query_bridged=None if unseen is None else unseen.mapped_queries,
        relevance=_relevance(sample),
        exclude=None,
    )
    few = asked.sum() < FEWEST_QUERIES
    if few and mapped_by is not None:
        return Curve(recalls[0], _joins_by_items(items, recalls[0]))
    kept, full = _full(trial if mapped_by is None else trial.of(asked), seed)
    if few:
        return Curve(recalls[0], _joins_by_items(items, recalls[0]), (full,), kept)
    errors = None
    if items.query_bridged is not None:
        errors = ErrorModel.fit(
            items.query_old, relative_error(items.query_bridged, items.query_old)
        )
    trial = trial.of(asked)
    first = np.random.default_rng(seed).permutation(trial.n_queries) % 2 == 0
    halves = trial.of(first), trial.of(~first)
    chosen = [_chosen(half, recalls, errors, seed) for half in halves]
    values = [
        _values(half, serve, seed) for half, serve in zip(halves, reversed(chosen), strict=True)
    ]
    outcomes = PairedOutcomes(np.concatenate(values), Resampling(_RESAMPLES, seed=seed))
    points: list[tuple[float, float, Estimate]] = []
    for column, share in enumerate((0.0, *SHARES[:-1])):
        gain = outcomes.difference(column, len(SHARES))
        points.append((share, min(max(kept + (gain.value or 0.0), 0.0), 1.0), gain))
    return replace(chosen[0], points=(*points, full), kept=kept)


def _recalls(bridge: Bridge | None, *, old_runs: bool) -> list[Recall]:
    """Who may search what is not filled, the likeliest first."""
    recalls = [Recall(kind="bridge")] if bridge is not None else []
    recalls += [Recall(kind="old")] if old_runs else []
    recommended = None if bridge is None else bridge.recommended
    if recommended is not None and recommended[1].recall.kind in ("bridge", "mixed"):
        best = recommended[1].recall
        if old_runs or not best.old_query:
            return [best, *(r for r in recalls if r != best)]
    return recalls


def _joins_by_items(items: Trial, recall: Recall) -> tuple[tuple[float, Join], ...]:
    """One join for every share, chosen without queries."""
    low = gallery_search(items, recall)
    match = match_linear(new_gallery_search(items), low, exclude=items.exclude)
    return ((0.0, Join(match=match, weight=0.3)),)


def _full(trial: Trial, seed: int) -> tuple[float, tuple[float, float, Estimate]]:
    """What the old model finds, and the point of the full index; no map takes part in either."""
    metric = parse_metric(_METRIC)
    old, new = (values_of(trial, Recall(kind=kind), metric) for kind in ("old", "new"))
    outcomes = PairedOutcomes(np.column_stack([old, new]), Resampling(_RESAMPLES, seed=seed))
    return float(old.mean()), (1.0, float(new.mean()), outcomes.difference(1, 0))


def _chosen(
    support: Trial, recalls: Sequence[Recall], errors: ErrorModel | None, seed: int
) -> Curve:
    """The way and the order that these queries choose."""

    def joined(tried: Sequence[Recall]) -> list[ChosenPart]:
        return [
            choose_part(
                support, tried, primary=_METRIC, max_share=share, shares=(share,), seed=seed
            )
            for share in _JOINED_AT
        ]

    found = joined(recalls)
    recall = found[0].recall
    if any(other.recall != recall for other in found):
        found = joined([recall])
    joins = tuple((least, one.part.join or Join()) for least, one in zip(_FROM, found, strict=True))
    order = chosen_order(support, recall, joins[0][1], errors=errors, metric=_METRIC, seed=seed)
    return Curve(recall, joins, order=order)


def _values(test: Trial, serve: Curve, seed: int) -> NDArray[np.float64]:
    """What each query finds at each share but the last, and by the old model ``(nq, shares)``."""
    assert serve.order is not None
    metric = parse_metric(_METRIC)
    halves = np.random.default_rng(seed + 1).permutation(test.n_queries) % 2 == 1
    priorities = serve.order.priorities(test, serve.recall, halves)
    shares = (0.0, *SHARES[:-1])
    bounds = [*(least for least, _ in serve.joins[1:]), 1.0]
    columns: list[NDArray[np.float64]] = []
    for (least, join), until in zip(serve.joins, bounds, strict=True):
        here = [share for share in shares if least <= share < until]
        columns.append(backfill_values(test, priorities, halves, serve.recall, join, metric, here))
    columns.append(values_of(test, Recall(kind="old"), metric)[:, None])
    return np.hstack(columns)


def _asked(sample: StoreSample, unseen: UnseenSample | None, mapped_by: Bridge | None) -> Mask:
    """Which queries ``(nq,)`` choose and judge."""
    if sample.queries is None:
        return np.zeros(0, np.bool_)
    if mapped_by is not None:
        return unseen_answers(mapped_by, sample)
    if unseen is not None and unseen.queries is not None:
        return unseen.queries
    return np.ones(len(sample.queries), np.bool_)


def _relevance(sample: StoreSample) -> Relevance:
    assert sample.queries is not None
    place = {item: row for row, item in enumerate(sample.ids.tolist())}
    rows: list[int] = []
    counts: list[int] = []
    for name in sample.queries.ids.tolist():
        answers = sorted({place[item] for item in sample.clicked[name] if item in place})
        rows += answers
        counts.append(len(answers))
    indptr: NDArray[np.int64] = np.cumsum([0, *counts]).astype(np.int64)
    return Relevance(indptr, np.array(rows, dtype=np.int64), len(sample))
