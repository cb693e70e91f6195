"""Where the features of an activation lie, told by evidence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from isthmus.nn.look.two_sizes import features_second

__all__ = ["Given", "Layout", "layout_of"]

Layout = str
"""Where the features of an activation lie: ``channels`` (second axis) or ``tokens`` (last axis)."""

Given = tuple[tuple[Any, ...], Mapping[str, Any], str | int | None]
"""The arguments and keywords a module ran on, and the part of its output that is meant."""

_CHANNELS = (
    "Conv", "BatchNorm", "InstanceNorm", "GroupNorm", "MaxPool", "AvgPool", "AdaptiveAvgPool",
    "AdaptiveMaxPool", "Upsample", "PixelShuffle", "Dropout2d", "FrozenBatchNorm",
)  # fmt: skip
_WIDTHS = (
    "out_features", "out_channels", "num_features", "num_channels", "normalized_shape",
    "embedding_dim", "embed_dim", "nf",
)  # fmt: skip
_TOKENS = (
    "Linear",
    "LayerNorm",
    "RMSNorm",
    "Embedding",
    "MultiheadAttention",
    "LSTM",
    "GRU",
    "RNN",
)


def layout_of(module: nn.Module, activation: Tensor, given: Given | None = None) -> Layout:
    """Where the features of ``module``'s output lie, by evidence where there is any.

    A module of several layers runs at two input sizes: an axis that grows with the input holds
    positions.  Where that cannot be seen, the layers inside say it: the last one whose width is
    that of one axis alone, second or last, else the last kind.  Convolutions and what goes with
    them put channels second; linear layers, layer norms and attention put them last.  Where no
    layer says it, four axes are an image with channels second, three are tokens.

    Args:
        module: whose output it is.
        activation: ``(n, d)`` or more axes.
        given: what the module ran on; without it only the layers inside are asked.
    """
    if activation.ndim <= 2:
        return "tokens"
    if given is not None and _kind(module) is None:
        seen = features_second(module, *given)
        if seen is not None:
            return "channels" if seen else "tokens"
    by_kind: Layout | None = None
    for part in reversed(list(module.modules())):
        width, kind = _width(part), _kind(part)
        second, last = activation.shape[1] == width, activation.shape[-1] == width
        if second != last:
            return "channels" if second else "tokens"
        by_kind = by_kind or kind
        if by_kind is not None and (second or width is None):
            return by_kind
    return by_kind or ("channels" if activation.ndim >= 4 else "tokens")


def _kind(part: nn.Module) -> Layout | None:
    kind = type(part).__name__
    # a linear layer of that name, in transformers
    if kind.startswith(_TOKENS) or kind.endswith(("LayerNorm", "RMSNorm")) or hasattr(part, "nf"):
        return "tokens"
    if kind.startswith(_CHANNELS) or "Conv" in kind or "BatchNorm" in kind:
        return "channels"
    return None


def _width(part: nn.Module) -> int | None:
    """How many features a layer returns, where it says so."""
    for name in _WIDTHS:
        value: Any = getattr(part, name, None)
        if isinstance(value, tuple) and value:
            value = value[-1]
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None
