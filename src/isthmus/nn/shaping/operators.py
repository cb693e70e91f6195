"""Shaping operators: linear maps of a weight that begin as the identity, so nothing changes."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from isthmus.errors import InputError

__all__ = [
    "DiagonalShaping",
    "ElementwiseShaping",
    "LowRankShaping",
    "Shaping",
    "ShapingKind",
    "make_shaping",
]

ShapingKind = Literal["none", "diagonal", "low_rank", "elementwise"]


class Shaping(nn.Module):
    """``W ↦ S∘W``; every parameter is a deviation from the identity, which is at 0.

    Weight decay therefore pulls towards the weight as it was.
    """

    def forward(self, weight: Tensor) -> Tensor:
        """The shaped weight, of the shape of ``weight``."""
        raise NotImplementedError


class DiagonalShaping(Shaping):
    """``diag(1 + a) W diag(1 + b)``: every output and every input channel gets a scale.

    Args:
        weight: ``(out, in / groups, ...)``, for its shape.
        groups: of a grouped convolution.
    """

    def __init__(self, weight: Tensor, groups: int = 1) -> None:
        super().__init__()
        self.groups = groups
        self.output = nn.Parameter(weight.new_zeros(weight.shape[0]))
        self.input = nn.Parameter(weight.new_zeros(groups * weight.shape[1]))

    def forward(self, weight: Tensor) -> Tensor:
        """The shaped weight."""
        blocks = _blocks(weight, self.groups).unflatten(2, (weight.shape[1], -1))
        scaled = blocks * (1 + self.output).view(self.groups, -1, 1, 1)
        return (scaled * (1 + self.input).view(self.groups, 1, -1, 1)).reshape(weight.shape)


class LowRankShaping(Shaping):
    """``(I + U Vᵀ) W``: outputs are mixed in a few directions, within each group.

    Args:
        weight: ``(out, in / groups, ...)``, for its shape.
        groups: of a grouped convolution.
        rank: columns of U and V.

    Raises:
        InputError: for a rank below 1 or above the outputs of a group.
    """

    def __init__(self, weight: Tensor, groups: int = 1, rank: int = 4) -> None:
        super().__init__()
        outputs = weight.shape[0] // groups
        if not 1 <= rank <= outputs:
            raise InputError(
                f"a shaping of rank {rank} cannot act on {outputs} outputs"
                + (f" in each of {groups} groups" if groups > 1 else ""),
                mend="Choose a rank from 1 to that number, or 'diagonal'",
            )
        self.groups = groups
        self.u = nn.Parameter(weight.new_zeros(groups, outputs, rank))
        self.v = nn.Parameter(torch.randn_like(self.u) * outputs**-0.5)

    def forward(self, weight: Tensor) -> Tensor:
        """The shaped weight."""
        blocks = _blocks(weight, self.groups)
        return (blocks + self.u @ (self.v.mT @ blocks)).reshape(weight.shape)


class ElementwiseShaping(Shaping):
    """``(1 + G) ⊙ W``: a gate on every entry; where it is −1, the entry is masked.

    Args:
        weight: for its shape.
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.zeros_like(weight))

    def forward(self, weight: Tensor) -> Tensor:
        """The shaped weight."""
        return weight * (1 + self.gate)


def make_shaping(
    kind: ShapingKind, weight: Tensor, *, groups: int = 1, rank: int = 4
) -> Shaping | None:
    """The operator of this kind for a weight; None for ``none``.

    Raises:
        InputError: for another kind, or a rank that does not fit.
    """
    weight = weight.detach()
    makers: dict[str, Any] = {
        "none": lambda: None,
        "diagonal": lambda: DiagonalShaping(weight, groups),
        "low_rank": lambda: LowRankShaping(weight, groups, rank),
        "elementwise": lambda: ElementwiseShaping(weight),
    }
    if kind not in makers:
        raise InputError(
            f"there is no shaping '{kind}'",
            where="shaping",
            mend=f"Choose from {', '.join(get_args(ShapingKind))}",
        )
    return makers[kind]()


def _blocks(weight: Tensor, groups: int) -> Tensor:
    """``(groups, out / groups, in / groups · kernel)``: one matrix per group."""
    return weight.reshape(groups, weight.shape[0] // groups, -1)
