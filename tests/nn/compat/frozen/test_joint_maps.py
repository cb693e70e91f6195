"""Forward and backward maps together: against a direct minimisation over both, on rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.optimize

from isthmus.adapters import Ridge
from isthmus.adapters.steps.lambda_path import lambda_path
from isthmus.adapters.steps.spectral_ball import departure
from isthmus.errors import InputError
from isthmus.moments import Moments
from isthmus.nn.compat.frozen.joint_maps import JointMaps, joint_maps

SHAPES = [(5, 5), (4, 6), (6, 4)]


def rows(n: int, new: int, old: int, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, new)) * np.arange(1, new + 1) ** -0.5 + 3
    mixing = np.eye(new, old) + 0.5 * rng.standard_normal((new, old)) / old**0.5
    return x, x @ mixing + 0.3 * rng.standard_normal((n, old)) - 2


def losses(maps: JointMaps, x: Any, y: Any) -> tuple[float, float]:
    """``L_B`` and ``L_F`` on rows."""
    back = x @ maps.backward.matrix + maps.backward.offset
    ahead = y @ maps.forward.matrix + maps.forward.offset
    return (
        float(((back[:, : y.shape[1]] - y) ** 2).sum(axis=1).mean()),
        float(((ahead - back) ** 2).sum(axis=1).mean()),
    )


@pytest.mark.parametrize(("new", "old"), SHAPES)
@pytest.mark.parametrize("lam", [0.0, 0.1, 0.4, np.inf])
def test_the_errors_it_states_are_those_of_the_rows(new: int, old: int, lam: float) -> None:
    x, y = rows(300, new, old)
    maps = joint_maps(Moments.of(x, y).second(), lam)
    width = max(new, old)
    assert maps.backward.matrix is not None
    assert maps.backward.matrix.shape == (new, width)
    assert maps.forward.matrix is not None
    assert maps.forward.matrix.shape == (old, width)
    backward, forward = losses(maps, x, y)
    assert maps.backward_error == pytest.approx(backward, rel=1e-6)
    assert maps.forward_error == pytest.approx(forward, rel=1e-6)
    assert maps.departure == pytest.approx(departure(maps.backward.matrix))
    assert maps.departure <= lam * new**0.5 * (1 + 1e-6) + 1e-9


@pytest.mark.parametrize(("new", "old"), SHAPES)
@pytest.mark.parametrize("lam", [0.05, 0.3])
@pytest.mark.parametrize("weights", [(1.0, 1.0), (2.0, 0.3)])
def test_no_pair_of_maps_on_the_rows_is_better(
    new: int, old: int, lam: float, weights: Any
) -> None:
    x, y = rows(200, new, old)
    maps = joint_maps(
        Moments.of(x, y).second(), lam,
        backward_weight=weights[0], forward_weight=weights[1], alpha=0.0,
    )  # fmt: skip
    backward, forward = losses(maps, x, y)
    ours = weights[0] * backward + weights[1] * forward
    cx, cy, width, n = x - x.mean(0), y - y.mean(0), max(new, old), len(x)

    def total(flat: np.ndarray) -> tuple[float, np.ndarray]:
        w, f = flat[: new * width].reshape(new, width), flat[new * width :].reshape(old, width)
        off, apart = (cx @ w)[:, :old] - cy, cy @ f - cx @ w
        value = weights[0] * (off**2).sum() / n + weights[1] * (apart**2).sum() / n
        by_w = -weights[1] * cx.T @ apart
        by_w[:, :old] += weights[0] * cx.T @ off
        return value, 2 / n * np.concatenate([by_w.ravel(), (weights[1] * cy.T @ apart).ravel()])

    def inside(flat: np.ndarray) -> float:
        return (maps.lam + 1e-4) ** 2 - departure(flat[: new * width].reshape(new, width)) ** 2

    best = np.inf
    for seed in range(2):
        rng = np.random.default_rng(seed)
        u, _, vt = np.linalg.svd(rng.standard_normal((new, width)), full_matrices=False)
        start = np.concatenate([(u @ vt).ravel(), np.zeros(old * width)])
        result = scipy.optimize.minimize(
            total, start, jac=True, method="SLSQP",
            constraints={"type": "ineq", "fun": inside}, options={"maxiter": 500, "ftol": 1e-12},
        )  # fmt: skip
        if inside(result.x) > -1e-5:
            best = min(best, float(result.fun))
    assert ours <= best + 1e-3 * y.var(axis=0).sum()
    assert best < np.inf


def test_the_forward_map_is_the_ridge_map_to_what_the_backward_map_gives() -> None:
    x, y = rows(300, 6, 4)
    maps = joint_maps(Moments.of(x, y).second(), 0.2, alpha=0.05)
    common = x @ maps.backward.matrix + maps.backward.offset
    expected = Ridge(0.05).fit(y, common)
    np.testing.assert_allclose(maps.forward.matrix, expected.matrix_, atol=1e-8)
    np.testing.assert_allclose(maps.forward.offset, expected.offset_, atol=1e-8)


def test_without_the_forward_loss_the_backward_map_is_the_single_one() -> None:
    m = Moments.of(*rows(300, 5, 5)).second()
    maps = joint_maps(m, 0.2, forward_weight=0.0)
    np.testing.assert_allclose(maps.backward.matrix, lambda_path(m, [0.2])[0].matrix, atol=1e-3)


def test_a_heavier_forward_loss_is_met_better() -> None:
    m = Moments.of(*rows(300, 6, 4)).second()
    light, heavy = (joint_maps(m, 0.2, forward_weight=w) for w in (0.1, 10.0))
    assert heavy.forward_error < light.forward_error
    assert heavy.backward_error > light.backward_error


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize(("new", "old"), SHAPES)
def test_few_rows_and_constants_are_survived(n: int, new: int, old: int) -> None:
    x, y = rows(n, new, old)
    y[:, 0] = 1.0
    for lam in (0.0, 0.2):
        maps = joint_maps(Moments.of(x, y).second(), lam)
        for part in (maps.backward, maps.forward):
            assert part.matrix is not None
            assert part.offset is not None
            assert np.isfinite(part.matrix).all()
            assert np.isfinite(part.offset).all()


def test_parameters_out_of_range() -> None:
    m = Moments.of(*rows(50, 3, 3)).second()
    with pytest.raises(InputError, match="0 or more"):
        joint_maps(m, -1.0)
    with pytest.raises(InputError, match="weights"):
        joint_maps(m, backward_weight=0.0)
    with pytest.raises(InputError, match="weights"):
        joint_maps(m, forward_weight=-1.0)
    with pytest.raises(InputError, match="strengths"):
        joint_maps(m, alpha=-1.0)
    assert "lam=0.433" in repr(joint_maps(m))
