"""Small image encoders of two kinds, and what their training costs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.arrays import Array
from benchmarks.study.glyphs import tensors
from benchmarks.study.upgrade import unit
from isthmus.nn.compat import TrainedEncoder, encode
from isthmus.training.batches import Batches
from isthmus.training.loop import seeded
from isthmus.training.schedule import Schedule

__all__ = ["convolutional", "embedded", "mixer", "timed_training"]

BATCH = 128
RATE = 2e-3


def convolutional(dim: int, seed: int, widths: tuple[int, ...] = (16, 32, 64)) -> Any:
    """A plain network of 3 × 3 convolutions on 16 × 16 pixels: images to features ``(n, dim)``."""
    from torch import nn

    layers: list[Any] = [nn.AvgPool2d(2)]
    before = 1
    with seeded(seed):
        for width in widths:
            layers += [
                nn.Conv2d(before, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
                nn.MaxPool2d(2),
            ]
            before = width
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * before, dim))


def mixer(dim: int, seed: int, channels: int = 48, depth: int = 2) -> Any:
    """A network of 4 × 4 patches, mixed by MLPs alone (Tolstikhin et al. 2021)."""
    import torch
    from torch import nn

    patches = 64

    class Mix(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.LayerNorm(channels), nn.LayerNorm(channels)
            self.across = nn.Sequential(nn.Linear(patches, 48), nn.GELU(), nn.Linear(48, patches))
            self.within = nn.Sequential(
                nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels)
            )

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            tokens = tokens + self.across(self.first(tokens).transpose(1, 2)).transpose(1, 2)
            return tokens + self.within(self.second(tokens))

    class Mixer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cut = nn.Conv2d(1, channels, 4, stride=4)
            self.blocks = nn.Sequential(*(Mix() for _ in range(depth)))
            self.norm = nn.LayerNorm(channels)
            self.out = nn.Linear(channels, dim)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            tokens = self.blocks(self.cut(images).flatten(2).transpose(1, 2))
            return self.out(self.norm(tokens).mean(dim=1))

    with seeded(seed):
        return Mixer()


def timed_training(
    method: Callable[..., TrainedEncoder],
    encoder: Any,
    images: Array,
    labels: Array,
    *arguments: Any,
    epochs: int,
    seed: int,
    **options: Any,
) -> tuple[TrainedEncoder, float]:
    """The encoder as a method of `isthmus.nn.compat` trains it, and its seconds of processor."""
    import torch

    batches = Batches(*tensors(images, labels), size=BATCH, drop_last=True, seed=seed)
    steps = epochs * len(batches)

    def optimiser(model: Any) -> Any:
        return torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)

    def scheduler(made: Any) -> Any:
        return torch.optim.lr_scheduler.OneCycleLR(made, max_lr=RATE, total_steps=steps)

    start = time.process_time()
    found = method(
        encoder,
        batches,
        *arguments,
        Schedule(epochs, seed=seed, optimiser=optimiser, scheduler=scheduler),
        **options,
    )
    return found, time.process_time() - start


def embedded(encoder: Any, images: Array) -> Array:
    """Unit rows ``(n, d)`` float32."""
    pixels, labels = tensors(images, np.zeros(len(images)))
    return unit(encode(encoder, Batches(pixels, labels, size=512, shuffle=False))[0])
