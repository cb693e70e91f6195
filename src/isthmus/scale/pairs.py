"""Pairs that lie in many files: the same items in two spaces, read where the work is done."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from isthmus.errors import InputError
from isthmus.progress import Progress, silent
from isthmus.scale.engine import PooledEngine
from isthmus.scale.joining import (
    Bucket,
    bits_for,
    bucket_counts,
    hashes_of,
    shuffled,
    slices,
)
from isthmus.scale.labels import Labels, WrittenLabels
from isthmus.scale.listing import list_side
from isthmus.scale.opening import open_engine
from isthmus.scale.parts import Side, Slice
from isthmus.scale.reading import ids_of, rebatched, rows_of
from isthmus.spaces.ids import check_same_kind, join
from isthmus.spaces.metric import Metric, checked_metric
from isthmus.spaces.pairs import Pairs, SplitPart
from isthmus.spaces.sample import Batch, Sampler
from isthmus.spaces.scratch import ScratchFolder
from isthmus.spaces.split import Assignment

__all__ = ["PartedPairs", "SideBySide", "open_pairs"]

T = TypeVar("T")
_BATCH_BYTES = 6 << 20  # of each side; a worker holds several copies of it
_RUN_BYTES = 128 << 20
"""Rows whose moments cost enough to be sent: those of 384 dimensions take 18 MB in five folds."""


@dataclass(frozen=True)
class SideBySide:
    """A part of the pairs: rows of both sides that stand in one order."""

    first: int
    """Number, among all pairs, of its first."""
    rows: int
    source: tuple[Slice, ...]
    target: tuple[Slice, ...]

    def __str__(self) -> str:
        return f"{self.source[0]} with {self.target[0]}"


PairPart = SideBySide | Bucket


@dataclass(frozen=True)
class PairReader:
    """How any part of the pairs is read, in any process."""

    source: Side
    target: Side
    metric: Metric
    labels: WrittenLabels | None = None

    def batches(self, part: PairPart, size: int) -> Iterator[Batch]:
        """The pairs of a part, checked.

        Raises:
            InputError: naming the file and the first row that cannot be used.
        """
        row = 0 if isinstance(part, Bucket) else part.first
        for ids, x, y in self._rows(part, size):
            yield Batch(ids, x, y, None if self.labels is None else self.labels.of(ids, row))
            row += len(ids)

    def _rows(
        self, part: PairPart, size: int
    ) -> Iterator[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]:
        if isinstance(part, Bucket):
            yield from self._joined(part, size)
            return
        x = rows_of(self.source, part.source, self.metric)
        both = self.source.has_ids and self.target.has_ids
        y = rows_of(self.target, part.target, self.metric, with_ids=not both)
        row = part.first
        for (ids, xs), (others, ys) in zip(rebatched(x, size), rebatched(y, size), strict=True):
            known = others if ids is None else ids
            yield np.arange(row, row + len(xs)) if known is None else known, xs, ys
            row += len(xs)

    @staticmethod
    def _joined(
        bucket: Bucket, size: int
    ) -> Iterator[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]:
        (ids, xs), (others, ys) = bucket.side("source"), bucket.side("target")
        if not len(ids) or not len(others):
            return
        rows, partners = join(ids, others)
        rows = np.arange(len(ids)) if rows is None else rows
        for start in range(0, len(rows), size):
            here = rows[start : start + size]
            yield ids[here], xs[here], ys[partners[start : start + size]]


@dataclass(frozen=True)
class _Run:
    """Neighbouring small parts, whose results are not worth a journey each."""

    parts: tuple[PairPart, ...]

    def __str__(self) -> str:
        first, last = str(self.parts[0]), str(self.parts[-1])
        return first if len(self.parts) == 1 else f"{first} … {last}"


def _runs(parts: Sequence[PairPart], rows: Sequence[int], most: int) -> list[_Run]:
    """The parts in runs of about ``most`` rows."""
    found: list[list[PairPart]] = []
    held = 0
    for part, n in zip(parts, rows, strict=True):
        if not found or held + n > most:
            found.append([])
            held = 0
        found[-1].append(part)
        held += n
    return [_Run(tuple(run)) for run in found]


@dataclass(frozen=True)
class _OnRun:
    """Work on the batches of a run of parts."""

    reader: PairReader
    work: Callable[[Iterator[Batch]], Any]
    size: int

    def __call__(self, run: _Run) -> Any:
        batches = (batch for part in run.parts for batch in self.reader.batches(part, self.size))
        return self.work(batches)


class PartedSide:
    """What is known of one side without reading it; rows are read when asked for.

    Attributes:
        ids: None, or something that gives ids when it is indexed.
    """

    def __init__(self, side: Side) -> None:
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

    def __init__(self, side: Side) -> None:
        self._side = side

    @cached_property
    def _all(self) -> NDArray[Any]:
        return np.concatenate(
            [ids for part in self._side.parts for ids in ids_of(self._side, part)]
        )

    def __getitem__(self, rows: Any) -> Any:
        return self._all[rows]


class Stored(Protocol):
    """Results of passes that were made before."""

    def answer(self, work: Any, progress: Progress) -> Any:
        """What the pass ``work`` gives, or None where it is not known."""
        ...


class PartedPairs(Pairs):
    """As `Pairs`, over parts: what is asked of all rows runs on an engine, part by part.

    Memory holds a batch a worker, and the samples that are asked for.  Where the sides are in
    different orders, the pairs come in the order of a hash of their ids.  Made by `open_pairs`.
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
        self.source, self.target = cast(Any, (PartedSide(reader.source), PartedSide(reader.target)))
        self._starts = np.cumsum([0, *counts])
        self._n = int(self._starts[-1])
        self._labels = None
        self.unmatched_source = self.source.n - self._n
        self.unmatched_target = self.target.n - self._n
        if scratch is not None:
            weakref.finalize(self, scratch.close)
        self._stored: Stored | None = None
        self._known: tuple[int, NDArray[Any]] | None = None

    def use(self, stored: Stored) -> None:
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
        runs = _runs(self.parts, np.diff(self._starts).tolist(), most)
        widest = max(self.dim_x, self.dim_y)
        on_run = _OnRun(self.reader, work, min(size, max(1024, _BATCH_BYTES // (4 * widest))))
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
        if isinstance(part, Bucket):
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


def open_pairs(
    source: str | Path,
    target: str | Path,
    *,
    engine: PooledEngine | str = "processes",
    ids: str | bool | None = None,
    metric: Metric = "cosine",
    labels: Labels | None = None,
) -> PartedPairs:
    """Open the same items in two spaces that lie in many files, without reading them here.

    Everything that takes `Pairs` takes what this returns: `isthmus.fit`, `isthmus.assess`,
    `isthmus.compare` and a diagnosis then run their passes over the data on the engine.

    Args:
        source: the side mapped from: files, a folder or a pattern of Parquet, Arrow, ``.npy`` or
            other files; the ``s3://`` or other URL of such; or the URL of a store.  The column is
            named behind a colon, as ``vectors/*.parquet:embedding``.
        target: the side mapped to, likewise.
        engine: as `open_engine` takes it, or an opened one.
        ids: the column of ids of both sides; False to pair row by row; found if called so.
        metric: under ``cosine`` zero rows are refused.
        labels: of the rows of one side.

    Raises:
        InputError: as `Pairs`; for a part that cannot be read, names it.
        EngineError: as `open_engine`.

    Example:
        >>> import numpy as np
        >>> from pathlib import Path
        >>> for side in ("new", "old"):
        ...     Path(side).mkdir()
        ...     for part in range(3):
        ...         np.save(f"{side}/{part}.npy", np.eye(3) + part)
        >>> pairs = open_pairs("new", "old", engine="threads:2")
        >>> len(pairs), len(pairs.parts), pairs.head(4).ids.tolist()
        (9, 3, [0, 1, 2, 3])
    """
    metric = checked_metric(metric)
    if not isinstance(engine, str):
        return _opened(source, target, engine, ids, metric, labels)
    running = open_engine(engine)
    try:
        pairs = _opened(source, target, running, ids, metric, labels)
    except BaseException:
        running.close()
        raise
    weakref.finalize(pairs, running.close)
    return pairs


def _opened(
    source: object,
    target: object,
    engine: PooledEngine,
    ids: str | bool | None,
    metric: Metric,
    labels: Labels | None,
) -> PartedPairs:
    x = list_side(source, ids, engine, name="source")
    y = list_side(target, ids, engine, name="target")
    if labels is not None:
        labels.check(x if labels.side == "source" else y)
    if x.has_ids and y.has_ids:
        known = hashes_of(x, engine), hashes_of(y, engine)
        check_same_kind(known[0].kind, known[1].kind, (x.name, y.name))
        if x.n != y.n or known[0].order != known[1].order:
            bits = bits_for(x, y)
            # in the order of the rows, which counting loses
            by_id = None if labels is None else known[labels.side == "target"].values.copy()
            counts = bucket_counts(*known, bits)
            if not sum(counts):
                raise InputError(
                    f"{x.name} and {y.name} have no id in common",
                    mend="Check that both sides name their items in the same way",
                )
            folder = _scratch(
                engine, "the two sides are in different orders, and to join them by id"
            )
            try:
                buckets = shuffled(x, y, engine, metric=metric, folder=folder.path, bits=bits)
                written = None if labels is None else labels.written(folder.path, by_id)
            except BaseException:
                folder.close()
                raise
            reader = PairReader(x, y, metric, written)
            return PartedPairs(reader, list(buckets), counts, engine, folder)
    elif x.n != y.n:
        raise InputError(
            f"{x.name} has {x.n:,} rows and {y.name} has {y.n:,}, and without ids on both sides "
            "they are paired by position",
            mend="Give both sides ids, so that common items can be found",
        )
    elif x.has_ids or y.has_ids:
        hashes_of(x if x.has_ids else y, engine)  # refuses one that occurs twice
    parts: list[PairPart] = []
    first = 0
    for part in x.parts:
        there = tuple(slices(y, first, part.rows))
        parts.append(SideBySide(first, part.rows, (Slice(part, 0, part.rows),), there))
        first += part.rows
    counts = [part.rows for part in x.parts]
    if labels is None:
        return PartedPairs(PairReader(x, y, metric), parts, counts, engine)
    folder = _scratch(engine, "to know the label of a row")
    try:
        reader = PairReader(x, y, metric, labels.written(folder.path, None))
    except BaseException:
        folder.close()
        raise
    return PartedPairs(reader, parts, counts, engine, folder)


def _scratch(engine: PooledEngine, why: str) -> ScratchFolder:
    if not engine.here and engine.scratch is None:
        raise InputError(
            f"{why} the workers need a folder that all of them see",
            where="engine",
            mend="Name one, as in dask://HOST:8786?scratch=/shared/folder",
        )
    return ScratchFolder(engine.scratch)
