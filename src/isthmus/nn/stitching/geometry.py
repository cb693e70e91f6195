"""The shape of what crosses a cut: features, a grid of positions, and tokens before it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from isthmus.errors import InputError

__all__ = ["Geometry", "resample", "resample_each"]


@dataclass(frozen=True)
class Geometry:
    """How an activation is laid out.

    Attributes:
        layout: ``channels`` (second axis) or ``tokens`` (last axis).
        features: their number.
        grid: positions, ``()`` for one vector per item, ``(t,)`` or ``(h, w)``.
        prefix: tokens before the grid that are no positions, such as a classification token.
        square: the grid is stored as one axis of ``h · w`` tokens.
    """

    layout: str
    features: int
    grid: tuple[int, ...]
    prefix: int = 0
    square: bool = False

    @classmethod
    def of(
        cls, activation: Tensor, layout: str, *, image: bool = False, prefix: int | None = None
    ) -> Geometry:
        """Read it off an activation.

        Args:
            activation: ``(n, d)``, ``(n, c, ...)`` or ``(n, ..., c)``.
            layout: where the features lie.
            image: whether a row of tokens is to be read as a square image, because the other side
                is one.
            prefix: tokens before the grid; unless given, of an image's tokens the fewest that leave
                a square, otherwise none.

        Raises:
            InputError: for an activation without features, more than two axes of positions, or
                tokens that make no square.
        """
        shape = tuple(activation.shape)
        if len(shape) < 2 or len(shape) > 4:
            raise InputError(
                f"an activation of shape {shape} cannot cross a cut",
                mend="Cut where the layer returns (n, d), (n, c, t), (n, t, d) or (n, c, h, w)",
            )
        if len(shape) == 2:
            return cls("tokens", shape[1], ())
        grid = shape[2:] if layout == "channels" else shape[1:-1]
        features = shape[1] if layout == "channels" else shape[-1]
        if layout == "channels" or len(grid) > 1:
            return cls(layout, features, grid)
        count = grid[0]
        if not image and prefix is None:
            return cls(layout, features, grid)
        before = _prefix(count) if prefix is None else prefix
        rest = count - before
        side = math.isqrt(max(rest, 0))
        if not image:
            return cls(layout, features, (rest,), before)
        if rest < 1 or side * side != rest:
            raise InputError(
                f"{count} tokens are no square image with {before} tokens before it",
                mend="Say how many tokens come before the image with prefix=",
            )
        return cls(layout, features, (side, side), before, square=True)

    def split(self, activation: Tensor) -> tuple[Tensor | None, Tensor]:
        """The prefix ``(n, p, c)`` or None, and the grid ``(n, c, ...)``."""
        if not self.grid:
            return None, activation
        if self.layout == "channels":
            return None, activation
        before = activation[:, : self.prefix] if self.prefix else None
        rest = activation[:, self.prefix :] if self.prefix else activation
        rest = rest.movedim(-1, 1)
        return before, rest.unflatten(2, self.grid_of(activation)) if self.square else rest

    def grid_of(self, activation: Tensor) -> tuple[int, ...]:
        """The grid of an activation of this kind, whose items may be of another size.

        Raises:
            InputError: for tokens that make no square where this grid is one.
        """
        shape = tuple(activation.shape)
        if self.layout == "channels":
            return shape[2:]
        if not self.square and len(self.grid) != 1:
            return shape[1:-1] if self.grid else ()
        rest = shape[1] - self.prefix
        if not self.square or rest == self.positions:
            return self.grid if self.square else (rest,)
        side = math.isqrt(rest)
        if side * side != rest:
            raise InputError(
                f"{rest} tokens make no square image, as the {self.positions} of the calibration",
                where="the cut",
                mend="Resize the items to squares",
            )
        return side, side

    def join(self, before: Tensor | None, grid: Tensor) -> Tensor:
        """The activation whose `split` is these."""
        if not self.grid or self.layout == "channels":
            return grid
        rest = (grid.flatten(2) if self.square else grid).movedim(1, -1)
        return rest if before is None else torch.cat([before, rest], 1)

    @property
    def positions(self) -> int:
        """How many positions the grid has."""
        return math.prod(self.grid)

    def to_record(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {**vars(self), "grid": list(self.grid)}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Geometry:
        """What `to_record` made."""
        return cls(
            str(record["layout"]),
            int(record["features"]),
            tuple(int(size) for size in record["grid"]),
            int(record["prefix"]),
            bool(record["square"]),
        )

    def __str__(self) -> str:
        size = " by ".join(map(str, self.grid)) + " positions of " if self.grid else ""
        before = f", {self.prefix} tokens before" if self.prefix else ""
        return f"{size}{self.features} features{before}"


def resample(grid: Tensor, size: tuple[int, ...]) -> Tensor:
    """A grid ``(n, c, ...)`` at another size: averaged where smaller, linear in between.

    Linear in the activations, the same for every feature, and constants stay constant, so that it
    may be exchanged with a map of the features.

    Raises:
        InputError: for grids of different numbers of axes.
    """
    own = tuple(grid.shape[2:])
    if own == size:
        return grid
    if len(own) != len(size):
        raise InputError(
            f"a grid of {len(own)} axes cannot be brought to one of {len(size)}",
            mend="Cut both networks where they see images, or both where they see sequences",
        )
    if all(to <= of for to, of in zip(size, own, strict=True)):
        pooled: Any = (
            functional.adaptive_avg_pool1d if len(size) == 1 else functional.adaptive_avg_pool2d
        )
        return pooled(grid, size[0] if len(size) == 1 else size)
    mode = "linear" if len(size) == 1 else "bilinear"
    return functional.interpolate(grid, size=size, mode=mode, align_corners=False)


def resample_each(grid: Tensor, own: Tensor, wanted: Tensor) -> Tensor:
    """Sequences ``(n, c, t)``, each brought from its own length to the one that is wanted of it.

    Two tokenizers cut a text into different numbers of tokens, and batches are padded: what is not
    padding of one side is spread, linearly in between, over what is not padding of the other.

    Args:
        grid: ``(n, c, t)``.
        own: ``(n, t)``, true where there is no padding.
        wanted: ``(n, u)``, the same of the result, whose padding is 0.
    """
    counts = [mask.sum(1, keepdim=True).clamp(min=1) for mask in (own, wanted)]
    starts = [mask.float().argmax(1, keepdim=True) for mask in (own, wanted)]
    places = torch.arange(wanted.shape[1], device=grid.device) - starts[1]
    exact = (places + 0.5) * counts[0] / counts[1] - 0.5
    exact = exact.clamp(min=0).minimum(counts[0] - 1.0)
    below = exact.floor()
    share = (exact - below)[:, None].to(grid.dtype)
    low = (below.long() + starts[0])[:, None].expand(-1, grid.shape[1], -1)
    last = (starts[0] + counts[0] - 1)[:, None].expand_as(low)
    high = (low + 1).minimum(last)
    mixed = grid.gather(2, low) * (1 - share) + grid.gather(2, high) * share
    return mixed * wanted[:, None].to(grid.dtype)


def _prefix(count: int) -> int:
    """The fewest tokens that leave a square image: none, a class token, or that and registers."""
    for before in (0, 1, 2, 5):
        side = math.isqrt(max(count - before, 0))
        if side and side * side == count - before:
            return before
    return 0
