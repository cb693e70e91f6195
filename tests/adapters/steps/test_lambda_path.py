"""The path of λ: its two ends, outside solvers between them, invariances, and bad input."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.adapters import Procrustes, Ridge
from isthmus.adapters.steps.lambda_path import LambdaMap, lambda_path, optimality_gap
from isthmus.adapters.steps.spectral_ball import departure
from isthmus.errors import InputError
from isthmus.moments import Moments, SecondMoments

SHAPES = [(6, 6), (5, 8), (8, 5)]


def paired(n: int, dx: int, dy: int, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, dx)) * np.arange(1, dx + 1) ** -0.7 + 2
    mixing = np.eye(dx, dy) + 0.7 * rng.standard_normal((dx, dy)) / max(dx, dy) ** 0.5
    return x, x @ mixing + 0.2 * rng.standard_normal((n, dy)) - 1


def moments(n: int, dx: int, dy: int, seed: int = 0) -> SecondMoments:
    return Moments.of(*paired(n, dx, dy, seed)).second()


def error(m: SecondMoments, w: np.ndarray) -> float:
    """Mean squared error of centred rows."""
    return float(np.vdot(w, m.require("xx") @ w - 2 * m.require("xy")) + np.trace(m.require("yy")))


def rotation(d: int, seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))[0]


@pytest.mark.parametrize(("dx", "dy"), [(6, 6), (5, 8)])
def test_the_rigid_end_is_procrustes(dx: int, dy: int) -> None:
    x, y = paired(300, dx, dy)
    m = Moments.of(x, y).second()
    (rigid,) = lambda_path(m, [0.0])
    np.testing.assert_allclose(rigid.matrix, Procrustes().fit(x, y).matrix_, atol=1e-10)
    if dx == dy:
        expected, _ = scipy.linalg.orthogonal_procrustes(x - x.mean(0), y - y.mean(0))
        np.testing.assert_allclose(rigid.matrix, expected, atol=1e-10)
    assert rigid.departure < 1e-10
    assert rigid.active


@pytest.mark.parametrize("shape", SHAPES)
def test_the_loose_end_is_least_squares(shape: Any) -> None:
    x, y = paired(300, *shape)
    m = Moments.of(x, y).second()
    expected = np.linalg.lstsq(x - x.mean(0), y - y.mean(0), rcond=None)[0]
    for lam in (1e6, np.inf):
        (loose,) = lambda_path(m, [lam])
        np.testing.assert_allclose(loose.matrix, expected, atol=1e-8)
        assert not loose.active
    np.testing.assert_allclose(loose.matrix, Ridge(0.0).fit(x, y).matrix_, atol=1e-10)
    almost = 0.999 * loose.departure
    (active,) = lambda_path(m, [almost], relative=False)
    assert active.active
    assert active.departure == pytest.approx(almost, rel=1e-3)


@pytest.mark.parametrize("shape", [*SHAPES, (40, 40), (24, 40), (40, 24)])
def test_active_bounds_are_hit_and_a_looser_one_fits_better(shape: Any) -> None:
    m = moments(500, *shape)
    lams = [0.01, 0.05, 0.1, 0.2, 0.3]
    path = lambda_path(m, lams)
    root = min(shape) ** 0.5
    for lam, found in zip(lams, path, strict=True):
        assert found.active
        assert departure(found.matrix) == pytest.approx(lam * root, rel=1e-3)
        assert found.departure == pytest.approx(departure(found.matrix))
        (absolute,) = lambda_path(m, [lam * root], relative=False)
        assert error(m, absolute.matrix) == pytest.approx(error(m, found.matrix), rel=1e-3)
    errors = [error(m, found.matrix) for found in path]
    multipliers = [found.multiplier for found in path]
    assert np.all(np.diff(errors) < 0)
    assert np.all(np.diff(multipliers) < 0)
    # the multiplier is the price of rigidity
    middle = lambda_path(m, [0.2, 0.202])
    gained = error(m, middle[0].matrix) - error(m, middle[1].matrix)
    assert gained == pytest.approx(
        middle[0].multiplier * (0.202**2 - 0.2**2) * root**2 / 2, rel=0.05
    )


@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (5, 3)])
@pytest.mark.parametrize("lam", [0.0, 0.05, 0.3])
def test_no_start_of_an_outside_solver_ends_lower(shape: Any, lam: float) -> None:
    m = moments(300, *shape, seed=2)
    (found,) = lambda_path(m, [lam])
    a, c = m.require("xx"), m.require("xy")

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        w = flat.reshape(shape)
        return error(m, w), 2 * (a @ w - c).ravel()

    def inside(flat: np.ndarray) -> float:
        return (found.lam + 1e-4) ** 2 - departure(flat.reshape(shape)) ** 2

    best = np.inf
    for seed in range(3):
        rng = np.random.default_rng(seed)
        u, _, vt = np.linalg.svd(rng.standard_normal(shape), full_matrices=False)
        result = scipy.optimize.minimize(
            objective, (u @ vt).ravel(), jac=True, method="SLSQP",
            constraints={"type": "ineq", "fun": inside}, options={"maxiter": 400, "ftol": 1e-12},
        )  # fmt: skip
        if inside(result.x) > -1e-5:
            best = min(best, float(result.fun))
    assert error(m, found.matrix) <= best + 1e-4 * np.trace(m.require("yy"))
    assert best < np.inf


@pytest.mark.parametrize(("dx", "dy"), [(64, 64), (48, 64), (64, 48)])
def test_a_long_penalty_run_of_an_outside_solver_ends_no_lower(dx: int, dy: int) -> None:
    m = moments(2000, dx, dy)
    (found,) = lambda_path(m, [0.2])
    a, c = m.require("xx"), m.require("xy")
    w, weight = Procrustes().fit_moments(m).matrix_.ravel(), 1e-2

    def penalised(flat: np.ndarray) -> tuple[float, np.ndarray]:
        w = flat.reshape(dx, dy)
        size = departure(w)
        over = max(size - found.lam, 0.0)
        outward = 2 * (w @ w.T @ w - w) / max(size, 1e-300)
        return (
            error(m, w) + weight * over**2,
            (2 * (a @ w - c) + 2 * weight * over * outward).ravel(),
        )

    for _ in range(8):
        weight *= 4
        w = scipy.optimize.minimize(
            penalised, w, jac=True, method="L-BFGS-B", options={"maxiter": 150, "maxcor": 20}
        ).x
    theirs = w.reshape(dx, dy)
    over = departure(theirs) - found.lam
    assert over < 0.02 * found.lam
    # theirs may leave the ball a little; its price there is known
    owed = found.multiplier * found.lam * max(over, 0.0)
    assert error(m, found.matrix) <= error(m, theirs) + 1.05 * owed + 1e-5 * np.trace(
        m.require("yy")
    )


@pytest.mark.parametrize("shape", [(6, 6), (5, 8), (40, 40), (24, 40)])
@pytest.mark.parametrize("lam", [0.02, 0.2, 0.5])
def test_the_global_optimum_is_certified(shape: Any, lam: float) -> None:
    m = moments(400, *shape)
    (found,) = lambda_path(m, [lam])
    assert optimality_gap(m, found) < 1e-4 * m.variance_y.sum()
    # the certificate sees a map that is not the best one
    turned = found.matrix @ rotation(shape[1], 1)
    worse = replace(found, matrix=turned)
    excess = error(m, turned) - error(m, found.matrix)
    assert optimality_gap(m, worse) >= 0.99 * excess > 0.01


def test_a_certificate_is_refused_where_there_is_none() -> None:
    m = moments(100, 5, 3)
    with pytest.raises(InputError, match="5 to 3"):
        optimality_gap(m, lambda_path(m, [0.1])[0])
    square = moments(100, 3, 3)
    with pytest.raises(InputError, match="above 0"):
        optimality_gap(square, lambda_path(square, [0.0])[0])


@settings(max_examples=15)
@given(st.sampled_from(SHAPES), st.integers(0, 1000), st.sampled_from([0.0, 0.1, 0.4]))
def test_turning_both_sides_turns_the_map(shape: Any, seed: int, lam: float) -> None:
    x, y = paired(200, *shape, seed=seed)
    p, q = rotation(shape[0], seed), rotation(shape[1], seed + 1)
    plain, turned = Moments.of(x, y).second(), Moments.of(x @ p, y @ q).second()
    here, there = lambda_path(plain, [lam])[0], lambda_path(turned, [lam])[0]
    spread = plain.variance_y.sum()
    back = p @ there.matrix @ q.T
    assert error(plain, back) == pytest.approx(error(plain, here.matrix), abs=1e-4 * spread)
    if shape[0] <= shape[1]:
        np.testing.assert_allclose(back, here.matrix, atol=0.05)


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e5])
@pytest.mark.parametrize("shape", SHAPES)
def test_one_unit_of_length_on_both_sides_changes_nothing(shape: Any, unit: float) -> None:
    x, y = paired(200, *shape)
    expected = lambda_path(Moments.of(x, y).second(), [0.0, 0.2])
    scaled = lambda_path(Moments.of(unit * x, unit * y).second(), [0.0, 0.2])
    for a, b in zip(expected, scaled, strict=True):
        np.testing.assert_allclose(b.matrix, a.matrix, atol=2e-3)


def test_the_order_of_the_path_and_a_start_nearby_do_not_matter() -> None:
    m, similar = moments(500, 12, 12), moments(500, 12, 12, seed=0)
    similar = replace(similar, xy=1.02 * similar.require("xy"))
    lams = [0.3, np.inf, 0.05, 0.0, 0.3]
    path = lambda_path(m, lams)
    warm = lambda_path(m, lams, near=lambda_path(similar, lams))
    for lam, found, again in zip(lams, path, warm, strict=True):
        assert found.lam == lam * 12**0.5
        (alone,) = lambda_path(m, [lam])
        for other in (alone, again):
            assert error(m, other.matrix) == pytest.approx(error(m, found.matrix), rel=1e-4)


DEGENERATE = {
    "few rows": lambda x, y: (x[:6], y[:6]),
    "one row": lambda x, y: (x[:1], y[:1]),
    "two rows": lambda x, y: (x[:2], y[:2]),
    "dead source dimensions": lambda x, y: (np.where(np.arange(x.shape[1]) < 2, 3.0, x), y),
    "dead target dimensions": lambda x, y: (x, np.where(np.arange(y.shape[1]) < 2, 3.0, y)),
    "a doubled dimension": lambda x, y: (x[:, [0, *range(x.shape[1] - 1)]], y),
    "a constant source": lambda x, y: (np.ones_like(x), y),
    "a constant target": lambda x, y: (x, np.ones_like(y)),
    "everything constant": lambda x, y: (np.ones_like(x), np.ones_like(y)),
}


@pytest.mark.parametrize("name", DEGENERATE)
@pytest.mark.parametrize("shape", [(12, 12), (8, 12), (12, 8)])
def test_degenerate_moments_give_finite_maps_within_the_bound(name: str, shape: Any) -> None:
    m = Moments.of(*DEGENERATE[name](*paired(200, *shape))).second()
    path = lambda_path(m, [0.0, 0.1, 0.3, 2.0, np.inf])
    errors = [error(m, found.matrix) for found in path]
    for found in path:
        assert np.isfinite(found.matrix).all()
        assert departure(found.matrix) <= found.lam * (1 + 1e-6) + 1e-7
    assert np.all(np.diff(errors) <= 1e-5 * (m.variance_x.sum() + m.variance_y.sum()))
    least = Ridge(0.0).fit_moments(m).matrix_
    assert errors[-1] == pytest.approx(error(m, least), abs=1e-9)


def test_unused_directions_do_not_loosen_a_map() -> None:
    x, y = paired(400, 6, 6)
    x[:, 2] = 7.0
    m = Moments.of(x, y).second()
    norm = lambda_path(m, [np.inf])[0].departure
    (found,) = lambda_path(m, [0.999 * norm], relative=False)
    # as good as least squares, and no row of it is lost
    assert not found.active
    assert error(m, found.matrix) == pytest.approx(error(m, Ridge(0.0).fit_moments(m).matrix_))
    assert np.linalg.norm(found.matrix[2]) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("lam", [-0.1, float("nan"), "auto", True])
def test_a_distance_must_be_a_number_of_0_or_more(lam: Any) -> None:
    with pytest.raises(InputError, match="0 or more"):
        lambda_path(moments(50, 3, 3), [0.1, lam])


def test_moments_without_covariances_are_refused() -> None:
    x, y = paired(50, 4, 4)
    with pytest.raises(InputError, match="no 'xx'"):
        lambda_path(Moments.of(x, y, keep={"square", "xy"}).second(), [0.1])


def test_a_map_says_what_it_is() -> None:
    shown = repr(lambda_path(moments(50, 4, 5), [0.1])[0])
    assert shown == "LambdaMap(4 to 5, lam=0.2, departure=0.2, active)"
    assert isinstance(lambda_path(moments(50, 4, 5), [np.inf])[0], LambdaMap)
