"""Weights as integers of one byte, with a scale for each output, corrected after rounding."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from isthmus.errors import InputError
from isthmus.nn.compact.input_rounding import InputRanges, best_rounding
from isthmus.nn.compact.int8_layer import Int8Layer
from isthmus.nn.compact.layer_moments import watched
from isthmus.nn.compact.table import Compact, LayerChange, replace_module
from isthmus.progress import Progress, silent
from isthmus.training.modes import ModelCall
from isthmus.training.names import find_modules

__all__ = ["Int8Layer", "quantise"]


_KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TIMED = 5


def quantise(
    module: nn.Module,
    layers: str | Iterable[str] | None = None,
    *,
    batches: Iterable[Any] | None = None,
    activations: str = "float",
    call: ModelCall | None = None,
    progress: Progress = silent,
) -> Compact:
    """Round weights to int8 in a copy of the network, and correct what that did to its outputs.

    With ``batches``, every output's gain and offset are fitted after rounding, by least squares to
    what the layer gave before; they go into the scale and the bias, and cost nothing.

    Args:
        module: the network; it is not changed.
        layers: names or patterns; all linear layers and convolutions unless given, but those inside
            an attention that reads their weights without calling them.
        batches: of calibration inputs, or of tuples that begin with them; with other
            ``activations`` than ``float`` the network runs on them twice.
        activations: ``float``; ``int8`` rounds the inputs of linear layers too, with ``batches`` in
            steps that suit what came in, which is the fast way on processors; ``auto`` does so
            where the layer is faster for it on the first calibration batch, timed here and now.
        call: how to run the network on a batch.
        progress: told about batches.

    Raises:
        InputError: for a layer that is not there or of another kind, nothing to round, NaN weights,
            another ``activations``, or ``auto`` or an empty loader without calibration rows.

    Source: per-channel symmetric weights, Krishnamoorthi 2018; correction of the bias from
    statistics, Nagel et al. 2019, section 4.2; inputs as in `isthmus.nn.compact.input_rounding`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4))
        >>> rounded = quantise(net, batches=[torch.randn(16, 8)])
        >>> rounded.before, rounded.after
        (1536, 528)
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
    linear = {name: layer for name, layer in found.items() if type(layer) is nn.Linear}
    ranges: dict[str, InputRanges] = {}
    if batches is not None and activations != "float" and linear:
        # what can be gone through once only is gone through twice
        batches = list(batches)
        ranges = _input_ranges(made, linear, batches, call, progress)
    faster: dict[str, float] = {}
    # the layers themselves must still run for the calibration
    rounded = {name: Int8Layer(copy.deepcopy(layer), name=name) for name, layer in found.items()}
    for name in linear if activations != "float" else ():
        inputs = best_rounding(ranges[name], linear[name].weight) if ranges else None
        own = Int8Layer(copy.deepcopy(linear[name]), activations=True, inputs=inputs, name=name)
        if activations == "auto":
            faster[name] = _speed_up(own, rounded[name], ranges[name])
        if faster.get(name, 2.0) > 1:
            rounded[name] = own
    if batches is not None:
        fits: dict[str, _ChannelFit] = {}

        def see(name: str, layer: nn.Module, x: Tensor, y: Tensor) -> None:
            fits.setdefault(name, _ChannelFit()).add(
                _by_channel(layer, rounded[name](x)), _by_channel(layer, y)
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
            LayerChange(name, what, sizes[name], sum(b.nbytes for b in own.buffers(recurse=False)))
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


def _by_channel(layer: nn.Module, output: Tensor) -> Tensor:
    """Rows of channels, of a batch or of one item."""
    if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        output = output.movedim(-1 - len(layer.kernel_size), -1)
    return output.reshape(-1, output.shape[-1])


def _input_ranges(
    module: nn.Module,
    layers: dict[str, nn.Linear],
    batches: list[Any],
    call: ModelCall | None,
    progress: Progress,
) -> dict[str, InputRanges]:
    ranges = {name: InputRanges() for name in layers}

    def see(name: str, layer: nn.Module, x: Tensor, y: Tensor) -> None:
        ranges[name].add(x)

    watched(module, layers, batches, see, call=call, progress=progress)
    return ranges


def _speed_up(rounding: Int8Layer, plain: Int8Layer, seen: InputRanges) -> float:
    """How many times faster the layer is with int8 inputs; 0 where the machine cannot."""
    if seen.rows is None:
        return 0.0
    # as many rows as the first batch had
    x = seen.rows[torch.arange(seen.first) % len(seen.rows)]
    seconds: dict[Int8Layer, list[float]] = {rounding: [], plain: []}
    try:
        with torch.no_grad():
            for repeat in range(_TIMED + 1):
                for way in seconds:
                    start = time.perf_counter()
                    way(x).flatten()[:1].cpu()
                    if repeat:
                        seconds[way].append(time.perf_counter() - start)
    except RuntimeError:
        return 0.0
    return statistics.median(seconds[plain]) / max(statistics.median(seconds[rounding]), 1e-9)


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
