"""Exact nearest neighbours, in bounded memory, with ties decided the same way every time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.evaluate.scores import (
    BlockSizes,
    Metric,
    ScoreBlocks,
    checked_exclude,
    leave_out,
)
from isthmus.progress import Progress, silent

__all__ = ["Best", "TopK", "top_k"]

_NOTHING = np.uint64(np.iinfo(np.uint64).max)
_LOW_HALF = np.uint64(0xFFFFFFFF)
_SIGN = np.uint32(0x80000000)
_SPARE = 8
"""More items are held than are wanted, since products may put the last ones in another order."""
_OPEN_CELLS = 2**22
_SIZES = BlockSizes()


@dataclass(frozen=True)
class TopK:
    """The ``k`` best gallery items of each query, best first.

    ``indices (nq, k)`` int64 into the gallery, ``scores (nq, k)`` float32, higher is closer.

    Example:
        >>> import numpy as np
        >>> gallery = np.eye(3, dtype=np.float32)
        >>> top_k(gallery, gallery, 1).indices.ravel()
        array([0, 1, 2])
    """

    indices: NDArray[np.int64]
    scores: NDArray[np.float32]


def top_k(
    queries: NDArray[Any],
    gallery: NDArray[Any],
    k: int,
    *,
    metric: Metric = "cosine",
    exclude: NDArray[np.int64] | None = None,
    sizes: BlockSizes = _SIZES,
    gallery_norms: NDArray[np.float64] | None = None,
    progress: Progress = silent,
) -> TopK:
    """Find the ``k`` best of ``gallery (ng, d)`` for each of ``queries (nq, d)``, exactly.

    Scores are those of `scores_of`; equal ones are ordered by the lower gallery index.  ``exclude
    (nq,)`` names one gallery item left out for each query (leave-one-out).  Memory is bounded by
    the ``sizes`` of blocks; the gallery may be a memory map, and ``gallery_norms`` are those of
    `ScoreBlocks`.
    Raises `InputError` for arrays that `ScoreBlocks` refuses and for a ``k`` the gallery cannot
    fill.

    Example:
        >>> import numpy as np
        >>> gallery = np.array([[1, 0], [0, 1], [1, 1]], dtype=np.float32)
        >>> found = top_k(gallery[:1], gallery, 2)
        >>> found.indices, found.scores.round(3)
        (array([[0, 2]]), array([[1.   , 0.707]], dtype=float32))
    """
    blocks = ScoreBlocks(
        queries,
        gallery,
        metric,
        query_block=sizes.queries,
        gallery_block=sizes.gallery,
        gallery_norms=gallery_norms,
    )
    exclude = checked_exclude(exclude, blocks.n_queries, blocks.n_gallery)
    available = blocks.n_gallery - (exclude is not None)
    if not 1 <= k <= available:
        raise InputError(
            f"k is {k}, but {available} gallery items can be found",
            where="k",
            mend=f"Choose k between 1 and {available}",
        )
    best = Best(blocks, k, exclude)
    for rows in blocks.query_rows():
        for start, scores in blocks.against_gallery(rows):
            leave_out(scores, start, None if exclude is None else exclude[rows])
            best.see(rows, start, scores)
        progress("search", rows.stop, blocks.n_queries)
    return best.top()


class Best:
    """The ``k`` best items of each query: found among the scores seen, ordered by exact ones.

    Args:
        blocks: whose scores will be seen.
        k: results of each query.
        exclude: one item left out for each query, whose scores are seen as −∞.
    """

    def __init__(
        self, blocks: ScoreBlocks, k: int, exclude: NDArray[np.int64] | None = None
    ) -> None:
        self._blocks, self._k, self._exclude = blocks, k, exclude
        available = blocks.n_gallery - (exclude is not None)
        self._held = min(k + max(_SPARE, k // 8), available)
        self._found = TopK(
            np.empty((blocks.n_queries, k), dtype=np.int64),
            np.empty((blocks.n_queries, k), dtype=np.float32),
        )
        self._rows = slice(0, 0)
        self._keys = np.empty((0, self._held), dtype=np.uint64)

    def see(self, rows: slice, start: int, scores: NDArray[np.float32]) -> None:
        """Look at the scores of ``rows`` against the gallery from ``start`` on.

        All of the gallery for some rows, then all of it for the next.
        """
        if rows != self._rows:
            self._settle()
            shape = (rows.stop - rows.start, self._held)
            self._rows, self._keys = rows, np.full(shape, _NOTHING)
        self._keys = _merged(self._keys, scores, start)

    def top(self) -> TopK:
        """The best items of each query, once all blocks of the gallery were seen."""
        self._settle()
        return self._found

    def _settle(self) -> None:
        """Order what is held of the last rows; look again where other items might be better."""
        rows = np.arange(self._rows.start, self._rows.stop)
        if not len(rows):
            return
        near, columns = _unpacked(self._keys)
        keys = _packed(self._blocks.exact(rows, columns), columns)
        keys.sort(axis=1)
        scores, indices = _unpacked(keys[:, : self._k])
        self._found.scores[rows], self._found.indices[rows] = scores, indices
        if self._held == self._blocks.n_gallery - (self._exclude is not None):
            return
        bars = scores[:, -1] - self._blocks.slack(self._rows)
        again = near[:, -1] >= bars
        step = max(1, _OPEN_CELLS // self._blocks.n_gallery)
        for first in range(0, int(again.sum()), step):
            some = slice(first, first + step)
            self._look_again(rows[again][some], bars[again][some])

    def _look_again(self, rows: NDArray[np.int64], bars: NDArray[np.float32]) -> None:
        """Order everything that may be among the best of ``rows``: ties without end."""
        keys: list[NDArray[np.uint64]] = []
        owners: list[NDArray[np.int64]] = []
        for start, scores in self._blocks.against_gallery(rows):
            leave_out(scores, start, None if self._exclude is None else self._exclude[rows])
            owner, column = np.nonzero(scores >= bars[:, None])
            column += start
            keys.append(_packed(self._blocks.exact(rows[owner], column), column))
            owners.append(owner)
        key, owner = np.concatenate(keys), np.concatenate(owners)
        order = np.lexsort((key, owner))
        counts = np.bincount(owner, minlength=len(rows))
        best = (np.cumsum(counts) - counts)[:, None] + np.arange(self._k)
        scores, indices = _unpacked(key[order[best]])
        self._found.scores[rows], self._found.indices[rows] = scores, indices


def _merged(
    best: NDArray[np.uint64], scores: NDArray[np.float32], start: int
) -> NDArray[np.uint64]:
    """The best ``k`` keys of each row after one more block of scores."""
    n, k = best.shape
    columns = scores.shape[1]
    bar = np.where(best[:, -1] == _NOTHING, np.float32(-np.inf), _unpacked(best[:, -1])[0])
    if columns > k and bool(np.isneginf(bar).any()):
        # What is not among the best k of its own block is not among the best k of all.
        own = np.partition(scores, columns - k, axis=1)[:, columns - k]
        bar = np.maximum(bar, np.nextafter(own, np.float32(-np.inf)))
    row, column = np.divmod(np.flatnonzero(scores > bar[:, None]), columns)
    if not row.size:
        return best
    counts = np.bincount(row, minlength=n)
    place = np.arange(row.size) - np.repeat(np.cumsum(counts) - counts, counts)
    keys = np.full((n, k + counts.max()), _NOTHING)
    keys[:, :k] = best
    keys[row, k + place] = _packed(scores[row, column], start + column)
    keys.sort(axis=1)
    return keys[:, :k]


def _packed(scores: NDArray[np.float32], indices: NDArray[np.int64]) -> NDArray[np.uint64]:
    """One integer per item that sorts by descending score, then by ascending index."""
    bits = (scores + np.float32(0)).view(np.uint32)  # adding 0 makes -0 and 0 one value
    rising = np.where(bits & _SIGN, ~bits, bits | _SIGN)
    return (~rising).astype(np.uint64) << np.uint64(32) | indices.astype(np.uint64)


def _unpacked(keys: NDArray[np.uint64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    rising = ~(keys >> np.uint64(32)).astype(np.uint32)
    bits = np.where(rising & _SIGN, rising & ~_SIGN, ~rising)
    return bits.view(np.float32), (keys & _LOW_HALF).astype(np.int64)
