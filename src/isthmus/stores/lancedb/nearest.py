"""The nearest items of queries, all of them asked at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.stores.hits import hits_of, scores_of_distances
from isthmus.stores.lancedb.rows import IdColumn
from isthmus.stores.protocol import Column, Hits

__all__ = ["nearest"]


def nearest(
    table: Any,
    ids: IdColumn,
    column: Column,
    queries: NDArray[np.float32],
    k: int,
    *,
    where: str | None,
) -> Hits:
    """The ``k`` best items of each of ``queries (nq, d)``, among those that ``where`` chooses."""
    ask = table.search(queries if len(queries) > 1 else queries[0], vector_column_name=column.name)
    ask = ask.distance_type(column.metric).limit(k).select([ids.name, "_distance"])
    if where is not None:
        ask = ask.where(where, prefilter=True)
    found = ask.to_arrow()
    query = np.zeros(len(found), dtype=np.int64)
    if "query_index" in found.column_names:
        query = found["query_index"].to_numpy().astype(np.int64)
    return hits_of(
        len(queries),
        k,
        ids.key,
        query,
        ids.read(found),
        scores_of_distances(found["_distance"].to_numpy(), column.metric),
    )
