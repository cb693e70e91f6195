"""Two models of one world: decaying spectra in bases of their own, a mean, and noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import isthmus
from isthmus.bridge import Bridge
from isthmus.spaces.pairs import Pairs
from isthmus.ways.fit_trust import HeldOutRows, fit_trust

Rows = NDArray[np.float32]


class World:
    """Items are points of a latent space; each model shows them in its own basis."""

    def __init__(
        self,
        dx: int = 24,
        dy: int = 24,
        *,
        seed: int = 0,
        noise_x: float = 0.1,
        noise_y: float = 0.25,
        rng: int = 1,
    ) -> None:
        models = np.random.default_rng(seed)
        self.k = max(dx, dy)
        self.spectrum = np.arange(1, self.k + 1) ** -0.75
        self.noise = {"x": noise_x, "y": noise_y}
        self.width = {"x": dx, "y": dy}
        self.basis = {s: np.linalg.qr(models.standard_normal((d, d)))[0] for s, d in self._sides()}
        self.mean = {s: models.standard_normal(d) * 0.6 / d**0.5 for s, d in self._sides()}
        self.rng = np.random.default_rng(rng)

    def _sides(self) -> list[tuple[str, int]]:
        return list(self.width.items())

    def latent(self, n: int) -> NDArray[Any]:
        return self.rng.standard_normal((n, self.k))

    def near(self, z: NDArray[Any]) -> NDArray[Any]:
        """Queries about the items ``z``."""
        return z + 0.3 * self.rng.standard_normal(z.shape)

    def seen(self, side: str, z: NDArray[Any]) -> Rows:
        noisy = z + self.noise[side] * self.rng.standard_normal(z.shape)
        rows = (noisy * self.spectrum)[:, : self.width[side]] @ self.basis[side] + self.mean[side]
        return rows.astype(np.float32)

    def pairs(self, z: NDArray[Any], **options: Any) -> Pairs:
        return Pairs(self.seen("x", z), self.seen("y", z), **options)

    def upgrade(self, n: int = 1500, **options: Any) -> tuple[Pairs, Pairs]:
        """Items, and a query about each."""
        z = self.latent(n)
        return self.pairs(z, **options), self.pairs(self.near(z), **options)


@pytest.fixture(scope="session")
def make_world() -> Callable[..., World]:
    return World


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture(scope="session")
def upgrade() -> tuple[Pairs, Pairs]:
    return World().upgrade()


@pytest.fixture(scope="session")
def _fitted(upgrade: tuple[Pairs, Pairs]) -> Bridge:
    pairs, queries = upgrade
    return isthmus.fit(pairs, queries=queries)


@pytest.fixture
def bridge(_fitted: Bridge) -> Bridge:
    """A query bridge, which has seen no vectors yet."""
    return _fitted.unproven()


@pytest.fixture(scope="session")
def _trusted(_fitted: Bridge, upgrade: tuple[Pairs, Pairs]) -> Bridge:
    """Its queries were partly fitted on: enough for its parts, not for their numbers."""
    items, asked = (pairs.head(1500) for pairs in upgrade)
    parts = [slice(0, 500), slice(500, 1000), slice(1000, 1500)]
    rows = [HeldOutRows(asked.x[part], asked.y[part], items.y) for part in parts]
    assert _fitted.source_profile is not None
    return replace(
        _fitted,
        trust=fit_trust(_fitted.chain, _fitted.source_profile, *rows, metric="cosine"),
    )


@pytest.fixture
def trusted(_trusted: Bridge) -> Bridge:
    """The same bridge with trust and calibrated scores, which has seen no vectors yet."""
    return _trusted.unproven()
