"""What the measures that need the rows themselves read: a bounded sample, its blocks, its nulls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.numeric import as_array, as_floating, to_numpy
from isthmus.similarity.jackknife import jackknife_interval
from isthmus.similarity.null import Null, permutation_null

__all__ = ["RowSample", "RowSampling"]

_BLOCKS = 10

_T = TypeVar("_T")


@dataclass(frozen=True)
class RowSampling:
    """How the measures that need the rows themselves are computed.

    Attributes:
        rows: of the sample; kernels of ``rows x rows`` are held.
        k: the size of a neighbourhood.
        permutations: for the nulls that have no closed form.

    Example:
        >>> import numpy as np
        >>> from isthmus.similarity import RowSampling, compare
        >>> x = np.random.default_rng(0).standard_normal((500, 8))
        >>> found = compare(x, x, measures="mutual_knn", sampling=RowSampling(rows=200, k=5))
        >>> found["mutual_knn"].n
        200
    """

    rows: int = 1000
    k: int = 10
    permutations: int = 100


def rows_given(rows: Any, name: str) -> NDArray[Any]:
    """Rows ``(n, d)`` in float32 or float64 of what a user hands over: arrays, tensors, tables.

    Raises:
        InputError: for another shape, and as `as_array` and `as_floating`.
    """
    found = to_numpy(as_floating(as_array(rows, name), name))
    if found.ndim != 2:
        raise InputError(
            f"the vectors have shape {found.shape}, expected (n, d)",
            where=name,
            mend="Reshape them: one row per item",
        )
    return found


class RowSample:
    """Paired rows ``x (m, dx)``, ``y (m, dy)`` whose memory the caller bounds.

    RDMs and RBF kernels are ``(m, m)``.

    Args:
        x: rows of one side, in random order (blocks of them are left out for the intervals).
        y: the same items on the other side.
        k: the size of a neighbourhood.
        permutations: for the nulls that have no closed form.
        level: of the intervals.
        seed: of the permutations.

    Raises:
        InputError: for fewer than 3 rows.

    Example:
        >>> import numpy as np
        >>> from isthmus.similarity import RowSample, measured
        >>> x = np.random.default_rng(0).standard_normal((200, 8))
        >>> round(measured("rsa", RowSample(x, 2 * x)).value, 6)
        1.0
    """

    warnings: tuple[str, ...] = ()

    def __init__(
        self,
        x: NDArray[Any],
        y: NDArray[Any],
        *,
        k: int = 10,
        permutations: int = 100,
        level: float = 0.95,
        seed: int = 0,
    ) -> None:
        if len(x) < 3:
            raise InputError(f"{len(x)} pair(s) of rows: similarity is defined from 3 on")
        self.x, self.y = rows_given(x, "x"), rows_given(y, "y")
        self.k, self.permutations = k, permutations
        self.level, self.seed = level, seed
        self._shared: dict[Callable[[RowSample], Any], Any] = {}

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.x)

    @property
    def dx(self) -> int:
        """Width of the x side."""
        return self.x.shape[1]

    @property
    def dy(self) -> int:
        """Width of the y side."""
        return self.y.shape[1]

    def shared(self, build: Callable[[RowSample], _T]) -> _T:
        """``build(self)``, computed once: what several measures of a family have in common."""
        if build not in self._shared:
            self._shared[build] = build(self)
        return self._shared[build]

    @cached_property
    def blocks(self) -> list[slice]:
        """The blocks of rows that are left out in turn."""
        edges = np.linspace(0, len(self.x), min(_BLOCKS, len(self.x) // 2) + 1).astype(int)
        return [slice(int(a), int(b)) for a, b in pairwise(edges)]

    def interval(
        self, value: float, without: Callable[[slice], float]
    ) -> tuple[float, float] | None:
        """The interval of ``value``; ``without`` gives the value when a block is left out."""
        sizes = [float(block.stop - block.start) for block in self.blocks]
        left_out = [partial(without, block) for block in self.blocks]
        return jackknife_interval(value, left_out, sizes, level=self.level)

    def permuted(
        self,
        statistic: Callable[[NDArray[np.int64]], float],
        value: float,
        mean: float | None = None,
    ) -> Null:
        """The null of ``value``, from ``statistic`` of y in permuted orders.

        ``mean`` is its exact mean, where that is known.
        """
        return permutation_null(
            statistic,
            len(self.x),
            value,
            permutations=self.permutations,
            seed=self.seed,
            mean=mean,
        )
