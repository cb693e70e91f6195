"""Trust in single vectors, calibrated on the live index itself."""

from __future__ import annotations

import numpy as np

from isthmus.bridge.bridge import Bridge
from isthmus.bridge.store_sample import StoreSample
from isthmus.bridge.unseen_queries import UnseenQueries, held_out_rows
from isthmus.stores import Store
from isthmus.ways import Columns, Recall, Search, Way
from isthmus.ways.trust import SearchedRows, Trust

__all__ = ["live_trust"]

_FEWEST = 40
"""Held-out queries below which the trust of the sample is kept."""
_MOST = 1000


def live_trust(bridge: Bridge, store: Store, sample: StoreSample) -> Trust | None:
    """The trust of a bridge among all items of the store that it was fitted on.

    In a sample the first result of the old model is found again more often than among all items.

    Args:
        bridge: of `isthmus.bridge.fit_sample` on ``sample``; it maps queries.
        store: where the items are.
        sample: whose held-out queries search it, under both models.

    Returns:
        As the bridge has it, where it has none, the store holds no more than was searched, or fewer
        than 40 queries were held out.
    """
    trust = bridge.trust
    held_out = min(len(held_out_rows(bridge, sample)), _MOST)
    if trust is None or held_out < _FEWEST or sample.count <= (trust.searched or 0):
        return trust
    asked = UnseenQueries.of(bridge, sample, _MOST)
    columns = Columns(old=sample.column.name)
    found, true = (
        Search(way, store, columns=columns, bridge=bridge)(asked.vectors, 2, without=asked.own)
        for way in (Way(), Way(recall=Recall(kind="old")))
    )
    preserved = np.asarray(found.ids[:, 0] == true.ids[:, 0])
    (fit,) = bridge.provenance.fits
    return trust.recalibrated(
        SearchedRows(asked.new, preserved, found.scores), searched=sample.count, seed=fit.seed
    )
