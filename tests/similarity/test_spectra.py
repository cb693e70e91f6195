from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.moments import Moments
from isthmus.similarity.spectra import (
    Spectra,
    check_varies,
    nearly_mean_singular,
    singular,
    whitened_singular,
)


def spectra(x: Any, y: Any, **more: Any) -> Spectra:
    return Spectra(Moments.of(x, y).second(), **more)


@pytest.mark.parametrize("shape", [(5, 5), (90, 70), (70, 90), (70, 70)])
@pytest.mark.parametrize("decay", [0.0, 1.0, 8.0])
def test_singular_values_are_lapacks(shape: tuple[int, int], decay: float) -> None:
    rng = np.random.default_rng(0)
    p = min(shape)
    u, v = (np.linalg.qr(rng.standard_normal((d, p)))[0] for d in shape)
    m = (u * np.arange(1, p + 1) ** -decay) @ v.T
    found = singular(m)
    expected = np.linalg.svd(m, compute_uv=False)
    assert abs(found.values - expected).sum() <= 2e-9 * expected.sum()
    np.testing.assert_allclose((found.u * found.values) @ found.v.T, m, atol=1e-8)


def test_singular_values_of_a_matrix_without_full_rank() -> None:
    m = np.outer(np.arange(1.0, 101), np.ones(80))
    assert singular(m).values.sum() == pytest.approx(np.linalg.norm(m), rel=1e-10)
    assert singular(np.zeros((80, 80))).values.sum() == 0


@pytest.mark.parametrize("shape", [(5, 5), (200, 150), (150, 200), (200, 200)])
@pytest.mark.parametrize("kind", ["spread", "falling", "many of 1", "half of 0"])
def test_singular_values_of_a_whitened_matrix_are_lapacks(
    shape: tuple[int, int], kind: str
) -> None:
    rng = np.random.default_rng(0)
    p = min(shape)
    u, v = (np.linalg.qr(rng.standard_normal((d, p)))[0] for d in shape)
    ranks = np.arange(p) / p
    rho = {
        "spread": 1 - ranks,
        "falling": 1e-6**ranks,
        "many of 1": np.minimum(1, 1.5 - ranks),
        "half of 0": np.where(ranks < 0.5, 0.5, 0.0),
    }[kind]
    m = (u * rho) @ v.T
    for dtype in (np.float32, np.float64):
        found = whitened_singular(m, dtype=dtype)
        assert found.values.sum() == pytest.approx(rho.sum(), rel=2e-9)
        assert np.minimum(found.values, 1).sum() == pytest.approx(rho.sum(), rel=2e-9)
        np.testing.assert_allclose(found.values, rho, atol=1e-6)
        assert (np.diff(found.values) <= 0).all()
        assert found.u.dtype == found.v.dtype == dtype
        np.testing.assert_allclose((found.u * found.values) @ found.v.T, m, atol=2e-6)
    assert nearly_mean_singular(m) == pytest.approx(rho.mean(), abs=3e-4)


def test_the_mean_of_spread_singular_values_is_near_without_vectors() -> None:
    m = np.random.default_rng(0).standard_normal((300, 200)) / 35
    exact = np.linalg.svd(m, compute_uv=False).mean()
    assert nearly_mean_singular(m) == nearly_mean_singular(m.T) == pytest.approx(exact, abs=1e-6)


def test_directions_without_variance_are_left_out(pair: Any) -> None:
    x, y = pair(200, 6, 4, 0)
    dead = np.column_stack([x, x[:, 0] - x[:, 1], np.ones(200)])
    found = spectra(dead, y, precision=np.finfo(np.float64).eps)
    assert found.x.rank == 6
    assert found.x.values[0] == max(found.x.values)
    single = spectra(dead.astype(np.float32), y.astype(np.float32))
    assert single.x.rank == 6
    few = spectra(*pair(10, 30, 4, 0))
    assert few.x.rank == 9
    with pytest.raises(InputError, match="the same"):
        _ = spectra(np.zeros((10, 3)), y[:10]).x


def test_components_reach_the_share_of_the_variance(pair: Any) -> None:
    x, y = pair(300, 8, 5, 0)
    found = spectra(x, y)
    kx, ky = found.components(0.9)
    values = np.linalg.eigvalsh(np.cov(x.T))[::-1]
    assert values[:kx].sum() >= 0.9 * values.sum() > values[: kx - 1].sum()
    assert found.components(1.0) == (8, 5)
    assert ky <= 5


def test_whitened_directions_have_unit_variance(pair: Any) -> None:
    x, y = pair(300, 8, 5, 0)
    found = spectra(x, y)
    weights = found.weights("x", found.canonical.u)
    np.testing.assert_allclose(np.cov((x @ weights).T, bias=True), np.eye(5), atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_side_that_varies_by_rounding_alone_does_not_vary(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    eps = float(np.finfo(dtype).eps)
    for spread, same in ((0.0, True), (0.5 * eps, True), (100 * eps, False)):
        x = (7.3 * (1 + spread * rng.standard_normal((100, 3)))).astype(dtype)
        second = Moments.of(x, rng.standard_normal((100, 2)).astype(dtype)).second()
        if same:
            with pytest.raises(InputError, match="x: all rows are the same"):
                check_varies(second, eps)
        else:
            check_varies(second, eps)
