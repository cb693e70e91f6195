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
    "normalised_mutual_information",
]


class ClusterAgreement(ProbeResult):
    """How far the groups of one space are those of the other.

    Clustering does not find the same groups twice even in one space: ``ceiling`` is what two runs
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
    x: NDArray[np.generic],
    y: NDArray[np.generic],
    *,
    again_x: NDArray[np.generic],
    again_y: NDArray[np.generic],
) -> ClusterAgreement:
    """Compare clusterings of the same items in two spaces.

    Args:
        x: the cluster of each item ``(n,)`` on one side.
        y: on the other.
        again_x: clusters of x from other starts, for the ceiling.
        again_y: clusters of y from other starts.

    Raises:
        InputError: for groupings of different items.
    """
    return ClusterAgreement(
        clusters=len(np.unique(y)),
        adjusted_rand=adjusted_rand_index(x, y),
        mutual_information=normalised_mutual_information(x, y),
        ceiling=min(adjusted_rand_index(x, again_x), adjusted_rand_index(y, again_y)),
    )


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
