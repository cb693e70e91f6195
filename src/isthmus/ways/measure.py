"""What is read off the answers of a way: what it cost, and how far it agrees with another."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.evaluate.price import Price
from isthmus.ways.rescoring import Spent
from isthmus.ways.way import Way

__all__ = ["overlap", "price_of"]


def price_of(
    name: str, way: Way, spent: Spent, n_items: int, filled: NDArray[np.bool_] | None = None
) -> Price:
    """The price of the arm ``name``, beyond what doing nothing costs.

    Args:
        name: of the arm.
        way: what it did.
        spent: on all queries together.
        n_items: of the gallery.
        filled: which items ``(n_items,)`` are re-embedded, for a way with a part.
    """
    if name == "old":
        return Price()
    part = 0.0 if filled is None else float(filled.mean())
    return Price(
        encodings=spent.cold / spent.queries,
        encodings_cached=spent.encoded / spent.queries,
        cached_share=min(spent.encoded / n_items, 1.0),
        old_query=way.recall.old_query,
        reembedded=1.0 if way.recall.kind == "new" else part,
    )


def overlap(one: NDArray[Any], other: NDArray[Any], k: int) -> NDArray[np.float64]:
    """The shared part of the first ``k`` results of each query ``(nq,)``, from ids ``(nq, ≥ k)``.

    Example:
        >>> import numpy as np
        >>> overlap(np.array([[1, 2, 3]]), np.array([[2, 9, 1]]), 2).tolist()
        [0.5]
    """
    same = one[:, :k, None] == other[:, None, :k]
    return same.any(axis=2).mean(axis=1)
