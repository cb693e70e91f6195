"""Whether both spaces fall into the same groups."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.evaluate.probes.result import ProbeResult

__all__ = [
    "ClusterAgreement",
    "adjusted_rand_index",
    "cluster_agreement",
    "kmeans",
    "normalised_mutual_information",
]

_MOST_ROUNDS = 30
_RESTARTS = 3


class ClusterAgreement(ProbeResult):
    """k-means in each space, compared.

    k-means does not find the same clusters twice even in one space: ``ceiling`` is what two runs
    in the same space agree to, the lower of the two sides.
    """

    clusters: int
    adjusted_rand: float
    """1 for the same groups, 0 on average for unrelated ones (Hubert and Arabie 1985)."""
    mutual_information: float
    """Normalised by the arithmetic mean of the entropies; above 0 even by chance."""
    ceiling: float
    """Adjusted Rand index of two runs from other starts."""


def cluster_agreement(
    x: NDArray[np.floating],
    y: NDArray[np.floating],
    *,
    clusters: int = 10,
    seed: int = 0,
) -> tuple[ClusterAgreement, NDArray[np.int64]]:
    """Cluster paired rows ``x (n, dx)`` and ``y (n, dy)`` and compare the groups.

    Returns:
        The agreement, and the clusters ``(n,)`` of the y side.

    Raises:
        InputError: for fewer rows than clusters.
    """
    one, again_one = (kmeans(x, clusters, seed=seed + s) for s in (0, 1))
    other, again_other = (kmeans(y, clusters, seed=seed + s) for s in (0, 1))
    agreement = ClusterAgreement(
        clusters=clusters,
        adjusted_rand=adjusted_rand_index(one, other),
        mutual_information=normalised_mutual_information(one, other),
        ceiling=min(adjusted_rand_index(one, again_one), adjusted_rand_index(other, again_other)),
    )
    return agreement, other


def kmeans(rows: NDArray[np.floating], clusters: int, *, seed: int = 0) -> NDArray[np.int64]:
    """The cluster ``(n,)`` of each row of ``rows (n, d)``, by Lloyd's algorithm.

    The best of three runs from k-means++ starts (Arthur and Vassilvitskii 2007).

    Raises:
        InputError: for fewer rows than clusters.
    """
    if not 1 <= clusters <= len(rows):
        raise InputError(f"cannot form {clusters} clusters of {len(rows)} rows", where="clusters")
    rng = np.random.default_rng(seed)
    points = np.asarray(rows - rows.mean(axis=0, dtype=np.float64), dtype=np.float32)
    squares = np.einsum("nd,nd->n", points, points)
    best: tuple[float, NDArray[np.int64]] | None = None
    for _ in range(_RESTARTS):
        centres = _spread_out(points, squares, clusters, rng)
        inertia, member = _lloyd(points, squares, centres)
        if best is None or inertia < best[0]:
            best = inertia, member
    assert best is not None
    return best[1]


def _distances(
    points: NDArray[np.float32], squares: NDArray[np.float32], centres: NDArray[np.float32]
) -> NDArray[np.float32]:
    found = points @ (-2.0 * centres.T)
    found += squares[:, None]
    found += np.einsum("kd,kd->k", centres, centres)
    return np.maximum(found, 0.0)


def _spread_out(
    points: NDArray[np.float32],
    squares: NDArray[np.float32],
    clusters: int,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    centres = points[rng.integers(len(points), size=1)]
    nearest = _distances(points, squares, centres)[:, 0]
    while len(centres) < clusters:
        total = float(nearest.sum(dtype=np.float64))
        # where every row is a centre already, any will do
        chances = nearest.astype(np.float64) / total if total > 0 else None
        chosen = rng.choice(len(points), p=chances)
        centres = np.vstack([centres, points[chosen]])
        nearest = np.minimum(nearest, _distances(points, squares, centres[-1:])[:, 0])
    return centres


def _lloyd(
    points: NDArray[np.float32], squares: NDArray[np.float32], centres: NDArray[np.float32]
) -> tuple[float, NDArray[np.int64]]:
    member = np.full(len(points), -1)
    apart = np.zeros((len(points), len(centres)), np.float32)
    for _ in range(_MOST_ROUNDS):
        apart = _distances(points, squares, centres)
        moved = apart.argmin(axis=1)
        if np.array_equal(moved, member):
            break
        member = moved
        one_hot = np.zeros((len(centres), len(points)), np.float32)
        one_hot[member, np.arange(len(points))] = 1.0
        sizes = one_hot.sum(axis=1)
        used = sizes > 0
        centres = centres.copy()
        centres[used] = (one_hot @ points)[used] / sizes[used, None]
    inertia = float(apart[np.arange(len(points)), member].sum(dtype=np.float64))
    return inertia, member


def adjusted_rand_index(one: NDArray[np.generic], other: NDArray[np.generic]) -> float:
    """Agreement of two groupings ``(n,)`` of the same items, corrected for chance."""
    table = _contingency(one, other)
    together = _pairs(table)
    rows, columns = _pairs(table.sum(axis=1)), _pairs(table.sum(axis=0))
    expected = rows * columns / _pairs(table.sum())
    largest = (rows + columns) / 2
    return 1.0 if largest == expected else (together - expected) / (largest - expected)


def normalised_mutual_information(one: NDArray[np.generic], other: NDArray[np.generic]) -> float:
    """Mutual information of two groupings ``(n,)`` over the mean of their entropies."""
    joint = _contingency(one, other) / len(one)
    left, right = joint.sum(axis=1), joint.sum(axis=0)
    entropies = [float(-(p * np.log(p)).sum()) for p in (left, right)]
    if max(entropies) == 0:
        return 1.0
    used = joint > 0
    independent = np.outer(left, right)
    shared = float((joint[used] * np.log(joint[used] / independent[used])).sum())
    return max(shared, 0.0) / (sum(entropies) / 2)


def _pairs(counts: NDArray[np.int64] | np.int64) -> float:
    """How many pairs of items share a cell."""
    wide = np.asarray(counts, dtype=np.float64)
    return float((wide * (wide - 1) / 2).sum())


def _contingency(one: NDArray[np.generic], other: NDArray[np.generic]) -> NDArray[np.int64]:
    if one.shape != other.shape or one.ndim != 1 or len(one) < 2:
        raise InputError(
            f"two groupings of the same items are needed, found shapes {one.shape} and "
            f"{other.shape}"
        )
    _, left = np.unique(one, return_inverse=True)
    _, right = np.unique(other, return_inverse=True)
    width = int(right.max()) + 1
    cells = np.bincount(left * width + right, minlength=(int(left.max()) + 1) * width)
    return cells.reshape(-1, width)
