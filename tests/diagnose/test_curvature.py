"""Straight against curved maps."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus.diagnose.curvature import _kernel_ridge, curvature


def test_leave_one_out_is_leaving_one_out(rng):
    """Against fits without each row, with an intercept, at the strength that was chosen."""
    n, d = 25, 3
    x = rng.standard_normal((n, d)) + 2
    y = x @ rng.standard_normal((d, 2)) + 0.3 * rng.standard_normal((n, 2))
    y -= y.mean(axis=0)
    fresh = rng.standard_normal((4, d)) + 2
    error, predicted = _kernel_ridge(x @ x.T, fresh @ x.T, y)
    linear_model = pytest.importorskip("sklearn.linear_model")
    centred = x - x.mean(axis=0)
    mean_eigenvalue = (centred**2).sum() / n
    errors = []
    for strength in np.logspace(-6, 1, 15) * mean_eigenvalue:
        total = 0.0
        for i in range(n):
            rest = np.arange(n) != i
            fitted = linear_model.Ridge(alpha=strength).fit(x[rest], y[rest])
            total += ((fitted.predict(x[i : i + 1]) - y[i]) ** 2).sum()
        errors.append(total)
    best = np.logspace(-6, 1, 15)[int(np.argmin(errors))] * mean_eigenvalue
    assert error == pytest.approx(min(errors), rel=1e-6)
    expected = linear_model.Ridge(alpha=best).fit(x, y).predict(fresh)
    np.testing.assert_allclose(predicted, expected, atol=1e-8)


@pytest.mark.parametrize("warp", [np.abs, lambda v: v**3, np.cos])
def test_a_curve_is_seen_and_a_line_is_not(rng, warp):
    x = rng.standard_normal((400, 4))
    straight = curvature(x, x @ rng.standard_normal((4, 6)) + 0.1 * rng.standard_normal((400, 6)))
    bent = curvature(x, warp(x))
    assert straight is not None and bent is not None
    assert straight.gain.high is not None and bent.gain.low is not None
    assert straight.gain.high < 0.1
    assert bent.gain.low > 0.15
    assert bent.train >= 2 * bent.test - 1 > 100


def test_doubles_are_not_remembered(rng):
    # ten views of each of 40 items, whose partners are the same random vector
    items, partners = rng.standard_normal((40, 6)), rng.standard_normal((40, 6))
    x = np.repeat(items, 10, axis=0) + 0.01 * rng.standard_normal((400, 6))
    y = np.repeat(partners, 10, axis=0)
    order = rng.permutation(400)
    assert curvature(x[order], y[order]) is None  # forty items are too few


def test_wide_spaces_do_not_fool_the_linear_map(rng):
    # as many dimensions as training rows: without shrinkage the line would miss everything
    x = rng.standard_normal((450, 300)) * np.arange(1, 301) ** -0.5
    y = x @ rng.standard_normal((300, 8)) + rng.standard_normal((450, 8))
    found = curvature(x, y)
    assert found is not None
    assert found.linear > 0.3
    assert found.gain.value is not None and found.gain.value < 0.1


def test_too_few_rows(rng):
    assert curvature(rng.random((100, 3)), rng.random((100, 3))) is None
    assert curvature(rng.random((300, 3)), np.ones((300, 3))) is None
