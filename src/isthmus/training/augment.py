"""Augmentations of images and of one-dimensional signals, each item with its own random numbers.

Each is a plain function object of ``(n, channels, time)`` or ``(n, channels, height, width)``; it
draws from the generator it is given, or from PyTorch's own, which `isthmus.training.train` seeds
for every epoch.  They work on the device of the batch and leave it unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from isthmus.errors import InputError

__all__ = [
    "Augmentation",
    "Blur",
    "ChannelDropout",
    "Compose",
    "Gain",
    "Noise",
    "Resample",
    "Warp",
]


class Augmentation:
    """What all augmentations share: the check of the batch, and a uniform number for each item."""

    def __call__(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The batch, changed; its shape, dtype and device are kept.

        Raises:
            InputError: for a batch of another shape, or of integers.
        """
        if x.ndim not in (3, 4) or not x.is_floating_point():
            raise InputError(
                f"cannot augment {x.dtype} of shape {tuple(x.shape)}",
                where=type(self).__name__,
                mend="Give floats (n, channels, time) or (n, channels, height, width)",
            )
        return self.change(x, generator) if len(x) else x.clone()

    def change(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """The changed items; every subclass says how."""
        raise NotImplementedError


@dataclass(frozen=True)
class Noise(Augmentation):
    """Gaussian noise, of a strength drawn for each item.

    Attributes:
        lowest: standard deviation at least, in units of the data.
        highest: at most.
    """

    lowest: float = 0.0
    highest: float = 0.1

    def __post_init__(self) -> None:
        _check_range(self, self.lowest, self.highest, 0.0)

    def change(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """The items with noise added."""
        strength = _uniform(x, len(x), generator, self.lowest, self.highest)
        noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        return x + _over(strength, x) * noise


@dataclass(frozen=True)
class Gain(Augmentation):
    """A factor for each item, uniform in its logarithm.

    Attributes:
        lowest: factor at least.
        highest: at most.
        per_channel: a factor for each channel instead, as microphones or lamps differ.
    """

    lowest: float = 0.5
    highest: float = 2.0
    per_channel: bool = False

    def __post_init__(self) -> None:
        _check_range(self, self.lowest, self.highest, 1e-30)

    def change(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """Each item, or each of its channels, multiplied by its factor."""
        count = x.shape[0] * x.shape[1] if self.per_channel else x.shape[0]
        low, high = math.log(self.lowest), math.log(self.highest)
        factor = torch.exp(_uniform(x, count, generator, low, high))
        return x * _over(factor.reshape(x.shape[:2]) if self.per_channel else factor, x)


@dataclass(frozen=True)
class Blur(Augmentation):
    """A Gaussian filter, of a width drawn for each item; edges are repeated outwards.

    Attributes:
        lowest: standard deviation at least, in samples or pixels; 0 changes nothing.
        highest: at most.
    """

    lowest: float = 0.0
    highest: float = 1.5

    def __post_init__(self) -> None:
        _check_range(self, self.lowest, self.highest, 0.0)

    def change(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """Filter along every axis of space or time in turn."""
        width = _uniform(x, len(x), generator, self.lowest, self.highest).clamp(min=1e-3)
        reach = max(1, math.ceil(3 * self.highest))
        away = torch.arange(-reach, reach + 1, device=x.device, dtype=x.dtype)
        kernel = torch.exp(-0.5 * (away / width[:, None]) ** 2)
        kernel = kernel / kernel.sum(1, keepdim=True)
        out = x
        for axis in range(2, x.ndim):
            moved = out.movedim(axis, -1)
            rows = moved.reshape(len(x), -1, moved.shape[-1]).transpose(0, 1)
            padded = functional.pad(rows, (reach, reach), mode="replicate")
            # one group for each item: all of its lines share its kernel
            filtered = functional.conv1d(padded, kernel[:, None], groups=len(x))
            out = filtered.transpose(0, 1).reshape(moved.shape).movedim(-1, axis)
        return out.contiguous()


@dataclass(frozen=True)
class Resample(Augmentation):
    """Fewer samples or pixels and back to as many: what a coarser sensor would have seen.

    Attributes:
        factors: by which each item is made coarser, one drawn for each; 1 changes nothing.
    """

    factors: Sequence[float] = (1.0, 1.5, 2.0)

    def __post_init__(self) -> None:
        if not self.factors or not all(1 <= f < math.inf for f in self.factors):
            raise InputError(
                f"the factors are 1 or more, got {list(self.factors)}", where="Resample"
            )

    def change(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """Average down, interpolate up."""
        drawn = torch.randint(len(self.factors), (len(x),), generator=generator, device=x.device)
        out = x.clone()
        up = "linear" if x.ndim == 3 else "bilinear"
        for number, factor in enumerate(self.factors):
            rows = drawn == number
            if factor == 1 or not bool(rows.any()):
                continue
            size = [max(1, round(s / factor)) for s in x.shape[2:]]
            coarse = functional.interpolate(x[rows], size, mode="area")
            out[rows] = functional.interpolate(coarse, x.shape[2:], mode=up, align_corners=False)
        return out


@dataclass(frozen=True)
class ChannelDropout(Augmentation):
    """Whole channels to a constant, as a sensor fails; at least one of every item stays.

    Attributes:
        share: probability of a channel.
        fill: the constant.
    """

    share: float = 0.2
    fill: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise InputError(f"the share lies in [0, 1), got {self.share}", where="ChannelDropout")

    def change(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """The items with some of their channels filled."""
        drawn = torch.rand(x.shape[:2], generator=generator, device=x.device)
        stays = (drawn >= self.share) | (drawn == drawn.amax(1, keepdim=True))
        return torch.where(_over(stays, x), x, torch.full_like(x, self.fill))


@dataclass(frozen=True)
class Warp(Augmentation):
    """Images turned, stretched, sheared and moved a little; edges are repeated outwards.

    Each is drawn uniformly within its bound, both ways, about the middle of the image.

    Attributes:
        turn: degrees at most.
        stretch: share by which height and width change at most, each by its own.
        shear: pixels sideways for each pixel down at most.
        move: pixels at most, down and to the right.
    """

    turn: float = 5.0
    stretch: float = 0.1
    shear: float = 0.1
    move: float = 1.5

    def __post_init__(self) -> None:
        bounds = (self.turn, self.stretch, self.shear, self.move)
        if not all(0 <= bound < math.inf for bound in bounds) or self.stretch >= 1:
            raise InputError(
                f"cannot draw within {bounds}",
                where="Warp",
                mend="Each bound is 0 or more, and that of stretch below 1",
            )

    def change(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """Read every pixel from where it was, between pixels linearly."""
        if x.ndim != 4:
            raise InputError(
                f"cannot warp signals of shape {tuple(x.shape)}",
                where="Warp",
                mend="Give images (n, channels, height, width)",
            )
        turn, tall, wide, shear, down, right = (
            _uniform(x, len(x), generator, -bound, bound)
            for bound in (
                math.radians(self.turn), self.stretch, self.stretch, self.shear, self.move,
                self.move,
            )
        )  # fmt: skip
        height, width = x.shape[2:]
        # stretched and sheared, then turned: from a pixel of the result to where it was, from the
        # middle; `affine_grid` counts in halves of each side
        cosine, sine = turn.cos(), turn.sin()
        across = torch.stack(
            [cosine * (1 + wide), (cosine * shear - sine * (1 + tall)) * (height / width)], 1
        )
        along = torch.stack(
            [sine * (1 + wide) * (width / height), sine * shear + cosine * (1 + tall)], 1
        )
        moved = torch.stack([-2 * right / width, -2 * down / height], 1)
        maps = torch.cat([torch.stack([across, along], 1), moved[:, :, None]], 2)
        grid = functional.affine_grid(maps, list(x.shape), align_corners=False)
        return functional.grid_sample(x, grid, padding_mode="border", align_corners=False)


class Compose(Augmentation):
    """Several in turn, each on a share of the items.

    Args:
        parts: applied from first to last.
        share: probability of each for each item; the rest is left as it is.

    Raises:
        InputError: for no parts, or another share.
    """

    def __init__(self, parts: Sequence[Augmentation], share: float = 1.0) -> None:
        if not parts or not 0 < share <= 1:
            raise InputError(f"cannot apply {len(parts)} augmentations to a share of {share}")
        self.parts, self.share = tuple(parts), share

    def __repr__(self) -> str:
        return f"Compose({list(self.parts)}, share={self.share})"

    def change(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """The items after every change, one after another."""
        for part in self.parts:
            changed = part(x, generator)
            if self.share < 1:
                chosen = torch.rand(len(x), generator=generator, device=x.device) < self.share
                changed = torch.where(_over(chosen, x), changed, x)
            x = changed
        return x


def _uniform(
    x: Tensor, count: int, generator: torch.Generator | None, low: float, high: float
) -> Tensor:
    drawn = torch.rand(count, generator=generator, device=x.device, dtype=x.dtype)
    return low + (high - low) * drawn


def _over(values: Tensor, x: Tensor) -> Tensor:
    """One value for each item, or for each item and channel, spread over the rest."""
    return values.reshape(values.shape + (1,) * (x.ndim - values.ndim))


def _check_range(what: Augmentation, low: float, high: float, least: float) -> None:
    if not least <= low <= high < math.inf:
        raise InputError(
            f"cannot draw between {low} and {high}",
            where=type(what).__name__,
            mend=f"Give {least:g} ≤ lowest ≤ highest",
        )
