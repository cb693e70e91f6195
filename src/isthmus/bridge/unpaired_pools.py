"""Unpaired vectors of both spaces, read from files, arrays or a store: what helps few pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.adapters.steps.base import Pools
from isthmus.errors import InputError
from isthmus.numeric import to_numpy
from isthmus.progress import Progress, silent
from isthmus.spaces.metric import Metric
from isthmus.spaces.readers import VectorSource, open_vectors
from isthmus.spaces.row_checks import check_vectors
from isthmus.spaces.sample import Batch, Sampler
from isthmus.stores import is_store_url, open_store

__all__ = ["POOL_ROWS", "check_pools", "read_pools"]

POOL_ROWS = 2000
"""Rows of each pool that are matched: more cost more, and helped little."""
_FEWEST = 10


def read_pools(
    source: VectorSource,
    target: VectorSource,
    *,
    metric: Metric = "cosine",
    seed: int = 0,
    progress: Progress = silent,
) -> Pools:
    """Sample unpaired vectors of both spaces, to be given as ``Fitting(pools=...)``.

    Args:
        source: of the model that is mapped: an array ``(n, d)``, a file, or the URL of a store,
            which is scanned once.  For a query bridge, new vectors of any items or queries.
        target: of the space that is mapped to, for a query bridge the old vectors of the index.
        metric: of both spaces; under cosine a row of zeros is refused.
        seed: of the samples.
        progress: told about rows.

    Raises:
        InputError: for fewer than 10 rows, or rows that cannot be used.

    Example:
        >>> rows = np.random.default_rng(0).standard_normal((5000, 4)).astype("float32")
        >>> read_pools(rows, rows[:300]).source.shape
        (2000, 4)
    """
    found = [_sampled(side, metric, seed, progress) for side in (source, target)]
    return Pools(found[0], found[1])


def check_pools(pools: Pools | None, dim_x: int, dim_y: int) -> None:
    """Refuse pools of other widths than the pairs.

    Raises:
        InputError: then.
    """
    if pools is None:
        return
    for name, rows, dim in (("source", pools.source, dim_x), ("target", pools.target, dim_y)):
        if rows.ndim != 2 or rows.shape[1] != dim:
            raise InputError(
                f"the pool of the {name} has rows of shape {rows.shape[1:]}, its pairs {dim} "
                "dimensions",
                where="pools",
                mend="Encode pool and pairs with the same model, and give the pools in their order",
            )


def _sampled(
    side: VectorSource, metric: Metric, seed: int, progress: Progress
) -> NDArray[np.float32]:
    if isinstance(side, str) and is_store_url(side):
        where, rows = side, _of_store(side, seed, progress)
    else:
        opened = open_vectors(side, progress=progress, name="pool")
        order = np.random.default_rng(seed).permutation(opened.n)[:POOL_ROWS]
        where, rows = opened.name, opened.take(np.sort(order))
    if len(rows) < _FEWEST:
        raise InputError(
            f"a pool of {len(rows)} vector(s) says nothing of its space",
            where=where,
            mend="Give a thousand or more; they need no partner",
        )
    checked = to_numpy(check_vectors(rows, metric=metric, where=where))
    return np.asarray(checked, dtype=np.float32)


def _of_store(url: str, seed: int, progress: Progress) -> NDArray[Any]:
    with open_store(url) as store:
        column = store.describe().column(store.column)
        sampler, read = Sampler(POOL_ROWS, seed=seed), 0
        for batch in store.scan(column=column.name):
            assert batch.vectors is not None and batch.present is not None
            rows = batch.vectors[batch.present]
            sampler.update(Batch(batch.ids[batch.present], rows, rows))
            read += len(batch)
            progress(f"reading {store.url}", read, None)
        return sampler.sample().x
