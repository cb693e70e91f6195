"""Sums per group: what closed-form class-mean targets and between-class scatter follow from."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from isthmus.errors import InputError
from isthmus.moments.accumulator import EVERYTHING
from isthmus.moments.covariances import GroupScatter, SecondMoments
from isthmus.moments.folds import FoldMoments
from isthmus.numeric import Array, to_numpy
from isthmus.spaces.split import fold_of

__all__ = ["LARGEST", "GroupSums", "GroupedFoldMoments", "Groups"]

LARGEST = 10_000
"""Groups that are kept apart at most: more of them are names of items, not classes."""

Groups = Mapping[str, NDArray[Any]]
"""For each grouping, by its name, the group of each row ``(n,)``: integers, floats or strings."""

_BLOCK_ROWS = 2048


@dataclass(eq=False)
class GroupSums:
    """Weight and sums of the rows of each group, in float64 and bounded memory.

    Unlike the other moments they are sums of the rows as they are: what is needed of them are
    differences of means, which float64 holds for any mean that float32 rows can have.
    """

    dx: int
    dy: int

    def __post_init__(self) -> None:
        self.index: dict[Any, int] = {}
        """The row of each group in the sums."""
        self.weight = np.zeros(0)
        """``(groups,)``"""
        self.x = np.zeros((0, self.dx))
        """``Σ w x (groups, dx)``"""
        self.y = np.zeros((0, self.dy))

    def update(
        self, groups: NDArray[Any], x: Array, y: Array, weights: Array | None = None
    ) -> None:
        """Add rows with the group of each ``(n,)``.

        Raises:
            InputError: for groups of another length, or too many different ones.
        """
        groups = np.asarray(groups)
        if groups.shape != (x.shape[0],):
            raise InputError(f"{x.shape[0]} rows have labels of shape {groups.shape}")
        if not len(groups):
            return
        found, codes = np.unique(groups, return_inverse=True)
        rows = self._rows(found.tolist())
        order = np.argsort(codes, kind="stable")
        weight = np.ones(len(codes)) if weights is None else to_numpy(weights, np.float64)
        self.weight[rows] += np.bincount(codes, weight, minlength=len(found))
        host = to_numpy(x), to_numpy(y)
        for start in range(0, len(order), _BLOCK_ROWS):
            part = order[start : start + _BLOCK_ROWS]
            present, first = np.unique(codes[part], return_index=True)
            for sums, side in zip((self.x, self.y), host, strict=True):
                block = side[part].astype(np.float64) * weight[part, None]
                sums[rows[present]] += np.add.reduceat(block, first, axis=0)

    def _rows(self, names: list[Any]) -> NDArray[np.int64]:
        """The places of groups in the sums, made for those that are new."""
        new = [name for name in names if name not in self.index]
        if len(self.index) + len(new) > LARGEST:
            raise InputError(
                f"the labels name more than {LARGEST:,} classes",
                where="labels",
                mend="Give coarser labels, or use cluster_means",
            )
        for name in new:
            self.index[name] = len(self.index)
        self.weight = np.concatenate([self.weight, np.zeros(len(new))])
        self.x = np.concatenate([self.x, np.zeros((len(new), self.dx))])
        self.y = np.concatenate([self.y, np.zeros((len(new), self.dy))])
        return np.array([self.index[name] for name in names], dtype=np.int64)

    def merge(self, other: Self, sign: float = 1.0) -> None:
        """Add (or with ``sign=-1`` take away) the sums of ``other``."""
        rows = self._rows(list(other.index))
        self.weight[rows] += sign * other.weight
        self.x[rows] += sign * other.x
        self.y[rows] += sign * other.y

    def between(self) -> GroupScatter:
        """Covariances of the group means, weighted by the groups and divided by all weight."""
        # a group taken away leaves a rest of rounding
        used = self.weight > 1e-9 * float(self.weight.max(initial=0.0))
        weight = self.weight[used]
        if not len(weight):
            return GroupScatter(np.zeros((self.dx, self.dy)), np.zeros((self.dy, self.dy)))
        total = float(weight.sum())
        root = np.sqrt(weight / total)[:, None]
        x, y = (
            (sums[used] / weight[:, None] - sums[used].sum(axis=0) / total) * root
            for sums in (self.x, self.y)
        )
        return GroupScatter(x.T @ y, y.T @ y)


class GroupedFoldMoments(FoldMoments):
    """Fold moments that also keep the sums of every group of rows.

    Args:
        dx: width of the x side.
        dy: width of the y side.
        folds: at least 2.
        keep: as of `Moments`.
        seed: of the folds.
        groupings: the names of the groupings; ``second().between`` has one entry for each.

    Example:
        >>> import numpy as np
        >>> from isthmus.moments import GroupedFoldMoments
        >>> x, y = np.random.default_rng(0).standard_normal((2, 100, 3))
        >>> moments = GroupedFoldMoments(3, 3, groupings=["parity"])
        >>> _ = moments.update(np.arange(100), x, y, groups={"parity": np.arange(100) % 2})
        >>> moments.second().between["parity"].xy.shape
        (3, 3)
    """

    def __init__(
        self,
        dx: int,
        dy: int,
        folds: int = 5,
        *,
        keep: Iterable[str] = EVERYTHING,
        seed: int = 0,
        groupings: Iterable[str] = (),
    ) -> None:
        super().__init__(dx, dy, folds, keep=keep, seed=seed)
        self.groups: dict[str, list[GroupSums]] = {
            name: [GroupSums(dx, dy) for _ in range(folds)] for name in sorted(set(groupings))
        }

    @override
    def update(
        self,
        ids: NDArray[Any],
        x: Array,
        y: Array,
        *,
        weights: Array | None = None,
        groups: Groups | None = None,
    ) -> Self:
        """Add paired rows and their groups; otherwise as `FoldMoments.update`.

        Raises:
            InputError: if a grouping is missing, or of another length.
        """
        groups = groups or {}
        if set(groups) != set(self.groups):
            raise InputError(f"rows are grouped by {sorted(self.groups)}, got {sorted(groups)}")
        super().update(ids, x, y, weights=weights)
        if not groups:
            return self
        assigned = fold_of(ids, len(self.folds), self.seed)
        host = to_numpy(x), to_numpy(y)
        weight = None if weights is None else to_numpy(weights)
        for k in range(len(self.folds)):
            rows = np.flatnonzero(assigned == k)
            for name, folds in self.groups.items():
                folds[k].update(
                    np.asarray(groups[name])[rows],
                    host[0][rows],
                    host[1][rows],
                    None if weight is None else weight[rows],
                )
        return self

    @override
    def second(self) -> SecondMoments:
        return replace(super().second(), between=self._between(()))

    @override
    def second_without(self, left_out: Collection[int]) -> SecondMoments:
        return replace(super().second_without(left_out), between=self._between(left_out))

    @override
    def splits(self) -> list[tuple[SecondMoments, SecondMoments]]:
        return [
            (replace(train, between=self._between((k,))), held_out)
            for k, (train, held_out) in zip(self.used, super().splits(), strict=True)
        ]

    def _between(self, without: Collection[int]) -> dict[str, GroupScatter]:
        found: dict[str, GroupScatter] = {}
        for name, folds in self.groups.items():
            total = GroupSums(folds[0].dx, folds[0].dy)
            for k, fold in enumerate(folds):
                if k not in without:
                    total.merge(fold)
            found[name] = total.between()
        return found

    @override
    def __iadd__(self, other: FoldMoments) -> Self:
        if not isinstance(other, GroupedFoldMoments) or set(self.groups) != set(other.groups):
            raise InputError("fold moments of other groupings do not join")
        FoldMoments.__iadd__(self, other)
        for name, folds in self.groups.items():
            for mine, theirs in zip(folds, other.groups[name], strict=True):
                mine.merge(theirs)
        return self

    @override
    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """As `FoldMoments.save`; refused where there are groups, for which the file has no place.

        Raises:
            InputError: then.
        """
        if self.groups:
            raise InputError("the sums of groups are not saved", where=str(path))
        super().save(path, overwrite=overwrite)
