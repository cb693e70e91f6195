"""What of a sample of a store its bridge was not fitted on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.adapters.cross_fitted import mapped_rows
from isthmus.array_types import Embeddings, Mask
from isthmus.bridge.assess import may_share_items, split_of
from isthmus.bridge.bridge import Bridge
from isthmus.bridge.held_out_samples import FIT, Queries
from isthmus.bridge.store_sample import StoreSample

__all__ = ["UnseenSample", "sample_parts", "unseen_answers", "unseen_sample"]


@dataclass(frozen=True, eq=False)
class UnseenSample:
    """The new model's vectors of a sample behind the bridge, and which of them it has not seen."""

    items: Mask
    """Which items ``(n,)`` the map was not fitted on."""
    mapped_items: Embeddings
    """All of them ``(n, d)``, float32."""
    queries: Mask | None
    """Which queries ``(nq,)`` it was not fitted on, nor on their answers; None without queries."""
    mapped_queries: Embeddings | None
    """All of them ``(nq, d)``."""


def sample_parts(
    bridge: Bridge, sample: StoreSample
) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """The part of the fit's split that each item ``(n,)`` and each query ``(nq,)`` belongs to.

    Args:
        bridge: of queries.
        sample: of the store that it was fitted on.

    Returns:
        None in place of the queries' parts where there are none; a query is of the part of its
        first answer, and -1 without one.

    Raises:
        InputError: for a composed bridge whose fits were split differently.
    """
    split = split_of(bridge.provenance.fits, sample.pairs("query"))
    pairs = sample.query_pairs("query")
    if pairs is None or sample.queries is None:
        return split.assign(sample.ids), None
    asked = Queries(pairs, dict(sample.clicked))
    return split.assign(sample.ids), asked.parts(sample.queries.ids, split)


def unseen_sample(bridge: Bridge, sample: StoreSample) -> UnseenSample:
    """A sample as the bridge maps it, told apart by whether the map was fitted on it.

    Where maps of folds were kept, each row is behind that of the folds without it.  A bridge that
    was fitted on other items has seen none of these.

    Args:
        bridge: of queries.
        sample: of a store, by the models of the bridge.

    Raises:
        InputError: as `sample_parts`.
    """
    pairs = sample.query_pairs("query")
    items = np.ones(len(sample), np.bool_)
    queries = None if pairs is None else np.ones(len(pairs), np.bool_)
    folds = bridge.out_of_fold
    fits = bridge.provenance.fits
    if folds is None and may_share_items(bridge, fits, sample.pairs("query")):
        of_items, of_queries = sample_parts(bridge, sample)
        all_seen = any(fit.cross_fitted for fit in fits)
        items = (of_items != FIT) & (not all_seen)
        queries = None if of_queries is None else (of_queries != FIT) & (not all_seen)
    mapping = folds or bridge.chain
    mapped = None
    if pairs is not None and sample.queries is not None and sample.new_queries is not None:
        answers = Queries(pairs, dict(sample.clicked)).answer_ids(sample.queries.ids)
        mapped = np.asarray(mapped_rows(mapping, answers, sample.new_queries), np.float32)
    mapped_items = np.asarray(mapped_rows(mapping, sample.ids, sample.new), np.float32)
    return UnseenSample(items, mapped_items, queries, mapped)


def unseen_answers(bridge: Bridge, sample: StoreSample) -> Mask:
    """Which queries ``(nq,)`` are answered by items alone that a map was not fitted on.

    Args:
        bridge: of the corpus.
        sample: of a store, by the models of the bridge, with queries.

    Raises:
        InputError: as `sample_parts`.
    """
    assert sample.queries is not None
    pairs, fits = sample.pairs("corpus"), bridge.provenance.fits
    seen: set[object] = set()
    if may_share_items(bridge, fits, pairs):
        seen.update(sample.ids[split_of(fits, pairs).assign(sample.ids) == FIT].tolist())
    asked = sample.queries.ids.tolist()
    return np.array([seen.isdisjoint(sample.clicked[name]) for name in asked], np.bool_)
