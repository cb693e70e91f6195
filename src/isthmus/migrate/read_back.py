"""Whether a store gives back the vectors that were put."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from isthmus.stores import Column

__all__ = ["came_back"]


def came_back(
    found: NDArray[np.float32], rows: NDArray[np.float32], column: Column
) -> NDArray[np.bool_]:
    """Of each of ``rows (n, d)`` that were put, whether ``found`` is it, as ``column`` keeps it.

    Example:
        >>> put = np.array([[3, 4]], np.float32)
        >>> unit = Column("v", 2, "float32", "cosine", stored_normalised=True)
        >>> came_back(put / 5, put, unit).tolist(), came_back(put / 4, put, unit).tolist()
        ([True], [False])
    """
    wanted = rows
    if column.stored_normalised:
        norms = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
        wanted = (rows / norms).astype(np.float32)
    exact = not (column.rounded or column.stored_normalised)
    if exact and column.dtype == "float32":
        return np.all(found == wanted, axis=1)
    loose = 2e-3 if column.dtype == "float16" else 1e-5
    return np.all(np.isclose(found, wanted, rtol=loose, atol=loose), axis=1)
