"""Which items of a live index to re-embed first: what its queries find and click most."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.bridge.bridge import Bridge
from isthmus.bridge.store_sample import StoreSample
from isthmus.bridge.unseen_queries import held_out_rows
from isthmus.stores import Store
from isthmus.ways import Columns, Recall, Search, Way
from isthmus.ways.fill_order import MOST_LISTED, FillOrder, counted_order

__all__ = ["found_most", "live_order"]

_SHOWN = 10


def live_order(bridge: Bridge, store: Store, sample: StoreSample) -> FillOrder | None:
    """The items that the queries of ``sample`` find and click most.

    Queries that the fit held out to judge by are left out.

    The first ten results of a search of the whole index count, as the way ``backfill`` recalls, and
    otherwise as the bridge does; each as often as its query is asked.

    Args:
        bridge: of `isthmus.bridge.fit_sample` on ``sample``; it maps queries.
        store: the live index; nothing is written.
        sample: with queries.

    Returns:
        None without queries.

    Raises:
        InputError: as `isthmus.bridge.judge_live`.

    Example:
        >>> import numpy as np
        >>> from isthmus.bridge import ModelChange, fit_sample, live_order, sample_store
        >>> from isthmus.encoders import PrecomputedEncoder
        >>> from isthmus.stores import MemoryStore
        >>> old = np.random.default_rng(0).standard_normal((300, 4)).astype(np.float32)
        >>> store = MemoryStore(vectors={"old": old})
        >>> models = ModelChange(PrecomputedEncoder(old[:, ::-1].copy(), name="new"))
        >>> sample = sample_store(store, models, pairs=250)
        >>> bridge = fit_sample(sample, models, recipe="procrustes")
        >>> live_order(bridge, store, sample) is None
        True
    """
    if sample.queries is None:
        return None
    counted = np.arange(len(sample.queries))
    if bridge.out_of_fold is None:
        counted = np.setdiff1d(counted, held_out_rows(bridge, sample))
    way = bridge.ways.get("backfill", Way(recall=Recall(kind="bridge")))
    search = Search(
        Way(recall=way.recall), store, columns=Columns(old=sample.column.name), bridge=bridge
    )
    return found_most(search, sample, counted)


def found_most(
    search: Search,
    sample: StoreSample,
    rows: NDArray[np.int64],
    *,
    first: FillOrder | None = None,
    most: int = MOST_LISTED,
    weights: NDArray[np.float64] | None = None,
    factor: Callable[[Sequence[Any]], NDArray[np.float64]] | None = None,
) -> FillOrder | None:
    """The items that the queries ``rows`` of ``sample`` find among their first ten, or click.

    Each counts as often as its query is asked.

    Args:
        search: of the whole index.
        sample: with queries.
        rows: which of them.
        first: a list made before, which leads.
        most: items in the list at most.
        weights: of each query of ``rows``, besides how often it is asked.
        factor: see `counted_order`.

    Returns:
        None where nothing was found.
    """
    queries = sample.queries
    assert queries is not None
    if sample.old_queries is None or sample.new_queries is None or not len(rows):
        return first
    asked: Any = {"old": sample.old_queries[rows], "new": sample.new_queries[rows]}
    found = search(asked, _SHOWN).ids.tolist()
    asked_often = queries.weights[rows] * (1.0 if weights is None else weights)
    often = asked_often.tolist()
    clicked = [sample.clicked.get(name, ()) for name in queries.ids[rows].tolist()]
    both = [*zip(found, often, strict=True), *zip(clicked, often, strict=True)]
    return counted_order(both, len(rows), first=first, most=most, factor=factor)
