"""Items that stand in the data again under another id, so that a split never parts them.

A copy in the fit of an item that judges makes a map look better than it is.  Exact and near copies
are told from similar items by the distances that items of these spaces keep: a full stop more moves
a text by a hundredth of what lies between it and its nearest neighbour.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.array_types import AnyArray
from isthmus.spaces.metric import Metric
from isthmus.spaces.sample import Batch
from isthmus.spaces.split import Copies, hash_ids

__all__ = ["LARGEST", "MOST_ROWS", "PROBES", "CopySearch", "NearCopies", "first_alike"]

MOST_ROWS = 100_000
"""Pairs among which copies are looked for: a few hundred bytes are held of each."""

_NEAR = 0.02
"""Squared distance of near copies, over that of typical nearest neighbours."""
_BY_CHANCE = 0.0014
"""Share of rows on a surface of few dimensions that lie as near by chance, at the most."""
PROBES = 2000
"""Rows from which it is read how far apart different items lie."""
_DIRECTIONS = 12
"""Directions of each side in which distances are compared."""
LARGEST = 0.1
"""Share of all rows in one group: more are no copies of one item, but rows that hold nothing, and
no part of a split could hold them all."""
_EXACT = 1e-4
"""Share of the distance of near copies: what rounding leaves of equal rows."""
_COMPARED = 20_000
"""Points among which every neighbour is looked for; of more, only of those that hashing shows."""
_TABLES = 8
_CELL = 3.0
"""Width of a cell, over the distance of near copies.  Of two points at that distance in 24 numbers
one table in four holds both in one cell, of two at half of it one in two."""
_BESIDE = 3
"""Points of one cell that each is compared with, in each table."""
_PAIRS = 100_000


@dataclass(frozen=True, eq=False)
class NearCopies:
    """Where copies of each other lie within distance 1, of rows of one space.

    Distances are those in 12 random directions, off by a fifth on average; equal rows are at 0.
    """

    mean: NDArray[np.float64]
    directions: NDArray[np.float64]
    """``(d, k)``, divided by the distance of near copies."""
    unit: bool

    @classmethod
    def like(cls, rows: AnyArray, metric: Metric) -> NearCopies | None:
        """Of the space that a sample of rows ``(n, d)`` is from; None where no two of them differ.

        Args:
            rows: at most 2,000 of them are compared, which may be copies themselves.
            metric: under ``cosine`` directions from the mean are compared.
        """
        unit = metric == "cosine"
        rows = np.asarray(rows[:PROBES], np.float64)
        mean = rows.mean(axis=0)
        rows = _placed(rows, mean, unit=unit)
        width = rows.shape[1]
        # directions alone have a dimension less
        near = min(_NEAR, _BY_CHANCE ** (2 / max(width - unit, 1)))
        typical = _typical(rows, near)
        if typical <= 0:
            return None
        directions = np.eye(width)
        if width > _DIRECTIONS:
            random = np.random.default_rng(0)
            directions = random.standard_normal((width, _DIRECTIONS)) / _DIRECTIONS**0.5
        return cls(mean, directions / (near * typical) ** 0.5, unit)

    def __call__(self, rows: AnyArray) -> NDArray[np.float64]:
        """Rows ``(n, d)`` as points ``(n, k)``; copies lie within distance 1."""
        return _placed(np.asarray(rows, np.float64), self.mean, unit=self.unit) @ self.directions


Placed = tuple[list[AnyArray], list[NDArray[np.float32]]]
"""Ids and points, batch by batch."""


@dataclass(frozen=True, eq=False)
class CopySearch:
    """Looks for items that are equal, or nearly so, in both spaces; picklable.

    Called with batches, in any process, it places their rows; `joined` collects what was placed,
    and `copies` says what lies together.

    Example:
        >>> rows = np.random.default_rng(0).standard_normal((500, 8))
        >>> rows[7] = rows[3]
        >>> batch = Batch(np.arange(500), rows, rows)
        >>> search = CopySearch.like(batch, "cosine")
        >>> len(search.copies(search([batch])))
        1
    """

    near_x: NearCopies
    near_y: NearCopies

    @classmethod
    def like(cls, sample: Batch, metric: Metric) -> CopySearch | None:
        """Of the spaces that a sample is from; None where no two rows of one differ.

        Args:
            sample: rows from which it is read how far apart different items lie.
            metric: of both spaces.
        """
        near_x, near_y = NearCopies.like(sample.x, metric), NearCopies.like(sample.y, metric)
        return None if near_x is None or near_y is None else cls(near_x, near_y)

    def __call__(self, batches: Iterable[Batch]) -> Placed:
        """The ids of all rows, and points ``(n, k)`` whose squared distance is the mean of both
        spaces'."""
        names: list[AnyArray] = []
        places: list[NDArray[np.float32]] = []
        for batch in batches:
            names.append(batch.ids)
            both = np.hstack([self.near_x(batch.x), self.near_y(batch.y)]) * 0.5**0.5
            places.append(both.astype(np.float32))
        return names, places

    @staticmethod
    def joined(one: Placed, other: Placed) -> Placed:
        """The ids and places of two parts of the pairs, one behind the other."""
        return [*one[0], *other[0]], [*one[1], *other[1]]

    @staticmethod
    def copies(placed: Placed, largest: float = LARGEST) -> Copies:
        """Of each item that is a copy, the one that comes first in the order of the hashes of ids;
        the same for any order of the rows.

        Args:
            placed: all rows.
            largest: share of all rows in one group, above which they are no copies.
        """
        ids = np.concatenate(placed[0])
        order = np.lexsort((ids, hash_ids(ids)))
        first = first_alike(np.concatenate(placed[1])[order])
        sizes = np.bincount(first, minlength=len(ids))
        together = sizes[first] <= max(4, largest * len(ids))
        copied = np.flatnonzero((first != np.arange(len(ids))) & together)
        return Copies.of(ids[order[copied]], ids[order[first[copied]]])


