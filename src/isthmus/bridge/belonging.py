"""Rows that do not belong together, noticed where they are used: in a fit and in an evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.adapters.cross_fitted import FittedMap
from isthmus.bridge.copied import told_copies
from isthmus.bridge.evidence import HeldOut
from isthmus.bridge.examine import Examined
from isthmus.bridge.held_out_samples import Queries
from isthmus.bridge.kind import SIDES, BridgeKind
from isthmus.bridge.stray_rows import LOOKED_AT, told_strays
from isthmus.diagnose.identify import identify, rank_partners
from isthmus.diagnose.pairing import Pairing, described, unchanged_rows
from isthmus.diagnose.thresholds import threshold
from isthmus.evaluate import Evaluation
from isthmus.numeric import to_numpy, unit_rows
from isthmus.spaces.id_likeness import alike_but_for
from isthmus.spaces.pairs import Pairs
from isthmus.spaces.profile import Profile
from isthmus.spaces.sample import Batch

__all__ = ["unmatched", "with_notices"]

_FEWEST = 20
_SHOWN = 3


def with_notices(
    examined: Examined,
    pairs: Pairs,
    queries: Queries | None,
    chain: FittedMap,
    held_out: HeldOut,
    kind: BridgeKind,
    profiles: tuple[Profile | None, Profile | None],
) -> Evaluation:
    """The evidence with what its reader should know about the data, in a sentence each.

    Args:
        examined: what these data gave.
        pairs: that were read.
        queries: that judge, where they are separate.
        chain: the map, or one of every fold where the queries were fitted on.
        held_out: the test part, with a sample of all pairs as its gallery.
        kind: of the bridge.
        profiles: of the items on both sides.
    """
    told = (
        *pairs.notices,
        *_left_aside(pairs, kind, searched=examined.evidence.n_gallery > len(held_out.gallery)),
        *_pairing(held_out, held_out.mapped_queries(chain), examined.pairing, kind),
        *_same_vectors(held_out.gallery, cosine=held_out.metric == "cosine"),
        *told_copies(pairs, held_out, chain, kind),
        *_seen_answers(held_out),
        *([] if queries is None else unmatched(pairs, queries)),
        *([] if queries is None else _stray_queries(queries.pairs, profiles, kind)),
    )
    return examined.evidence.model_copy(update={"notices": told})


def _left_aside(pairs: Pairs, kind: BridgeKind, *, searched: bool) -> Iterator[str]:
    """Whether the index holds many items that no query searched."""
    old = pairs.unmatched_target if kind == "query" else pairs.unmatched_source
    if old and not searched:
        yield (
            f"{old:,} old vectors have no new one and were not searched: an index that holds them "
            "is larger than the gallery of this evidence"
        )


def _pairing(
    held_out: HeldOut, mapped: NDArray[Any], judged: Pairing | None, kind: BridgeKind
) -> Iterator[str]:
    """Whether rows behind the map find their own partners, all of them or in part."""
    if len(mapped) >= _FEWEST:
        sides = [np.asarray(rows, np.float64) for rows in (mapped, held_out.queries.y)]
        if held_out.metric == "cosine":
            # what a map gives is of unit length, whatever its targets are
            sides = [unit_rows(rows, np.float64) for rows in sides]
        found = identify(rank_partners(*sides))
        if found.z <= threshold("chance_z"):
            yield (
                f"the rows of the two sides do not go together: behind the map, the partner of a "
                f"held-out row ranks at {found.mean_place:.2f} of the list (chance 0.50). They are "
                "probably mispaired: pair them by id (--ids), and run isthmus diagnose"
            )
            return
    if judged is None or judged.kind == "none":
        return
    mend = {
        "mispaired": "Pair them by id (--ids)",
        "second model": "Encode all items with one model: one bridge cannot serve both",
        "unchanged": "Encode all items of a side with its model, or drop these from both",
    }[judged.kind]
    if judged.one_model:
        mend = "Encode ten texts in both ways and compare prefix, pooling and longest text"
    yield f"{described(judged, SIDES[kind])}. {mend}"


def _same_vectors(gallery: Batch, *, cosine: bool) -> Iterator[str]:
    """Whether both sides are one model's, so that no bridge is needed."""
    if unchanged_rows(gallery.x, gallery.y, cosine=cosine).all():
        yield (
            "both sides hold the same vectors, up to rounding: there is nothing to map. Check that "
            "the right files were given; if they were, the model has not changed"
        )


def _seen_answers(held_out: HeldOut) -> Iterator[str]:
    """How many queries have an answer, or are copies, of what their map was fitted on."""
    if held_out.left_out:
        yield (
            f"{held_out.left_out:,} of {held_out.left_out + len(held_out.queries):,} queries do "
            "not judge: the map that would judge them was fitted on an answer of theirs, or on the "
            "same query again"
        )
    if held_out.half_seen:
        yield (
            f"{held_out.half_seen:,} of {len(held_out.queries):,} queries have an answer that the "
            "map which judges them was fitted on, or stand there again, since they have answers in "
            "common with too many others to be kept apart: what the bridge finds is told too "
            "high. Judge it by queries and items that no fit has seen (isthmus evaluate)"
        )


def _stray_queries(
    queries: Pairs, profiles: tuple[Profile | None, Profile | None], kind: BridgeKind
) -> Iterator[str]:
    """Whether some queries of a side come from another model than its items."""
    asked = queries.head(LOOKED_AT)
    for profile, rows, name in zip(profiles, (asked.x, asked.y), SIDES[kind], strict=True):
        told = told_strays(profile, to_numpy(rows), asked.ids.tolist(), f"queries of {name}")
        if told is not None:
            yield told


def unmatched(pairs: Pairs, queries: Queries) -> Iterator[str]:
    """Judgements of queries and items that the data do not hold."""
    if queries.qrels is None:
        return
    known_queries = _all_ids(queries.pairs)
    known_items = _all_ids(pairs)
    lost = [q for q in queries.qrels if q not in known_queries]
    if lost:
        yield (
            f"{len(lost):,} of {len(queries.qrels):,} judged queries are not in the queries "
            f"({_few(lost)}{alike_but_for(lost, known_queries)}), and were left out"
        )
    judged = [item for q, items in queries.qrels.items() if q in known_queries for item in items]
    gone = [item for item in judged if item not in known_items]
    if gone:
        yield (
            f"{len(gone):,} of {len(judged):,} judgements name items that are not in the data "
            f"({_few(gone)}{alike_but_for(gone, known_items)}): no model can find them here"
        )
    silent = len(known_queries) - sum(q in queries.qrels for q in known_queries)
    if silent:
        yield f"{silent:,} of {len(known_queries):,} queries are not judged, and were left out"


def _all_ids(pairs: Pairs) -> set[Any]:
    ids: NDArray[Any] = pairs.ids_at(slice(0, len(pairs)))
    return set(ids.tolist())


def _few(names: Sequence[Any]) -> str:
    more = ", ..." if len(names) > _SHOWN else ""
    return ", ".join(repr(name) for name in names[:_SHOWN]) + more
