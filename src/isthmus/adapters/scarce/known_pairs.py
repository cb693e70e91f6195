"""The few known pairs, each once and in groups, and the pools without them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.numeric import Array, as_array, to_numpy
from isthmus.spaces.row_checks import check_vectors, take_rows

__all__ = ["distinct_pairs", "unpaired_pool"]


def distinct_pairs(
    ax: NDArray[Any], ay: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.int64], int]:
    """Each pair once, with groups that share a source or target row, and how many were dropped.

    A group is held out as a whole: otherwise a pair would be judged by a map that has seen it.
    """
    from scipy.sparse import coo_array  # slow to import, and rarely needed
    from scipy.sparse.csgraph import connected_components

    same_x, same_y = _row_classes(ax), _row_classes(ay)
    _, first = np.unique(np.column_stack([same_x, same_y]), axis=0, return_index=True)
    kept = np.sort(first)
    same_x, same_y = same_x[kept], same_y[kept] + len(ax)
    links = coo_array((np.ones(len(kept)), (same_x, same_y)), shape=(2 * len(ax), 2 * len(ax)))
    component = connected_components(links, directed=False)[1][same_x]
    groups = np.unique(component, return_inverse=True)[1].astype(np.int64)
    return ax[kept], ay[kept], groups, len(ax) - len(kept)


def _row_classes(rows: NDArray[Any]) -> NDArray[np.int64]:
    return np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def unpaired_pool(
    pool: Array, anchors: NDArray[Any], metric: Any, most: int, seed: int, name: str
) -> NDArray[Any]:
    """A seeded sample of a pool without the anchors."""
    pool = as_array(pool, name)
    if len(pool.shape) != 2:
        raise InputError("expected an array of shape (n, d)", where=name)
    order = np.random.default_rng(seed).permutation(int(pool.shape[0]))
    rows = take_rows(pool, np.sort(order[: most + len(anchors)]))
    rows = to_numpy(check_vectors(rows, dim=anchors.shape[1], metric=metric, where=name))
    known = {row.tobytes() for row in anchors.astype(rows.dtype)}
    unknown = np.array([row.tobytes() not in known for row in rows], dtype=bool)
    rows = rows[unknown]
    if not len(rows):
        raise InputError(
            "no unpaired vector is left besides the anchors",
            where=name,
            mend="Give a sample of vectors of this side; they need no partner",
        )
    return np.random.default_rng(seed).permutation(rows)[:most]
