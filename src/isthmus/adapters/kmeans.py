"""k-means in bounded memory: centroids of a sample, and the nearest one of any number of rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError

__all__ = ["KMeans", "kmeans", "nearest"]

_BLOCK_ROWS = 4096


@dataclass(frozen=True, eq=False)
class KMeans:
    """Centroids, with the cluster of each row that they were found from."""

    centroids: NDArray[np.float64]
    """``(k, d)``; none is empty."""
    labels: NDArray[np.int64]
    """The nearest centroid of each row ``(n,)``."""
    counts: NDArray[np.int64]
    """Rows of each cluster ``(k,)``."""
    inertia: float
    """Sum of the squared distances of the rows to their centroids."""


def kmeans(
    rows: NDArray[Any], k: int, *, seed: int, iterations: int = 50, restarts: int = 1
) -> KMeans:
    """Lloyd's algorithm from k-means++ seeds (Arthur and Vassilvitskii 2007).

    Args:
        rows: ``(n, d)``, held in memory.
        k: number of clusters.  Where fewer rows are distinct, there are as many clusters as those.
        seed: of the first centroids; equal rows and seed give equal centroids.
        iterations: at most; it stops when no row changes its cluster.
        restarts: runs from other seeds, of which the one with the least inertia is kept.

    An emptied cluster is placed on the row that lies farthest from its centroid.

    Raises:
        InputError: for fewer than one cluster or more clusters than rows.
    """
    if rows.ndim != 2 or not 1 <= k <= len(rows):
        raise InputError(
            f"cannot form {k} clusters of an array of shape {rows.shape}",
            mend="Choose between 1 cluster and one for each row",
        )
    if iterations < 1 or restarts < 1:
        raise InputError(
            f"k-means needs at least one iteration and one run, got {iterations} and {restarts}"
        )
    rng = np.random.default_rng(seed)
    # about the mean, where squared distances do not cancel
    shift = rows.mean(axis=0, dtype=np.float64)
    centred = rows - shift.astype(rows.dtype)
    runs = [_lloyd(centred, _seeds(centred, k, rng), iterations) for _ in range(restarts)]
    best = min(runs, key=lambda run: run.inertia)
    return KMeans(best.centroids + shift.astype(rows.dtype), best.labels, best.counts, best.inertia)


def nearest(
    rows: NDArray[Any], centroids: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The nearest of ``centroids (k, d)`` to each of ``rows (n, d)``, and its squared distance.

    Of equally near centroids the first is taken.  Memory is bounded by a block of rows.
    """
    labels = np.empty(len(rows), dtype=np.int64)
    squares = np.empty(len(rows), dtype=np.float64)
    shift = centroids.mean(axis=0)
    ready = (centroids - shift).astype(rows.dtype)
    lengths = np.einsum("ij,ij->i", ready, ready)
    for start in range(0, len(rows), _BLOCK_ROWS):
        block = rows[start : start + _BLOCK_ROWS] - shift.astype(rows.dtype)
        apart = lengths - 2.0 * (block @ ready.T)
        found = apart.argmin(axis=1)
        labels[start : start + len(block)] = found
        own = np.einsum("ij,ij->i", block, block) + apart[np.arange(len(block)), found]
        squares[start : start + len(block)] = np.maximum(own, 0.0)
    return labels, squares


def _seeds(rows: NDArray[Any], k: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Rows drawn one after another, each with a chance in proportion to its squared distance."""
    chosen = [int(rng.integers(len(rows)))]
    _, squares = nearest(rows, rows[chosen])
    while len(chosen) < k:
        # what rounding leaves of the distance between equal rows is no distance
        squares[squares <= 1e-12 * max(float(squares.max()), 1e-300)] = 0.0
        total = float(squares.sum())
        if total <= 0.0:
            break
        row = int(np.searchsorted(np.cumsum(squares), rng.random() * total, side="right"))
        row = min(row, int(np.flatnonzero(squares)[-1]))
        chosen.append(row)
        squares = np.minimum(squares, nearest(rows, rows[row : row + 1])[1])
        squares[row] = 0.0
    return rows[chosen].astype(np.float64)


def _lloyd(rows: NDArray[Any], centroids: NDArray[np.float64], iterations: int) -> KMeans:
    k = len(centroids)
    labels, squares = nearest(rows, centroids)
    for _ in range(iterations):
        counts = np.bincount(labels, minlength=k)
        for empty in np.flatnonzero(counts == 0):
            far = int(np.argmax(np.where(counts[labels] > 1, squares, -1.0)))
            counts[labels[far]] -= 1
            labels[far], squares[far], counts[empty] = empty, 0.0, 1
        centroids = _sums(rows, labels, k) / counts[:, None]
        moved, squares = nearest(rows, centroids)
        if np.array_equal(moved, labels):
            break
        labels = moved
    used, labels, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return KMeans(centroids[used], labels, counts, float(squares.sum()))


def _sums(rows: NDArray[Any], labels: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """The sum of the rows of each cluster ``(k, d)``."""
    sums = np.zeros((k, rows.shape[1]))
    for start in range(0, len(rows), _BLOCK_ROWS):
        own = labels[start : start + _BLOCK_ROWS]
        order = np.argsort(own, kind="stable")
        found, first = np.unique(own[order], return_index=True)
        block = rows[start : start + _BLOCK_ROWS][order].astype(np.float64)
        sums[found] += np.add.reduceat(block, first, axis=0)
    return sums
