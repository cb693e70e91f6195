"""Where the ids asked for stand among those that a database gave back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from isthmus.stores.protocol import Ids

__all__ = ["places_of"]


def places_of(held: Ids, asked: Ids) -> NDArray[np.int64]:
    """For each of ``asked (n,)`` its row among ``held (m,)``, or -1 where it is not held.

    Example:
        >>> places_of(np.array(["b", "a"]), np.array(["a", "c", "a"])).tolist()
        [1, -1, 1]
    """
    if not len(held) or not len(asked):
        return np.full(len(asked), -1)
    order = np.argsort(held, kind="stable")
    place = np.minimum(np.searchsorted(held[order], asked), len(held) - 1)
    return np.where(held[order][place] == asked, order[place], -1)
