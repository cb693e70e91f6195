"""Rising curves against scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.errors import InputError
from isthmus.ways.calibration import (
    MOST_KNOTS,
    MonotoneCurve,
    isotonic_curve,
)


def noisy(n: int = 300, seed: int = 0, decimals: int = 2) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    x = rng.random(n).round(decimals)
    return x, x**2 + 0.3 * rng.standard_normal(n), rng.random(n) + 0.1


# ---- isotonic regression -----------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_the_levels_are_those_of_scikit_learn(seed: int) -> None:
    isotonic = pytest.importorskip("sklearn.isotonic")
    x, y, w = noisy(seed=seed)
    expected = isotonic.IsotonicRegression().fit(x, y, sample_weight=w).predict(x)
    curve = isotonic_curve(x, y, w)
    levels = np.unique(expected)
    np.testing.assert_allclose(curve.y, levels, rtol=1e-6, atol=1e-7)
    for at, level in zip(curve.x, levels, strict=True):
        mine = expected == level
        assert at == pytest.approx(np.average(x[mine], weights=w[mine]), rel=1e-6)


def test_more_levels_than_knots_are_joined_with_little_loss() -> None:
    isotonic = pytest.importorskip("sklearn.isotonic")
    x, y, _ = noisy(20_000, decimals=9)
    y = x**2 + 0.01 * np.random.default_rng(1).standard_normal(len(x))
    exact = isotonic.IsotonicRegression().fit(x, y)
    assert len(np.unique(exact.predict(x))) > MOST_KNOTS
    curve = isotonic_curve(x, y)
    assert len(curve.x) == MOST_KNOTS
    fresh = np.linspace(0.02, 0.98, 1000)
    np.testing.assert_allclose(curve.at(fresh), fresh**2, atol=0.01)
    least = np.square(exact.predict(x) - y).mean()
    assert np.square(curve.at(x) - y).mean() < 1.1 * least


@given(
    st.lists(st.tuples(st.floats(-10, 10), st.floats(-10, 10)), min_size=1, max_size=200),
    st.booleans(),
)
def test_a_curve_never_falls_and_stays_among_what_was_seen(
    points: list[tuple[float, float]], straight: bool
) -> None:
    x, y = np.array(points).T
    curve = isotonic_curve(x, y, straight_tails=straight)
    at = np.linspace(-20, 20, 301)
    read = curve.at(at)
    assert (np.diff(read) >= 0).all()
    assert len(curve.x) <= MOST_KNOTS
    inside = curve.at(np.linspace(curve.x[0], curve.x[-1], 50))
    assert inside.min() >= y.min() - 1e-5
    assert inside.max() <= y.max() + 1e-5
    np.testing.assert_allclose(isotonic_curve(x[::-1], y[::-1]).y, curve.y, atol=1e-5)


def test_order_is_kept_between_the_knots() -> None:
    x, y, _ = noisy(2000)
    curve = isotonic_curve(x, y, straight_tails=True)
    read = curve.at(np.linspace(-1, 2, 500))
    assert (np.diff(read) > 0).all()
    level = isotonic_curve(x, y)
    np.testing.assert_array_equal(level.at(np.array([-5.0, 9.0])), level.y[[0, -1]])


def test_data_that_do_not_rise_give_the_mean() -> None:
    x = np.arange(50.0)
    for y in (-x, np.full(50, 3.0)):
        curve = isotonic_curve(x, y, straight_tails=True)
        np.testing.assert_allclose(curve.at(np.array([-9.0, 7.0, 99.0])), y.mean(), rtol=1e-6)
    tied = isotonic_curve(np.full(50, 0.3), x)
    np.testing.assert_allclose(tied.at(np.array([0.0, 0.3, 1.0])), x.mean(), rtol=1e-6)


@pytest.mark.parametrize(
    ("x", "y", "weights", "says"),
    [
        ([], [], None, "no points"),
        ([1.0, np.nan], [0, 1], None, "x, row 1: the value is nan"),
        ([1.0, 2.0], [0, np.inf], None, "y, row 1: the value is inf"),
        ([1.0, 2.0], [0], None, "one value per point"),
        ([1.0, 2.0], [0, 1], [0.0, 0.0], "not all 0"),
        ([1.0, 2.0], [0, 1], [1.0, -1.0], "0 or more"),
        ([[1.0], [2.0]], [[0], [1]], None, "one value per point"),
    ],
)
def test_points_that_cannot_be_used(x: Any, y: Any, weights: Any, says: str) -> None:
    w = None if weights is None else np.array(weights)
    with pytest.raises(InputError, match=says):
        isotonic_curve(np.array(x), np.array(y), w)


# ---- reading a curve ---------------------------------------------------------------------------


def test_shape_dtype_and_library_are_those_of_the_scores() -> None:
    curve = MonotoneCurve(np.array([0.0, 1.0]), np.array([1.0, 3.0]), tail=2.0)
    for dtype in ("f2", "f4", "f8"):
        scores = np.array([[0.5, -1.0, 2.0]], dtype=dtype)
        read = curve(scores)
        assert (read.dtype, read.shape) == (scores.dtype, (1, 3))
        np.testing.assert_array_equal(read, [[2.0, -1.0, 5.0]])
    assert curve(np.empty((0, 4), np.float32)).shape == (0, 4)
    torch = pytest.importorskip("torch")
    read = curve(torch.tensor([0.5]))
    assert (type(read), read.dtype, read.item()) == (torch.Tensor, torch.float32, 2.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_no_numbers_are_refused(bad: float) -> None:
    curve = MonotoneCurve(np.zeros(1), np.zeros(1))
    with pytest.raises(InputError, match=r"scores, position \[1, 0\]: the score is"):
        curve(np.array([[0.0, 1.0], [bad, bad]]))
    with pytest.raises(InputError, match="dtype int64"):
        curve(np.array([1, 2]))


def test_the_inverse_undoes_a_rising_curve() -> None:
    curve = MonotoneCurve(np.array([0.0, 0.2, 1.0]), np.array([0.0, 0.7, 0.9]))
    at = np.linspace(0, 1, 40)
    np.testing.assert_allclose(curve.inverse_at(curve.at(at)), at, atol=1e-6)


@pytest.mark.parametrize(
    "tensor",
    [
        np.zeros((2, 0)),
        np.zeros(3),
        np.zeros((3, 2)),
        np.array([[0, 0], [0, 1.0]]),
        np.array([[0, 1], [1, 0.0]]),
        np.array([[0, np.nan], [0, 1.0]]),
        np.array([[0, 1], [0, np.inf]]),
        np.tile(np.arange(100.0), (2, 1)),
    ],
    ids=range(8),
)
def test_tensors_that_are_no_curves(tensor: np.ndarray) -> None:
    with pytest.raises(ValueError, match="curve"):
        MonotoneCurve.of_tensor(tensor, 0.0)


@pytest.mark.parametrize("tail", [-1.0, np.nan, np.inf])
def test_a_tail_that_falls(tail: float) -> None:
    with pytest.raises(ValueError, match="must rise"):
        MonotoneCurve.of_tensor(np.array([[0, 1.0], [0, 1.0]]), tail)


def test_a_curve_comes_back_from_its_tensor() -> None:
    x, y, _ = noisy()
    curve = isotonic_curve(x, y, straight_tails=True)
    again = MonotoneCurve.of_tensor(curve.tensor(), curve.tail)
    at = np.linspace(-1, 2, 99)
    np.testing.assert_array_equal(again.at(at), curve.at(at))
