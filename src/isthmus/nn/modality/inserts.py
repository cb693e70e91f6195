"""Small parts that change what a frozen layer passes on, for one type of input at a time.

Each starts as the identity, but for prompts, which add positions, and acts on the features of an
activation wherever they lie: last in rows and tokens, second in images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from isthmus.errors import InputError
from isthmus.moments import SideMoments

__all__ = [
    "KINDS",
    "Bottleneck",
    "Film",
    "Insert",
    "OwnNorm",
    "Prompts",
    "bottleneck",
    "film",
    "own_norm",
    "prompts",
]

_FLOOR = 1e-6  # of a deviation, relative to the largest: constant features are only moved


class Film(nn.Module):
    """``x ↦ x (1 + γ) + β`` by feature (Perez et al. 2018, FiLM, with a constant condition).

    Args:
        width: number of features.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(width))
        self.shift = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, axis: int) -> Tensor:
        """The activation ``x`` whose features lie at ``axis``."""
        return x * (1.0 + _along(self.scale, x, axis)) + _along(self.shift, x, axis)


class OwnNorm(nn.Module):
    """A modality's own statistics replaced by those of the inputs that the network knows.

    ``x ↦ (x − m) / s · s₀ (1 + γ) + m₀ + β`` with the modality's mean and deviation (m, s), those
    of the usual inputs (m₀, s₀), and (γ, β) to train: batch normalisation by domain (Li et al.
    2017) for a layer of any kind.  Nothing is changed until `measured` has set the statistics.

    Args:
        width: number of features.
    """

    mean: Tensor
    deviation: Tensor
    usual_mean: Tensor
    usual_deviation: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(width))
        self.shift = nn.Parameter(torch.zeros(width))
        for name in ("mean", "usual_mean"):
            self.register_buffer(name, torch.zeros(width))
        for name in ("deviation", "usual_deviation"):
            self.register_buffer(name, torch.ones(width))

    def measured(self, modality: SideMoments, usual: SideMoments) -> None:
        """Set the statistics in closed form, from moments of the features on both inputs."""
        for name, side in (("", modality), ("usual_", usual)):
            deviation = side.variance**0.5
            self.get_buffer(f"{name}mean").copy_(torch.from_numpy(side.mean))
            self.get_buffer(f"{name}deviation").copy_(torch.from_numpy(deviation))
        constant = self.deviation <= _FLOOR * self.deviation.max().clamp_min(1e-30)
        for name in ("deviation", "usual_deviation"):
            self.get_buffer(name)[constant] = 1.0

    def forward(self, x: Tensor, axis: int) -> Tensor:
        """The activation ``x`` whose features lie at ``axis``."""
        factor = self.usual_deviation / self.deviation * (1.0 + self.scale)
        offset = self.usual_mean + self.shift - self.mean * factor
        return x * _along(factor, x, axis) + _along(offset, x, axis)


class Bottleneck(nn.Module):
    """``x ↦ x + V gelu(U x)`` on the features of each position (Houlsby et al. 2019).

    Args:
        width: number of features.
        inner: of the bottleneck.
    """

    def __init__(self, width: int, inner: int = 16) -> None:
        super().__init__()
        self.down = nn.Linear(width, inner)
        self.up = nn.Linear(inner, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor, axis: int) -> Tensor:
        """The activation ``x`` whose features lie at ``axis``."""
        rows = x.movedim(axis, -1)
        return (rows + self.up(functional.gelu(self.down(rows)))).movedim(-1, axis)


class Prompts(nn.Module):
    """Learned tokens before the sequence that a layer takes (Jia et al. 2022), and gone behind it.

    Args:
        width: of a token.
        count: how many.
    """

    def __init__(self, width: int, count: int = 4) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.randn(count, width) * 0.02)

    def before(self, x: Tensor) -> Tensor:
        """``(n, t, d)`` → ``(n, count + t, d)``."""
        return torch.cat([self.tokens.to(x.dtype).expand(len(x), -1, -1), x], dim=1)

    def after(self, x: Tensor) -> Tensor:
        """The sequence without the tokens."""
        return x[:, len(self.tokens) :]


KINDS: Mapping[str, type[nn.Module]] = {
    "film": Film,
    "own_norm": OwnNorm,
    "bottleneck": Bottleneck,
    "prompts": Prompts,
}
"""Every kind of part by the name that files hold."""


@dataclass(frozen=True)
class Insert:
    """A kind of part, and the layers that it is put behind (or, prompts, around).

    Attributes:
        kind: one of `KINDS`.
        layers: a name or pattern, as `find_modules` takes them.
        options: further arguments of the part.
    """

    kind: str
    layers: str
    options: Mapping[str, int] = field(default_factory=dict[str, int])

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(
                f"there is no part '{self.kind}'", where="inserts", mend=f"Choose from {[*KINDS]}"
            )
        low = {name: value for name, value in self.options.items() if value < 1}
        if low:
            raise InputError(f"{self.kind} needs sizes of 1 or more, got {low}", where="inserts")


def film(layers: str) -> Insert:
    """Scale and shift of every feature behind ``layers``: the fewest parameters."""
    return Insert("film", layers)


def own_norm(layers: str) -> Insert:
    """The modality's own normalisation behind ``layers``; set by `Conditioned.calibrate`."""
    return Insert("own_norm", layers)


def bottleneck(layers: str, inner: int = 16) -> Insert:
    """A small residual network of ``inner`` hidden features behind ``layers``."""
    return Insert("bottleneck", layers, {"inner": inner})


def prompts(layers: str, count: int = 4) -> Insert:
    """``count`` learned tokens that ``layers``, which take and return sequences, see besides."""
    return Insert("prompts", layers, {"count": count})


def _along(vector: Tensor, x: Tensor, axis: int) -> Tensor:
    shape = [1] * x.ndim
    shape[axis] = -1
    return vector.to(x.dtype).reshape(shape)
