"""The ways in which one activation can become another, read off the shapes of both."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from isthmus.errors import InputError
from isthmus.nn.stitching.geometry import Geometry, resample, resample_each

__all__ = ["Extent", "JoiningPlan", "plan_joint"]

_LONGEST = 8192
"""Widest row that a vector is spread to."""
_FLAT = 1024
"""Widest row that all positions are mapped from, and to, where one map for each would do."""
_WINDOWS = {1: (3, 9), 2: (3, 5)}
"""Positions along an axis, by the number of axes that are longer than one."""
_WIDEST_WINDOW = 2400
"""Numbers that a window may hold."""


@dataclass(frozen=True)
class Extent:
    """Which positions of a batch are there, on both sides of a cut.

    Attributes:
        own: ``(n, t)`` of the front, true where there is no padding; None where nothing says so.
        wanted: ``(n, u)`` of the back.
        grid: of the back for this batch, where it is known.
    """

    own: Tensor | None = None
    wanted: Tensor | None = None
    grid: tuple[int, ...] | None = None


@dataclass(frozen=True)
class JoiningPlan:
    """How one activation becomes the other.

    Attributes:
        source: geometry of what the front gives.
        target: geometry of what the back takes.
        how: ``features`` (one map at every position), ``pooled`` (the mean of the positions to a
            vector) or ``flat`` (all positions at once).
        window: positions along each axis that one result is mapped from, where ``how`` is
            ``features``; empty for one position.
    """

    source: Geometry
    target: Geometry
    how: str
    window: tuple[int, ...] = ()

    @property
    def kind(self) -> str:
        """How, for people: ``features``, ``3 x 3``, ``pooled`` or ``flat``."""
        return " x ".join(map(str, self.window)) if self.window else self.how

    def inputs(
        self, activation: Tensor, extent: Extent | None = None
    ) -> tuple[Tensor | None, Tensor]:
        """What the prefix is mapped from ``(n, d)``, and the positions ``(n, d, ...)``.

        Args:
            activation: of the front; its items may be of another size than in the calibration.
            extent: of this batch.

        Raises:
            InputError: for items of another size where all positions are mapped at once.
        """
        extent = extent or Extent()
        before, grid = self.source.split(activation)
        own = self._mask(extent.own, self.source, grid)
        # what is padding must not reach its neighbours
        if own is not None and self.window:
            grid = grid * own[:, None].to(grid.dtype)
        if self.how == "flat":
            self._check_flat(self.source, grid, "front")
            rows = grid.flatten(1)
            return None, rows if before is None else torch.cat([before.flatten(1), rows], 1)
        if self.how == "pooled":
            rows = _mean(grid, own)
            return None, rows if before is None else torch.cat([before.flatten(1), rows], 1)
        prefix = None
        if self.target.prefix:
            # the mean of the positions stands for a token that the front does not have
            pooled = _mean(grid, own)
            prefix = pooled if before is None else torch.cat([before.flatten(1), pooled], 1)
        return prefix, self._placed(grid, own, extent)

    def _placed(self, grid: Tensor, own: Tensor | None, extent: Extent) -> Tensor:
        if not self.target.grid:
            return grid
        size = extent.grid or self.target_grid(tuple(grid.shape[2:]))
        wanted, before = extent.wanted, self.target.prefix
        one_mask = wanted is extent.own and size == tuple(grid.shape[2:])
        if own is None or wanted is None or one_mask or wanted.shape[1] != before + size[0]:
            return resample(grid, size)
        return resample_each(grid, own, wanted[:, before:].bool())

    def target_grid(self, own: tuple[int, ...]) -> tuple[int, ...]:
        """The back's grid for a front's of another size: it grows in the same ratio."""
        if own == self.source.grid:
            return self.target.grid
        sizes = zip(own, self.source.grid, self.target.grid, strict=True)
        return tuple(max(1, round(new * to / of)) for new, of, to in sizes)

    def rows_there(self, extent: Extent, target: Tensor) -> Tensor | None:
        """``(n, positions)`` of the target, true where there is no padding; None where all are."""
        if self.how != "features" or len(self.target.grid) != 1:
            return None
        _, grid = self.target.split(target)
        found = self._mask(extent.wanted, self.target, grid)
        if found is None and self.source.grid == self.target.grid:
            found = self._mask(extent.own, self.source, grid)
        return found

    def _mask(self, mask: Tensor | None, side: Geometry, grid: Tensor) -> Tensor | None:
        """The mask of the grid's positions, if it is one of a sequence."""
        if mask is None or len(side.grid) != 1 or mask.ndim != 2:
            return None
        if tuple(mask.shape) != (grid.shape[0], side.prefix + grid.shape[2]):
            return None
        return mask[:, side.prefix :].bool().to(grid.device)

    def _check_flat(self, side: Geometry, grid: Tensor, name: str) -> None:
        if tuple(grid.shape[2:]) != side.grid:
            raise InputError(
                f"the {name} has {' by '.join(map(str, grid.shape[2:]))} positions, and the map of "
                f"all positions at once was planned for {' by '.join(map(str, side.grid))}",
                where="the cut",
                mend="Stitch with how='features', or pad or resize the items to one size",
            )

    def outputs(self, activation: Tensor) -> tuple[Tensor | None, Tensor]:
        """The same of the target: prefix ``(n, p · d)`` and positions ``(n, d, ...)``."""
        if self.how == "flat":
            if self.target.grid:
                self._check_flat(self.target, self.target.split(activation)[1], "back")
            return None, activation.flatten(1)
        before, grid = self.target.split(activation)
        return None if before is None else before.flatten(1), grid


