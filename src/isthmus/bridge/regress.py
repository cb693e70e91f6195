"""A bridge and the one before it, each in the way it recommends, on the same unseen queries."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from isthmus.bridge.assess import unseen_samples
from isthmus.bridge.bridge import Bridge
from isthmus.bridge.evidence import HeldOut, primary_metric
from isthmus.bridge.held_out_samples import Queries
from isthmus.errors import InputError
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
    fitted on; the former one may have seen them, which can only favour it.

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
    held_out = unseen_samples(bridge, pairs, queries, progress=progress).test_part()
    if held_out.relevance is None:
        raise InputError(
            "without relevance two versions cannot be compared query by query",
            mend="Give queries with their answers, or labels",
        )
    metric = primary_metric(held_out.relevance, primary)
    ways = [one.recommended or ("bridge", Way()) for one in (before, bridge)]
    if any(way.part is not None or way.joins for _, way in ways):
        ways = [("bridge", Way()), ("bridge", Way())]
    values = [
        _values(one, held_out, metric, way) for one, way in zip((before, bridge), ways, strict=True)
    ]
    return judge_regression(*values, metric=metric, ways=(ways[0][0], ways[1][0]), margin=margin)


def _values(
    bridge: Bridge, held_out: HeldOut, metric: str, named: tuple[str, Way]
) -> NDArray[np.float64]:
    name, way = named
    trial = held_out.trial(bridge.chain, bridge.kind)
    assert trial.relevance is not None
    answerable = trial.of(trial.relevance.answerable)
    ranks, _ = run_way(answerable, name, ChosenWays(ways={name: way}))
    return parse_metric(metric).per_query(ranks)