def first_alike(points: NDArray[Any]) -> NDArray[np.int64]:
    """Of each point ``(n, k)`` the first that it is a copy of, itself where there is none.

    Nearest points within distance 1 are joined, and the first of each group stands for it, until
    no two of those are near each other.  Among more than 20,000 points those are joined that fall
    into one cell of a random grid, in any of eight: nearly all near copies, and every equal one.
    """
    if len(points) <= _COMPARED:
        return _joined(points)
    first = np.arange(len(points))
    some = np.flatnonzero(_beside_another(points))
    if len(some):
        first[some] = some[_joined(points[some])]
    return first


def _beside_another(points: NDArray[Any]) -> NDArray[np.bool_]:
    """Which points have another within distance 1 in their cell of one of the grids ``(n,)``."""
    rng = np.random.default_rng(0)
    n, width = points.shape
    found = np.zeros(n, np.bool_)
    for _ in range(_TABLES):
        shift = rng.uniform(0, _CELL, width)
        odd = rng.integers(1, 2**62, width, dtype=np.int64) | 1
        key = np.zeros(n, np.int64)
        with np.errstate(over="ignore"):
            for axis in range(width):
                key += (
                    np.floor((points[:, axis] + shift[axis]) / _CELL).astype(np.int64) * odd[axis]
                )
        order = np.argsort(key, kind="stable")
        key = key[order]
        for step in range(1, min(_BESIDE, n - 1) + 1):
            at = np.flatnonzero(key[step:] == key[:-step])
            for start in range(0, len(at), _PAIRS):
                one = order[at[start : start + _PAIRS]]
                other = order[at[start : start + _PAIRS] + step]
                near = np.square(points[one] - points[other]).sum(axis=1) <= 1
                found[one[near]] = found[other[near]] = True
    return found


def _joined(points: NDArray[Any]) -> NDArray[np.int64]:
    """As `first_alike`, every neighbour looked for."""
    # scipy's trees and graphs take a fifth of a second to import
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    first = _equal(points)
    left = np.unique(first)
    while len(left) > 1:
        tree = cKDTree(points[left])
        found: Any = tree.query(points[left], k=2, distance_upper_bound=1.0)
        distance, nearest = found
        # of equal points, either may be named first
        own = np.arange(len(left))
        at = np.where(nearest[:, 0] == own, 1, 0)
        near = np.isfinite(distance[own, at])
        if not near.any():
            break
        edges = own[near], nearest[own, at][near]
        n = len(left)
        graph = coo_array((np.ones(len(edges[0]), np.int8), edges), shape=(n, n))
        groups: NDArray[Any] = connected_components(graph, directed=False)[1]
        # `left` ascends, so that the first of a group is its smallest
        heads = left[np.unique(groups, return_index=True)[1]][groups]
        moved = np.arange(len(points))
        moved[left] = heads
        first = moved[first]
        left = np.unique(heads)
    return first


def _equal(points: NDArray[Any]) -> NDArray[np.int64]:
    """The first of the points that are equal to each, as far as rounding shows it."""
    rounded = np.ascontiguousarray(np.round(points / _EXACT).astype(np.int64))
    whole = rounded.view(np.dtype((np.void, rounded.itemsize * rounded.shape[1]))).ravel()
    _, first, group = np.unique(whole, return_index=True, return_inverse=True)
    return first[group.ravel()]


def _placed(rows: NDArray[np.float64], mean: NDArray[np.float64], *, unit: bool) -> Any:
    centred = rows - mean
    if not unit:
        return centred
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    return centred / np.where(lengths > 0, lengths, 1.0)


def _typical(rows: NDArray[np.float64], near: float) -> float:
    """Median squared distance of a row to its nearest neighbour, copies taken once."""
    squares = np.einsum("nd,nd->n", rows, rows)
    apart = squares[:, None] + squares - 2 * (rows @ rows.T)
    rounding = 1e-9 * float(squares.max(initial=0.0))
    np.fill_diagonal(apart, np.inf)
    if len(rows) < 2 or not (apart > rounding).any():
        return 0.0
    wide = float(np.quantile(apart.min(axis=1), 0.9))
    alike = np.tril(apart <= near * wide + rounding)
    once = np.flatnonzero(~alike.any(axis=1))
    if len(once) < 2:
        return 0.0
    return float(np.median(apart[np.ix_(once, once)].min(axis=1)))
