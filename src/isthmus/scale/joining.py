"""Which rows of two sides belong together, found from hashes of their ids alone.

Sides in one order are read side by side.  Sides in different orders are first written again,
parted by a hash of the id, so that each bucket holds both rows of its items and fits into memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.scale.engine import Engine
from isthmus.scale.parts import PartedVectors, ReadablePart, Slice
from isthmus.scale.reading import IdsAndRows, ids_of, rows_of
from isthmus.spaces.formats.numpy_files import read_npy
from isthmus.spaces.ids import check_same_kind, join_hashes, repeated_hashes
from isthmus.spaces.metric import Metric
from isthmus.spaces.scratch import scratch_array
from isthmus.spaces.split import hash_ids

__all__ = ["IdBucket", "IdHashes", "bucket_counts", "hashes_of", "shuffled"]

_BUCKET_BYTES = 24 << 20
_RUN_BYTES = 32 << 20


@dataclass(frozen=True, eq=False)
class IdHashes:
    """What is known of the ids of a side.

    Attributes:
        values: the hash of each ``(n,)``, in a scratch file where they are many.
        order: a number that tells whether another side has the same ids in the same order.
        kind: an array of one id.
    """

    values: NDArray[np.uint64]
    order: int
    kind: NDArray[Any]


@dataclass(frozen=True)
class _Placed:
    """A part, and a number that goes with it."""

    part: ReadablePart
    number: int

    def __str__(self) -> str:
        return str(self.part)


@dataclass(frozen=True)
class _Hashed:
    """Hashes of the ids of a part that begins at row ``start`` of its side."""

    side: PartedVectors

    def __call__(self, placed: _Placed) -> tuple[NDArray[np.uint64], int, NDArray[Any]]:
        part, start = placed.part, placed.number
        found: list[NDArray[np.uint64]] = []
        order, kind = 0, np.empty(0, np.int64)
        for ids in ids_of(self.side, part):
            hashes = join_hashes(ids)
            rows = hash_ids(np.arange(start, start + len(ids)), 1)
            both = hash_ids((hashes ^ rows).view(np.int64), 2)
            order = (order + int(both.sum(dtype=np.uint64))) % 2**64
            found.append(hashes)
            start += len(ids)
            kind = ids[:1]
        return np.concatenate(found), order, kind


def hashes_of(side: PartedVectors, engine: Engine) -> IdHashes:
    """The hashes of all ids of a side; 8 bytes a row pass through the engine.

    Raises:
        InputError: if an id occurs twice, naming both places, or kinds of ids are mixed.
    """
    starts = np.cumsum([0, *(part.rows for part in side.parts)])
    values = scratch_array(side.n, np.uint64)
    order, kind = 0, np.empty(0, np.int64)
    placed = [_Placed(part, at) for part, at in zip(side.parts, starts.tolist(), strict=False)]
    for index, (hashes, own, one) in engine.each(placed, _Hashed(side)):
        if len(hashes) != side.parts[index].rows:
            raise InputError("the part changed while it was read", where=str(side.parts[index]))
        values[starts[index] : starts[index + 1]] = hashes
        order = (order + own) % 2**64
        if len(kind):
            check_same_kind(kind, one, (side.name, str(side.parts[index])))
        kind = one
    suspects = repeated_hashes(values)
    if len(suspects):
        _refuse_repeated(side, engine, suspects)
    return IdHashes(values, order, kind)


@dataclass(frozen=True, eq=False)
class _Suspected:
    side: PartedVectors
    hashes: NDArray[np.uint64]

    def __call__(self, part: ReadablePart) -> list[tuple[Any, str]]:
        found: list[tuple[Any, str]] = []
        row = part.first
        for ids in ids_of(self.side, part):
            for i in np.flatnonzero(np.isin(join_hashes(ids), self.hashes)).tolist():
                found.append((ids[i].item(), f"{part.place}, row {row + i}"))
            row += len(ids)
        return found


def _refuse_repeated(side: PartedVectors, engine: Engine, suspects: NDArray[np.uint64]) -> None:
    seen: dict[Any, str] = {}
    by_part = dict(engine.each(side.parts, _Suspected(side, suspects[:100])))
    for index in range(len(side.parts)):
        for value, where in by_part[index]:
            if value in seen:
                raise InputError(
                    f"the id {value!r} occurs twice, first in {seen[value]}",
                    where=where,
                    mend="Keep one row of each item",
                )
            seen[value] = where


def bucket_counts(source: IdHashes, target: IdHashes, bits: int) -> list[int]:
    """Ids that both sides have, in each of ``2**bits`` buckets; the hashes are sorted in place."""
    x, y = source.values, target.values
    x.sort()
    y.sort()
    lowest = [bucket << (64 - bits) for bucket in range(1 << bits)] if bits else [0]
    firsts = np.array(lowest, np.uint64)
    edges = [(*np.searchsorted(v, firsts).tolist(), len(v)) for v in (x, y)]
    return [
        len(np.intersect1d(x[a:b], y[c:d], assume_unique=True))
        for a, b, c, d in zip(edges[0], edges[0][1:], edges[1], edges[1][1:], strict=False)
    ]


def _buckets(hashes: NDArray[np.uint64], bits: int) -> NDArray[np.int64]:
    return (hashes >> np.uint64(64 - bits)).astype(np.int64) if bits else np.zeros(len(hashes), int)


# ---- writing again -------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Run:
    """Rows of one side, sorted by bucket, in files of their own."""

    stem: str
    edges: tuple[int, ...]
    """Where each bucket begins, and the last ends."""

    def bucket(self, number: int) -> IdsAndRows:
        start, stop = self.edges[number], self.edges[number + 1]
        rows, ids = (
            read_npy(Path(f"{self.stem}.{what}.npy")).open().rows(start, stop)
            for what in ("rows", "ids")
        )
        return ids, rows


@dataclass(frozen=True)
class IdBucket:
    """All rows of both sides whose ids fall into one bucket, as a part of the pairs."""

    number: int
    source: tuple[_Run, ...]
    target: tuple[_Run, ...]

    def __str__(self) -> str:
        return f"bucket {self.number} of the joined sides"

    def side(self, which: str) -> tuple[NDArray[Any], NDArray[Any]]:
        """Ids and rows of ``source`` or ``target``."""
        runs: tuple[_Run, ...] = getattr(self, which)
        found = [run.bucket(self.number) for run in runs]
        ids = [names for names, _ in found if names is not None and len(names)]
        rows = [block for _, block in found if len(block)]
        if not rows:
            return np.empty(0, np.int64), np.empty((0, 0), np.float32)
        return np.concatenate(ids), np.concatenate(rows)


@dataclass(frozen=True)
class _Write:
    """Writes the rows of a part again, sorted by bucket, run by run."""

    side: PartedVectors
    which: str
    bits: int
    metric: Metric
    folder: str

    def __call__(self, placed: _Placed) -> list[_Run]:
        number, part = placed.number, placed.part
        runs: list[_Run] = []
        held: list[IdsAndRows] = []
        size = 0
        for block in rows_of(self.side, [Slice(part, 0, part.rows)], self.metric):
            held.append(block)
            size += block[1].nbytes
            if size >= _RUN_BYTES:
                runs.append(self._run(held, f"{number}-{len(runs)}"))
                held, size = [], 0
        if held:
            runs.append(self._run(held, f"{number}-{len(runs)}"))
        return runs

    def _run(self, held: Sequence[IdsAndRows], name: str) -> _Run:
        ids = np.concatenate([names for names, _ in held if names is not None])
        buckets = _buckets(join_hashes(ids), self.bits)
        order = np.argsort(buckets, kind="stable")
        stem = f"{self.folder}/{self.which}-{name}"
        np.save(f"{stem}.ids.npy", ids[order])
        # block by block, so that no second copy of all rows is made
        rows = np.concatenate([block for _, block in held])
        np.save(f"{stem}.rows.npy", rows[order])
        edges = np.searchsorted(buckets[order], np.arange((1 << self.bits) + 1))
        return _Run(stem, tuple(edges.tolist()))


def shuffled(
    source: PartedVectors,
    target: PartedVectors,
    engine: Engine,
    *,
    metric: Metric,
    folder: Path,
    bits: int,
) -> list[IdBucket]:
    """Both sides written into ``folder``, parted by the hash of their ids."""
    runs: dict[str, tuple[_Run, ...]] = {}
    for which, side in (("source", source), ("target", target)):
        work = _Write(side, which, bits, metric, str(folder))
        placed = [_Placed(part, number) for number, part in enumerate(side.parts)]
        written = dict(engine.each(placed, work))
        runs[which] = tuple(run for i in range(len(written)) for run in written[i])
    return [IdBucket(i, runs["source"], runs["target"]) for i in range(1 << bits)]


def bits_for(source: PartedVectors, target: PartedVectors) -> int:
    """How many bits of a hash make buckets that a worker can hold."""
    size = 4 * (source.n * source.dim + target.n * target.dim)
    return max(0, (size // _BUCKET_BYTES).bit_length())


def slices(side: PartedVectors, start: int, rows: int) -> Iterator[Slice]:
    """The slices that hold ``rows`` rows of a side from row ``start`` on."""
    first = 0
    for part in side.parts:
        skip = max(0, start - first)
        take = min(part.rows, start + rows - first) - skip
        if take > 0:
            yield Slice(part, skip, take)
        first += part.rows
        if first >= start + rows:
            return
