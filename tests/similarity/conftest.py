"""Five seeded inputs, and the independent definitions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from benchmarks.definitions import DEFINITIONS

Array = np.ndarray


def related(n: int, dx: int, dy: int, seed: int, noise: float = 0.7) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    common = rng.standard_normal((n, min(dx, dy)))
    x = common @ rng.standard_normal((min(dx, dy), dx)) + noise * rng.standard_normal((n, dx))
    y = common @ rng.standard_normal((min(dx, dy), dy)) + noise * rng.standard_normal((n, dy))
    return x * np.arange(1, dx + 1) ** -0.3, y


def _offset() -> tuple[Array, Array]:
    x, y = related(250, 6, 6, 2)
    return x + 1e4 * x.std() * np.linspace(-1, 1.5, 6), y - 1e4 * y.std()


def _unrelated() -> tuple[Array, Array]:
    rng = np.random.default_rng(5)
    return rng.standard_normal((250, 5)), rng.standard_normal((250, 7))


INPUTS: dict[str, Callable[[], tuple[Array, Array]]] = {
    "tall": lambda: related(400, 6, 6, 1),
    "offset": _offset,
    "widths": lambda: related(200, 4, 13, 3),
    "few rows": lambda: related(24, 40, 31, 4),
    "unrelated": _unrelated,
}


@pytest.fixture
def definitions() -> dict[str, Any]:
    return DEFINITIONS


@pytest.fixture
def pair() -> Callable[..., tuple[Array, Array]]:
    """``pair(n, dx, dy, seed)``: two related sides."""
    return related


@pytest.fixture(params=INPUTS)
def case(request: pytest.FixtureRequest) -> tuple[Array, Array]:
    """Five seeded pairs: tall, with an offset, of other widths, with few rows, unrelated."""
    return INPUTS[request.param]()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "defined" in metafunc.fixturenames:
        metafunc.parametrize("defined", DEFINITIONS)
