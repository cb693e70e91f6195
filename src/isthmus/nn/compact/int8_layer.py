"""A layer whose weight is int8 codes, with products of integers where the machine has them."""

from __future__ import annotations

import math
import warnings
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from isthmus.errors import InputError
from isthmus.nn.compact.input_rounding import LARGEST, STEPS, InputRounding, rounded_rows
from isthmus.nn.compact.table import weight_of

__all__ = ["Int8Layer"]

_TILE = 16
_EXACT = 1024
"""127 · 127 · 1024 is below 2^24, up to which single precision holds every integer."""


class Int8Layer(nn.Module):
    """A linear layer or convolution whose weight is held as int8 codes and a scale per output.

    The weight is widened when it is used, so that files are a quarter, and every kind of
    convolution runs as it did.  With ``activations``, inputs of a linear layer are rounded as they
    come and multiplied as integers: with ``inputs``, in the steps found in calibration, by FBGEMM's
    products of bytes, or, where there are none, exactly in single precision; both keep a second
    copy of the codes as they like it.  Else row by row, symmetric, where the device has such
    products.  Either way a row's result depends neither on the other
    rows of its batch nor, up to single precision, on the processor.  While gradients of the input
    are recorded, or the network is exported, nothing but the weight is rounded.

    Args:
        layer: what it stands for; its weight is given up.
        activations: round inputs as well; of linear layers only.
        inputs: how, if that is known; the weight is rounded to suit it.

    Raises:
        InputError: for NaN weights, or activations of another kind of layer.
    """

    codes: Tensor
    scales: Tensor
    columns: Tensor | None
    steps: Tensor | None

    def __init__(
        self,
        layer: nn.Module,
        *,
        activations: bool = False,
        inputs: InputRounding | None = None,
        name: str = "",
    ) -> None:
        super().__init__()
        if activations and type(layer) is not nn.Linear:
            raise InputError(
                f"inputs of a {type(layer).__name__} are not rounded, those of a Linear are",
                where=f"layer {name}",
            )
        weight = weight_of(name, layer)
        inputs = inputs if activations else None
        matrix = weight.flatten(1) if inputs is None else weight * inputs.factors
        codes, scales = rounded_rows(matrix)
        self.register_buffer("codes", codes.to(torch.int8).reshape(weight.shape))
        self.register_buffer("scales", scales)
        self.register_buffer("columns", None if inputs is None else inputs.columns.clone())
        steps = None if inputs is None else scales.new_tensor([inputs.step, inputs.zero])
        self.register_buffer("steps", steps)
        self.activations = activations
        self.layer = layer
        # functional_call puts the widened weight here for one call
        layer.weight = nn.Parameter(weight.new_empty(0), requires_grad=False)
        self._packed: tuple[Any, ...] | None = None

    @property
    def weight(self) -> Tensor:
        """The weight that the codes stand for."""
        spread = self.scales.reshape(-1, *(1,) * (self.codes.ndim - 1))
        found = self.codes.float() * spread
        if self.columns is not None and self.steps is not None:
            found = found * (self.columns * self.steps[0])
        kept: Any = self.layer.weight
        return found.to(kept.dtype)

    @property
    def bias(self) -> Tensor | None:
        """The layer's; a transformer's fast path reads it, and the weight, past ``forward``."""
        kept: Any = self.layer
        return kept.bias

    def forward(self, x: Tensor) -> Tensor:
        """What the layer it replaces would return, up to rounding."""
        recorded = torch.compiler.is_exporting() or (x.requires_grad and torch.is_grad_enabled())
        if self.activations and not recorded:
            here = x.device.type == "cpu" and not torch.compiler.is_compiling()
            found = None
            if self.columns is not None and here:
                found = self._in_steps(x)
            elif _multiplies(x, self.codes):
                found = self._by_rows(x)
            if found is not None:
                return found
        return functional_call(self.layer, {"weight": self.weight}, (x,))

    def _in_steps(self, x: Tensor) -> Tensor | None:
        _, packed, columns, step, zero, scales, bias = self._ready()
        rows = x if x.ndim == 2 else x.reshape(-1, x.shape[-1])
        steps = (rows if rows.dtype == torch.float32 else rows.float()) * columns
        # an integer cannot say that a value was not finite
        if not math.isfinite(float(steps.sum())):
            return None
        # kernels without wide sums stay exact up to there
        steps = steps.clamp_(-zero, STEPS - zero)
        if _has_kernels():
            out = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
                steps, 1.0, zero, packed
            )
        else:
            out = _integer_product(steps.round_(), packed).mul_(step * scales)
            out = out if bias is None else out.add_(bias)
        out = out if out.dtype == x.dtype else out.to(x.dtype)
        return out if x.ndim == 2 else out.reshape(*x.shape[:-1], len(scales))

    def _ready(self) -> tuple[Any, ...]:
        """The codes as the kernel wants them, and what goes with them; made anew when it changes.

        In memory only: neither saved nor copied.
        """
        # past the attributes of modules, which take longer than a small product
        held = (*self._buffers.values(), self._modules["layer"]._parameters["bias"])  # type: ignore[union-attr]
        state: tuple[Any, ...] = (
            _has_kernels(),
            *[
                None if t is None else (t.data_ptr(), None if t.is_inference() else t._version)
                for t in held
            ],
        )
        if self._packed is None or self._packed[0] != state:
            assert self.columns is not None and self.steps is not None
            step, zero = self.steps.tolist()
            bias = None if self.bias is None else self.bias.detach().float()
            scales = self.scales.detach().float()
            codes = _packed(self.codes, scales * step, bias) if _has_kernels() else None
            self._packed = (
                state,
                self.codes.float() if codes is None else codes,
                self.columns.float(),
                step,
                int(zero),
                scales,
                bias,
            )
        return self._packed

    def _by_rows(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        if self.columns is not None and self.steps is not None:
            rows = rows * (self.columns * self.steps[0]).to(rows.dtype)
        size = rows.abs().amax(1, keepdim=True) / LARGEST
        # a row that is not finite stays so
        size = torch.where(size == 0, torch.ones_like(size), size)
        rounded = torch.round(rows / size)
        if x.device.type == "cpu" and not _sums_are_wide():
            product = _integer_product(rounded.float(), self.codes.float())
        else:
            # the one integer product that runs on processors and GPUs alike has no public name
            kernels: Any = torch
            product = kernels._int_mm(rounded.to(torch.int8), self.codes.t())
        out = product.to(x.dtype) * size * self.scales.to(x.dtype)
        if self.bias is not None:
            out = out + self.bias
        return out.reshape(*x.shape[:-1], len(self.codes))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_packed": None}

    def extra_repr(self) -> str:
        """Shape and what is rounded."""
        return f"{tuple(self.codes.shape)}, activations={self.activations}"


def _integer_product(rows: Tensor, codes: Tensor) -> Tensor:
    """``rows @ codes.T`` of integers held as float32, exact: see `_EXACT`."""
    parts = zip(rows.split(_EXACT, 1), codes.split(_EXACT, 1), strict=True)
    out, *others = (left @ right.T for left, right in parts)
    for other in others:
        out += other
    return out


def _multiplies(x: Tensor, codes: Tensor) -> bool:
    """Whether the portable integer product takes these rows: on a GPU only whole tiles."""
    if x.device.type == "cuda":
        return x.numel() > _TILE * x.shape[-1] and not any(side % 8 for side in codes.shape)
    return x.device.type == "cpu"


@cache
def _has_kernels() -> bool:
    """Whether there are products of bytes in steps that were found before, with float results."""
    made: Any = torch.ops.quantized
    known = "fbgemm" in torch.backends.quantized.supported_engines
    return (
        known
        and hasattr(made, "linear_with_input_q_dq_qweight_dq_output_fp32")
        and hasattr(torch, "_make_per_channel_quantized_tensor")
    )


@cache
def _sums_are_wide() -> bool:
    """Whether products of bytes are summed in 32 bits; in 16 bits those of 8 bits overflow."""
    wide: Any = getattr(torch.cpu, "_is_vnni_supported", None)
    return wide is not None and bool(wide())


def _packed(codes: Tensor, scales: Tensor, bias: Tensor | None) -> Any:
    """Codes and scales as FBGEMM wants them, whichever engine the process has chosen."""
    zeros = torch.zeros(len(codes), dtype=torch.int64)
    engines: Any = torch.backends.quantized
    chosen = engines.engine
    made: Any = torch
    try:
        engines.engine = "fbgemm"
        # later versions of PyTorch are to leave these types to others; `_has_kernels` asks for them
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            weight = made._make_per_channel_quantized_tensor(codes, scales.double(), zeros, 0)
        return torch.ops.quantized.linear_prepack(weight, bias)
    finally:
        engines.engine = chosen
