"""Parts of the pairs: rows of both sides, and how any process reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.scale.joining import IdBucket
from isthmus.scale.labels import WrittenLabels
from isthmus.scale.parts import PartedVectors, Slice
from isthmus.scale.reading import rebatched, rows_of
from isthmus.spaces.ids import join
from isthmus.spaces.metric import Metric
from isthmus.spaces.sample import Batch

__all__ = ["OnRun", "PairPart", "PairReader", "SideBySide", "runs_of"]


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


PairPart = SideBySide | IdBucket


@dataclass(frozen=True)
class PairReader:
    """How any part of the pairs is read, in any process."""

    source: PartedVectors
    target: PartedVectors
    metric: Metric
    labels: WrittenLabels | None = None

    def batches(self, part: PairPart, size: int) -> Iterator[Batch]:
        """The pairs of a part, checked.

        Raises:
            InputError: naming the file and the first row that cannot be used.
        """
        row = 0 if isinstance(part, IdBucket) else part.first
        for ids, x, y in self._rows(part, size):
            yield Batch(ids, x, y, None if self.labels is None else self.labels.of(ids, row))
            row += len(ids)

    def _rows(
        self, part: PairPart, size: int
    ) -> Iterator[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]:
        if isinstance(part, IdBucket):
            yield from self._joined(part, size)
            return
        x = rows_of(self.source, part.source, self.metric, size=size)
        both = self.source.has_ids and self.target.has_ids
        y = rows_of(self.target, part.target, self.metric, with_ids=not both, size=size)
        row = part.first
        for (ids, xs), (others, ys) in zip(rebatched(x, size), rebatched(y, size), strict=True):
            known = others if ids is None else ids
            yield np.arange(row, row + len(xs)) if known is None else known, xs, ys
            row += len(xs)

    @staticmethod
    def _joined(
        bucket: IdBucket, size: int
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
class Run:
    """Neighbouring small parts, whose results are not worth a journey each."""

    parts: tuple[PairPart, ...]

    def __str__(self) -> str:
        first, last = str(self.parts[0]), str(self.parts[-1])
        return first if len(self.parts) == 1 else f"{first} … {last}"


def runs_of(parts: Sequence[PairPart], rows: Sequence[int], most: int) -> list[Run]:
    """The parts in runs of about ``most`` rows."""
    found: list[list[PairPart]] = []
    held = 0
    for part, n in zip(parts, rows, strict=True):
        if not found or held + n > most:
            found.append([])
            held = 0
        found[-1].append(part)
        held += n
    return [Run(tuple(run)) for run in found]


@dataclass(frozen=True)
class OnRun:
    """Work on the batches of a run of parts."""

    reader: PairReader
    work: Callable[[Iterator[Batch]], Any]
    size: int

    def __call__(self, run: Run) -> Any:
        """What the work makes of the pairs of these parts."""
        batches = (batch for part in run.parts for batch in self.reader.batches(part, self.size))
        return self.work(batches)
