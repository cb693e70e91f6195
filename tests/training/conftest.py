"""A task where least squares is not what retrieval wants: a few loud dimensions of pure noise."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from isthmus.spaces.sample import Batch
from isthmus.training import Examples

# what several test files share lies beside them
sys.path.insert(0, str(Path(__file__).parent))

Task = tuple[Examples, np.ndarray, np.ndarray]


@pytest.fixture(scope="session")
def task() -> Task:
    """Examples, and a start: the nearest rotation, for centred unit rows."""
    rng = np.random.default_rng(0)
    n, d = 600, 12
    z = rng.standard_normal((n, d)) * np.arange(1, d + 1) ** -0.5
    x = z @ np.linalg.qr(rng.standard_normal((d, d)))[0] + 0.05 * rng.standard_normal((n, d))
    y = z * np.linspace(0.3, 1.5, d) + np.tanh(2 * z[:, ::-1]) * 0.2
    x, y = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (x, y))
    examples = Examples.of(Batch(np.arange(n), x, y, np.arange(n) % 7))
    assert examples is not None
    u, _, vt = np.linalg.svd((x - x.mean(0)).T @ (y - y.mean(0)))
    matrix = u @ vt
    return examples, matrix, y.mean(0) - x.mean(0) @ matrix