def plan_joint(
    source: Tensor,
    target: Tensor,
    layouts: tuple[str, str],
    prefix: tuple[int | None, int | None],
) -> list[JoiningPlan]:
    """The ways in which ``source`` can become ``target``, the plainest first.

    Args:
        source: an activation of the front.
        target: of the back.
        layouts: where their features lie.
        prefix: numbers of tokens before the grid of both, or None for each that is to be found.

    Raises:
        InputError: for shapes that cannot be bridged.
    """
    images = [t.ndim == 4 for t in (source, target)]
    a, b = (
        Geometry.of(t, layout, image=images[1 - i] and t.ndim == 3 and layout == "tokens", prefix=p)
        for i, (t, layout, p) in enumerate(zip((source, target), layouts, prefix, strict=True))
    )
    # two rows of tokens of unequal numbers are images where someone says what comes before
    if len(a.grid) == len(b.grid) == 1 and a.grid != b.grid and prefix != (None, None):
        a, b = (
            Geometry.of(t, layout, image=_square(t, p), prefix=p)
            for t, layout, p in zip((source, target), layouts, prefix, strict=True)
        )
    if not a.grid and not b.grid:
        return [JoiningPlan(a, b, "features")]
    if not b.grid:
        plans = [JoiningPlan(a, b, "pooled")]
        if a.features * (a.positions + a.prefix) <= 2 * _FLAT:
            plans.append(JoiningPlan(a, b, "flat"))
        return plans
    if not a.grid:
        if b.features * (b.positions + b.prefix) > _LONGEST:
            raise InputError(
                f"one vector of {a} cannot be spread over {b}",
                where="the cut",
                mend="Cut the front before its pooling, or the back after its own",
            )
        return [JoiningPlan(a, b, "flat")]
    if len(a.grid) != len(b.grid):
        raise InputError(
            f"{a} cannot be bridged to {b}: one is an image, the other a sequence",
            where="the cut",
            mend="Cut both where they see images, or say how many tokens come before with prefix=",
        )
    return _grid_plans(a, b)


def _grid_plans(a: Geometry, b: Geometry) -> list[JoiningPlan]:
    plans = [JoiningPlan(a, b, "features")]
    axes = sum(size > 1 for size in b.grid)
    for width in _WINDOWS.get(axes, ()):
        window = tuple(width if size > 1 else 1 for size in b.grid)
        if max(b.grid) >= width and a.features * math.prod(window) <= _WIDEST_WINDOW:
            plans.append(JoiningPlan(a, b, "features", window))
    if max(g.features * (g.positions + g.prefix) for g in (a, b)) <= _FLAT:
        plans.append(JoiningPlan(a, b, "flat"))
    return plans


def _square(activation: Tensor, prefix: int | None) -> bool:
    rest = activation.shape[1] - (prefix or 0)
    return math.isqrt(rest) ** 2 == rest


def _mean(grid: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of the positions ``(n, d, ...)`` that are there."""
    if mask is None:
        return grid.flatten(2).mean(2)
    there = mask.to(grid.dtype)
    return (grid * there[:, None]).sum(2) / there.sum(1, keepdim=True).clamp(min=1)
