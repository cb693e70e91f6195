"""Queries with known answers, asked on a live index."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from isthmus.migrate.plan import AskedQueries
from isthmus.ways.search import Search

__all__ = ["DEPTH", "answered", "recalls"]

DEPTH = 10
"""Results of each query that count."""


def answered(search: Search, asked: AskedQueries) -> NDArray[np.float64]:
    """Recall at 10 of each query ``(nq,)``: the share of its answers among its first ten."""
    found = search(list(asked.texts), DEPTH)
    return recalls(found.ids, asked.clicked)


def recalls(
    ids: NDArray[np.generic], clicked: tuple[tuple[int | str, ...], ...]
) -> NDArray[np.float64]:
    """The share of each query's answers among its results ``(nq, k)``."""
    shares = [
        len(set(row).intersection(answers)) / min(len(set(answers)), DEPTH)
        for row, answers in zip(ids.tolist(), clicked, strict=True)
    ]
    return np.array(shares, dtype=np.float64)
