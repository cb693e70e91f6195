"""The frame against the full covariance, for numpy and torch, near and far from the origin."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.moments import Moments
from isthmus.ways.frame import Frame


def cloud(n: int = 2000, d: int = 6, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((n, d)) @ (rng.standard_normal((d, d)) / d**0.5)
    return (mixed + 0.3).astype(np.float32)


def distances(frame: Frame, x: Any) -> np.ndarray:
    """By the fast way, which must agree with the slow one."""
    r = len(frame.variances)
    read, rest, distance = frame.readout(np.eye(2 * r))(x)
    if isinstance(x, np.ndarray):
        p, slow_rest, slow_distance = frame.coordinates(x)
        np.testing.assert_allclose(read[:r].T, p, atol=2e-2, rtol=2e-3)
        np.testing.assert_allclose(read[r:].T, p**2, atol=2e-2, rtol=2e-3)
        np.testing.assert_allclose(rest, slow_rest, rtol=2e-2, atol=2e-2)
        np.testing.assert_allclose(distance, slow_distance, rtol=1e-2, atol=1e-3)
    return distance


def test_all_directions_give_the_mahalanobis_distance() -> None:
    x = cloud()
    frame = Frame.of_rows(x, unit=False)
    d = x.shape[1]
    assert frame.directions.shape == (d, d)
    covariance = np.cov(x.T, bias=True)
    shrinkage = d / (len(x) + d)
    shrunk = (1 - shrinkage) * covariance + shrinkage * np.trace(covariance) / d * np.eye(d)
    apart = x - x.mean(0)
    expected = np.einsum("ij,jk,ik->i", apart, np.linalg.inv(shrunk), apart) / d
    np.testing.assert_allclose(distances(frame, x), expected, rtol=2e-3)
    assert distances(frame, x).mean() == pytest.approx(1, abs=0.03)


def test_few_directions_and_an_average_rest() -> None:
    x = cloud(4000, 96)
    frame = Frame.of_rows(x, unit=False)
    assert frame.directions.shape == (96, 7)
    assert distances(frame, x).mean() == pytest.approx(1, abs=0.05)
    p, rest, _ = frame.coordinates(x)
    np.testing.assert_allclose(p.mean(0), 0, atol=0.01)
    np.testing.assert_allclose(p.std(0), 1, atol=0.05)
    assert rest.mean() == pytest.approx(1, abs=0.05)
    assert distances(frame, 3 * x).mean() > 5


def test_moments_give_the_frame_of_the_rows() -> None:
    x = cloud(500, 24)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    by_rows = Frame.of_rows(x, unit=True)
    side = Moments.of(unit, unit, keep={"square", "xx"}).second().x
    by_moments = Frame.of_moments(side, unit=True)
    np.testing.assert_allclose(distances(by_rows, x), distances(by_moments, x), rtol=1e-4)
    with pytest.raises(InputError, match="no 'xx'"):
        Frame.of_moments(Moments.of(unit, unit, keep={"square"}).second().x, unit=True)


def test_length_says_nothing_in_a_unit_frame() -> None:
    x = cloud(500, 24)
    frame = Frame.of_rows(x, unit=True)
    lengths = np.linspace(0.1, 9, 500, dtype=np.float32)[:, None]
    np.testing.assert_allclose(distances(frame, lengths * x), distances(frame, x), rtol=1e-3)
    assert np.isfinite(distances(frame, np.zeros((2, 24), np.float32))).all()


@pytest.mark.parametrize("unit", [False, True])
def test_rows_of_float32_are_as_good_as_of_float64(unit: bool) -> None:
    x = cloud(1000, 48)
    frame = Frame.of_rows(x, unit=unit)
    np.testing.assert_allclose(
        distances(frame, x), distances(frame, x.astype(np.float64)), rtol=1e-3
    )


def test_a_large_common_mean_does_not_spoil_the_distance() -> None:
    x = cloud(1000, 48)
    x -= x.mean(0)
    shifted = (np.round(x * 64) / 64 + 1e4).astype(np.float32)  # held exactly in float32
    near, far = Frame.of_rows(np.round(x * 64) / 64, unit=False), Frame.of_rows(shifted, unit=False)
    np.testing.assert_allclose(
        distances(far, shifted), distances(near, np.round(x * 64) / 64), rtol=0.05
    )


@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("library", ["torch", "array_api_strict"])
def test_other_array_libraries(unit: bool, library: str) -> None:
    xp = pytest.importorskip(library)
    x = cloud(100, 24)
    frame = Frame.of_rows(x, unit=unit)
    np.testing.assert_allclose(distances(frame, xp.asarray(x)), distances(frame, x), rtol=1e-3)


def test_rows_without_spread() -> None:
    same = np.full((50, 12), 0.5, np.float32)
    for unit in (False, True):
        frame = Frame.of_rows(same, unit=unit)
        found = distances(frame, np.vstack([same, same + cloud(50, 12)]))
        assert np.isfinite(found).all()
        assert found[:50].max() < found[50:].min()


def test_zero_rows_and_rows_that_are_not_finite() -> None:
    x = cloud(50, 12)
    x[3] = 0
    with pytest.raises(InputError, match="row 3: a zero vector has no cosine"):
        Frame.of_rows(x, unit=True)
    Frame.of_rows(x, unit=False)
    x[7, 2] = np.nan
    with pytest.raises(InputError, match="row 7"):
        Frame.of_rows(x, unit=False)
