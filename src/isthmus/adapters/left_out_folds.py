"""What is left of a fit without some of its folds: the moments, and the rows themselves."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from isthmus.adapters.row_span import RowSpan
from isthmus.adapters.steps.base import FitRows, Pools, asked_rows, pools_of
from isthmus.moments import FoldMoments, KindsApart, SecondMoments
from isthmus.spaces.sample import Batch
from isthmus.spaces.split import fold_of

__all__ = ["MomentsWithoutFolds", "RowsWithoutFolds"]


class MomentsWithoutFolds:
    """Moments of folds about their means, read once and kept: what a solver decomposes stays."""

    def __init__(self, folds: FoldMoments | KindsApart, n_folds: int, span: RowSpan) -> None:
        self._folds, self._n_folds, self._span = folds, n_folds, span

    @cached_property
    def total(self) -> SecondMoments:
        """The moments of all rows."""
        return self._span.told(self._folds.second())

    @cached_property
    def split(self) -> Sequence[tuple[SecondMoments, SecondMoments]]:
        """For each fold with rows, the moments of its training and of its held-out rows."""
        told = self._span.told
        return [(told(train), told(own)) for train, own in self._folds.splits()]

    @cached_property
    def training(self) -> list[SecondMoments]:
        """For each fold, the moments of all rows outside it; of all rows where it is empty."""
        known = dict(zip(self._folds.used, self.split, strict=True))
        return [known[k][0] if k in known else self.total for k in range(self._n_folds)]

    @property
    def used(self) -> list[int]:
        """The folds that have rows, but not all."""
        return self._folds.used

    def without(self, left_out: Collection[int]) -> SecondMoments:
        """The moments of all rows outside some folds."""
        return self._span.told(self._folds.second_without(left_out))

    def splits(self) -> Sequence[tuple[SecondMoments, SecondMoments]]:
        """`split` as a function, which is how a step takes it (`Splits`)."""
        return self.split


@dataclass(frozen=True)
class RowsWithoutFolds:
    """Fit rows without those of some folds."""

    rows: FitRows
    left_out: Collection[int]
    folds: int
    seed: int

    def __iter__(self) -> Iterator[Batch]:
        return map(self._without, self.rows)

    @property
    def items(self) -> Iterator[Batch]:
        """The rows that are no queries."""
        return map(self._without, getattr(self.rows, "items", self.rows))

    @property
    def asked(self) -> Iterator[Batch]:
        """The rows that are queries, with the ids of the items that answer them."""
        return map(self._without, asked_rows(self.rows))

    @property
    def pools(self) -> Pools | None:
        """The unpaired vectors, which belong to no fold."""
        return pools_of(self.rows)

    def _without(self, batch: Batch) -> Batch:
        folds = fold_of(batch.ids, self.folds, self.seed)
        return batch.select(~np.isin(folds, list(self.left_out)))
