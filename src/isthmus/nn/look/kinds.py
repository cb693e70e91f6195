"""What the kind of a layer alone says of where the features of its output lie."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils.weak import TensorWeakRef

__all__ = ["FeatureSource", "certain_kind", "steps_first", "told_by_kind", "told_inside"]

_CHANNELS: tuple[type[nn.Module], ...] = (
    nn.modules.conv._ConvNd,  # pyright: ignore[reportPrivateUsage]
    nn.modules.batchnorm._NormBase,  # pyright: ignore[reportPrivateUsage]
    nn.GroupNorm,
    nn.modules.pooling._MaxPoolNd,  # pyright: ignore[reportPrivateUsage]
    nn.modules.pooling._AvgPoolNd,  # pyright: ignore[reportPrivateUsage]
    nn.modules.pooling._AdaptiveAvgPoolNd,  # pyright: ignore[reportPrivateUsage]
    nn.modules.pooling._AdaptiveMaxPoolNd,  # pyright: ignore[reportPrivateUsage]
    nn.Upsample,
    nn.PixelShuffle,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
)
_TOKENS: tuple[type[nn.Module], ...] = (
    nn.Linear,
    nn.Bilinear,
    nn.LayerNorm,
    nn.RMSNorm,
    nn.Embedding,
    nn.MultiheadAttention,
    nn.RNNBase,
    nn.TransformerEncoderLayer,
    nn.TransformerDecoderLayer,
    nn.TransformerEncoder,
    nn.TransformerDecoder,
)


def certain_kind(layer: nn.Module) -> str | None:
    """``channels`` or ``tokens`` of PyTorch's own layers, whose ``forward`` is PyTorch's too.

    Convolutions and what goes with them put features second; linear layers, layer norms and
    attention put them last.  A subclass that runs other code is no certain kind.
    """
    if not getattr(type(layer).forward, "__module__", "").startswith("torch.nn."):
        return None
    if isinstance(layer, nn.LayerNorm) and len(layer.normalized_shape) > 1:
        return None
    if isinstance(layer, _TOKENS):
        return "tokens"
    return "channels" if isinstance(layer, _CHANNELS) else None


def told_by_kind(layer: nn.Module) -> str | None:
    """`certain_kind`, or what the name of a layer without parts says: third parties' norms."""
    certain = certain_kind(layer)
    if certain is not None or next(layer.children(), None) is not None:
        return certain
    name = type(layer).__name__
    if name.endswith(("2d", "3d")) or "BatchNorm" in name or "GroupNorm" in name:
        return "channels"
    # a linear layer of that name, in transformers, states its width so
    named: Any = getattr(layer, "nf", None)
    if name.endswith(("LayerNorm", "RMSNorm", "Linear")) or isinstance(named, int):
        return "tokens"
    return None


def told_inside(layer: nn.Module, ndim: int) -> str | None:
    """What the kinds of the parts say, from the last on, of an output with ``ndim`` axes.

    A convolution over an image, inside of what returns three axes, says nothing of these.
    """
    for part in reversed(list(layer.modules())):
        kind = told_by_kind(part)
        over = re.search(r"([123])d$", type(part).__name__)
        if kind is not None and (over is None or int(over[1]) + 2 == ndim):
            return kind
    return None


@dataclass(frozen=True)
class FeatureSource:
    """What a layer of a certain kind returned, while anything is still made of it."""

    base: TensorWeakRef
    """What holds its numbers."""
    step: int
    """Between two features, in numbers."""
    width: int

    @classmethod
    def of(cls, made: Tensor, kind: str) -> FeatureSource:
        """Of ``made``, which a layer of ``kind`` returned, as `told_by_kind` says it."""
        axis = 1 if kind == "channels" else made.ndim - 1
        return cls(TensorWeakRef(_base(made)), made.stride(axis), made.shape[axis])

    def holds(self, seen: Tensor) -> bool:
        """Whether ``seen`` is a view of what was returned, with axes split, joined or permuted."""
        return self.base() is _base(seen)

    def features(self, seen: Tensor) -> frozenset[int]:
        """The axes of ``seen``, which `holds`, along which only features change."""
        steps = enumerate(zip(seen.stride(), seen.shape, strict=True))
        return frozenset(
            axis
            for axis, (step, length) in steps
            if length > 1 and step and not step % self.step and step // self.step < self.width
        )


def _base(tensor: Tensor) -> Tensor:
    return tensor if tensor._base is None else tensor._base  # pyright: ignore[reportPrivateUsage]


def steps_first(layer: nn.Module) -> bool:
    """Whether the layer states that it takes the steps of sequences before items."""
    return getattr(layer, "batch_first", True) is False
