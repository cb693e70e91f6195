"""Weights as integers of one byte, with a scale for each output, corrected after rounding."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from isthmus.errors import InputError
from isthmus.nn.compact.layer_moments import watched
from isthmus.nn.compact.table import Compact, LayerChange, replace_module, weight_of
from isthmus.nn.names import find_modules
from isthmus.progress import Progress, silent

__all__ = ["Int8Layer", "quantise"]

Call = Callable[[nn.Module, Any], Any]

_KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_LARGEST = 127
_TIMED = 5


class Int8Layer(nn.Module):
    """A linear layer or convolution whose weight is held as int8 codes and a scale per output.

    The weight is widened when it is used, so that memory and files are a quarter, and every kind of
    convolution runs as it did.  With ``activations``, inputs of a linear layer are rounded row by
    row as they come (symmetric, dynamic) and multiplied as integers.

    Args:
        layer: what it stands for; its weight is given up.
        activations: round inputs as well; of linear layers only.

    Raises:
        InputError: for NaN weights, or activations of another kind of layer.
    """

    codes: Tensor
    scales: Tensor

    def __init__(self, layer: nn.Module, *, activations: bool = False, name: str = "") -> None:
        super().__init__()
        if activations and type(layer) is not nn.Linear:
            raise InputError(
                f"inputs of a {type(layer).__name__} are not rounded, those of a Linear are",
                where=f"layer {name}",
            )
        weight = weight_of(name, layer)
        largest = weight.flatten(1).abs().amax(1).float()
        scales = largest / _LARGEST
        safe = torch.where(scales > 0, scales, torch.ones_like(scales))
        codes = torch.round(weight.flatten(1).float() / safe[:, None])
        self.register_buffer(
            "codes", codes.clamp(-_LARGEST, _LARGEST).to(torch.int8).reshape(weight.shape)
        )
        self.register_buffer("scales", scales)
        self.activations = activations
        self.layer = layer
        # functional_call puts the widened weight here for one call
        layer.weight = nn.Parameter(weight.new_empty(0), requires_grad=False)

    @property
    def weight(self) -> Tensor:
        """The weight that the codes stand for."""
        spread = self.scales.reshape(-1, *(1,) * (self.codes.ndim - 1))
        kept: Any = self.layer.weight
        return (self.codes.float() * spread).to(kept.dtype)

    @property
    def bias(self) -> Tensor | None:
        """The layer's; a transformer's fast path reads it, and the weight, past ``forward``."""
        kept: Any = self.layer
        return kept.bias

    def forward(self, x: Tensor) -> Tensor:
        """As the layer."""
        if not self.activations:
            return functional_call(self.layer, {"weight": self.weight}, (x,))
        rows = x.flatten(0, -2)
        size = rows.abs().amax(1, keepdim=True) / _LARGEST
        size = torch.where(size > 0, size, torch.ones_like(size))
        rounded = torch.round(rows / size).to(torch.int8)
        # the one integer product that runs on processors and GPUs alike has no public name
        kernels: Any = torch
        product = kernels._int_mm(rounded, self.codes.t())
        out = product.to(x.dtype) * size * self.scales.to(x.dtype)
        if self.bias is not None:
            out = out + self.bias
        return out.reshape(*x.shape[:-1], -1)

    def extra_repr(self) -> str:
        """Shape and what is rounded."""
        return f"{tuple(self.codes.shape)}, activations={self.activations}"


def quantise(
    module: nn.Module,
    layers: str | Iterable[str] | None = None,
    *,
    batches: Iterable[Any] | None = None,
    activations: str = "float",
    call: Call | None = None,
    progress: Progress = silent,
) -> Compact:
    """Round weights to int8 in a copy of the network, and correct what that did to its outputs.

    With ``batches``, every output's gain and offset are fitted after rounding, by least squares to
    what the layer gave before; they go into the scale and the bias, and cost nothing.

    Args:
        module: the network; it is not changed.
        layers: names or patterns; all linear layers and convolutions unless given, but those inside
            an attention that reads their weights without calling them.
        batches: of calibration inputs, or of tuples that begin with them.
        activations: ``float``; ``int8`` rounds the inputs of linear layers too; ``auto`` does so
            where the layer is faster for it on the first calibration batch, timed here and now.
        call: how to run the network on a batch.
        progress: told about batches.

    Raises:
        InputError: for a layer that is not there or of another kind, nothing to round, NaN weights,
            another ``activations``, or ``auto`` or an empty loader without calibration rows.

    Source: per-channel symmetric weights and dynamic activations, Krishnamoorthi 2018; correction
    of the bias from statistics, Nagel et al. 2019, section 4.2.
    """
    if activations not in ("float", "int8", "auto"):
        raise InputError(
            f"activations cannot be '{activations}'",
            where="activations",
            mend="Choose from float, int8, auto",
        )
    if activations == "auto" and batches is None:
        raise InputError(
            "there are no calibration rows to time the layers on",
            where="batches",
            mend="Give batches=, or choose float or int8",
        )
    made = copy.deepcopy(module).eval()
    found = _layers(made, layers)
    sizes = {n: m.weight.numel() * m.weight.element_size() for n, m in found.items()}
    rounded = {
        name: Int8Layer(
            # the layer itself must still run for the calibration
            copy.deepcopy(layer),
            activations=activations == "int8" and type(layer) is nn.Linear,
            name=name,
        )
        for name, layer in found.items()
    }
    faster: dict[str, float] = {}
    if batches is not None:
        fits: dict[str, _ChannelFit] = {}

        def see(name: str, layer: nn.Module, x: Tensor, y: Tensor) -> None:
            own = rounded[name]
            if activations == "auto" and name not in fits and type(layer) is nn.Linear:
                faster[name] = _speed_up(own, x)
                own.activations = faster[name] > 1
            axis = -1 if isinstance(layer, nn.Linear) else 1
            fits.setdefault(name, _ChannelFit()).add(
                own(x).movedim(axis, -1).flatten(0, -2), y.movedim(axis, -1).flatten(0, -2)
            )

        watched(made, found, batches, see, call=call, progress=progress)
        for name, fit in fits.items():
            _correct(name, rounded[name], fit)
    changes: list[LayerChange] = []
    for name, own in rounded.items():
        replace_module(made, name, own)
        what = "int8 weights" + (", int8 inputs" if own.activations else "")
        if name in faster:
            what += f" ({faster[name]:.1f} times as fast with int8 inputs)"
        changes.append(
            LayerChange(name, what, sizes[name], own.codes.numel() + 4 * own.scales.numel())
        )
    return Compact(made, tuple(changes))


def _layers(module: nn.Module, layers: str | Iterable[str] | None) -> dict[str, Any]:
    held = [n for n, m in module.named_modules() if isinstance(m, nn.MultiheadAttention)]
    if layers is not None:
        found = find_modules(module, layers)
        for name, layer in found.items():
            inside = any(name.startswith(f"{outer}.") for outer in held)
            if not isinstance(layer, _KINDS) or inside:
                raise InputError(
                    "the weight of this layer is read by the attention around it"
                    if inside
                    else f"a {type(layer).__name__} is no linear layer and no convolution",
                    where=f"layer {name}",
                )
        return found
    found = {
        n: m
        for n, m in module.named_modules()
        if n and isinstance(m, _KINDS) and not any(n.startswith(f"{outer}.") for outer in held)
    }
    if not found:
        raise InputError(
            "there is nothing to quantise: no linear layer and no convolution inside it",
            where=type(module).__name__,
            mend="A bare layer must stand in a nn.Sequential",
        )
    return found


def _speed_up(layer: Int8Layer, x: Tensor) -> float:
    """How many times faster the layer is with int8 inputs; 0 where the machine cannot."""
    seconds: dict[bool, list[float]] = {False: [], True: []}
    try:
        for repeat in range(_TIMED + 1):
            for way in seconds:
                layer.activations = way
                start = time.perf_counter()
                layer(x).flatten()[:1].cpu()
                if repeat:
                    seconds[way].append(time.perf_counter() - start)
    except RuntimeError:
        return 0.0
    return statistics.median(seconds[False]) / max(statistics.median(seconds[True]), 1e-9)


@dataclass
class _ChannelFit:
    """Means, spreads and the covariance of a rounded output and the true one, channel by channel.

    Joined as Chan, Golub and LeVeque (1983) do, in float64.
    """

    n: int = 0
    mean_a: Any = 0.0
    mean_b: Any = 0.0
    aa: Any = 0.0
    ab: Any = 0.0

    def add(self, a: Tensor, b: Tensor) -> None:
        """Take in rows ``(n, channels)`` of the rounded and of the true output."""
        n = len(a)
        mean_a, mean_b = (t.mean(0, dtype=torch.float64) for t in (a, b))
        away = a.double() - mean_a
        aa, ab = (away**2).sum(0), (away * (b.double() - mean_b)).sum(0)
        apart_a, apart_b = mean_a - self.mean_a, mean_b - self.mean_b
        weight = self.n * n / (self.n + n)
        self.aa = self.aa + aa + weight * apart_a**2
        self.ab = self.ab + ab + weight * apart_a * apart_b
        self.mean_a = self.mean_a + apart_a * n / (self.n + n)
        self.mean_b = self.mean_b + apart_b * n / (self.n + n)
        self.n += n


def _correct(name: str, own: Int8Layer, fit: _ChannelFit) -> None:
    if not bool(torch.isfinite(fit.mean_a + fit.mean_b + fit.aa + fit.ab).all()):
        raise InputError(
            "the layer's output is not finite on the calibration rows", where=f"layer {name}"
        )
    known = fit.aa > 1e-12 * fit.aa.max().clamp(min=1e-300)
    gain = torch.where(known, fit.ab / torch.where(known, fit.aa, 1.0), 1.0)
    bias = 0.0 if own.bias is None else own.bias.detach().double()
    with torch.no_grad():
        shift = fit.mean_b - gain * (fit.mean_a - bias)
        own.scales.copy_(own.scales * gain)
        kept: Any = own.layer.weight
        own.layer.bias = nn.Parameter(shift.to(kept.dtype), requires_grad=False)
