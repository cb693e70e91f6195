"""Who asks for what in a fit: queries for their documents, or items for themselves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.array_types import Embeddings
from isthmus.spaces.sample import Batch, sampled

__all__ = ["AnsweredRows", "asked_among"]


@dataclass(frozen=True, eq=False)
class AnsweredRows:
    """Source rows and, of each, the one target row that answers it."""

    asked: Embeddings
    """``(n, dx)``"""
    answers: Embeddings
    """Distinct target rows ``(m, dy)``."""
    answer: NDArray[np.int64]
    """The row of ``answers`` of each source row, ``(n,)``."""


def asked_among(rows: Iterable[Batch], most: int, *, seed: int = 0) -> AnsweredRows:
    """The questions among rows of a fit, in bounded memory.

    Args:
        rows: items, and queries with the id of the item that answers each in ``rows.asked`` where
            there are any (also among ``rows`` itself, where they count as their item's copies).
        most: rows of each kind at most, a seeded sample.
        seed: of the sample.

    Example:
        >>> x, y = np.random.default_rng(0).standard_normal((2, 5, 3))
        >>> asked_among([Batch(np.arange(5), x, y)], 100).answer
        array([0, 1, 2, 3, 4])
    """
    items = getattr(rows, "items", rows)
    queries = list(getattr(rows, "asked", ()))
    known = sampled(items, most, seed=seed)
    order = np.argsort(known.ids, kind="stable")
    known = known.select(order)
    answers, place = _distinct(np.asarray(known.y, np.float32))
    asked = np.asarray(known.x, np.float32)
    if not any(len(batch) for batch in queries):
        return AnsweredRows(asked, answers, place)
    asking = sampled(queries, most, seed=seed)
    at = np.minimum(np.searchsorted(known.ids, asking.ids), len(known) - 1)
    answered = known.ids[at] == asking.ids
    asking, at = asking.select(answered), at[answered]
    if not len(asking):
        return AnsweredRows(asked, answers, place)
    x = np.asarray(asking.x, np.float32)
    # documents lie elsewhere than queries: brought to where the map will be asked
    moved = asked + (x.mean(axis=0, dtype=np.float64) - asked.mean(axis=0, dtype=np.float64))
    return AnsweredRows(
        np.concatenate([x, moved.astype(np.float32)]), answers, np.concatenate([place[at], place])
    )


def _distinct(y: Embeddings) -> tuple[Embeddings, NDArray[np.int64]]:
    """The different rows in the order in which they come, and of each row its place there."""
    rows = np.ascontiguousarray(y + np.float32(0))  # -0 and 0 are equal
    keys = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel()
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return rows[first[order]], place[inverse].astype(np.int64)
