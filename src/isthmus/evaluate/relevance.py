"""Who is relevant to whom: for each query, the gallery items that answer it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.evaluate.scores import checked_exclude

__all__ = ["Relevance", "from_ids", "from_labels", "from_pairs"]


@dataclass(frozen=True)
class Relevance:
    """The relevant gallery items of every query, as compressed rows.

    Query ``q`` is answered by ``indices[indptr[q]:indptr[q + 1]]``, ascending and without
    repetition; ``indptr (nq + 1,)`` and ``indices`` are int64.  A query may have none: `answerable`
    tells which have some, and `of` keeps those.

    Example:
        >>> import numpy as np
        >>> found = from_labels(np.array(["cat", "dog"]), np.array(["cat", "cat", "cow"]))
        >>> found.counts, found.answerable
        (array([2, 0]), array([ True, False]))
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int64]
    n_gallery: int

    def __post_init__(self) -> None:
        counts = np.diff(self.indptr)
        if (
            self.indptr.ndim != 1
            or not len(self.indptr)
            or self.indptr[0] != 0
            or self.indptr[-1] != len(self.indices)
            or (counts < 0).any()
        ):
            raise InputError("the row pointers do not fit the indices", where="relevance")
        if len(self.indices) and not (
            self.indices.min() >= 0 and self.indices.max() < self.n_gallery
        ):
            raise InputError(
                f"an index lies outside the gallery of {self.n_gallery}", where="relevance"
            )
        rising = np.diff(self.indices) > 0
        row_starts = self.indptr[1:-1]
        rising[row_starts[(row_starts > 0) & (row_starts < len(self.indices))] - 1] = True
        if not rising.all():
            raise InputError("indices must ascend, once each, within a query", where="relevance")

    @property
    def n_queries(self) -> int:
        """Number of queries, answerable or not."""
        return len(self.indptr) - 1

    @property
    def counts(self) -> NDArray[np.int64]:
        """Number of relevant items of each query, ``(nq,)``."""
        return np.diff(self.indptr)

    @property
    def answerable(self) -> NDArray[np.bool_]:
        """The queries with at least one relevant item, ``(nq,)``."""
        return self.counts > 0

    @property
    def rows(self) -> NDArray[np.int64]:
        """The query of each entry of ``indices``."""
        return np.repeat(np.arange(self.n_queries), self.counts)

    def check_shape(self, n_queries: int, n_gallery: int) -> None:
        """Raise `InputError` unless this is about so many queries and gallery items."""
        if (self.n_queries, self.n_gallery) != (n_queries, n_gallery):
            raise InputError(
                f"relevance is about {self.n_queries} queries and {self.n_gallery} gallery items, "
                f"the vectors are {n_queries} and {n_gallery}",
                where="relevance",
            )

    def among(self, items: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the items found for each query ``(nq, K)`` are relevant; -1 is none."""
        keys = self.rows * self.n_gallery + self.indices
        asked = np.arange(len(items))[:, None] * self.n_gallery + items
        # keys ascend, as rows do and indices within a row
        place = np.searchsorted(keys, asked)
        found = place < len(keys)
        found[found] = keys[place[found]] == asked[found]
        return found & (items >= 0)

    def of(self, kept: NDArray[np.bool_]) -> Relevance:
        """The same, for the queries where ``kept (nq,)`` is true."""
        return _compressed(
            np.cumsum(kept)[self.rows[kept[self.rows]]] - 1,
            self.indices[kept[self.rows]],
            int(kept.sum()),
            self.n_gallery,
        )


def from_ids(query_ids: Sequence[Any], gallery_ids: Sequence[Any]) -> Relevance:
    """Each query is answered by the gallery item of the same id.

    Raises `InputError` for an id that occurs twice in the gallery.

    Example:
        >>> from_ids(["b", "a"], ["a", "b", "c"]).indices
        array([1, 0])
    """
    position = _positions(gallery_ids)
    found = [(q, position[i]) for q, i in enumerate(_plain(query_ids)) if i in position]
    rows, columns = np.array(found, dtype=np.int64).reshape(-1, 2).T
    return _compressed(rows, columns, len(query_ids), len(gallery_ids))


def from_labels(
    query_labels: NDArray[Any],
    gallery_labels: NDArray[Any],
    *,
    exclude: NDArray[np.int64] | None = None,
) -> Relevance:
    """Each query is answered by every gallery item of its label, except ``exclude[q]``.

    For leave-one-out, where the queries are the gallery, ``exclude`` is ``arange(nq)``.  The
    result holds one int64 per (query, relevant item).

    Example:
        >>> import numpy as np
        >>> labels = np.array([0, 0, 1, 1])
        >>> from_labels(labels, labels, exclude=np.arange(4)).indices
        array([1, 0, 3, 2])
    """
    query_labels, gallery_labels = np.asarray(query_labels), np.asarray(gallery_labels)
    if query_labels.ndim != 1 or gallery_labels.ndim != 1:
        raise InputError("labels must be one per row, in one dimension", where="labels")
    n_queries, n_gallery = len(query_labels), len(gallery_labels)
    exclude = checked_exclude(exclude, n_queries, n_gallery)
    by_label = np.argsort(gallery_labels, kind="stable")
    ordered = gallery_labels[by_label]
    first = np.searchsorted(ordered, query_labels, side="left")
    counts = np.searchsorted(ordered, query_labels, side="right") - first
    rows = np.repeat(np.arange(n_queries), counts)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    columns = by_label[first[rows] + within]
    if exclude is not None:
        others = columns != exclude[rows]
        rows, columns = rows[others], columns[others]
    return _compressed(rows, columns, n_queries, n_gallery)


def from_pairs(
    query_ids: Sequence[Any], gallery_ids: Sequence[Any], qrels: Iterable[tuple[Any, Any]]
) -> Relevance:
    """Each query is answered by the gallery items that ``qrels`` pairs with it, by id.

    Raises `InputError` for an id that occurs twice on its side, and for a pair that names an id
    neither side has.

    Example:
        >>> found = from_pairs(["q1"], ["a", "b", "c"], [("q1", "c"), ("q1", "a")])
        >>> found.indices
        array([0, 2])
    """
    query_position, gallery_position = _positions(query_ids), _positions(gallery_ids)
    found: set[tuple[int, int]] = set()
    for number, (query, item) in enumerate(qrels):
        if query not in query_position or item not in gallery_position:
            raise InputError(
                f"the pair ({query!r}, {item!r}) names an id that does not exist",
                where=f"qrels, row {number}",
                mend="Drop pairs about items that are not in the test",
            )
        found.add((query_position[query], gallery_position[item]))
    rows, columns = np.array(sorted(found), dtype=np.int64).reshape(-1, 2).T
    return _compressed(rows, columns, len(query_ids), len(gallery_ids))


def _compressed(
    rows: NDArray[np.int64], columns: NDArray[np.int64], n_queries: int, n_gallery: int
) -> Relevance:
    """Rows must ascend, and columns within a row."""
    indptr = np.zeros(n_queries + 1, dtype=np.int64)
    np.cumsum(np.bincount(rows, minlength=n_queries), out=indptr[1:])
    return Relevance(indptr, np.asarray(columns, dtype=np.int64), n_gallery)


def _plain(ids: Sequence[Any]) -> list[Any]:
    return ids.tolist() if isinstance(ids, np.ndarray) else list(ids)


def _positions(ids: Sequence[Any]) -> dict[Any, int]:
    plain = _plain(ids)
    position = {name: row for row, name in enumerate(plain)}
    if len(position) < len(plain):
        row = next(row for row, name in enumerate(plain) if position[name] != row)
        raise InputError(
            f"the id {plain[row]!r} occurs again in row {position[plain[row]]}",
            where=f"ids, row {row}",
            mend="Make ids unique",
        )
    return position
