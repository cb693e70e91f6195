"""Which part of a split, or which fold, an item belongs to: a pure function of its id.

Because nothing but the id and the seed decides, adding items never moves an item across a split,
and two machines agree without talking.  Copies of an item go where the item goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError

__all__ = ["Assignment", "Copies", "assign_parts", "fold_of", "hash_ids", "unit_interval"]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def _mix(h: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014): a bijection of 64 bits."""
    h = (h ^ (h >> np.uint64(30))) * _MIX_1
    h = (h ^ (h >> np.uint64(27))) * _MIX_2
    return h ^ (h >> np.uint64(31))


def hash_ids(ids: NDArray[Any], seed: int = 0) -> NDArray[np.uint64]:
    """A stable 64-bit hash of each id.

    Args:
        ids: ``(n,)`` integers, or strings (``U`` or ``S``); the hash of a string does not depend
            on the width of the array that holds it.
        seed: another seed gives an independent hash.

    Raises:
        InputError: for ids that are neither integers nor strings.
    """
    start = _mix(np.array([seed], dtype=np.int64).view(np.uint64) + _GOLDEN)[0]
    with np.errstate(over="ignore"):
        if ids.dtype.kind in "iu":
            return _mix(ids.astype(np.int64, copy=False).view(np.uint64) * _GOLDEN + start)
        if ids.dtype.kind not in "US":
            raise InputError(
                f"ids have dtype {ids.dtype}, expected integers or strings",
                mend="Convert them with .astype(str)",
            )
        unit = np.uint32 if ids.dtype.kind == "U" else np.uint8
        n = len(ids)
        width = ids.dtype.itemsize // np.dtype(unit).itemsize
        letters = np.ascontiguousarray(ids).view(unit).reshape(n, width)
        h = np.full(n, start, dtype=np.uint64)
        for column in letters.T:
            used = column != 0
            if used.all():
                h = _mix((h ^ column.astype(np.uint64)) * _GOLDEN + _GOLDEN)
            else:
                h[used] = _mix((h[used] ^ column[used].astype(np.uint64)) * _GOLDEN + _GOLDEN)
        return h


def unit_interval(hashes: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Hashes as uniform numbers in ``[0, 1)``."""
    return (hashes >> np.uint64(11)).astype(np.float64) * 2.0**-53


def fold_of(ids: NDArray[Any], folds: int, seed: int = 0) -> NDArray[np.int64]:
    """The cross-validation fold ``0 .. folds-1`` of each id, independent of `assign_parts`."""
    return (unit_interval(hash_ids(ids, seed + 0x0F01D)) * folds).astype(np.int64)


def assign_parts(
    ids: NDArray[Any], fractions: Mapping[str, float], seed: int = 0
) -> NDArray[np.int64]:
    """The position in ``fractions`` of the part that each id falls into.

    Args:
        ids: ``(n,)`` integers or strings.
        fractions: share of the items in each named part; they must sum to 1.
        seed: another seed gives another split.
    """
    shares = list(fractions.values())
    if any(s < 0 for s in shares) or abs(sum(shares) - 1) > 1e-9:
        raise InputError(
            f"the shares of a split must be non-negative and sum to 1, got {dict(fractions)}"
        )
    edges = np.cumsum(shares)[:-1]
    return np.searchsorted(edges, unit_interval(hash_ids(ids, seed)), side="right")


def _no_ids() -> NDArray[Any]:
    return np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class Copies:
    """Items that stand in the data again under another id.

    Attributes:
        ids: ``(m,)``, ascending: of the items that are a copy of another.
        first: ``(m,)`` the id of the one that each is a copy of, which is no copy itself.

    Example:
        >>> Copies.of(np.array(["b"]), np.array(["a"])).leaders(np.array(["a", "b", "c"])).tolist()
        ['a', 'a', 'c']
    """

    ids: NDArray[Any] = field(default_factory=_no_ids)
    first: NDArray[Any] = field(default_factory=_no_ids)

    @classmethod
    def of(cls, ids: NDArray[Any], first: NDArray[Any]) -> Self:
        """Sorted by id, from ids in any order."""
        order = np.argsort(ids)
        return cls(ids[order], first[order])

    def __len__(self) -> int:
        return len(self.ids)

    def leaders(self, ids: NDArray[Any]) -> NDArray[Any]:
        """Ids ``(n,)`` with that of the first in place of each copy's."""
        if not len(self.ids) or (ids.dtype.kind in "iu") != (self.ids.dtype.kind in "iu"):
            return ids
        at = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(self.ids[at] == ids, self.first[at], ids)


@dataclass(frozen=True)
class Assignment:
    """Which part of a split each id belongs to; picklable, for those who read elsewhere."""

    fractions: Mapping[str, float]
    seed: int
    copies: Copies = field(default_factory=Copies, compare=False)
    moved: Mapping[int, int] = field(default_factory=dict[int, int], compare=False)
    """The part, by the hash of its id, of items that are in another than their id says."""

    def __call__(self, ids: NDArray[Any]) -> NDArray[np.int64]:
        """The position of the part of each id ``(n,)``; that of a copy is its first's."""
        first = self.copies.leaders(ids)
        parts = assign_parts(first, self.fractions, self.seed)
        if self.moved:
            known = np.fromiter(self.moved, np.uint64, len(self.moved))
            order = np.argsort(known)
            hashes = hash_ids(first)
            at = order[np.minimum(np.searchsorted(known[order], hashes), len(known) - 1)]
            theirs = np.fromiter(self.moved.values(), np.int64, len(known))
            parts = np.where(known[at] == hashes, theirs[at], parts)
        return parts

    def who_moved(self) -> dict[int, int]:
        """What to give as ``moved`` where the copies are not known any more."""
        ids = self.copies.ids
        parts = self(ids)
        other = parts != assign_parts(ids, self.fractions, self.seed)
        return dict(zip(hash_ids(ids[other]).tolist(), parts[other].tolist(), strict=True))
