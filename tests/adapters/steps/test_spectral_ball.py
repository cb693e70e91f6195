"""The solver: its gradient, its constraint, and the bound that certifies its optimum."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.adapters.steps.spectral_ball import (
    NearlyOrthogonal,
    departure,
    descend,
    gradient_of_departure,
    gram_excess,
    lower_bound,
    onto_ball,
    within_ball,
)

Matrix = np.ndarray
SHAPES = [(6, 6), (5, 8), (8, 5)]


def problem(dx: int, dy: int, seed: int = 0) -> tuple[NearlyOrthogonal, Matrix, Matrix]:
    """A diagonal covariance and a cross-covariance whose rigid map is near the identity."""
    rng = np.random.default_rng(seed)
    a = np.sort(rng.exponential(size=dx))[::-1] + 0.01
    m = a[:, None] * (np.eye(dx, dy) + 0.3 * rng.standard_normal((dx, dy)))
    return NearlyOrthogonal(lambda w: a[:, None] * w, a[:, None], m), np.diag(a), m


def on_the_ball(shape: tuple[int, int], radius: float, seed: int) -> Matrix:
    """A random matrix whose squared singular values are ``radius`` from 1."""
    rng = np.random.default_rng(seed)
    u, _, vt = np.linalg.svd(rng.standard_normal(shape), full_matrices=False)
    square = rng.standard_normal(min(shape))
    square *= radius / np.linalg.norm(square)
    return (u * np.sqrt(np.maximum(1.0 + square, 0.0))) @ vt


@given(st.sampled_from(SHAPES), st.integers(0, 1000))
def test_departure_is_the_distance_of_the_smaller_gram_matrix(shape: Any, seed: int) -> None:
    w = np.random.default_rng(seed).standard_normal(shape)
    s = np.linalg.svd(w, compute_uv=False)
    assert departure(w) == pytest.approx(np.sqrt(((s**2 - 1) ** 2).sum()))
    assert departure(3.0 * w.T) == pytest.approx(departure(3.0 * w))
    assert gram_excess(w).shape == (min(shape), min(shape))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mu", [1e-3, 0.3, 30.0])
def test_a_descent_ends_where_the_penalised_objective_is_stationary(shape: Any, mu: float) -> None:
    objective, a, m = problem(*shape)
    w = descend(objective, np.eye(*shape), mu, 1e-14).w
    gram = w @ w.T - np.eye(len(w))
    if shape[0] > shape[1]:
        residual = a @ w - m + mu * w @ (w.T @ w - np.eye(shape[1]))
    else:
        residual = a @ w - m + mu * gram @ w
    assert np.abs(residual).max() < 1e-5 * np.abs(m).max()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("radius", [0.01, 0.3, 0.8])
def test_the_ball_is_hit_and_no_random_point_on_it_is_better(shape: Any, radius: float) -> None:
    objective, a, m = problem(*shape)
    loosest = departure(np.linalg.solve(a, m))
    assert loosest > radius
    w, mu = onto_ball(objective, np.eye(*shape), radius, 1.0, loosest, 1e-10)
    assert departure(w) == pytest.approx(radius, rel=1e-8)
    assert mu > 0
    value = objective.value(w)
    assert value == pytest.approx(np.trace(w.T @ a @ w) - 2 * np.trace(w.T @ m))
    for seed in range(300):
        away = w + 10.0 ** -(seed % 4) * np.random.default_rng(seed).standard_normal(shape)
        u, s, vt = np.linalg.svd(away, full_matrices=False)
        excess = s**2 - 1
        excess *= min(1.0, radius / np.linalg.norm(excess))
        near = (u * np.sqrt(1 + excess)) @ vt
        assert objective.value(near) >= value - 1e-8


@given(
    st.sampled_from([(6, 6), (5, 8)]),
    st.floats(0.05, 0.9),
    st.floats(0.01, 10.0),
    st.integers(0, 1000),
)
def test_nothing_on_the_ball_is_below_the_bound(
    shape: Any, radius: float, mu: float, seed: int
) -> None:
    objective, a, m = problem(*shape, seed=seed % 7)
    bound = lower_bound(a, m, on_the_ball(shape, radius, seed), mu, radius)
    for other in range(20):
        assert objective.value(on_the_ball(shape, radius, 1000 * seed + other)) >= bound - 1e-9


@pytest.mark.parametrize("shape", [(6, 6), (5, 8)])
@pytest.mark.parametrize("radius", [0.05, 0.4, 0.9])
def test_the_bound_is_attained_at_the_optimum(shape: Any, radius: float) -> None:
    objective, a, m = problem(*shape)
    loosest = departure(np.linalg.solve(a, m))
    w, mu = onto_ball(objective, np.eye(*shape), radius, 1.0, loosest, 1e-12)
    bound = lower_bound(a, m, w, mu, radius)
    assert 0 <= objective.value(w) - bound + 1e-9 < 1e-5 * abs(bound)
    worse = on_the_ball(shape, radius, 3)
    assert objective.value(worse) - lower_bound(a, m, worse, mu, radius) > 0.01


@pytest.mark.parametrize("shape", [(5, 5), (4, 7), (7, 4)])
def test_a_map_beyond_the_ball_is_moved_onto_it_and_one_within_is_left(shape: Any) -> None:
    w = np.random.default_rng(1).standard_normal(shape)
    for radius in (0.0, 0.3, 1.0):
        moved = within_ball(w, radius)
        assert departure(moved) == pytest.approx(radius, abs=1e-12)
        # only singular values change
        core = moved.T @ w if shape[0] >= shape[1] else moved @ w.T
        np.testing.assert_allclose(core, core.T, atol=1e-12)
    assert within_ball(w, departure(w)) is w


@pytest.mark.parametrize("shape", [(5, 5), (4, 7), (7, 4)])
def test_the_gradient_of_the_departure_is_that_of_finite_differences(shape: Any) -> None:
    rng = np.random.default_rng(2)
    w, step = rng.standard_normal(shape), 1e-6 * rng.standard_normal(shape)
    slope = (departure(w + step) - departure(w - step)) / 2
    assert np.vdot(gradient_of_departure(w), step) == pytest.approx(slope, rel=1e-6)
    assert not gradient_of_departure(np.eye(*shape)).any()
