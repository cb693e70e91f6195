"""What items that stand in the data again under another id do to the evidence, in a sentence."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from isthmus.adapters.cross_fitted import FittedMap
from isthmus.bridge.evidence import HeldOut
from isthmus.bridge.kind import BridgeKind
from isthmus.evaluate import parse_metric, relevant_ranks
from isthmus.evaluate.relevance import Relevance
from isthmus.evaluate.trial import GallerySearch
from isthmus.spaces.copies import NearCopies, first_alike
from isthmus.spaces.pairs import Pairs

__all__ = ["overlooked_copies", "share_of_copies", "told_copies"]

_FEW = 0.02
"""Share of the items that must be copies to be spoken of."""
_METRIC = "cmc@1"
"""Whether the first result is one of the answers, however many there are."""


def told_copies(
    pairs: Pairs, held_out: HeldOut, chain: FittedMap, kind: BridgeKind
) -> Iterator[str]:
    """How many items are copies, where they went, and what they do to the numbers.

    Args:
        pairs: all of them.
        held_out: the test part with its gallery.
        chain: the map that is judged.
        kind: of the bridge.

    Raises:
        InputError: if a row of the pairs is unusable.
    """
    if held_out.exclude is not None:
        yield from overlooked_copies(pairs)
        for told in share_of_copies(pairs):
            yield (
                f"{told}: each is in the part of the split that the other is in, and this evidence "
                "is of one of each. An index that holds the copies shows them beside each other"
            )
        return
    yield from overlooked_copies(pairs)
    first = _first_alike(held_out, kind)
    share = float((first != np.arange(len(first))).mean())
    if share <= _FEW:
        return
    apart = ""
    if pairs.copies_overlooked is None:
        apart = "No query that judges has a copy of its answer in the fit; "
    damage = _damage(held_out, first, chain, kind)
    yield (
        f"{share:.0%} of the items searched are exact or near copies of others under another id. "
        f"{apart}a query knows one of them as its answer, and {damage}"
    )


def share_of_copies(pairs: Pairs) -> Iterator[str]:
    """How many items are copies of others, in a clause; nothing where they are few.

    Raises:
        InputError: if a row of the pairs is unusable.
    """
    share = len(pairs.copies) / len(pairs)
    if share > _FEW:
        yield f"{share:.0%} of the items are exact or near copies of others under another id"


def overlooked_copies(pairs: Pairs) -> Iterator[str]:
    """That copies are not looked for, and why; nothing where they are."""
    if pairs.copies_overlooked is not None:
        yield (
            f"exact and near copies under other ids are not looked for {pairs.copies_overlooked}: "
            "an item that judges may have one in the fit. If there are any, drop them first"
        )


def _first_alike(held_out: HeldOut, kind: BridgeKind) -> NDArray[np.int64]:
    """Of each item searched the first that its old vector is a copy of."""
    gallery = held_out.gallery
    old = gallery.y if kind == "query" else gallery.x
    frame = NearCopies.like(old, held_out.metric)
    if frame is None:
        return np.arange(held_out.searched)
    places = [frame(old)]
    if held_out.alone is not None:
        places.append(frame(held_out.alone.old))
    return first_alike(np.concatenate(places))


def _damage(held_out: HeldOut, first: NDArray[np.int64], chain: FittedMap, kind: BridgeKind) -> str:
    """How often the first result is right, and where a copy of the answer counts as it."""
    trial = held_out.trial(chain, kind)
    relevance = trial.relevance
    assert relevance is not None
    kept = relevance.answerable
    relevance = relevance.of(kept)
    metric = parse_metric(_METRIC)
    told: list[str] = []
    old = GallerySearch(trial.query_old, trial.gallery_old, trial.metric)
    for name, side in (("the old model", old), ("the bridge", trial.bridge)):
        strict, lenient = (
            metric.per_query(
                relevant_ranks(side.queries[kept], side.gallery, asked, metric=side.metric)
            ).mean()
            for asked in (relevance, with_copies(relevance, first))
        )
        told.append(f"{strict:.1%} of queries under {name} instead of {lenient:.1%}")
    return (
        f"the first result is right for {' and '.join(told)} where any copy counted. Drop the "
        "copies from the index, or judge all of them as answers"
    )


def with_copies(relevance: Relevance, first: NDArray[np.int64]) -> Relevance:
    """The same, with all copies of each relevant item.

    Args:
        relevance: over ``n`` items.
        first: of each item the first that it is a copy of ``(n,)``.
    """
    order = np.argsort(first, kind="stable")
    ordered = first[order]
    groups = first[relevance.indices]
    starts = np.searchsorted(ordered, groups, side="left")
    sizes = np.searchsorted(ordered, groups, side="right") - starts
    within = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    items = order[np.repeat(starts, sizes) + within]
    asked = np.unique(np.repeat(relevance.rows, sizes) * relevance.n_gallery + items)
    rows, columns = np.divmod(asked, relevance.n_gallery)
    indptr = np.searchsorted(rows, np.arange(relevance.n_queries + 1))
    return Relevance(indptr.astype(np.int64), columns, relevance.n_gallery)
