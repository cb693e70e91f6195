"""One pass over the pairs: fold moments of every row, and a seeded sample of rows.

Rows that no method can use (not finite, or zero under cosine) do not stop a diagnosis: they are
set aside, counted and reported.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from isthmus.errors import InputError
from isthmus.moments import FoldMoments, Moments
from isthmus.numeric import unit_rows
from isthmus.progress import Progress, silent
from isthmus.spaces.pairs import Pairs, SplitPart
from isthmus.spaces.ranges import NORM_TOLERANCE
from isthmus.spaces.readers import Vectors
from isthmus.spaces.row_checks import row_norms
from isthmus.spaces.sample import Batch, Sampler
from isthmus.spaces.scratch import blocks
from isthmus.spaces.split import fold_of

__all__ = ["FOLDS", "PairPass", "SetAside", "read_pairs"]

FOLDS = 5
_FEWEST = 3
_SCAN_ROWS = 8192
_LARGEST, _SMALLEST = 1e7, 1e-7
_NO_VECTOR = 1e20


@dataclass(frozen=True)
class SetAside:
    """The rows of one side that cannot be used."""

    infinite: int = 0
    """Rows with an infinity."""
    missing: int = 0
    """Rows with a NaN and no infinity."""
    zero: int = 0
    """Rows of zeros, which have no direction under cosine."""
    rows: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """Their numbers on this side ``(k,)``, ascending."""


@dataclass(frozen=True, eq=False)
class PairPass:
    """What a diagnosis knows of the pairs."""

    pairs: Pairs
    raw: FoldMoments
    """Moments of the rows as they are, everything kept."""
    unit: FoldMoments | None
    """Moments of unit-normalised rows; None where all rows have equal length, or length matters."""
    sample: Batch
    folds: NDArray[np.int64]
    """The fold of each sampled row ``(m,)``, as in the moments."""
    set_aside: tuple[SetAside, SetAside]

    @cached_property
    def total(self) -> Moments:
        """The moments of all rows as they are."""
        return self.raw.total

    @property
    def n(self) -> int:
        """Pairs used."""
        return self.total.rows


def read_pairs(pairs: Pairs, *, sample: int, seed: int, progress: Progress = silent) -> PairPass:
    """Read the pairs once; twice where a row cannot be used.

    Raises:
        InputError: if fewer than three pairs can be used.
    """
    try:
        return _read(pairs, None, (SetAside(), SetAside()), sample, seed, progress)
    except InputError:
        found = _scan(pairs.source, pairs), _scan(pairs.target, pairs)
        if not any(len(side.rows) for side in found):
            raise
        return _read(pairs, _Usable(pairs, found), found, sample, seed, progress)


def _read(
    pairs: Pairs,
    usable: _Usable | None,
    set_aside: tuple[SetAside, SetAside],
    size: int,
    seed: int,
    progress: Progress,
) -> PairPass:
    n = len(pairs) if usable is None else len(usable)
    if n < _FEWEST:
        raise _too_few(pairs, n, set_aside)
    first = next(iter(pairs.batches(part=usable)))
    work = _Sums(
        (pairs.dim_x, pairs.dim_y),
        (pairs.source.name, pairs.target.name),
        pairs.metric == "cosine" and not _equal_lengths(first),
        size,
        seed,
    )
    found = pairs.fold(work, _Found.joined, part=usable, progress=progress)
    for side, largest in zip((pairs.source, pairs.target), found.longest, strict=True):
        if 0 < largest < _SMALLEST:
            raise _out_of_range(side.name, largest)
    rows = found.sampler.sample()
    return PairPass(pairs, found.raw, found.unit, rows, fold_of(rows.ids, FOLDS, seed), set_aside)


@dataclass(eq=False)
class _Found:
    """What a pass over some batches accumulates."""

    raw: FoldMoments
    unit: FoldMoments | None
    sampler: Sampler
    longest: list[float]

    def joined(self, other: _Found) -> _Found:
        self.raw += other.raw
        if self.unit is not None and other.unit is not None:
            self.unit += other.unit
        self.sampler.merge(other.sampler)
        self.longest = [max(both) for both in zip(self.longest, other.longest, strict=True)]
        return self


@dataclass(frozen=True)
class _Sums:
    """The pass itself."""

    dims: tuple[int, int]
    names: tuple[str, str]
    with_unit: bool
    size: int
    seed: int

    def __call__(self, batches: Iterator[Batch]) -> _Found:
        raw = FoldMoments(*self.dims, FOLDS, seed=self.seed)
        keep = {"square", "xx", "xy", "yy"}
        unit = FoldMoments(*self.dims, FOLDS, keep=keep, seed=self.seed) if self.with_unit else None
        sampler, longest = Sampler(self.size, seed=self.seed), [0.0, 0.0]
        for batch in batches:
            for i, rows in enumerate((batch.x, batch.y)):
                longest[i] = max(longest[i], float(np.abs(rows).max()))
                if longest[i] > _LARGEST:
                    raise _out_of_range(self.names[i], longest[i])
            raw.update(batch.ids, batch.x, batch.y)
            if unit is not None:
                unit.update(batch.ids, unit_rows(batch.x, None), unit_rows(batch.y, None))
            sampler.update(batch)
        return _Found(raw, unit, sampler, longest)


def _out_of_range(side: str, largest: float) -> InputError:
    return InputError(
        f"the largest number is {largest:.3g}, and sums of fourth powers of such numbers leave "
        "the range of float32",
        where=side,
        mend="Check how the bytes were read: another byte order or type gives such numbers"
        if largest > _NO_VECTOR
        else "Multiply all rows of this side by one constant, so that norms are near 1",
    )


def _equal_lengths(batch: Batch) -> bool:
    """Whether every row of either side is as long as the others of its side."""
    for rows in (batch.x, batch.y):
        norms = row_norms(rows)
        if float(norms.max()) > (1 + NORM_TOLERANCE) * float(norms.min()):
            return False
    return True


def _too_few(pairs: Pairs, n: int, set_aside: tuple[SetAside, SetAside]) -> InputError:
    sides = (pairs.source, pairs.target)
    for side, aside in zip(sides, set_aside, strict=True):
        if len(aside.rows) and len(aside.rows) >= side.n - _FEWEST + 1:
            block = side.rows(0, min(side.n, _SCAN_ROWS))
            columns = np.flatnonzero(~np.isfinite(block).any(axis=0)).tolist()
            at = f"; column(s) {columns[:5]} hold no finite number" if columns else ""
            half = aside.infinite > 0 and side.stored_dtype == "float16"
            return InputError(
                f"{len(aside.rows):,} of {side.n:,} rows cannot be used: {aside.infinite:,} hold "
                f"an infinity, {aside.missing:,} a NaN, {aside.zero:,} are zero{at}",
                where=side.name,
                mend="Numbers above 65504 do not fit float16: encode again and store float32"
                if half
                else "Remove such columns or rows from both sides, or encode the items again",
            )
    return InputError(
        f"{n} pair(s) can be used, and a diagnosis needs at least {_FEWEST}",
        mend="Give a few hundred pairs at the least, 4,000 for a good map",
    )


def _scan(side: Vectors, pairs: Pairs) -> SetAside:
    """Find the rows of one side that `Pairs` refuses."""
    bad: list[NDArray[np.int64]] = []
    infinite = missing = zero = 0
    for part in blocks(side.n, _SCAN_ROWS):
        rows = side.rows(part.start, part.stop)
        norms = row_norms(rows)
        faulty = np.isnan(norms)
        with_infinity = np.isinf(rows[faulty]).any(axis=1)
        infinite += int(with_infinity.sum())
        missing += int((~with_infinity).sum())
        if pairs.metric == "cosine":
            zero += int((norms == 0).sum())
            faulty |= norms == 0
        bad.append(np.flatnonzero(faulty) + part.start)
    return SetAside(infinite, missing, zero, np.concatenate(bad))


class _Usable(SplitPart):
    """The pairs of which neither side was set aside, read like a part of a split."""

    def __init__(self, pairs: Pairs, set_aside: tuple[SetAside, SetAside]) -> None:
        self.name = "usable"
        self._pairs = pairs
        x, y = pairs.source, pairs.target
        if x.ids is None or y.ids is None:
            self._bad_ids = None
            self._bad = np.union1d(set_aside[0].rows, set_aside[1].rows)
        else:
            self._bad = np.empty(0, np.int64)
            self._bad_ids = np.union1d(x.ids[set_aside[0].rows], y.ids[set_aside[1].rows])

    @override
    def __len__(self) -> int:
        return sum(len(rows) for rows in self.rows())

    @override
    def __repr__(self) -> str:
        return f"the usable rows of {self._pairs!r}"

    @override
    def rows(self) -> Iterator[NDArray[np.int64]]:
        for block in blocks(len(self._pairs)):
            positions = np.r_[block]
            if self._bad_ids is None:
                bad = np.isin(positions, self._bad)
            else:
                bad = np.isin(self._pairs.ids_at(block), self._bad_ids)
            yield positions[~bad]
