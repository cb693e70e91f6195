"""The measures that need the rows themselves: on a bounded sample, with nulls and intervals."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.similarity.cka import RbfKernels
from isthmus.similarity.jackknife import jackknife_interval
from isthmus.similarity.measure import MEASURES
from isthmus.similarity.neighbours import MEASURES_OF, Neighbourhoods
from isthmus.similarity.null import kernel_null, permutation_null
from isthmus.similarity.result import Null, Similarity, chance_warning
from isthmus.similarity.rsa import Rdms
from isthmus.threads import single_thread

__all__ = ["RowMeasures"]

_BLOCKS = 10

_PREPARED = {
    "rbf_cka": "seeded sample, kernels centred",
    "rsa": "seeded sample, each row centred over its dimensions",
    "mutual_knn": "seeded sample, rows of unit length",
    "knn_jaccard": "seeded sample, rows of unit length",
    "cknna": "seeded sample, rows of unit length, kernel rows centred",
}


class RowMeasures:
    """Every measure of paired rows ``x (m, dx)``, ``y (m, dy)`` that needs them, by name.

    The rows are a sample whose memory the caller bounds: RDMs and RBF kernels are ``(m, m)``.

    Args:
        x: rows of one side, in random order (blocks of them are left out for the intervals).
        y: the same items on the other side.
        k: the size of a neighbourhood.
        permutations: for the nulls that have no closed form.
        level: of the intervals.
        seed: of the permutations.

    Raises:
        InputError: for fewer than 3 rows.
    """

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
        self.x, self.y = x, y
        self.k, self.permutations = k, permutations
        self.level, self.seed = level, seed

    @cached_property
    def _blocks(self) -> list[slice]:
        edges = np.linspace(0, len(self.x), min(_BLOCKS, len(self.x) // 2) + 1).astype(int)
        return [slice(int(a), int(b)) for a, b in pairwise(edges)]

    @cached_property
    def _neighbourhoods(self) -> Neighbourhoods:
        # a tenth of the neighbours are left out at a time, by chance seldom half
        return Neighbourhoods.of(self.x, self.y, self.k, spare=self.k + 5)

    @cached_property
    def _without_blocks(self) -> list[Neighbourhoods]:
        return [self._neighbourhoods.without(block) for block in self._blocks]

    def _interval(
        self, name: str, value: float, without: Callable[[int], float]
    ) -> tuple[float, float] | None:
        """``without(j)`` is the value when block j is left out."""
        sizes = [float(block.stop - block.start) for block in self._blocks]
        left_out = [partial(without, j) for j in range(len(self._blocks))]
        bounds = MEASURES[name]
        return jackknife_interval(
            value, left_out, sizes, level=self.level, low=bounds.low, high=bounds.high
        )

    def __call__(self, name: str) -> Similarity:
        """The measure ``name``.

        Raises:
            InputError: where it is not defined on these rows.
        """
        with single_thread:
            value, null, interval, details = self._computed(name)
        declared = MEASURES[name]
        return Similarity(
            measure=name,
            definition=declared.definition,
            value=value,
            higher_is_closer=declared.higher_is_closer,
            basis=declared.basis,
            n=len(self.x),
            dx=self.x.shape[1],
            dy=self.y.shape[1],
            preprocessing=_PREPARED[name],
            null=null,
            low=None if interval is None else interval[0],
            high=None if interval is None else interval[1],
            level=self.level,
            warnings=chance_warning(null.mean) if name != "rbf_cka" else (),
            details=details,
        )

    def _computed(
        self, name: str
    ) -> tuple[float, Null, tuple[float, float] | None, dict[str, float]]:
        rows = len(self.x)
        if name == "rbf_cka":
            kernels = RbfKernels.of(self.x, self.y)
            value = kernels.cka()
            null = kernel_null(rows, *kernels.shapes(), value)
            interval = self._interval(name, value, lambda j: kernels.without(self._blocks[j]))
            return value, null, interval, {}
        if name == "rsa":
            rdms = Rdms.of(self.x, self.y)
            value = rdms.correlation()
            null = self._permuted(rdms.correlation, value)
            interval = self._interval(name, value, lambda j: rdms.without(self._blocks[j]))
            return value, null, interval, {}
        statistic = MEASURES_OF[name]
        near = self._neighbourhoods
        value = statistic(near)
        exact = self.k / (rows - 1) if name == "mutual_knn" else None
        null = self._permuted(lambda order: statistic(near.permuted(order)), value, exact)
        interval = None
        if rows - max(b.stop - b.start for b in self._blocks) > self.k:
            interval = self._interval(name, value, lambda j: statistic(self._without_blocks[j]))
        return value, null, interval, {"k": float(self.k)}

    def _permuted(
        self,
        statistic: Callable[[NDArray[np.int64]], float],
        value: float,
        mean: float | None = None,
    ) -> Null:
        return permutation_null(
            statistic,
            len(self.x),
            value,
            permutations=self.permutations,
            seed=self.seed,
            mean=mean,
        )
