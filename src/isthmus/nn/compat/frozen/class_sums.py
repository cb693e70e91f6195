"""What the sums of classes say of pairs whose moments are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.array_types import Matrix
from isthmus.errors import InputError
from isthmus.moments import SecondMoments
from isthmus.moments.groups import GroupSums

__all__ = ["PairedClassMeans", "about_zero"]


@dataclass(frozen=True, eq=False)
class PairedClassMeans:
    """What the sums of classes say of pairs whose moments are known."""

    index: dict[Any, int]
    """The row of each class, by its label."""
    share: Matrix
    """``(classes, 1)``"""
    x: Matrix
    """Means ``(classes, dx)``."""
    y: Matrix

    @classmethod
    def of(cls, moments: SecondMoments, classes: GroupSums) -> PairedClassMeans:
        """The means of every class that has rows.

        Raises:
            InputError: for sums of other rows than the moments', or fewer than two classes.
        """
        used = classes.weight > 1e-9 * float(classes.weight.max(initial=0.0))
        weight = classes.weight[used]
        if len(weight) < 2:
            raise InputError(
                f"{len(weight)} class(es): there is no other to keep apart",
                where="labels",
                mend="Use joint_maps, which needs no labels",
            )
        if not np.isclose(weight.sum(), moments.n, rtol=1e-6) or (classes.dx, classes.dy) != (
            moments.require("xy").shape
        ):
            raise InputError(
                f"class sums of {weight.sum():g} rows ({classes.dx} and {classes.dy} wide) and "
                f"moments of {moments.n:g} rows {moments.require('xy').shape} are not of the same "
                "pairs",
                where="classes",
            )
        place = np.cumsum(used) - 1
        return cls(
            {label: int(place[row]) for label, row in classes.index.items() if used[row]},
            (weight / weight.sum())[:, None],
            classes.x[used] / weight[:, None],
            classes.y[used] / weight[:, None],
        )

    def codes(self, labels: NDArray[Any]) -> NDArray[np.int64]:
        """The row of each label ``(n,)``.

        Raises:
            InputError: for a label that no class has.
        """
        present, inverse = np.unique(labels, return_inverse=True)
        unknown = [label for label in present.tolist() if label not in self.index]
        if unknown:
            raise InputError(
                f"{len(unknown)} label(s) are of no known class, such as {unknown[0]!r}",
                where="labels",
                mend="Give the rows that the sums of classes were taken of",
            )
        return np.array([self.index[label] for label in present.tolist()], np.int64)[inverse]

    def within_x(self, moments: SecondMoments) -> Matrix:
        """Scatter of x within classes."""
        return about_zero(moments, "xx") - self.x.T @ (self.x * self.share)


def about_zero(moments: SecondMoments, name: str) -> Matrix:
    """The mean product ``xx``, ``xy`` or ``yy`` of rows as they are, not about their means."""
    sides = {"x": moments.mean_x, "y": moments.mean_y}
    return moments.require(name) + np.outer(sides[name[0]], sides[name[1]])
