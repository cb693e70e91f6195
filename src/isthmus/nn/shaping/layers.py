"""Layers of two paths: a weight that a shaping operator modulates, and a small correction.

``x ↦ (S∘W) x + b + φ(x)`` (Nikooroo and Engel 2025, arXiv 2508.03649, 2508.00127), where the
energy of φ is kept small against that of the structured path.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from isthmus.errors import InputError
from isthmus.nn.shaping.operators import Shaping, ShapingKind, make_shaping
from isthmus.training.loop import seeded

__all__ = ["Correction", "Shaped", "ShapedConv2d", "ShapedLinear", "check_budget"]

_TINY = 1e-24


class Correction(nn.Module):
    """``φ(x) = U gelu(D x + d)``: a bottleneck that is exactly 0 at the start, as U is.

    Of a convolution, D has its kernel, stride, padding and dilation, and U is 1×1.

    Args:
        down: makes the hidden channels.
        up: makes the output of them, without bias; its weight is set to 0.
    """

    def __init__(self, down: nn.Module, up: nn.Linear | nn.Conv2d) -> None:
        super().__init__()
        self.down, self.up = down, up
        nn.init.zeros_(up.weight)

    def forward(self, x: Tensor) -> Tensor:
        """The correction of the output for the input ``x``."""
        return self.up(functional.gelu(self.down(x)))

    @property
    def is_zero(self) -> bool:
        """Whether it is 0 for every input."""
        return not bool(self.up.weight.detach().any())


class Shaped(nn.Module):
    """What shaped layers share; see `ShapedLinear` and `ShapedConv2d`.

    Attributes:
        weight: the matrix of the plain layer, under the name it had there.
        bias: its bias, likewise; None without one.
        shaping: S, None for the identity.
        correction: φ, None for none.
        budget: of the correction energy ``ρ = E‖φ(x)‖² / E‖(S∘W) x‖²``; None for none.
        cap: rescale φ wherever it exceeds the budget.
        watch: told ``(layer, φ(x), (S∘W) x)`` at every call, while somebody measures.
    """

    weight: Tensor
    bias: Tensor | None
    shaping: Shaping | None
    correction: Correction | None
    channel_dim: int
    """The dimension of an output that counts channels."""

    def __init__(
        self,
        plain: nn.Linear | nn.Conv2d,
        correction: Correction | None,
        shaping: ShapingKind,
        rank: int,
        budget: float | None,
        cap: bool,
        seed: int,
    ) -> None:
        super().__init__()
        if budget is not None:
            check_budget(budget)
        elif cap:
            raise InputError("a cap needs a budget", where="budget")
        for name, parameter in plain.named_parameters():
            if not parameter.is_meta and not bool(torch.isfinite(parameter.detach()).all()):
                raise InputError(
                    f"the {name} of the layer is not finite",
                    mend="Load weights that are whole before shaping the layer",
                )
        self.weight, self.bias = plain.weight, plain.bias
        with seeded(seed):
            groups = plain.groups if isinstance(plain, nn.Conv2d) else 1
            self.shaping = make_shaping(shaping, plain.weight, groups=groups, rank=rank)
        self.correction = correction
        self.budget, self.cap = budget, cap
        self.watch: Callable[[Shaped, Tensor, Tensor], None] | None = None
        self.train(plain.training)

    def shaped_weight(self) -> Tensor:
        """``S∘W``, of the shape of the weight."""
        return self.weight if self.shaping is None else self.shaping(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """``(S∘W) x + b + φ(x)``."""
        y = self._structured(x, self.shaped_weight())
        if self.correction is None:
            return y
        phi = self.correction(x)
        if self.cap or self.watch is not None:
            straight = y if self.bias is None else y - self._along_channels(self.bias)
            if self.cap:
                phi = self._capped(phi, straight)
            if self.watch is not None:
                self.watch(self, phi, straight)
        return y + phi

    def plain(self) -> nn.Linear | nn.Conv2d:
        """The plain layer of weight ``S∘W``; it leaves the correction away."""
        raise NotImplementedError

    def _structured(self, x: Tensor, weight: Tensor) -> Tensor:
        raise NotImplementedError

    def _along_channels(self, vector: Tensor) -> Tensor:
        return vector.view(-1, *([1] * (-1 - self.channel_dim)))

    def _capped(self, phi: Tensor, straight: Tensor) -> Tensor:
        """Each output vector of φ at most ``√budget`` times as long as that of the other path.

        By vector and not by the mean of a batch, so that the output of an item depends neither on
        the rest of its batch nor on later positions, and ρ stays in its budget on any data.
        """
        assert self.budget is not None
        allowed = self.budget * straight.float().square().sum(self.channel_dim, keepdim=True)
        spent = phi.float().square().sum(self.channel_dim, keepdim=True)
        over = spent > allowed
        ratio = allowed / torch.where(over, spent, torch.ones_like(spent))
        # the root has no derivative at 0
        scale = torch.where(over, ratio.clamp_min(_TINY).sqrt(), torch.ones_like(ratio))
        return phi * scale.to(phi.dtype)

    def _filled(self, plain: Any) -> Any:
        with torch.no_grad():
            plain.weight = nn.Parameter(
                self.shaped_weight().detach().clone(), requires_grad=self.weight.requires_grad
            )
        plain.bias = self.bias
        return plain.train(self.training)

    def _options(self) -> str:
        kind = "none" if self.shaping is None else type(self.shaping).__name__
        return f"shaping={kind}, budget={self.budget}, cap={self.cap}"


class ShapedLinear(Shaped):
    """``x ↦ (S∘W) x + b + φ(x)`` of a linear layer; at first it is that layer, bit for bit.

    Args:
        plain: the linear layer, whose parameters become those of this one.
        shaping: ``diagonal`` scales outputs and inputs, ``low_rank`` is ``(I + U Vᵀ) W``,
            ``elementwise`` a gate on each entry, ``none`` leaves W alone.
        rank: of a low-rank shaping.
        correction: hidden channels of φ, 0 for none.
        budget: of ``ρ = E‖φ(x)‖² / E‖(S∘W) x‖²``, which the energy penalty keeps to.
        cap: also rescale φ by vector, so that ρ cannot exceed the budget on any data.
        seed: of the first weights of φ and of V.

    Rows ``(..., in)`` become ``(..., out)``.

    Raises:
        InputError: for a budget that is not positive, a cap without one, a rank or width that
            does not fit, or weights that are not finite.

    Example:
        >>> layer = ShapedLinear(nn.Linear(8, 4), shaping="low_rank", rank=2, correction=3)
        >>> layer(torch.zeros(5, 8)).shape
        torch.Size([5, 4])
    """

    channel_dim = -1

    def __init__(
        self,
        plain: nn.Linear,
        *,
        shaping: ShapingKind = "diagonal",
        rank: int = 4,
        correction: int = 8,
        budget: float | None = 0.1,
        cap: bool = False,
        seed: int = 0,
    ) -> None:
        path = None
        if _checked_width(correction):
            like: dict[str, Any] = {"device": plain.weight.device, "dtype": plain.weight.dtype}
            with seeded(seed, 1):
                path = Correction(
                    nn.Linear(plain.in_features, correction, **like),
                    nn.Linear(correction, plain.out_features, bias=False, **like),
                )
        super().__init__(plain, path, shaping, rank, budget, cap, seed)
        self.in_features, self.out_features = plain.in_features, plain.out_features

    def _structured(self, x: Tensor, weight: Tensor) -> Tensor:
        return functional.linear(x, weight, self.bias)

    def plain(self) -> nn.Linear:
        """The linear layer of weight ``S∘W``; it leaves the correction away."""
        empty = nn.Linear(self.in_features, self.out_features, bias=False, device="meta")
        return self._filled(empty)

    def extra_repr(self) -> str:
        """What ``print`` shows of it."""
        return f"{self.in_features}, {self.out_features}, {self._options()}"


class ShapedConv2d(Shaped):
    """``x ↦ (S∘W) ∗ x + b + φ(x)`` of a convolution; at first it is that one, bit for bit.

    Stride, padding and its mode, dilation and groups are those of the plain layer.  Shaping acts
    on channels, within each group; the correction sees all channels.

    Args:
        plain: the convolution, whose parameters become those of this one.
        shaping: as of `ShapedLinear`.
        rank: as of `ShapedLinear`.
        correction: as of `ShapedLinear`.
        budget: as of `ShapedLinear`.
        cap: as of `ShapedLinear`.
        seed: as of `ShapedLinear`.

    Images ``(n, in, h, w)`` become ``(n, out, h', w')``.

    Raises:
        InputError: as `ShapedLinear`; a rank must fit into the outputs of one group.
    """

    channel_dim = -3

    def __init__(
        self,
        plain: nn.Conv2d,
        *,
        shaping: ShapingKind = "diagonal",
        rank: int = 4,
        correction: int = 8,
        budget: float | None = 0.1,
        cap: bool = False,
        seed: int = 0,
    ) -> None:
        geometry: dict[str, Any] = {
            "kernel_size": plain.kernel_size,
            "stride": plain.stride,
            "padding": plain.padding,
            "dilation": plain.dilation,
            "padding_mode": plain.padding_mode,
        }
        path = None
        if _checked_width(correction):
            like: dict[str, Any] = {"device": plain.weight.device, "dtype": plain.weight.dtype}
            with seeded(seed, 1):
                path = Correction(
                    nn.Conv2d(plain.in_channels, correction, **geometry, **like),
                    nn.Conv2d(correction, plain.out_channels, 1, bias=False, **like),
                )
        super().__init__(plain, path, shaping, rank, budget, cap, seed)
        # in a tuple, so that it is no part of this module: it only lends its geometry
        self._empty = (
            nn.Conv2d(
                plain.in_channels,
                plain.out_channels,
                groups=plain.groups,
                bias=plain.bias is not None,
                device="meta",
                **geometry,
            ),
        )

    def _structured(self, x: Tensor, weight: Tensor) -> Tensor:
        borrowed = {"weight": weight} | ({} if self.bias is None else {"bias": self.bias})
        return functional_call(self._empty[0], borrowed, (x,))

    def plain(self) -> nn.Conv2d:
        """The convolution of weight ``S∘W``; it leaves the correction away."""
        return self._filled(copy.deepcopy(self._empty[0]))

    @property
    def geometry(self) -> nn.Conv2d:
        """A convolution without weights, for its kernel size, stride, padding and groups."""
        return self._empty[0]

    @property
    def groups(self) -> int:
        """Groups of channels that do not mix."""
        return self._empty[0].groups

    def extra_repr(self) -> str:
        """What ``print`` shows of it."""
        return f"{self._empty[0].extra_repr()}, {self._options()}"


def check_budget(budget: float) -> float:
    """The budget of a correction energy.

    Raises:
        InputError: if it is not a positive number.
    """
    if not (budget > 0 and math.isfinite(budget)):
        raise InputError(
            f"the budget of the correction energy is above 0, got {budget}",
            where="budget",
            mend="Give a share such as 0.1; correction=0 makes a layer without correction",
        )
    return budget


def _checked_width(correction: int) -> int:
    if correction < 0:
        raise InputError(
            f"a correction is 0 or more channels wide, got {correction}", where="correction"
        )
    return correction
