"""A bridge and the one before it, each in the way it recommends, on the same unseen queries."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from isthmus.adapters.cross_fitted import FittedMap
from isthmus.bridge.assess import may_share_items, unseen_map_of, unseen_samples
from isthmus.bridge.bridge import Bridge
from isthmus.bridge.evidence import primary_metric
from isthmus.bridge.held_out_samples import Queries
from isthmus.errors import InputError
from isthmus.evaluate import Trial
from isthmus.evaluate.metrics import parse_metric
from isthmus.evaluate.regression import Regression, judge_regression
from isthmus.progress import Progress, silent
from isthmus.spaces.pairs import Pairs
from isthmus.ways import ChosenWays, Way
from isthmus.ways.bench import run_way

__all__ = ["regress"]


def regress(
    bridge: Bridge,
    before: Bridge,
    pairs: Pairs,
    queries: Queries | None = None,
    *,
    primary: str | None = None,
    margin: float = 0.01,
    progress: Progress = silent,
) -> Regression:
    """Test whether a bridge is no worse than the one before it, query by query.

    Both run the way that their evidence recommends; where one of them would have to re-embed a part
    of the corpus, both run the bridge alone.  The queries are those that the new bridge was not
    fitted on, or all, each behind a map of the other folds.  So with the former one, where it keeps
    such maps; where it does not it may have seen them, which can only favour it.

    Args:
        bridge: the one to be put to use.
        before: the one in use, of the same kind, between the same models.
        pairs: as in `assess`.
        queries: as in `assess`.
        primary: the metric; as in `assess`.
        margin: the loss that is still called none.
        progress: told about rows.

    Raises:
        InputError: for bridges that do not fit together, and where it is not known what is
            relevant.
        WrongSpaceError: for vectors of other models.
    """
    same = (bridge.kind, bridge.source.dim, bridge.target.dim, bridge.target.metric)
    if same != (before.kind, before.source.dim, before.target.dim, before.target.metric):
        raise InputError("the two bridges are not between the same spaces", where="before")
    samples = unseen_samples(bridge, pairs, queries, progress=progress)
    held_out = samples.judging_part()
    if held_out.relevance is None:
        raise InputError(
            "without relevance two versions cannot be compared query by query",
            mend="Give queries with their answers, or labels",
        )
    metric = primary_metric(held_out.relevance, primary)
    ways = [one.recommended or ("bridge", Way()) for one in (before, bridge)]
    if any(way.part is not None or way.joins for _, way in ways):
        ways = [("bridge", Way()), ("bridge", Way())]
    maps = _kept_apart(before, pairs), unseen_map_of(bridge, samples)
    values = [
        _values(held_out.trial(one, bridge.kind), metric, way)
        for one, way in zip(maps, ways, strict=True)
    ]
    return judge_regression(*values, metric=metric, ways=(ways[0][0], ways[1][0]), margin=margin)


def _kept_apart(bridge: Bridge, pairs: Pairs) -> FittedMap:
    """What maps queries of a bridge that may have been fitted on them, unseen where that can be."""
    known = bridge.out_of_fold
    if known is not None and may_share_items(bridge, bridge.provenance.fits, pairs):
        return known
    return bridge.chain


def _values(trial: Trial, metric: str, named: tuple[str, Way]) -> NDArray[np.float64]:
    name, way = named
    assert trial.relevance is not None
    answerable = trial.of(trial.relevance.answerable)
    ranks, _ = run_way(answerable, name, ChosenWays(ways={name: way}))
    return parse_metric(metric).per_query(ranks)
