"""The seeded synthetic task that every row uses, so that nothing has to be downloaded.

Two "models" see the same items.  An item is one of 400 topics plus a deviation of its own, in a
latent space of 192 numbers whose standard deviations fall as ``i ** -0.7``.  A model is a Gaussian
mixing matrix of its own (not a rotation, so Procrustes is misspecified), a mild nonlinearity, a
common mean and private noise (growing with the root of the width, so that wide models are not
easier); rows are then scaled to unit length, as embedding models deliver
them.  Items of one topic are near neighbours, so that recall@1 is not easy.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

LATENT = 192
DECAY = 0.7
TOPICS = 400
DEVIATION = 0.4
NONLINEARITY = 0.7
COMMON_MEAN = 0.5
NOISE = 0.8
HELD_OUT = 2_000
PAIRS = 18_000
BLOCK = 20_000

Array = np.ndarray


@dataclass(frozen=True)
class Task:
    """Paired rows to fit on and held-out pairs to judge by; all float32 with unit rows."""

    x: Array
    y: Array
    x_test: Array
    y_test: Array

    @property
    def shape(self) -> str:
        return f"{len(self.x):,} x {self.x.shape[1]}→{self.y.shape[1]}"


def _encode(latent: Array, dim: int, rng: np.random.Generator) -> Array:
    mixing = rng.standard_normal((latent.shape[1], dim), dtype=np.float32)
    h = latent @ mixing
    h /= h.std()
    h += NONLINEARITY * np.tanh(2 * h)
    h += COMMON_MEAN * rng.standard_normal(dim, dtype=np.float32)
    h += NOISE * (dim / 384) ** 0.5 * rng.standard_normal(h.shape, dtype=np.float32)
    return h / np.linalg.norm(h, axis=1, keepdims=True)


def paired(dx: int, dy: int, n: int = PAIRS, *, held_out: int = HELD_OUT, seed: int = 0) -> Task:
    """``n`` training pairs of widths ``dx`` and ``dy`` and ``held_out`` unseen ones."""
    rng = np.random.default_rng([seed, dx, dy])
    scale = np.arange(1, LATENT + 1, dtype=np.float32) ** -DECAY
    topics = rng.standard_normal((TOPICS, LATENT), dtype=np.float32)
    own = rng.standard_normal((n + held_out, LATENT), dtype=np.float32)
    latent = (topics[rng.integers(TOPICS, size=n + held_out)] + DEVIATION * own) * scale
    x, y = _encode(latent, dx, rng), _encode(latent, dy, rng)
    return Task(x[:n].copy(), y[:n].copy(), x[n:].copy(), y[n:].copy())


def repeated(n: int, dx: int, dy: int, *, seed: int = 0) -> tuple[Array, Array]:
    """``n`` pairs made by repeating one block: for speed alone, which does not see the values."""
    task = paired(dx, dy, min(n, BLOCK), held_out=0, seed=seed)
    rows = np.arange(n) % len(task.x)
    return task.x[rows], task.y[rows]


def gallery(nq: int, ng: int, dim: int, *, seed: int = 0) -> tuple[Array, Array]:
    """Unit queries and a gallery of distinct unit rows from one space."""
    task = paired(dim, dim, ng, held_out=nq, seed=seed)
    return task.x_test, task.x


def write_pairs(folder: Path, n: int, dim: int, *, seed: int = 0) -> tuple[Path, Path]:
    """Write ``n`` pairs to ``x.npy`` and ``y.npy`` block by block, each block shifted a little."""
    task = paired(dim, dim, BLOCK, held_out=0, seed=seed)
    paths = folder / "x.npy", folder / "y.npy"
    for path, block in zip(paths, (task.x, task.y), strict=True):
        with path.open("wb") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": (n, dim)}
            np.lib.format.write_array_header_1_0(file, header)
            for number, start in enumerate(range(0, n, BLOCK)):
                shift = np.float32(1e-3 * (number % 7))
                file.write((block[: n - start] + shift).tobytes())
    return paths
