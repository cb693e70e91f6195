"""The same items in two spaces, as re-iterable batches joined by id."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.frame_index import check_same_index
from isthmus.freed_memory import return_freed_memory
from isthmus.progress import Progress, silent
from isthmus.spaces.metric import Metric, checked_metric
from isthmus.spaces.readers import IdSource, Vectors, VectorSource, open_vectors
from isthmus.spaces.row_checks import check_vectors
from isthmus.spaces.row_pairing import paired_rows, pairing_notices
from isthmus.spaces.sample import Batch, smallest_hashes
from isthmus.spaces.scratch import blocks
from isthmus.spaces.split import Assignment, Copies
from isthmus.spaces.text_ids import id_blocks

__all__ = ["Batch", "Pairs", "Split", "SplitPart"]

_Rows = slice | NDArray[np.int64]
T = TypeVar("T")


class Pairs:
    """The same items in two spaces: rows of ``source`` (X) beside rows of ``target`` (Y).

    Where both sides have ids they are joined by id, in the order of the source; otherwise row ``i``
    belongs to row ``i``.  Nothing is copied: rows are read batch by batch, each time anew, and
    every row that is handed out has been checked.

    Args:
        source: the side mapped from: anything `open_vectors` reads.
        target: the side mapped to.
        ids: ids of the rows of both sides, which are then paired by position; or the name of the
            id column of both; or False to use none.
        labels: ``(n,)``, one for each source row; or a mapping from id to label.
        metric: under ``cosine`` zero rows are refused.
        progress: told about rows copied from Parquet files.

    Attributes:
        source: the opened side that is mapped from.
        target: the opened side that is mapped to.
        unmatched_source: rows of the source without a partner, left out.
        unmatched_target: rows of the target without a partner, left out.

    Raises:
        InputError: if a side cannot be read, the sides have no id in common, their ids are of
            different kinds, or without ids their lengths differ.

    Example:
        >>> import numpy as np
        >>> new = open_vectors(np.eye(3), ids=["a", "b", "c"])
        >>> old = open_vectors(np.eye(3)[::-1], ids=["c", "b", "x"])
        >>> pairs = Pairs(new, old)
        >>> len(pairs), pairs.head().ids.tolist(), pairs.unmatched_source
        (2, ['b', 'c'], 1)
    """

    def __init__(
        self,
        source: VectorSource,
        target: VectorSource,
        *,
        ids: IdSource | None = None,
        labels: NDArray[Any] | Sequence[Any] | Mapping[Any, Any] | None = None,
        metric: Metric = "cosine",
        progress: Progress = silent,
    ) -> None:
        shared = ids is not None and ids is not False and not isinstance(ids, str)
        self.metric: Metric = checked_metric(metric)
        check_same_index(source, target, ("source", "target"))
        self.source = open_vectors(source, ids=ids, name="source", progress=progress)
        self.target = open_vectors(
            target, ids=None if shared else ids, name="target", progress=progress
        )
        if shared:
            self.target = self.target.without_ids()
        self._source_rows, self._target_rows = paired_rows(self.source, self.target)
        self._n = self.source.n if self._source_rows is None else len(self._source_rows)
        return_freed_memory()
        self.unmatched_source = self.source.n - self._n
        self.unmatched_target = self.target.n - self._n
        self._labels = self._aligned_labels(labels)

    def _aligned_labels(
        self, labels: NDArray[Any] | Sequence[Any] | Mapping[Any, Any] | None
    ) -> NDArray[Any] | None:
        if labels is None:
            return None
        if not isinstance(labels, Mapping):
            found = np.asarray(labels)
            if found.dtype.kind == "O":
                found = np.asarray(found.tolist())
            if found.ndim != 1 or len(found) != self.source.n:
                raise InputError(
                    f"the labels have shape {found.shape}, expected ({self.source.n},)",
                    where="labels",
                    mend="Give one label for each source row, or a mapping from id to label",
                )
            found = found if self._source_rows is None else found[self._source_rows]
        else:
            try:
                found = np.array(
                    [labels[i] for part in self.id_blocks() for i in self.ids_at(part).tolist()]
                )
            except KeyError as error:
                raise InputError(f"there is no label for id {error}", where="labels") from error
        if found.dtype.kind not in "iubfUS":
            raise InputError(
                f"the labels have dtype {found.dtype}, expected numbers or strings", where="labels"
            )
        return found

    def __len__(self) -> int:
        return self._n

    @property
    def dim_x(self) -> int:
        """Width of the source vectors."""
        return self.source.dim

    @property
    def dim_y(self) -> int:
        """Width of the target vectors."""
        return self.target.dim

    @property
    def has_labels(self) -> bool:
        """Whether batches carry labels."""
        return self._labels is not None

    def __repr__(self) -> str:
        how = "by position"
        if self.source.ids is not None and self.target.ids is not None:
            how = (
                f"by id, {self.unmatched_source:,} source and {self.unmatched_target:,} target "
                "rows unmatched"
            )
        return (
            f"Pairs({self.source.name} → {self.target.name}, {self._n:,} x "
            f"{self.dim_x}→{self.dim_y}, {self.metric}, {how}"
            f"{', labelled' if self.has_labels else ''})"
        )

    @property
    def notices(self) -> tuple[str, ...]:
        """What may be wrong with the pairing, in a sentence each; see `pairing_notices`."""
        return self._notices

    @cached_property
    def _notices(self) -> tuple[str, ...]:
        return pairing_notices((self.source, self._source_rows), (self.target, self._target_rows))

    def batches(
        self, size: int = 8192, *, part: SplitPart | None = None, progress: Progress = silent
    ) -> Iterator[Batch]:
        """Yield every pair, or those of ``part``, in batches of ``size`` rows (the last smaller).

        Raises:
            InputError: on reaching a row with a NaN or an infinity, or a zero row under
                ``cosine``; names the file and the row.
        """
        done, total = 0, self._n if part is None else None
        for rows in self._slices(size) if part is None else _regrouped(part.rows(), size):
            yield self._batch(rows)
            done += rows.stop - rows.start if isinstance(rows, slice) else len(rows)
            progress("reading pairs", done, total)

    def fold(
        self,
        work: Callable[[Iterator[Batch]], T],
        combine: Callable[[T, T], T],
        *,
        size: int = 8192,
        part: SplitPart | None = None,
        progress: Progress = silent,
    ) -> T:
        """What ``work`` makes of the batches of all pairs.

        Pairs that lie in many files may give it each file's batches, on another machine, and join
        the results by ``combine``: ``work`` and what it returns must then be picklable.
        """
        del combine  # these pairs are in one part
        return work(self.batches(size, part=part, progress=progress))

    def head(self, n: int = 5) -> Batch:
        """The first ``n`` pairs, or as many as there are."""
        return self._batch(slice(0, min(n, self._n)))

    def sample(self, size: int, *, seed: int, part: SplitPart | None = None) -> Batch:
        """A uniform sample of at most ``size`` pairs, in the order of the hashes of their ids.

        Only the sampled rows are read.  The sample is a function of the set of ids and ``seed``,
        not of the order of the rows; `Sampler` finds the same one in a stream.

        Raises:
            InputError: if ``size`` is not positive, the part is empty, or a row is unusable.
        """
        if size < 1:
            raise InputError(f"a sample needs at least 1 row, got size={size}")
        kept: NDArray[np.int64] = np.empty(0, np.int64)
        chunks = part.rows() if part is not None else (np.r_[p] for p in self.id_blocks())
        for rows in chunks:
            kept = np.concatenate([kept, rows])
            kept = kept[smallest_hashes(self.ids_at(kept), size, seed)]
        if not len(kept):
            raise InputError("there is no row to sample from", where=repr(part))
        return self._batch(kept)

    def unmatched(
        self, side: Literal["source", "target"], size: int, *, seed: int
    ) -> tuple[NDArray[Any], NDArray[Any]] | None:
        """A uniform sample of at most ``size`` rows of one side that have no partner.

        Returns:
            Their ids ``(n,)`` and vectors ``(n, d)``, in the order of the hashes of the ids; None
            where every row has a partner.

        Raises:
            InputError: if a sampled row is unusable.
        """
        vectors, matched = (
            (self.source, self._source_rows)
            if side == "source"
            else (self.target, self._target_rows)
        )
        if matched is None or vectors.ids is None or len(matched) == vectors.n:
            return None
        alone = np.ones(vectors.n, dtype=np.bool_)
        alone[matched] = False
        rows = np.flatnonzero(alone)
        rows = rows[smallest_hashes(vectors.ids[rows], size, seed)]
        return vectors.ids[rows], self._read(vectors, rows)

    @property
    def copies_overlooked(self) -> str | None:
        """Why `copies` are not looked for, in a clause; None where they are."""
        from isthmus.spaces.copies import MOST_ROWS

        return f"among more than {MOST_ROWS:,} pairs" if self._n > MOST_ROWS else None

    @cached_property
    def copies(self) -> Copies:
        """Pairs that are exact or near copies of others; reads all pairs when first asked for.

        None are looked for among more than `isthmus.spaces.copies.MOST_ROWS` pairs.

        Raises:
            InputError: on reaching a row that cannot be used.
        """
        from isthmus.spaces.copies import LARGEST

        return self.find_copies(LARGEST)

    def find_copies(self, largest: float) -> Copies:
        """As `copies`, of groups of up to a share of all pairs."""
        from isthmus.spaces.copies import PROBES, CopySearch

        if self._n < 2 or self.copies_overlooked is not None:
            return Copies()
        search = CopySearch.like(self.sample(PROBES, seed=0), self.metric)
        if search is None:
            return Copies()
        return search.copies(self.fold(search, search.joined), largest)

    def split(
        self,
        fractions: Mapping[str, float],
        *,
        seed: int = 0,
        together: Copies | None = None,
        moved: Mapping[int, int] | None = None,
    ) -> Split:
        """Named parts, each pair assigned by a hash of its id: more items never move the others.

        Copies of an item (`copies`) are in its part.

        Args:
            fractions: share of each part, summing to 1, as in ``{"fit": 0.9, "test": 0.1}``.
            seed: another seed gives another, independent split.
            together: what is kept in one part, in place of `copies`.
            moved: as of `Assignment`, where an earlier split is made again.

        Raises:
            InputError: if the shares do not sum to 1.
        """
        return Split(self, fractions, seed, together, moved)

    def digest(self, sample: Batch) -> str:
        """SHA-256 over the number of pairs, the widths and the ``sample``: names the data used."""
        text = f"{self._n}:{self.dim_x}:{self.dim_y}:{sample.digest()}"
        return hashlib.sha256(text.encode()).hexdigest()

    def _slices(self, size: int) -> Iterator[slice]:
        if size < 1:
            raise InputError(f"batches need at least 1 row, got size={size}")
        return blocks(self._n, size)

    def id_blocks(self) -> Iterator[slice]:
        """The positions of all pairs in runs whose ids take bounded memory."""
        ids = self.target.ids if self.source.ids is None else self.source.ids
        if ids is None:
            return blocks(self._n)
        return id_blocks(ids, total=self._n)

    def ids_at(self, rows: _Rows) -> NDArray[Any]:
        """The ids of the pairs at the given positions: row numbers where neither side has ids."""
        if self.source.ids is not None:
            return self.source.ids[_through(rows, self._source_rows)]
        if self.target.ids is not None:
            return self.target.ids[_through(rows, self._target_rows)]
        return np.r_[rows] if isinstance(rows, slice) else rows

    def _batch(self, rows: _Rows) -> Batch:
        return Batch(
            self.ids_at(rows),
            self._read(self.source, _through(rows, self._source_rows)),
            self._read(self.target, _through(rows, self._target_rows)),
            None if self._labels is None else self._labels[rows],
        )

    def _read(self, side: Vectors, rows: _Rows) -> NDArray[Any]:
        found = side.rows(rows.start, rows.stop) if isinstance(rows, slice) else side.take(rows)
        try:
            return check_vectors(found, dim=side.dim, metric=self.metric, where=side.name)
        except InputError:
            # name the file and the row in it, however the rows were gathered
            for i, row in enumerate(np.r_[rows].tolist()):
                where, inside = side.locate(row)
                check_vectors(
                    found[i : i + 1],
                    dim=side.dim,
                    metric=self.metric,
                    where=where,
                    first_row=inside,
                )
            raise


class Split(Mapping[str, "SplitPart"]):
    """Named parts of `Pairs`; made by `Pairs.split`."""

    def __init__(
        self,
        pairs: Pairs,
        fractions: Mapping[str, float],
        seed: int,
        together: Copies | None = None,
        moved: Mapping[int, int] | None = None,
    ) -> None:
        Assignment(fractions, seed)(np.zeros(0, np.int64))  # judges the fractions
        self.pairs = pairs
        self.fractions = dict(fractions)
        self.seed = seed
        self._together, self._moved = together, dict(moved or {})
        self._parts = {name: SplitPart(self, index) for index, name in enumerate(self.fractions)}

    def __getitem__(self, name: str) -> SplitPart:
        return self._parts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def __repr__(self) -> str:
        return f"Split({self.fractions}, seed={self.seed}, of {self.pairs!r})"

    @cached_property
    def assign(self) -> Assignment:
        """The position in this split of the part of each of some ids ``(n,)``."""
        together = self.pairs.copies if self._together is None else self._together
        return Assignment(self.fractions, self.seed, together, self._moved)

    @cached_property
    def counts(self) -> dict[str, int]:
        """The number of pairs of each part; hashes every id once."""
        total = np.zeros(len(self), np.int64)
        for rows in self.pairs.id_blocks():
            total += np.bincount(self.assign(self.pairs.ids_at(rows)), minlength=len(self))
        return dict(zip(self, total.tolist(), strict=True))

    def batches_with_parts(
        self, size: int = 8192, *, progress: Progress = silent
    ) -> Iterator[tuple[Batch, NDArray[np.int64]]]:
        """Yield every pair once, with the position of its part ``(n,)`` beside each batch.

        One pass can so accumulate the moments of one part and sample another:
        ``batch.select(parts == 0)`` is what the first part has of the batch.
        """
        for batch in self.pairs.batches(size, progress=progress):
            yield batch, self.assign(batch.ids)


class SplitPart:
    """One part of a `Split`: read like `Pairs`, rows picked by the hash of their id on the way."""

    def __init__(self, split: Split, index: int) -> None:
        self.split = split
        self.index = index
        self.name = list(split.fractions)[index]

    def __len__(self) -> int:
        return self.split.counts[self.name]

    def __repr__(self) -> str:
        share = self.split.fractions[self.name]
        return f"SplitPart({self.name!r}, {share:g} of {self.split.pairs!r})"

    @property
    def dim_x(self) -> int:
        """Width of the source vectors."""
        return self.split.pairs.dim_x

    @property
    def dim_y(self) -> int:
        """Width of the target vectors."""
        return self.split.pairs.dim_y

    def rows(self) -> Iterator[NDArray[np.int64]]:
        """The positions, among all pairs, of the pairs of this part, in runs of bounded length."""
        pairs = self.split.pairs
        for block in pairs.id_blocks():
            inside = self.split.assign(pairs.ids_at(block)) == self.index
            yield np.flatnonzero(inside) + block.start

    def batches(self, size: int = 8192, *, progress: Progress = silent) -> Iterator[Batch]:
        """As `Pairs.batches`, over the pairs of this part."""
        return self.split.pairs.batches(size, part=self, progress=progress)

    def sample(self, size: int, *, seed: int) -> Batch:
        """As `Pairs.sample`, over the pairs of this part."""
        return self.split.pairs.sample(size, seed=seed, part=self)


def _through(rows: _Rows, index: NDArray[np.int64] | None) -> _Rows:
    return rows if index is None else index[rows]


def _regrouped(runs: Iterable[NDArray[np.int64]], size: int) -> Iterator[NDArray[np.int64]]:
    """The same positions in order, in arrays of exactly ``size`` but for the last."""
    if size < 1:
        raise InputError(f"batches need at least 1 row, got size={size}")
    rest = np.empty(0, np.int64)
    for run in runs:
        rest = np.concatenate([rest, run])
        whole = len(rest) - len(rest) % size
        yield from rest[:whole].reshape(-1, size)
        rest = rest[whole:]
    if len(rest):
        yield rest
