from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import geometric_slerp

from isthmus.errors import InputError
from isthmus.ways.interpolate import interpolate


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


@given(seed=st.integers(0, 10_000), alpha=st.floats(0, 1))
def test_is_the_point_on_the_great_circle(seed, alpha):
    rng = np.random.default_rng(seed)
    old, bridged = rng.standard_normal((2, 3, 5))
    found = interpolate(3 * old, 0.1 * bridged, alpha)
    expected = [geometric_slerp(a, b, alpha) for a, b in zip(unit(old), unit(bridged), strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1)
    np.testing.assert_allclose(interpolate(bridged, old, 1 - alpha), found, atol=1e-9)
    turn = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    np.testing.assert_allclose(interpolate(old @ turn, bridged @ turn, alpha), found @ turn)


def test_the_ends_are_the_two_queries(rng):
    old, bridged = rng.standard_normal((2, 4, 6)).astype(np.float32)
    assert interpolate(old, bridged, 0.5).dtype == np.float32
    np.testing.assert_allclose(interpolate(old, bridged, 0), unit(old), rtol=1e-6)
    np.testing.assert_allclose(interpolate(old, bridged, 1), unit(bridged), rtol=1e-6)


def test_near_vectors_lose_no_precision(rng):
    old = unit(rng.standard_normal((4, 6)))
    for step in (0.0, 1e-9, 1e-5):
        bridged = unit(old + step * rng.standard_normal(old.shape))
        found = interpolate(old, bridged, 0.25)
        np.testing.assert_allclose(found, unit(0.75 * old + 0.25 * bridged), atol=1e-13)


def test_opposite_vectors_leave_the_old_one():
    old, bridged = np.array([[1.0, 0.0], [2.0, 0.0]]), np.array([[-1.0, 0.0], [-3.0, 1e-12]])
    for alpha in (0.0, 0.3, 0.9):
        np.testing.assert_allclose(interpolate(old, bridged, alpha), [[1, 0], [1, 0]], atol=1e-9)
    np.testing.assert_allclose(interpolate(old, bridged, 1.0), [[-1, 0], [-1, 0]], atol=1e-9)


def test_a_zero_vector_leaves_the_other_one():
    zero, one = np.zeros((1, 3)), np.array([[0.0, 2.0, 0.0]])
    for alpha in (0.0, 0.4, 1.0):
        np.testing.assert_array_equal(interpolate(zero, one, alpha), [[0, 1, 0]])
        np.testing.assert_array_equal(interpolate(one, zero, alpha), [[0, 1, 0]])
        np.testing.assert_array_equal(interpolate(zero, zero, alpha), zero)


def test_under_l2_the_length_goes_along():
    old, bridged = np.array([[2.0, 0.0]]), np.array([[0.0, 6.0]])
    found = interpolate(old, bridged, 0.5, "l2")
    np.testing.assert_allclose(found, 4 * np.sqrt([[0.5, 0.5]]))
    np.testing.assert_array_equal(interpolate(old, bridged, 0.0, "l2"), old)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_weights_outside_the_arc(alpha):
    with pytest.raises(InputError, match=r"lies in \[0, 1\]"):
        interpolate(np.ones((1, 2)), np.ones((1, 2)), alpha)


def test_rows_that_do_not_fit_together():
    with pytest.raises(InputError, match=r"shape \(2, 3\), bridged ones \(2, 4\)"):
        interpolate(np.ones((2, 3)), np.ones((2, 4)), 0.5)
