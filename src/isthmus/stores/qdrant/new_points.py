"""Items as the points that Qdrant writes, a bounded number a call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.stores.protocol import Ids
from isthmus.stores.qdrant.points import ID, Naming, plain

__all__ = ["POINTS_A_CALL", "new_points", "new_vectors"]

POINTS_A_CALL = 1000


def new_vectors(
    names: Sequence[Any], rows: NDArray[np.float32], column: str | None
) -> Iterator[list[Any]]:
    """Vectors ``rows (n, d)`` of points that are there; ``column`` None for the unnamed one."""
    from qdrant_client import models

    values = rows.tolist()
    for start in range(0, len(names), POINTS_A_CALL):
        part = slice(start, start + POINTS_A_CALL)
        yield [
            models.PointVectors(id=name, vector=row if column is None else {column: row})
            for name, row in zip(names[part], values[part], strict=True)
        ]


def new_points(
    naming: Naming,
    ids: Ids,
    vectors: Mapping[str, NDArray[np.float32]],
    payload: Mapping[str, Sequence[Any]],
    *,
    unnamed: bool,
) -> Iterator[list[Any]]:
    """Whole items: their ids ``(n,)``, vectors ``(n, d)`` by column and payload by field.

    Args:
        naming: how the points are called; where isthmus names them, the payload keeps the id.
        ids: of the items.
        vectors: by column, at most one of which counts where the collection's is ``unnamed``.
        payload: by field, ``n`` values each.
        unnamed: whether the collection's only vector has no name.
    """
    from qdrant_client import models

    rows = {column: found.tolist() for column, found in vectors.items()}
    names, values = naming.points(ids), ids.tolist()
    for start in range(0, len(names), POINTS_A_CALL):
        points: list[Any] = []
        for row in range(start, min(start + POINTS_A_CALL, len(names))):
            named = {column: found[row] for column, found in rows.items()}
            item = {field: plain(column[row]) for field, column in payload.items()}
            if naming.own:
                item[ID] = values[row]
            vector = next(iter(named.values()), {}) if unnamed else named
            points.append(models.PointStruct(id=names[row], vector=vector, payload=item))
        yield points
