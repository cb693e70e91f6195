"""What is read off a profile against the full covariance, for numpy and torch, near and far."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.spaces.profile import Profile
from isthmus.ways.readout import Readout


def cloud(n: int = 2000, d: int = 6, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((n, d)) @ (rng.standard_normal((d, d)) / d**0.5)
    return (mixed + 0.3).astype(np.float32)


def distances(profile: Profile, x: Any) -> np.ndarray:
    """By the fast way, which must agree with the slow one."""
    r = len(profile.variances)
    read, rest, distance = Readout(profile, np.eye(2 * r))(x)
    if isinstance(x, np.ndarray):
        p, slow_rest, slow_distance = profile.coordinates(x)
        np.testing.assert_allclose(read[:r].T, p, atol=2e-2, rtol=2e-3)
        np.testing.assert_allclose(read[r:].T, p**2, atol=2e-2, rtol=2e-3)
        np.testing.assert_allclose(rest, slow_rest, rtol=2e-2, atol=2e-2)
        np.testing.assert_allclose(distance, slow_distance, rtol=1e-2, atol=1e-3)
    return distance


def test_all_directions_give_the_mahalanobis_distance() -> None:
    x = cloud()
    profile = Profile.of_rows(x, unit=False)
    d = x.shape[1]
    assert profile.full.shape == (d, d)
    held = np.arange(len(x)) % 5 == 4  # these only tell what unseen rows look like
    covariance = np.cov(x[~held].T, bias=True)
    shrinkage = d / ((~held).sum() + d)
    shrunk = (1 - shrinkage) * covariance + shrinkage * np.trace(covariance) / d * np.eye(d)
    apart = x - x[~held].mean(0)
    expected = np.einsum("ij,jk,ik->i", apart, np.linalg.inv(shrunk), apart) / d
    np.testing.assert_allclose(distances(profile, x), expected, rtol=2e-3)
    assert distances(profile, x).mean() == pytest.approx(1, abs=0.03)


def test_few_directions_and_an_average_rest() -> None:
    x = cloud(4000, 96)
    profile = Profile.of_rows(x, unit=False)
    assert profile.full.shape == (96, 7)
    assert distances(profile, x).mean() == pytest.approx(1, abs=0.05)
    p, rest, _ = profile.coordinates(x)
    np.testing.assert_allclose(p.mean(0), 0, atol=0.01)
    np.testing.assert_allclose(p.std(0), 1, atol=0.05)
    assert rest.mean() == pytest.approx(1, abs=0.05)
    assert distances(profile, 3 * x).mean() > 5


def test_length_says_nothing_in_a_unit_profile() -> None:
    x = cloud(500, 24)
    profile = Profile.of_rows(x, unit=True)
    lengths = np.linspace(0.1, 9, 500, dtype=np.float32)[:, None]
    np.testing.assert_allclose(distances(profile, lengths * x), distances(profile, x), rtol=1e-3)
    assert np.isfinite(distances(profile, np.zeros((2, 24), np.float32))).all()


@pytest.mark.parametrize("unit", [False, True])
def test_rows_of_float32_are_as_good_as_of_float64(unit: bool) -> None:
    x = cloud(1000, 48)
    profile = Profile.of_rows(x, unit=unit)
    np.testing.assert_allclose(
        distances(profile, x), distances(profile, x.astype(np.float64)), rtol=1e-3
    )


def test_a_large_common_mean_does_not_spoil_the_distance() -> None:
    x = cloud(1000, 48)
    x -= x.mean(0)
    shifted = (np.round(x * 64) / 64 + 1e4).astype(np.float32)  # held exactly in float32
    near, far = (Profile.of_rows(rows, unit=False) for rows in (np.round(x * 64) / 64, shifted))
    np.testing.assert_allclose(
        distances(far, shifted), distances(near, np.round(x * 64) / 64), rtol=0.05
    )


@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("library", ["torch", "array_api_strict"])
def test_other_array_libraries(unit: bool, library: str) -> None:
    xp = pytest.importorskip(library)
    x = cloud(100, 24)
    profile = Profile.of_rows(x, unit=unit)
    np.testing.assert_allclose(distances(profile, xp.asarray(x)), distances(profile, x), rtol=1e-3)


def test_rows_without_spread() -> None:
    same = np.full((50, 12), 0.5, np.float32)
    for unit in (False, True):
        profile = Profile.of_rows(same, unit=unit)
        found = distances(profile, np.vstack([same, same + cloud(50, 12)]))
        assert np.isfinite(found).all()
        assert found[:50].max() < found[50:].min()


def test_zero_rows_and_rows_that_are_not_finite() -> None:
    x = cloud(50, 12)
    x[3] = 0
    with pytest.raises(InputError, match="row 3: the row is all zeros"):
        Profile.of_rows(x, unit=True)
    Profile.of_rows(x, unit=False)
    x[7, 2] = np.nan
    with pytest.raises(InputError, match="row 7"):
        Profile.of_rows(x, unit=False)
