"""What is to be expected while an index fills: the way at each share, and its quality."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from isthmus.array_types import Mask
from isthmus.bridge import Bridge, StoreSample
from isthmus.bridge.unseen_sample import UnseenSample, unseen_sample
from isthmus.evaluate import Estimate, Relevance, Resampling, Trial
from isthmus.migrate.filling_order import FillingOrder, chosen_order, relative_error
from isthmus.ways.choose_part import backfill_curves, choose_part
from isthmus.ways.mixed_index import match_linear
from isthmus.ways.order import ErrorModel
from isthmus.ways.recall import gallery_search, new_gallery_search
from isthmus.ways.way import Join, Recall

__all__ = ["FEWEST_QUERIES", "SHARES", "Curve", "serving_curve"]

SHARES = (0.05, 0.1, 0.25, 0.5, 0.75, 1.0)
_JOINED_AT = (0.1, 0.5, 1.0)
"""Filled shares for which a join is chosen; each is used from the middle to its neighbour on."""
_FROM = (0.0, 0.25, 0.75)
_METRIC = "recall@10"
FEWEST_QUERIES = 20
"""Queries below which nothing is chosen by them."""


@dataclass(frozen=True)
class Curve:
    """How to serve, and what it is expected to reach.

    Attributes:
        recall: who searches what is not filled.
        joins: from which share on which join is used.
        points: share, value on the queries that chose nothing, gain over keeping the old model.
        kept: what keeping the old model reaches on them; None where nothing could be judged.
        order: what is filled first; None where nothing could choose it.
    """

    recall: Recall
    joins: tuple[tuple[float, Join], ...]
    points: tuple[tuple[float, float, Estimate], ...] = ()
    kept: float | None = None
    order: FillingOrder | None = None


def serving_curve(
    sample: StoreSample, bridge: Bridge | None, *, old_runs: bool, seed: int = 0
) -> Curve:
    """Choose on one half of the sampled queries, and judge on the other.

    Both halves are of queries that the bridge was not fitted on.  With too few of them the scores
    of both columns are brought to one scale by the items themselves.

    Args:
        sample: items and queries by both models.
        bridge: of queries, fitted on the sample or on others; None where the old model has to
            encode them until all is filled.
        old_runs: whether the old model can encode queries meanwhile.
        seed: of the halves.
    """
    unseen = None if bridge is None else unseen_sample(bridge, sample)
    items = Trial(
        query_old=sample.old, query_new=sample.new, gallery_old=sample.old, gallery_new=sample.new,
        query_bridged=None if unseen is None else unseen.mapped_items,
        metric=sample.column.metric, exclude=np.arange(len(sample)),
    )  # fmt: skip
    if unseen is not None and unseen.items.any():
        items = items.of(unseen.items)
    recalls = [Recall(kind="bridge")] if bridge is not None else []
    recalls += [Recall(kind="old")] if old_runs else []
    recommended = None if bridge is None else bridge.recommended
    if recommended is not None and recommended[1].recall.kind in ("bridge", "mixed"):
        chosen = recommended[1].recall
        if old_runs or not chosen.old_query:
            recalls = [chosen, *(r for r in recalls if r != chosen)]
    asked = _asked(sample, unseen)
    if asked.sum() < FEWEST_QUERIES:
        low = gallery_search(items, recalls[0])
        match = match_linear(new_gallery_search(items), low, exclude=items.exclude)
        return Curve(recalls[0], ((0.0, Join(match=match, weight=0.3)),))
    assert sample.old_queries is not None and sample.new_queries is not None
    trial = replace(
        items,
        query_old=sample.old_queries,
        query_new=sample.new_queries,
        query_bridged=None if unseen is None else unseen.mapped_queries,
        relevance=_relevance(sample),
        exclude=None,
    ).of(asked)
    half = np.random.default_rng(seed).permutation(trial.n_queries) % 2 == 0
    support, test = trial.of(half), trial.of(~half)
    found = [
        choose_part(support, recalls, primary=_METRIC, max_share=share, shares=(share,), seed=seed)
        for share in _JOINED_AT
    ]
    recall = found[0].recall
    if any(other.recall != recall for other in found):
        found = [
            choose_part(
                support, [recall], primary=_METRIC, max_share=share, shares=(share,), seed=seed
            )
            for share in _JOINED_AT
        ]
    joins = tuple((least, one.part.join or Join()) for least, one in zip(_FROM, found, strict=True))
    errors = None
    if items.query_bridged is not None:
        errors = ErrorModel.fit(
            items.query_old, relative_error(items.query_bridged, items.query_old)
        )
    order = chosen_order(support, recall, joins[0][1], errors=errors, metric=_METRIC, seed=seed)
    return _judged(test, recall, joins, order, seed)


def _judged(
    test: Trial,
    recall: Recall,
    joins: tuple[tuple[float, Join], ...],
    order: FillingOrder,
    seed: int,
) -> Curve:
    halves = np.random.default_rng(seed + 1).permutation(test.n_queries) % 2 == 1
    priorities = order.priorities(test, recall, halves)
    points: list[tuple[float, float, Estimate]] = []
    kept: float | None = None
    bounds = [least for least, _ in joins]
    for i, (least, join) in enumerate(joins):
        until = bounds[i + 1] if i + 1 < len(bounds) else 2.0
        shares = [s for s in SHARES if least <= s < until]
        (curve,) = backfill_curves(
            test, priorities, halves, recall, join, primary=_METRIC, shares=shares,
            resampling=Resampling(1000, seed=seed),
        )  # fmt: skip
        places = range(0 if i == 0 else 1, len(curve.shares))
        points += [(curve.shares[p], curve.values[p], curve.gains[p]) for p in places]
        if kept is None:
            kept = curve.values[0] - (curve.gains[0].value or 0.0)
    return Curve(recall, joins, tuple(points), kept, order)


def _asked(sample: StoreSample, unseen: UnseenSample | None) -> Mask:
    """Which queries ``(nq,)`` choose and judge."""
    if unseen is not None and unseen.queries is not None:
        return unseen.queries
    return np.ones(0 if sample.queries is None else len(sample.queries), np.bool_)


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
