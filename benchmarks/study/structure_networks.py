"""Three small networks that have nothing in common but their cuts, in widths that match in size.

Each is ``front → back → features → head``: the front ends in channels on a grid of 4 × 4, the back
in one vector, the features are 48 numbers without a nonlinearity after them.
"""

from __future__ import annotations

import math
from functools import cache
from itertools import product

import torch
from torch import Tensor, nn

from isthmus.nn.shaping import structure
from isthmus.training.loop import seeded

__all__ = ["ARCHITECTURES", "CLASSES", "SHAPED", "Network", "build", "matched"]

CLASSES, FEATURES, SIDE, GRID = 26, 48, 16, 4
SHAPED = ("front.**", "back.**")
ARCHITECTURES = {"cnn": (12, 40), "residual": (12, 32), "mixer": (40, 96)}
"""Widths of the structured networks; the others are widened until their size is the same."""
_REACH = range(-3, 15)


class Network(nn.Module):
    def __init__(self, front: nn.Module, back: nn.Module, width: int) -> None:
        super().__init__()
        self.front, self.back = front, back
        self.features, self.head = nn.Linear(width, FEATURES), nn.Linear(FEATURES, CLASSES)

    def embed(self, x: Tensor) -> Tensor:
        return self.features(self.back(self.front(x)))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.embed(x))


def _conv(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)]


def _pooled() -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten()]


def _cnn(a: int, b: int) -> Network:
    front = nn.Sequential(*_conv(1, a, 2), nn.ReLU(), *_conv(a, 2 * a, 2), nn.ReLU())
    back = nn.Sequential(
        *_conv(2 * a, b), nn.ReLU(), *_conv(b, b, 2), nn.ReLU(), *_pooled()
    )  # fmt: skip
    return Network(front, back, b)


class _Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            *_conv(inputs, outputs, stride), nn.ReLU(), *_conv(outputs, outputs)
        )
        self.skip = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.inner(x) + self.skip(x))


def _residual(a: int, b: int) -> Network:
    front = nn.Sequential(*_conv(1, a, 2), nn.ReLU(), _Residual(a, 2 * a, 2))
    return Network(front, nn.Sequential(_Residual(2 * a, b, 2), *_pooled()), b)


class _Mixing(nn.Module):
    """Tolstikhin et al. 2021, on channels over a grid."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.norm_tokens, self.norm_channels = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.tokens = nn.Sequential(nn.Linear(GRID**2, 24), nn.GELU(), nn.Linear(24, GRID**2))
        self.channels = nn.Sequential(
            nn.Linear(channels, hidden), nn.GELU(), nn.Linear(hidden, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(2).mT
        rows = rows + self.tokens(self.norm_tokens(rows).mT).mT
        rows = rows + self.channels(self.norm_channels(rows))
        return rows.mT.unflatten(2, (GRID, GRID))


def _mixer(a: int, b: int) -> Network:
    # a convolution before the patches lets it learn from few images (Xiao et al. 2021)
    patches = [*_conv(1, 16, 2), nn.ReLU(), nn.Conv2d(16, a, 2, 2)]
    front = nn.Sequential(*patches, _Mixing(a, b))
    back = nn.Sequential(_Mixing(a, b), _Mixing(a, b), *_pooled(), nn.LayerNorm(a))
    return Network(front, back, a)


_MAKERS = {"cnn": _cnn, "residual": _residual, "mixer": _mixer}


def build(
    name: str, widths: tuple[int, int], *, shaping: str, correction: int, seed: int
) -> Network:
    """A network with fresh weights, plain where there is neither shaping nor correction."""
    with seeded(seed):
        network = _MAKERS[name](*widths)
    if shaping != "none" or correction:
        structure(network, SHAPED, shaping=shaping, correction=correction, seed=seed)  # type: ignore[arg-type]
    return network


def size(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@cache
def matched(name: str, shaping: str, correction: int, like: tuple[str, int]) -> tuple[int, int]:
    """The widths at which a network is as large as the one shaped like ``like`` is at its own."""
    base = ARCHITECTURES[name]
    if (shaping, correction) == like:
        return base
    goal = size(build(name, base, shaping=like[0], correction=like[1], seed=0))
    widths_near = ((base[0] + i, base[1] + j) for i, j in product(_REACH, repeat=2))
    with torch.device("meta"):
        sizes = {
            widths: size(build(name, widths, shaping=shaping, correction=correction, seed=0))
            for widths in widths_near
        }

    def badness(widths: tuple[int, int]) -> tuple[bool, float]:
        # within half a percent, rather both widths by the same factor than the closest size
        apart = abs(sizes[widths] / goal - 1)
        uneven = abs(math.log(widths[0] / base[0]) - math.log(widths[1] / base[1]))
        return apart > 0.005, apart if apart > 0.005 else uneven

    chosen = min(sizes, key=badness)
    assert abs(sizes[chosen] / goal - 1) < 0.01, f"{name}: {sizes[chosen]} against {goal}"
    return chosen
