"""The singular values of a layer's map, and a penalty that keeps them in a band."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn

from isthmus.errors import InputError
from isthmus.nn.shaping.layers import Shaped, ShapedConv2d
from isthmus.training.names import find_modules

__all__ = ["SpectrumPenalty", "singular_values", "spectral_norm"]

_ITERATIONS = 30
_TINY = 1e-30

Mappable = nn.Linear | nn.Conv2d | Shaped


def singular_values(layer: nn.Module, *, grid: tuple[int, int] | None = None) -> Tensor:
    """The singular values of a plain or shaped layer's weight, differentiable.

    Args:
        layer: ``Linear``, ``Conv2d`` or shaped.  Of a convolution they are those of the matrix
            ``(out / groups, in / groups · kernel)`` of every group, which bound its map only up to
            the size of the kernel.
        grid: height and width of the images; then those of the convolution itself, as it acts on
            such images with circular padding (Sedghi, Gupta and Long 2019): exact, by the FFT.

    Returns:
        All singular values, of the blocks of a grouped convolution together, float32 or float64.

    Raises:
        InputError: for another layer; with ``grid``, for stride or dilation above 1 or a kernel
            larger than the grid.
    """
    blocks = _blocks(layer)
    if grid is None:
        return torch.linalg.svdvals(blocks.flatten(2)).flatten()
    if blocks.ndim != 5:
        raise InputError("only a convolution acts on a grid", where="grid")
    geometry = layer.geometry if isinstance(layer, ShapedConv2d) else layer
    assert isinstance(geometry, nn.Conv2d)
    if {*geometry.stride, *geometry.dilation} != {1}:
        raise InputError("the exact spectrum is that of stride 1 and dilation 1", where="grid")
    if any(size > side for size, side in zip(blocks.shape[3:], grid, strict=True)):
        raise InputError(f"the kernel is larger than the grid {grid}", where="grid")
    # each frequency is a matrix of its own: circular convolution is block diagonal there
    response = torch.fft.fft2(blocks, s=grid)
    return torch.linalg.svdvals(response.permute(0, 3, 4, 1, 2)).flatten()


def spectral_norm(layer: nn.Module, *, iterations: int = _ITERATIONS) -> Tensor:
    """The largest singular value of the weight by power iteration, differentiable.

    The vectors are iterated without gradient and the value is ``uᵀ W v`` (Miyato et al. 2018).  It
    is never above the true one, and the closer the further the next singular value is below.

    Raises:
        InputError: for a layer without weight matrix.
    """
    blocks = _blocks(layer).flatten(2)
    return _largest(blocks, _iterated(blocks, _start(blocks), iterations)).amax()


class SpectrumPenalty:
    """A penalty on singular values outside a band: the mean of ``max(low − σ, 0, σ − high)²``.

    Args:
        model: its ``layers`` are held to the band; their weights after shaping.
        layers: names or patterns, as of `find_modules`; of a pattern with ``*`` only the linear,
            convolutional and shaped layers are taken.
        low: lower end of the band.
        high: its upper end.
        relative: singular values over their root mean square, so that the band is one of shape
            and a layer may have any scale.
        method: ``exact``, or ``power``: only the largest one, by an iteration that goes on from
            call to call; cheaper for wide layers, and it cannot keep to a ``low``.
        iterations: of the power method at each call.

    Calling it gives the mean over the layers, a scalar.

    Raises:
        InputError: for a band that is none, or layers that are not there or have no spectrum.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 4, bias=False))
        >>> _ = nn.init.eye_(model[0].weight)
        >>> SpectrumPenalty(model, high=0.5)().item()
        0.25
    """

    def __init__(
        self,
        model: nn.Module,
        layers: str | Iterable[str] = "**",
        *,
        low: float = 0.0,
        high: float = math.inf,
        relative: bool = False,
        method: Literal["exact", "power"] = "exact",
        iterations: int = 2,
    ) -> None:
        if not 0 <= low <= high or (low == 0 and high == math.inf):
            raise InputError(f"[{low}, {high}] is no band of singular values", where="low, high")
        if method not in ("exact", "power"):
            raise InputError(f"there is no method '{method}'", where="method")
        if method == "power" and low > 0:
            raise InputError(
                "the power method knows only the largest singular value",
                where="low",
                mend="Use method='exact', or low=0",
            )
        if iterations < 1:
            raise InputError("at least one iteration is needed", where="iterations")
        self.layers = _with_spectrum(model, layers)
        self.low, self.high, self.relative = low, high, relative
        self.method, self.iterations = method, iterations
        self._vectors: dict[str, Tensor] = {}

    def __call__(self) -> Tensor:
        """The mean penalty over the layers, a scalar."""
        terms = [self._of(name, layer) for name, layer in self.layers.items()]
        # layers may live on several devices
        return torch.stack([term.to(terms[0].device) for term in terms]).mean()

    def _of(self, name: str, layer: nn.Module) -> Tensor:
        matrices = _blocks(layer).flatten(2)
        if self.method == "exact":
            values = torch.linalg.svdvals(matrices).flatten()
        else:
            start = self._vectors.get(name)
            steps = self.iterations if start is not None else _ITERATIONS
            start = _start(matrices) if start is None else start.to(matrices)
            self._vectors[name] = vectors = _iterated(matrices, start, steps)
            values = _largest(matrices, vectors)
        if self.relative:
            count = matrices.shape[0] * min(matrices.shape[1:])
            square = matrices.square().sum() / count
            values = values / square.clamp_min(_TINY).sqrt()
        outside = (self.low - values).clamp_min(0) + (values - self.high).clamp_min(0)
        return outside.square().mean().float()


def _with_spectrum(model: nn.Module, layers: str | Iterable[str]) -> dict[str, nn.Module]:
    inner = {
        id(part)
        for shaped in model.modules()
        if isinstance(shaped, Shaped)
        for part in shaped.modules()
        if part is not shaped
    }
    patterns = [layers] if isinstance(layers, str) else list(layers)
    found: dict[str, nn.Module] = {}
    for name, module in find_modules(model, patterns).items():
        if isinstance(module, Mappable) and id(module) not in inner:
            found[name] = module
        elif name in patterns:
            raise InputError(
                f"a {type(module).__name__} has no spectrum to keep in a band",
                where=f"layer '{name}'",
                mend="Name a linear layer, a convolution or a shaped layer",
            )
    if not found:
        raise InputError(
            "none of the layers is linear, a convolution or shaped, so none has a spectrum",
            where="layers",
        )
    return found


def _blocks(layer: nn.Module) -> Tensor:
    """The weight after shaping, ``(groups, out / groups, in / groups, ...)``, float32 or wider."""
    if not isinstance(layer, Mappable):
        raise InputError(
            f"a {type(layer).__name__} has no weight matrix",
            mend="Give a Linear, a Conv2d or a shaped layer",
        )
    weight = layer.shaped_weight() if isinstance(layer, Shaped) else layer.weight
    if weight.dtype in (torch.float16, torch.bfloat16):
        weight = weight.float()
    groups = getattr(layer, "groups", 1)
    return weight.unflatten(0, (groups, -1))


def _start(matrices: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(matrices.shape[0], matrices.shape[2], 1, generator=generator)
    return vectors.to(matrices)


def _iterated(matrices: Tensor, v: Tensor, iterations: int) -> Tensor:
    with torch.no_grad():
        for _ in range(iterations):
            v = matrices.mT @ (matrices @ v)
            v = v / v.norm(dim=1, keepdim=True).clamp_min(_TINY)
    return v


def _largest(matrices: Tensor, v: Tensor) -> Tensor:
    """``uᵀ W v`` with ``u = W v / ‖W v‖``: one value per group."""
    image = matrices @ v
    with torch.no_grad():
        u = image / image.norm(dim=1, keepdim=True).clamp_min(_TINY)
    return (u * image).sum(dim=(1, 2))
