"""Scores of queries against a gallery; higher is closer.

The score of a pair is what `scores_of` computes: sums in float64, rounded once to float32, so that
equal vectors have equal scores wherever they stand, on every machine.  A product of whole blocks is
faster by far, but BLAS libraries sum it in an order that depends on a row's place (on some
processors for every row).  So `ScoreBlocks` gives scores that are near, and says how near; what is
decided by less than that is decided by `scores_of`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.spaces.metric import Metric, checked_metric

__all__ = [
    "GALLERY_BLOCK",
    "QUERY_BLOCK",
    "BlockSizes",
    "Metric",
    "ScoreBlocks",
    "checked_exclude",
    "checked_norms",
    "leave_out",
    "scores_of",
]

QUERY_BLOCK = 1024
GALLERY_BLOCK = 8192


class BlockSizes(NamedTuple):
    """Rows of one block of scores."""

    queries: int = QUERY_BLOCK
    gallery: int = GALLERY_BLOCK


_CHECK_ROWS = 8192
_LARGEST_NORM = 1e18  # the product of two such norms still fits float32
_SMALLEST_NORM = 1e-30
_BLOCK_CELLS = 2**16  # of float64: they stay in a cache between the steps
_HALF_ULP = 2.0**-24
"""Relative rounding of one float32 operation."""
_MORE_ROUNDINGS = 10
"""Beside those of a sum: of norms, divisions and the result."""


class ScoreBlocks:
    """Scores of ``queries (nq, d)`` against ``gallery (ng, d)``, in blocks of bounded size.

    Those of `against_gallery` are float32 products, at most `slack` away from the scores of the
    pairs, which `exact` computes; for twice the work they are those of the pairs.  Both arrays are
    checked once, here: an `InputError` names the first row that is not finite, too large for
    float32 products, or, for ``cosine``, zero.  The gallery may be a memory map: it is read by
    blocks only.  Who searches one gallery many times keeps the ``gallery_norms (ng,)`` that
    `checked_norms` gave, and it is not checked again.
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
        self._metric: Metric = checked_metric(metric)
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
        # of l2 the length counts after the shift, and is known once a block was prepared
        self._longest = 0.0 if metric == "l2" else float(self._gallery_norms.max())

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

    def against_gallery(
        self, rows: slice | NDArray[np.int64], *, exact: bool = False
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield ``(first gallery index, scores (rows, columns))`` over the whole gallery.

        The scores are a view of one buffer: the caller may write to it, and the next step
        overwrites it.

        Args:
            rows: of the queries.
            exact: multiply in float64 and round once.  A place moves such a product by parts in
                10^16, which changes its float32 for one pair in about 10^8.
        """
        kind = np.float64 if exact else np.float32
        left, left_squares = self._prepared(self._queries[rows], self._query_norms[rows], kind)
        most = len(left) * self._gallery_block
        products, rounded = np.empty(most, dtype=kind), np.empty(most * exact, dtype=np.float32)
        for start in range(0, self.n_gallery, self._gallery_block):
            columns = slice(start, min(start + self._gallery_block, self.n_gallery))
            right, right_squares = self._prepared(
                self._gallery[columns], self._gallery_norms[columns], kind
            )
            size = len(left) * len(right)
            scores: NDArray[Any] = products[:size].reshape(len(left), len(right))
            np.dot(left, right.T, out=scores)
            if self._metric == "l2":
                scores *= 2
                scores -= left_squares[:, None]
                scores -= right_squares
                np.minimum(scores, 0, out=scores)
                self._longest = max(self._longest, float(np.sqrt(right_squares.max())))
            if exact:
                rounded[:size] = products[:size]
                scores = rounded[:size].reshape(scores.shape)
            yield start, scores

    def against_all(
        self, rows: slice | NDArray[np.int64], *, exact: bool = False
    ) -> NDArray[np.float32]:
        """Those of `against_gallery` in one array ``(rows, ng)``: for a gallery and rows that are
        few enough."""
        n = len(self._query_norms[rows])
        scores = np.empty((n, self.n_gallery), dtype=np.float32)
        for start, block in self.against_gallery(rows, exact=exact):
            scores[:, start : start + block.shape[1]] = block
        return scores

    def slack(self, rows: slice | NDArray[np.int64]) -> NDArray[np.float32]:
        """How far scores of query ``rows`` in `against_gallery` may be from those of the pairs.

        ``(rows,)`` float32, a bound whatever the order of summation (Higham, Accuracy and Stability
        of Numerical Algorithms, equation 3.5); of the blocks that were seen so far.
        """
        relative = (self._queries.shape[1] + _MORE_ROUNDINGS) * _HALF_ULP
        if self._metric == "cosine":
            size = np.ones(len(self._query_norms[rows]))
        elif self._metric == "dot":
            size = self._query_norms[rows] * self._longest
        else:
            _, squares = self._prepared(self._queries[rows], self._query_norms[rows])
            size = (np.sqrt(squares, dtype=np.float64) + self._longest) ** 2
        return np.nextafter((relative * size).astype(np.float32), np.float32(np.inf))

    def exact(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float32]:
        """The scores of query ``rows (m,)`` with gallery ``columns (m,)`` or ``(m, K)``."""
        wide = columns if columns.ndim > 1 else columns[:, None]
        norms = self._query_norms, self._gallery_norms
        found = scores_of(self._queries, self._gallery, wide, self._metric, rows=rows, norms=norms)
        return found.reshape(columns.shape)

    def _prepared(
        self, rows: NDArray[Any], norms: NDArray[np.float64], kind: Any = np.float32
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """The rows ready to be multiplied; their squares, for distances."""
        if self._metric == "dot":
            return np.asarray(rows, dtype=kind), np.empty(0)
        ready = np.empty(rows.shape, dtype=kind)
        if self._metric == "cosine":
            np.divide(rows, norms.astype(kind)[:, None], out=ready, casting="same_kind")
            return ready, np.empty(0)
        np.subtract(rows, self._shift, out=ready, casting="same_kind")
        return ready, np.einsum("nd,nd->n", ready, ready)


def scores_of(
    queries: NDArray[Any],
    gallery: NDArray[Any],
    indices: NDArray[np.int64],
    metric: Metric,
    *,
    rows: NDArray[np.int64] | None = None,
    norms: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
) -> NDArray[np.float32]:
    """The scores of chosen gallery items: ``indices (n, K)`` to ``(n, K)`` float32.

    Sums are float64 and in one order, so that equal vectors get equal scores.

    Args:
        queries: ``(n, d)``, or any where ``rows`` chooses among them.
        gallery: ``(ng, d)``.
        indices: of gallery rows.
        metric: of the space.
        rows: of ``queries (n,)``; all in their order if not given.
        norms: of all ``queries`` and of the gallery, as `checked_norms` gives them, where they are
            known.
    """
    scores = np.empty(indices.shape, dtype=np.float32)
    step = max(1, _BLOCK_CELLS // max(indices.shape[1] * queries.shape[1], 1))
    if metric == "cosine" and norms is None and indices.size > len(gallery):
        norms = _lengths(queries), _lengths(gallery)
    for start in range(0, len(indices), step):
        here = slice(start, start + step)
        own, found = here if rows is None else rows[here], indices[here]
        query = queries[own].astype(np.float64)
        items = gallery[found].astype(np.float64)
        if metric == "l2":
            items -= query[:, None]
            scores[here] = -np.einsum("qkd,qkd->qk", items, items)
            continue
        products = np.einsum("qd,qkd->qk", query, items)
        if metric == "cosine" and norms is not None:
            products /= norms[0][own, None] * norms[1][found]
        elif metric == "cosine":
            products /= _lengths(query)[:, None] * np.sqrt(np.einsum("qkd,qkd->qk", items, items))
        scores[here] = products
    scores += np.float32(0)  # -0 and 0 are one score
    return scores


def _lengths(vectors: NDArray[Any]) -> NDArray[np.float64]:
    norms = np.empty(len(vectors))
    for start in range(0, len(vectors), _CHECK_ROWS):
        block = np.asarray(vectors[start : start + _CHECK_ROWS], dtype=np.float64)
        norms[start : start + len(block)] = np.sqrt(np.einsum("nd,nd->n", block, block))
    return norms


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


def checked_norms(vectors: NDArray[Any], name: str, metric: Metric) -> NDArray[np.float64]:
    """The row norms of ``vectors (n, d)``; raises `InputError` as `ScoreBlocks` does."""
    if vectors.ndim != 2 or vectors.dtype.kind != "f":
        raise InputError(
            f"expected a 2-d array of floats, found {vectors.dtype} of shape {vectors.shape}",
            where=name,
        )
    if 0 in vectors.shape:
        raise InputError(f"the array is empty, shape {vectors.shape}", where=name)
    if len(vectors) == 1 and vectors.dtype == np.float32:
        # a query, asked alone: numpy's calls cost more than the sum; wide, it cannot overflow
        row = vectors[0].astype(np.float64)
        norm = math.sqrt(np.einsum("d,d->", row, row))
        if (_SMALLEST_NORM if metric == "cosine" else 0.0) <= norm <= _LARGEST_NORM:
            return np.array([norm])
    norms = _lengths(vectors)
    least = _SMALLEST_NORM if metric == "cosine" else 0.0
    if least <= norms.min() and norms.max() <= _LARGEST_NORM:
        return norms
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
