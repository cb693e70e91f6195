"""Two synthetic models of the same items: clusters of uneven size in a skewed latent space."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest


class Twins(NamedTuple):
    """Rows of two models; row i of both is item i."""

    x: np.ndarray
    y: np.ndarray


def make_twins(
    n: int, dx: int = 24, dy: int = 24, *, noise: float = 0.02, seed: int = 0, topics: int = 12
) -> Twins:
    """``n`` items as two models see them, float32 of unit length, with a common mean."""
    rng = np.random.default_rng(seed)
    latent = min(dx, dy)
    scale = np.arange(1, latent + 1) ** -0.5
    centres = rng.exponential(size=(topics, latent)) * 1.5
    weights = np.arange(topics, 0, -1.0)
    topic = rng.choice(topics, size=n, p=weights / weights.sum())
    items = (centres[topic] + rng.standard_normal((n, latent))) * scale

    def model(width: int) -> np.ndarray:
        turn = np.linalg.qr(rng.standard_normal((width, width)))[0][:latent]
        rows = items @ turn + 0.5 * rng.standard_normal(width) / width**0.5
        rows += noise * rng.standard_normal(rows.shape)
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    return Twins(model(dx), model(dy))


@pytest.fixture(scope="session")
def twins() -> Callable[..., Twins]:
    return make_twins
