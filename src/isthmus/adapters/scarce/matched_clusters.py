"""Clusters of two unpaired sides, put in the same order by how they lie to each other."""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.adapters.kmeans import kmeans
from isthmus.array_types import Embeddings, Matrix
from isthmus.numeric import unit_rows
from isthmus.threads import single_thread

__all__ = ["matched_centroids"]

_RESTARTS = 3


def matched_centroids(
    x: Embeddings, y: Embeddings, clusters: int, seed: int
) -> tuple[Embeddings, Embeddings]:
    """Centroids of both sides in matching order, ``(k, dx)`` and ``(k, dy)``.

    The order maximises the agreement of the two matrices of cosines between centroids: FAQ
    (Vogelstein et al. 2015) from several starts, then improved by exchanges of two.
    """
    from scipy.optimize import quadratic_assignment  # slow to import, and rarely needed

    centres = [
        unit_rows(kmeans(unit_rows(rows), min(clusters, len(rows)), seed=s).centroids)
        for rows, s in ((x, 2 * seed), (y, 2 * seed + 1))
    ]
    k = min(map(len, centres))
    a, b = (_without_diagonal(c[:k]) for c in centres)
    rng = np.random.default_rng(seed)
    best: Any = None
    with single_thread:
        for restart in range(_RESTARTS):
            start = "randomized" if restart else "barycenter"
            options: Any = {"maximize": True, "rng": rng, "P0": start}
            found = quadratic_assignment(a, b, method="faq", options=options)
            if best is None or found.fun > best.fun:
                best = found
        guess = np.column_stack([np.arange(k), best.col_ind])
        options = {"maximize": True, "rng": rng, "partial_guess": guess}
        order = quadratic_assignment(a, b, method="2opt", options=options).col_ind
    return centres[0][:k], centres[1][:k][order]


def _without_diagonal(centres: Embeddings) -> Matrix:
    cosines = centres.astype(np.float64) @ centres.T
    np.fill_diagonal(cosines, 0.0)
    return cosines
