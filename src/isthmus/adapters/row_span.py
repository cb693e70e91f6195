"""Few rows in wide spaces: maps are fitted between the subspaces that the rows span.

Of ``n`` rows in ``d > n`` dimensions every covariance has rank ``n``, and what rotations, ridge
maps and canonical correlations make of it lies in the span of the rows.  Orthonormal axes of that
span turn a problem of ``d`` dimensions into the same one of ``n``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.adapters.chain import AlongAxes, Chain
from isthmus.adapters.recipe import Recipe
from isthmus.adapters.recipe_step import Step
from isthmus.adapters.steps.registry import STEPS
from isthmus.array_types import Matrix
from isthmus.moments import SecondMoments
from isthmus.numeric import to_numpy
from isthmus.scipy_later import linalg
from isthmus.spaces.sample import Batch
from isthmus.threads import single_thread

__all__ = ["RowSpan", "turns"]

_WORTH = 0.75
"""Share of a space's dimensions from which on its own axes are as good."""


@dataclass(frozen=True, eq=False)
class RowSpan:
    """Orthonormal axes of what the rows of a fit span, of each side where they span little.

    Example:
        >>> rows = np.random.default_rng(0).standard_normal((2, 20, 100)).astype(np.float32)
        >>> span = RowSpan.of([Batch(np.arange(20), *rows)], 20)
        >>> span.x.shape
        (100, 20)
        >>> bool(np.allclose(rows[0] @ span.x @ span.x.T, rows[0], atol=1e-5))
        True
    """

    x: Matrix | None = None
    """``(dx, rx)``; None where the whole space is used."""
    y: Matrix | None = None
    """``(dy, ry)``"""

    @classmethod
    def of(cls, rows: Iterable[Batch], most: int) -> RowSpan:
        """The span of all rows.

        Args:
            rows: ``most`` at the most; where these are not few beside the dimensions, they are
                not read to the end.
            most: how many they can be.
        """
        batches: list[Batch] = []
        for batch in rows:
            if most > _WORTH * max(batch.x.shape[1], batch.y.shape[1]):
                return cls()
            batches.append(batch)
        if not batches:
            return cls()
        return cls(*(_axes([to_numpy(getattr(b, side)) for b in batches]) for side in "xy"))

    @property
    def into(self) -> tuple[Chain, Chain]:
        """Rows of each side to their coordinates."""
        x, y = (Chain([] if axes is None else [AlongAxes(axes)]) for axes in (self.x, self.y))
        return x, y

    @property
    def back(self) -> list[AlongAxes]:
        """Coordinates of the target side to rows."""
        return [] if self.y is None else [AlongAxes(np.ascontiguousarray(self.y.T))]

    def told(self, moments: SecondMoments) -> SecondMoments:
        """Moments of coordinates that know how wide the spaces are."""
        if self.x is None and self.y is None:
            return moments
        widths = [
            len(mean) if axes is None else len(axes)
            for axes, mean in ((self.x, moments.mean_x), (self.y, moments.mean_y))
        ]
        return replace(moments, spaces=(widths[0], widths[1]))


def _axes(parts: Sequence[NDArray[Any]]) -> Matrix | None:
    rows, d = sum(map(len, parts)), parts[0].shape[1]
    if rows > _WORTH * d:
        return None
    columns = np.empty((d, rows), order="F")
    np.concatenate(parts, out=columns.T)
    with single_thread:
        found: Any = linalg.qr(columns, mode="economic", overwrite_a=True, check_finite=False)
    return found[0]


def turns(recipes: Iterable[Recipe], refinements: Iterable[Step]) -> bool:
    """Whether every recipe fits the same map in whatever axes its rows are given."""
    return all(STEPS[step.name].turns for step in _steps(recipes, refinements))


def _steps(recipes: Iterable[Recipe], refinements: Iterable[Step]) -> Iterator[Step]:
    for recipe in recipes:
        yield from recipe.affine
        yield recipe.adapter
        yield from [] if recipe.refinement is None else [recipe.refinement]
        yield from recipe.after
    yield from refinements
