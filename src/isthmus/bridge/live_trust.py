"""Trust in single vectors, calibrated on the live index itself."""

from __future__ import annotations

import numpy as np

from isthmus.bridge.bridge import Bridge
from isthmus.bridge.judge_live import held_out_rows
from isthmus.bridge.store_sample import StoreSample
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
    rows = held_out_rows(bridge, sample)[:_MOST]
    if trust is None or len(rows) < _FEWEST or sample.count <= (trust.searched or 0):
        return trust
    own = None
    if sample.queries is None or sample.old_queries is None or sample.new_queries is None:
        old, new, own = sample.old[rows], sample.new[rows], sample.ids[rows]
    else:
        old, new = sample.old_queries[rows], sample.new_queries[rows]
    columns = Columns(old=sample.column.name)
    found, true = (
        Search(way, store, columns=columns, bridge=bridge)({"old": old, "new": new}, 2, without=own)
        for way in (Way(), Way(recall=Recall(kind="old")))
    )
    preserved = np.asarray(found.ids[:, 0] == true.ids[:, 0])
    (fit,) = bridge.provenance.fits
    return trust.recalibrated(
        SearchedRows(new, preserved, found.scores), searched=sample.count, seed=fit.seed
    )
