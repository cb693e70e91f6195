"""Scores of queries against a gallery, one bounded block at a time; higher is closer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.spaces.metric import Metric, checked_metric

__all__ = [
    "GALLERY_BLOCK",
    "QUERY_BLOCK",
    "Metric",
    "ScoreBlocks",
    "checked_exclude",
    "checked_norms",
    "leave_out",
]

QUERY_BLOCK = 1024
GALLERY_BLOCK = 8192

# BLAS sums the last few rows and columns of a product with other kernels than the rest, so equal
# vectors may get scores an ulp apart.  Blocks padded to whole tiles have no last few.
_TILE = 64
_CHECK_ROWS = 8192
_LARGEST_NORM = 1e18  # the product of two such norms still fits float32
_SMALLEST_NORM = 1e-30


class ScoreBlocks:
    """Every score of ``queries (nq, d)`` against ``gallery (ng, d)``, in blocks of bounded size.

    Products are float32, norms float64.  Equal vectors get equal scores wherever they stand in
    the gallery and whatever the block sizes (tested with OpenBLAS; another BLAS may differ in the
    last ulp, and then a tie is decided by that ulp).  Both arrays are checked once, here: an
    `InputError` names the first row that is not finite, too large for float32 products, or, for
    ``cosine``, zero.  The gallery may be a memory map: it is read by blocks only.  Who searches one
    gallery many times keeps the ``gallery_norms (ng,)`` that `checked_norms` gave, and it is not
    checked again.
    """

    def __init__(
        self,
        queries: NDArray[Any],
        gallery: NDArray[Any],
        metric: Metric,
        *,
        query_block: int = QUERY_BLOCK,
        gallery_block: int = GALLERY_BLOCK,
        gallery_norms: NDArray[np.float64] | None = None,
    ) -> None:
        if query_block < 1 or gallery_block < 1:
            raise InputError("block sizes must be at least 1", where="query_block, gallery_block")
        self._metric = checked_metric(metric)
        self._query_norms = checked_norms(queries, "queries", metric)
        self._gallery_norms = (
            checked_norms(gallery, "gallery", metric) if gallery_norms is None else gallery_norms
        )
        if queries.shape[1] != gallery.shape[1]:
            raise InputError(
                f"queries have width {queries.shape[1]}, the gallery {gallery.shape[1]}",
                mend="Give vectors of one space, or map one side first",
            )
        self._queries = queries
        self._gallery = gallery
        self._query_block = min(query_block, len(queries))
        self._gallery_block = min(gallery_block, len(gallery))
        # Distances do not change when both sides move; without a common mean, less cancels.
        self._shift = np.mean(gallery[:1024], axis=0, dtype=np.float64).astype(np.float32)
        self._scores = np.empty(
            _whole_tiles(self._query_block) * _whole_tiles(self._gallery_block), dtype=np.float32
        )

    @property
    def n_queries(self) -> int:
        """Number of query rows."""
        return len(self._queries)

    @property
    def n_gallery(self) -> int:
        """Number of gallery rows."""
        return len(self._gallery)

    def query_rows(self) -> Iterator[slice]:
        """The query rows, block after block."""
        for start in range(0, self.n_queries, self._query_block):
            yield slice(start, min(start + self._query_block, self.n_queries))

    def against_gallery(self, rows: slice) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield ``(first gallery index, scores (rows, columns))`` over the whole gallery.

        The scores are a view of one buffer: the caller may write to it, and the next step
        overwrites it.
        """
        left, left_squares = self._prepared(self._queries[rows], self._query_norms[rows])
        for start in range(0, self.n_gallery, self._gallery_block):
            columns = slice(start, min(start + self._gallery_block, self.n_gallery))
            right, right_squares = self._prepared(
                self._gallery[columns], self._gallery_norms[columns]
            )
            size = len(left) * len(right)
            scores = self._scores[:size].reshape(len(left), len(right))
            np.dot(left, right.T, out=scores)
            scores = scores[: rows.stop - rows.start, : columns.stop - columns.start]
            if self._metric == "l2":
                scores *= 2
                scores -= left_squares[:, None]
                scores -= right_squares
                np.minimum(scores, 0, out=scores)
            yield start, scores

    def _prepared(
        self, rows: NDArray[Any], norms: NDArray[np.float64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The rows as float32, ready to be multiplied and padded to whole tiles; their squares."""
        n, d = rows.shape
        padded = np.zeros((_whole_tiles(n), d), dtype=np.float32)
        ready = padded[:n]
        if self._metric == "cosine":
            np.divide(rows, norms.astype(np.float32)[:, None], out=ready, casting="same_kind")
        elif self._metric == "l2":
            np.subtract(rows, self._shift, out=ready, casting="same_kind")
            return padded, np.einsum("nd,nd->n", ready, ready)
        else:
            ready[:] = rows
        return padded, np.empty(0, dtype=np.float32)


def checked_exclude(
    exclude: NDArray[Any] | None, n_queries: int, n_gallery: int
) -> NDArray[np.int64] | None:
    """``exclude`` as int64 ``(nq,)``: the gallery index left out for each query."""
    if exclude is None:
        return None
    exclude = np.asarray(exclude)
    if exclude.shape != (n_queries,) or exclude.dtype.kind not in "iu":
        raise InputError(
            f"expected one integer per query, shape ({n_queries},); "
            f"found {exclude.dtype} of shape {exclude.shape}",
            where="exclude",
        )
    bad = (exclude < 0) | (exclude >= n_gallery)
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(
            f"gallery index {int(exclude[row])} does not exist in a gallery of {n_gallery}",
            where=f"exclude, row {row}",
        )
    return exclude.astype(np.int64)


def leave_out(scores: NDArray[np.float32], start: int, exclude: NDArray[np.int64] | None) -> None:
    """Give the excluded item of each row, where it lies in this block, the score −∞."""
    if exclude is None:
        return
    column = exclude - start
    row = np.flatnonzero((column >= 0) & (column < scores.shape[1]))
    scores[row, column[row]] = -np.inf


def _whole_tiles(n: int) -> int:
    return -(-n // _TILE) * _TILE


def checked_norms(vectors: NDArray[Any], name: str, metric: Metric) -> NDArray[np.float64]:
    """The row norms of ``vectors (n, d)``; raises `InputError` as `ScoreBlocks` does."""
    if vectors.ndim != 2 or vectors.dtype.kind != "f":
        raise InputError(
            f"expected a 2-d array of floats, found {vectors.dtype} of shape {vectors.shape}",
            where=name,
        )
    if 0 in vectors.shape:
        raise InputError(f"the array is empty, shape {vectors.shape}", where=name)
    norms = np.empty(len(vectors))
    for start in range(0, len(vectors), _CHECK_ROWS):
        block = np.asarray(vectors[start : start + _CHECK_ROWS], dtype=np.float64)
        norms[start : start + len(block)] = np.sqrt(np.einsum("nd,nd->n", block, block))
    _refuse(~np.isfinite(norms), "the vector has a value that is not finite", name)
    _refuse(norms > _LARGEST_NORM, "the vector is too long for float32 products", name)
    if metric == "cosine":
        _refuse(norms < _SMALLEST_NORM, "a zero vector has no cosine", name)
    return norms


def _refuse(bad: NDArray[np.bool_], what: str, name: str) -> None:
    if bad.any():
        raise InputError(
            what,
            where=f"{name}, row {int(np.argmax(bad))}",
            mend=f"Repair or drop {int(bad.sum())} such row(s)",
        )
