"""Which rows of two modalities belong to one item, and which items have only one modality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.array_types import Indices
from isthmus.errors import InputError

__all__ = ["PairedItems", "match_items"]


@dataclass(frozen=True, eq=False)
class PairedItems:
    """Items of either side as numbers from 0: first those with both modalities, then the others."""

    x: Indices
    """The number of the item of every x row ``(nx,)``."""
    y: Indices
    """The number of the item of every y row ``(ny,)``."""
    paired: int
    """How many items have both."""

    @property
    def paired_x(self) -> Indices:
        """The x rows whose item has both modalities."""
        return np.flatnonzero(self.x < self.paired)

    @property
    def paired_y(self) -> Indices:
        """The y rows whose item has both modalities."""
        return np.flatnonzero(self.y < self.paired)

    def folds(self, count: int, seed: int, *, known_items: bool = False) -> Indices:
        """A fold of every x row ``(nx,)``, −1 where its item has no partner.

        Rows of one item share a fold, unless the items are ``known_items``: then rows are dealt out
        by themselves.
        """
        rng = np.random.default_rng(seed)
        rows = self.paired_x
        folds = np.full(len(self.x), -1)
        if known_items:
            folds[rows] = rng.permutation(len(rows)) % count
        else:
            folds[rows] = (rng.permutation(self.paired) % count)[self.x[rows]]
        return folds

    def pairs(self, most: int, seed: int) -> tuple[Indices, Indices]:
        """Rows of x and y of one item, every x row with at most ``most`` of its partners."""
        rng = np.random.default_rng(seed)
        by_item = np.argsort(self.y, kind="stable")
        first = np.searchsorted(self.y[by_item], np.arange(self.paired + 1))
        left: list[Indices] = []
        right: list[Indices] = []
        for row in self.paired_x:
            partners = by_item[first[self.x[row]] : first[self.x[row] + 1]]
            if len(partners) > most:
                partners = np.sort(rng.choice(partners, most, replace=False))
            left.append(np.full(len(partners), row))
            right.append(partners)
        return np.concatenate(left), np.concatenate(right)

    def target_means(self, y: NDArray[Any]) -> NDArray[np.float32]:
        """Mean y row of every paired item ``(paired, dy)``."""
        rows = self.paired_y
        sums = np.zeros((self.paired, y.shape[1]))
        np.add.at(sums, self.y[rows], y[rows])
        counts = np.bincount(self.y[rows], minlength=self.paired)
        return (sums / counts[:, None]).astype(np.float32)


def match_items(
    nx: int,
    ny: int,
    items_x: Sequence[Any] | NDArray[Any] | None,
    items_y: Sequence[Any] | NDArray[Any] | None,
) -> PairedItems:
    """Join ``nx`` and ``ny`` rows by the ids of their items; without ids, row by row.

    Raises:
        InputError: for an empty side, ids that are not one per row or given for one side only,
            sides of unequal length without ids, or no item that has both modalities.
    """
    for n, name in ((nx, "the new modality"), (ny, "the frozen space")):
        if not n:
            raise InputError(f"{name} has no rows", mend="Give vectors of both sides")
    if (items_x is None) != (items_y is None):
        raise InputError(
            "items are named on one side only",
            where="items_x" if items_y is None else "items_y",
            mend="Give both items_x and items_y, or neither",
        )
    if items_x is None or items_y is None:
        if nx != ny:
            raise InputError(
                f"the sides have {nx} and {ny} rows; without items they must pair row by row",
                mend="Give items_x and items_y, one id per row",
            )
        return PairedItems(np.arange(nx), np.arange(ny), nx)
    codes: list[list[Any]] = []
    for items, n, name in ((items_x, nx, "items_x"), (items_y, ny, "items_y")):
        plain: list[Any] = items.tolist() if isinstance(items, np.ndarray) else list(items)
        if len(plain) != n:
            raise InputError(f"{len(plain)} ids for {n} rows", where=name, mend="Give one per row")
        codes.append(plain)
    others = set(codes[1])
    both = [item for item in dict.fromkeys(codes[0]) if item in others]
    if not both:
        raise InputError(
            "no item has both modalities",
            where="items_x, items_y",
            mend="Check that both sides use the same ids; without any pair, see align_unpaired",
        )
    number = {item: i for i, item in enumerate(both)}
    for side in codes:
        for item in side:
            number.setdefault(item, len(number))
    x, y = (np.array([number[item] for item in side], np.int64) for side in codes)
    return PairedItems(x, y, len(both))
