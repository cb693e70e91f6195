"""Old vectors without a new partner, searched among as the index does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.adapters.cross_fitted import FittedMap
from isthmus.bridge.answered_together import asked_apart
from isthmus.bridge.evidence import HeldOut, OldAlone
from isthmus.bridge.examine import HeldOutParts
from isthmus.bridge.held_out_samples import VALIDATION, HeldOutSamples, Queries
from isthmus.bridge.kind import BridgeKind
from isthmus.evaluate.relevance import from_pairs
from isthmus.spaces.pairs import Pairs

__all__ = ["FEWEST", "MOST_ROWS", "MOST_SEEN", "held_out_parts", "in_whole_index", "unmatched_old"]

MOST_ROWS = 100_000
"""Old vectors without a partner that are searched among; more are sampled."""
FEWEST = 0.1
"""Share of the number of pairs: fewer old vectors without a partner change little, and would cost
the evidence every way that needs new vectors of what it recalls."""

MOST_SEEN = 0.5
"""Share of queries with an answer that was fitted on: of more, no honest ones are a fair sample."""


def unmatched_old(pairs: Pairs, kind: BridgeKind) -> int:
    """How many old vectors have no new one."""
    return pairs.unmatched_target if kind == "query" else pairs.unmatched_source


def in_whole_index(
    held_out: HeldOut, samples: HeldOutSamples, kind: BridgeKind, *, most: int = MOST_ROWS
) -> HeldOut:
    """Held-out queries that also search old vectors without a new one.

    As they are, where there are none, or few beside the pairs, and where labels say what is
    relevant, since such items have none.

    Args:
        held_out: queries and the paired items that they search.
        samples: where they are from.
        kind: of the bridge.
        most: further items that are searched, at the most.

    Raises:
        InputError: if a sampled row is unusable.
    """
    return _among(held_out, samples.queries, _further(samples, kind, most))


Further = tuple[NDArray[Any], NDArray[Any]]
"""Ids and old vectors of items without a new one."""


def _further(samples: HeldOutSamples, kind: BridgeKind, most: int) -> Further | None:
    """What is searched beside the pairs."""
    pairs = samples.split.pairs
    few = unmatched_old(pairs, kind) < FEWEST * len(pairs)
    if few or most < 1 or pairs.has_labels:
        return None
    side = "target" if kind == "query" else "source"
    return pairs.unmatched(side, most, seed=samples.split.seed)


def _among(held_out: HeldOut, queries: Queries | None, further: Further | None) -> HeldOut:
    if further is None:
        return held_out
    ids, old = further
    relevance = None
    if held_out.relevance is not None:
        assert queries is not None
        asked = held_out.queries.ids.tolist()
        gallery = [*held_out.gallery.ids.tolist(), *ids.tolist()]
        known = set(gallery)
        answers = ((q, item) for q in asked for item in queries.answers(q) if item in known)
        relevance = from_pairs(asked, gallery, answers)
    return replace(held_out, alone=OldAlone(ids, old, relevance))


def held_out_parts(
    samples: HeldOutSamples, kind: BridgeKind, chain: FittedMap, *, whole_index: bool
) -> HeldOutParts:
    """What ways are judged and chosen on.

    Queries of which the map that judges them was fitted on an answer, or on a copy, are left out,
    unless they are most of all.

    Args:
        samples: complete ones.
        kind: of the bridge.
        chain: the map, or one for each fold.
        whole_index: whether old vectors without a new one are searched as well.

    Raises:
        InputError: if there is no test part, or a sampled row is unusable.
    """
    test, validation = samples.test_part(), samples.held_out(VALIDATION)
    all_judge = samples.fitted_whole and validation is not None
    every = samples.judging_part() if all_judge else None
    further = _further(samples, kind, MOST_ROWS) if whole_index else None
    again, fitted = asked_apart(samples, chain), samples.fitted
    seen = [
        None
        if part is None
        else part.seen(chain, fitted(part.gallery.ids)) | np.isin(part.queries.ids, again)
        for part in (test, validation, every)
    ]
    most = any(s is not None and s.mean() > MOST_SEEN for s in seen)

    def asking(part: HeldOut | None, seen: NDArray[np.bool_] | None) -> HeldOut | None:
        if part is None or seen is None:
            return None
        kept = replace(part, half_seen=int(seen.sum())) if most else part.without(seen)
        return _among(kept, samples.queries, further)

    judging, choosing, both = map(asking, (test, validation, every), seen)
    assert judging is not None
    return HeldOutParts(judging, choosing, both)
