"""Second moments as host arrays: what solvers read, and what affine maps act on in closed form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, Self

import numpy as np

from isthmus.array_types import Matrix
from isthmus.errors import InputError
from isthmus.scipy_later import linalg
from isthmus.threads import single_thread

__all__ = ["AffineLike", "GroupScatter", "SecondMoments", "SideMoments"]


class AffineLike(Protocol):
    """Anything that maps rows by ``x @ matrix + offset``."""

    def apply_to_mean(self, mean: Matrix, /) -> Matrix:
        """The image of a mean ``(d,)``."""
        ...

    def apply_linear(self, rows: Matrix, /) -> Matrix:
        """``rows @ matrix`` without the offset."""
        ...


@dataclass(frozen=True)
class SideMoments:
    """The moments of one side of the pairs: what a normaliser is fitted on.

    Example:
        >>> import numpy as np
        >>> from isthmus import Moments
        >>> x = np.random.default_rng(0).standard_normal((1000, 3))
        >>> side = Moments.of(x, x).second().x
        >>> bool(np.allclose(side.variance, np.diagonal(side.covariance)))
        True
    """

    n: float
    """Sum of the weights."""
    mean: Matrix
    """``(d,)``"""
    variance: Matrix
    """Variance of each dimension ``(d,)``, divided by n."""
    covariance: Matrix | None
    """``(d, d)``, divided by n, or None where it was not kept."""
    width: int
    """Dimensions of the space of the rows: more than d where they are coordinates in a subspace."""

    @property
    def mean_eigenvalue(self) -> float:
        """Of the covariance in the whole space: what strengths are relative to.

        Raises:
            InputError: as `eigen`.
        """
        return float(self.eigen[0].sum()) / self.width

    @cached_property
    def eigen(self) -> tuple[Matrix, Matrix]:
        """Eigenvalues of the covariance ``(d,)``, ascending, none negative, and eigenvectors.

        Kept, because every whitening of a side is a function of them.

        Raises:
            InputError: if the covariance was not kept.
        """
        if self.covariance is None:
            raise InputError("whitening needs the covariance, which was not kept")
        with single_thread:
            found: Any = linalg.eigh(self.covariance, driver="evr")
        return np.maximum(found[0], 0.0), found[1]


@dataclass(frozen=True)
class GroupScatter:
    """Covariances of the means of groups of rows, weighted by the groups and divided by n.

    Example:
        >>> import numpy as np
        >>> from isthmus.moments import GroupScatter
        >>> GroupScatter(xy=np.zeros((4, 3)), yy=np.zeros((3, 3))).xy.shape
        (4, 3)
    """

    xy: Matrix
    """``(dx, dy)``"""
    yy: Matrix
    """``(dy, dy)``"""


@dataclass(frozen=True)
class SecondMoments:
    """Means and covariances, divided by n: ``xx = A``, ``xy = M``, ``yy = C`` of the literature.

    A covariance that was not kept is None; `require` turns that into an error.

    Example:
        >>> import numpy as np
        >>> from isthmus import Moments
        >>> x, y = np.random.default_rng(0).standard_normal((2, 1000, 3))
        >>> second = Moments.of(x, y, keep=["square", "xy"]).second()
        >>> second.require("xy").shape, second.xx is None
        ((3, 3), True)
    """

    n: float
    mean_x: Matrix
    mean_y: Matrix
    variances: tuple[Matrix | None, Matrix | None]
    """The variance of each dimension of x and of y."""
    xx: Matrix | None
    xy: Matrix | None
    yy: Matrix | None
    between: Mapping[str, GroupScatter] = field(default_factory=dict[str, GroupScatter])
    """The scatter between groups, for each grouping of the rows that was kept, by its name."""
    spaces: tuple[int, int] | None = None
    """Widths of the two spaces, where the rows are coordinates in subspaces of them."""

    def require(self, name: str) -> Matrix:
        """The covariance ``name`` (xx, xy or yy).

        Raises:
            InputError: if it was not kept.
        """
        value: Matrix | None = getattr(self, name)
        if value is None:
            raise InputError(f"the moments hold no '{name}': it was not asked for in keep=")
        return value

    def reversed(self) -> SecondMoments:
        """Those of the same pairs with the other side first; groupings are left out."""
        return SecondMoments(
            n=self.n,
            mean_x=self.mean_y,
            mean_y=self.mean_x,
            variances=(self.variances[1], self.variances[0]),
            xx=self.yy,
            xy=None if self.xy is None else self.xy.T,
            yy=self.xx,
            spaces=None if self.spaces is None else (self.spaces[1], self.spaces[0]),
        )

    @property
    def variance_x(self) -> Matrix:
        """Variance of each x dimension ``(dx,)``."""
        return self._variance(0)

    @property
    def variance_y(self) -> Matrix:
        """Variance of each y dimension ``(dy,)``."""
        return self._variance(1)

    def _variance(self, side: int) -> Matrix:
        found = self.variances[side]
        if found is None:
            raise InputError("the moments hold no 'square': it was not asked for in keep=")
        return found

    @cached_property
    def x(self) -> SideMoments:
        """The x side alone."""
        return SideMoments(self.n, self.mean_x, self.variance_x, self.xx, self.widths[0])

    @cached_property
    def y(self) -> SideMoments:
        """The y side alone."""
        return SideMoments(self.n, self.mean_y, self.variance_y, self.yy, self.widths[1])

    @property
    def widths(self) -> tuple[int, int]:
        """Of the two spaces that the rows are of."""
        return self.spaces or (len(self.mean_x), len(self.mean_y))

    @cached_property
    def between_axes(self) -> Matrix:
        """``xy`` between the principal axes of both sides: ``Vxᵀ M Vy (dx, dy)``."""
        with single_thread:
            return self.x.eigen[1].T @ self.require("xy") @ self.y.eigen[1]

    def mapped(self, on_x: AffineLike | None, on_y: AffineLike | None) -> Self:
        """The moments of rows mapped by ``on_x`` and ``on_y``, without touching the rows."""

        def left(matrix: Matrix | None, map_: AffineLike | None) -> Matrix | None:
            if matrix is None or map_ is None:
                return matrix
            return map_.apply_linear(matrix.T).T

        def right(matrix: Matrix | None, map_: AffineLike | None) -> Matrix | None:
            return matrix if matrix is None or map_ is None else map_.apply_linear(matrix)

        xx = right(left(self.xx, on_x), on_x)
        yy = right(left(self.yy, on_y), on_y)
        return type(self)(
            n=self.n,
            mean_x=self.mean_x if on_x is None else on_x.apply_to_mean(self.mean_x),
            mean_y=self.mean_y if on_y is None else on_y.apply_to_mean(self.mean_y),
            variances=(
                _variance(self.variances[0], xx, on_x),
                _variance(self.variances[1], yy, on_y),
            ),
            xx=xx,
            xy=right(left(self.xy, on_x), on_y),
            yy=yy,
            between={
                name: _mapped_between(groups, on_x, on_y) for name, groups in self.between.items()
            },
            spaces=self.spaces,
        )


def _mapped_between(
    groups: GroupScatter, on_x: AffineLike | None, on_y: AffineLike | None
) -> GroupScatter:
    xy, yy = groups.xy, groups.yy
    if on_x is not None:
        xy = on_x.apply_linear(xy.T).T
    if on_y is not None:
        xy, yy = on_y.apply_linear(xy), on_y.apply_linear(on_y.apply_linear(yy).T)
    return GroupScatter(xy, yy)


def _variance(
    variance: Matrix | None, covariance: Matrix | None, map_: AffineLike | None
) -> Matrix | None:
    if map_ is None or variance is None:
        return variance
    if covariance is not None:
        return np.diagonal(covariance).copy()
    # a diagonal map acts on each dimension alone: its factors are the image of a row of ones
    return variance * map_.apply_linear(np.ones_like(variance)) ** 2
