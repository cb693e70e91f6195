"""Pairs that lie in many files: the same items in two spaces, read where the work is done."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from isthmus.progress import Progress, silent
from isthmus.scale.engine import PooledEngine
from isthmus.scale.joining import IdBucket, slices
from isthmus.scale.pair_parts import OnRun, PairPart, PairReader, runs_of
from isthmus.scale.parts import PartedVectors
from isthmus.scale.reading import ids_of, rows_of
from isthmus.spaces.metric import Metric
from isthmus.spaces.pairs import Pairs, SplitPart
from isthmus.spaces.sample import Batch, Sampler
from isthmus.spaces.scratch import ScratchFolder
from isthmus.spaces.split import Assignment

__all__ = ["PartedPairs"]

T = TypeVar("T")
_BATCH_BYTES = 6 << 20  # of each side; a worker holds several copies of it
_RUN_BYTES = 80 << 20
"""Rows whose moments cost enough to be sent: those of 384 dimensions take 18 MB in five folds.

Of longer runs one worker has the last when the others are done."""


class VectorsOnDemand:
    """What is known of one side without reading it; rows are read when asked for.

    Attributes:
        ids: None, or something that gives ids when it is indexed.
    """

    def __init__(self, side: PartedVectors) -> None:
        self.side = side
        self.name, self.n, self.dim = side.name, side.n, side.dim
        self.stored_dtype, self.overlooked = side.stored_dtype, side.overlooked
        self.dtype: np.dtype[Any] = np.dtype(
            "float64" if side.stored_dtype == "float64" else "float32"
        )
        self.ids = _IdsOnDemand(side) if side.has_ids else None

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """The rows ``start .. stop-1``, as they are."""
        found = rows_of(self.side, list(slices(self.side, start, stop - start)), None)
        return np.concatenate([rows for _, rows in found])


class _IdsOnDemand:
    """The ids of a side, read when one is asked for."""

    def __init__(self, side: PartedVectors) -> None:
        self._side = side

    @cached_property
    def _all(self) -> NDArray[Any]:
        return np.concatenate(
            [ids for part in self._side.parts for ids in ids_of(self._side, part)]
        )

    def __getitem__(self, rows: Any) -> Any:
        return self._all[rows]


class StoredPasses(Protocol):
    """Results of passes that were made before."""

    def answer(self, work: Any, progress: Progress) -> Any:
        """What the pass ``work`` gives, or None where it is not known."""
        ...


class PartedPairs(Pairs):
    """As `Pairs`, over parts: what is asked of all rows runs on an engine, part by part.

    Memory holds a batch a worker, and the samples that are asked for.  Where the sides are in
    different orders, the pairs come in the order of a hash of their ids.  Made by `open_pairs`.

    Example:
        >>> from isthmus.scale import open_pairs
        >>> np.save("new.npy", np.eye(4))
        >>> np.save("old.npy", 2 * np.eye(4))
        >>> pairs = open_pairs("new.npy", "old.npy", engine="threads:1")
        >>> pairs.fold(lambda batches: sum(len(b) for b in batches), lambda a, b: a + b)
        4
    """

    def __init__(
        self,
        reader: PairReader,
        parts: list[PairPart],
        counts: list[int],
        engine: PooledEngine,
        scratch: ScratchFolder | None = None,
    ) -> None:
        self.reader, self.parts, self.engine = reader, parts, engine
        self.metric: Metric = reader.metric
        self.source, self.target = cast(
            Any, (VectorsOnDemand(reader.source), VectorsOnDemand(reader.target))
        )
        self._starts = np.cumsum([0, *counts])
        self._n = int(self._starts[-1])
        self._labels = None
        # rows without a partner are dropped where the parts are joined
        self._source_rows = self._target_rows = None
        self.unmatched_source = self.source.n - self._n
        self.unmatched_target = self.target.n - self._n
        if scratch is not None:
            weakref.finalize(self, scratch.close)
        self._stored: StoredPasses | None = None
        self._known: tuple[int, NDArray[Any]] | None = None

    def use(self, stored: StoredPasses) -> None:
        """Take the results of passes from where they are stored, if they are."""
        self._stored = stored

    @property
    @override
    def copies_overlooked(self) -> str | None:
        if self._stored is not None:
            return "where moments were stored before (--moments)"
        return super().copies_overlooked

    @property
    @override
    def has_labels(self) -> bool:
        return self.reader.labels is not None

    @override
    def batches(
        self, size: int = 8192, *, part: SplitPart | None = None, progress: Progress = silent
    ) -> Iterator[Batch]:
        done = 0
        wanted = None if part is None else _Ascending(part.rows())
        for piece in self.parts:
            for batch in self.reader.batches(piece, size):
                start, done = done, done + len(batch)
                if wanted is None:
                    yield batch
                else:
                    rows = wanted.between(start, done)
                    if len(rows):
                        yield batch.select(rows - start)
                progress("reading pairs", done, self._n)

    @override
    def fold(
        self,
        work: Callable[[Iterator[Batch]], T],
        combine: Callable[[T, T], T],
        *,
        size: int = 8192,
        part: SplitPart | None = None,
        progress: Progress = silent,
    ) -> T:
        if part is not None:
            return work(self.batches(size, part=part, progress=progress))
        known = None if self._stored is None else self._stored.answer(work, progress)
        if known is not None:
            return known
        most = _RUN_BYTES // (4 * (self.dim_x + self.dim_y))
        runs = runs_of(self.parts, np.diff(self._starts).tolist(), most)
        widest = max(self.dim_x, self.dim_y)
        on_run = OnRun(self.reader, work, min(size, max(1024, _BATCH_BYTES // (4 * widest))))
        return self.engine.fold(runs, on_run, combine, progress=progress)

    @override
    def head(self, n: int = 5) -> Batch:
        held: list[Batch] = []
        for batch in self.batches(max(1, min(n, 8192))):
            held.append(batch)
            if sum(map(len, held)) >= n:
                break
        names = ("ids", "x", "y", *(["labels"] if self.has_labels else []))
        return Batch(*(np.concatenate([getattr(b, name) for b in held])[:n] for name in names))

    @override
    def sample(self, size: int, *, seed: int, part: SplitPart | None = None) -> Batch:
        among = None if part is None else (part.split.assign, part.index)
        work = _Sample(size, seed, among)
        return self.fold(work, work.joined).sample()

    @override
    def unmatched(
        self, side: Literal["source", "target"], size: int, *, seed: int
    ) -> tuple[NDArray[Any], NDArray[Any]] | None:
        """None: rows without a partner are dropped where the parts are joined."""
        return None

    @override
    def id_blocks(self) -> Iterator[slice]:
        for start, stop in zip(self._starts[:-1].tolist(), self._starts[1:].tolist(), strict=True):
            if stop > start:
                yield slice(start, stop)

    @override
    def ids_at(self, rows: slice | NDArray[np.int64]) -> NDArray[Any]:
        if self.source.ids is None and self.target.ids is None:
            return np.r_[rows] if isinstance(rows, slice) else rows
        places = np.r_[rows.start : rows.stop] if isinstance(rows, slice) else rows
        pieces = np.searchsorted(self._starts, places, side="right") - 1
        found: list[tuple[NDArray[np.int64], NDArray[Any]]] = []
        for piece in np.unique(pieces).tolist():
            here = np.flatnonzero(pieces == piece)
            found.append((here, self._ids_of(piece)[places[here] - self._starts[piece]]))
        if not found:
            return np.empty(0, np.int64)
        ids = np.concatenate([names for _, names in found])
        out = np.empty_like(ids)
        out[np.concatenate([here for here, _ in found])] = ids
        return out

    def _ids_of(self, piece: int) -> NDArray[Any]:
        if self._known is None or self._known[0] != piece:
            self._known = piece, self._read_ids(self.parts[piece])
        return self._known[1]

    def _read_ids(self, part: PairPart) -> NDArray[Any]:
        if isinstance(part, IdBucket):
            return np.concatenate([b.ids for b in self.reader.batches(part, 8192)])
        side = self.reader.source if self.reader.source.has_ids else self.reader.target
        found: list[NDArray[Any]] = []
        for piece in part.source if side is self.reader.source else part.target:
            whole = np.concatenate(list(ids_of(side, piece.part)))
            found.append(whole[piece.skip : piece.skip + piece.rows])
        return np.concatenate(found)


@dataclass(frozen=True)
class _Sample:
    """Samples some batches, or those of their rows that are in one part of a split."""

    size: int
    seed: int
    among: tuple[Assignment, int] | None

    def __call__(self, batches: Iterator[Batch]) -> Sampler:
        sampler = Sampler(self.size, seed=self.seed)
        for batch in batches:
            if self.among is not None:
                assign, index = self.among
                batch = batch.select(assign(batch.ids) == index)
            sampler.update(batch)
        return sampler

    @staticmethod
    def joined(one: Sampler, other: Sampler) -> Sampler:
        one.merge(other)
        return one


class _Ascending:
    """Ascending positions, taken off range by range."""

    def __init__(self, runs: Iterator[NDArray[np.int64]]) -> None:
        self._runs = runs
        self._held: NDArray[np.int64] = np.empty(0, np.int64)

    def between(self, start: int, stop: int) -> NDArray[np.int64]:
        while not len(self._held) or self._held[-1] < stop:
            more = next(self._runs, None)
            if more is None:
                break
            self._held = np.concatenate([self._held, more])
        cut = int(np.searchsorted(self._held, stop))
        found, self._held = self._held[:cut], self._held[cut:]
        return found[np.searchsorted(found, start) :]
