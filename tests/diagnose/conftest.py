"""Pairs of spaces with one thing wrong, and their diagnoses, each made once."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pytest

from isthmus.diagnose import Diagnosis, diagnose

N, D = 600, 32

Two = tuple[np.ndarray, np.ndarray]


def rotation(d: int, rng: np.random.Generator) -> np.ndarray:
    return np.linalg.qr(rng.standard_normal((d, d)))[0]


def space(seed: int, n: int = N, d: int = D, decay: float = 0.4) -> np.ndarray:
    """Rows of one healthy model: a falling spectrum in no special basis, a small common mean."""
    models, rng = np.random.default_rng(7), np.random.default_rng(seed)
    spectrum = np.arange(1, d + 1) ** -decay
    mean = 0.3 * spectrum.mean() * models.standard_normal(d)
    return (rng.standard_normal((n, d)) * spectrum) @ rotation(d, models) + mean


def two_models(seed: int, n: int = N, d: int = D, dy: int = D) -> Two:
    """The same items in two healthy models that share most of their information."""
    models, rng = np.random.default_rng(3), np.random.default_rng(seed + 100)
    x = space(seed, n, d)
    spread = np.exp(0.4 * models.standard_normal(dy))
    y = (x @ models.standard_normal((d, dy)) / d**0.5) * spread @ rotation(dy, models)
    y += 0.5 * y.std() * rng.standard_normal(y.shape)
    return x.astype(np.float32), y.astype(np.float32)


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def make(kind: str, seed: int = 0) -> Two:
    """A pair of the kind named; the first side is the reference."""
    rng = np.random.default_rng(seed + 10)
    x = space(seed)
    y: np.ndarray
    if kind == "two_models":
        return two_models(seed)
    if kind == "two_widths":
        return two_models(seed, dy=20)
    if kind == "identical":
        y = x
    elif kind == "rotation":
        y = x @ rotation(D, rng)
    elif kind == "rotation_and_noise":
        y = x @ rotation(D, rng) + 0.05 * x.std() * rng.standard_normal(x.shape)
    elif kind == "rotation_of_unit_rows":
        y = _unit(x) @ rotation(D, rng)
    elif kind == "rotation_into_wider":
        y = x @ rotation(D + 8, rng)[:D]
    elif kind == "rescale":
        y = 3 * x
    elif kind == "dimension_rescale":
        y = x * np.exp(rng.standard_normal(D))
    elif kind == "offset":
        y = x + 0.5 * x.std(axis=0).mean() * rng.standard_normal(D)
    elif kind == "permutation":
        y = x[:, rng.permutation(D)]
    elif kind == "permutation_and_noise":
        y = x[:, rng.permutation(D)] + 0.05 * x.std() * rng.standard_normal(x.shape)
    elif kind == "sign_flips":
        y = x * np.where(np.arange(D) % 3 == 0, -1, 1)
    elif kind == "anisotropic":
        x, y = two_models(seed)
        y = y + 1.0 * np.linalg.norm(y - y.mean(0), axis=1).mean() * _unit(y[:1])
    elif kind == "collapsed":
        x, y = two_models(seed)
        y = y + 1.5 * np.linalg.norm(y - y.mean(0), axis=1).mean() * _unit(y[:1])
    elif kind == "rank_collapse":
        x = np.random.default_rng(seed).standard_normal((N, 128))
        y = x[:, :1] @ rng.standard_normal((1, 128)) + 1e-3 * rng.standard_normal((N, 128))
    elif kind == "wrong_pairing":
        y = (x @ rotation(D, rng))[rng.permutation(N)]
    elif kind == "wrong_pairing_of_two_models":
        x, y = two_models(seed)
        y = y[rng.permutation(N)]
    elif kind == "moved_by_two_rows":
        x, y = two_models(seed, N + 2)
        x, y = x[2:], y[:-2]
    elif kind == "partly_wrong_pairing":
        x, y = two_models(seed)
        y = y.copy()
        y[: N // 4] = rng.permutation(y[: N // 4])
    elif kind == "int8":
        scale = np.abs(x).max() / 127
        y = np.round(x / scale) * scale
    elif kind == "binary":
        y = np.where(x > x.mean(0), 1.0, -1.0)
    elif kind == "unrelated":
        y = rng.standard_normal((N, D)) * np.arange(1, D + 1) ** -1.5
    elif kind == "warp":
        z = x - x.mean(0)
        y = z * (np.linalg.norm(z, axis=1, keepdims=True) / np.linalg.norm(z, axis=1).mean()) ** 3
    elif kind == "cubic_warp":
        z = np.random.default_rng(seed).standard_normal((N, 12)) @ rotation(12, rng)
        x, y = z, z**3 @ rotation(12, rng)
    elif kind == "float16_overflow":
        x, y = two_models(seed)
        with np.errstate(over="ignore"):
            y = (y * 65_504 / np.quantile(np.abs(y), 0.999)).astype(np.float16)
    elif kind == "float16_saturated":
        x, y = two_models(seed)
        y = np.clip(y * 65_504 / np.quantile(np.abs(y), 0.999), -65504, 65504)
    elif kind == "float16_precision":
        x, y = two_models(seed)
        y = (200 + y).astype(np.float16)
    elif kind == "float16_copy":
        y = x.astype(np.float16)
    elif kind == "negated":
        y = -x
    elif kind == "whitened":
        centred = x - x.mean(0)
        y = centred @ np.linalg.inv(np.linalg.cholesky(np.cov(centred.T))).T
    elif kind == "principal_components":
        y = (x - x.mean(0)) @ np.linalg.svd(x - x.mean(0), full_matrices=False)[2][: D // 2].T
    elif kind == "another_prefix":
        y = x + 0.5 * x.std() * rng.standard_normal(x.shape)
    elif kind == "cut_texts":
        y = x + 0.5 * x.std() * rng.standard_normal(x.shape) * (rng.random((N, 1)) < 0.5)
    elif kind == "another_model_in_a_part":
        x, y = two_models(seed)
        y[: 9 * N // 10] = x[: 9 * N // 10]
    elif kind == "int8_of_each_dimension":
        x = x * np.exp(rng.standard_normal(D) * (np.arange(D) % 4 == 0))
        y = np.round(x / np.abs(x).max(0) * 127)
    elif kind == "int8_wrapped":
        y = np.round(x / x.std() * 55).astype(int).astype(np.int8)
    elif kind == "uint8":
        y = np.round(x / np.abs(x).max() * 127) + 128
    elif kind == "padded_behind":
        y = np.pad(x, ((0, 0), (0, 8)))
    elif kind == "truncated_at_a_dead_dimension":
        x[:, D // 2 - 1] = 0
        y = _unit(x[:, : D // 2])
    elif kind == "truncated":
        y = _unit(x[:, : D // 2])
    elif kind == "zero_padded":
        y = x.copy()
        y[:, D // 2 :] = 0
    elif kind == "dead_and_doubled":
        x, y = two_models(seed)
        y = y.copy()
        y[:, 3], y[:, 8] = 0.25, -2 * y[:, 5]
    else:
        raise ValueError(kind)
    wanted = y.dtype if y.dtype == np.float16 else np.float32
    return x.astype(np.float32), y.astype(wanted)


@lru_cache
def _diagnosed(kind: str, seed: int) -> Diagnosis:
    sample = N if kind in ("cubic_warp", "int8_wrapped") else 300
    return diagnose(*make(kind, seed), names=("old", "new"), sample=sample, seed=seed)


@pytest.fixture(scope="session")
def diagnosed() -> Callable[..., Diagnosis]:
    def run(kind: str, seed: int = 0) -> Diagnosis:
        return _diagnosed(kind, seed)

    return run


@pytest.fixture(scope="session")
def make_pair() -> Callable[..., Two]:
    return make
