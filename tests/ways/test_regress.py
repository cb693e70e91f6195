"""The two regressions against scikit-learn, and what they must not do."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus.ways import regress
from isthmus.ways.regress import ridges, signed_logistic


def task(n: int = 200, m: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, m)) * np.logspace(0, 3, m) + 5
    features = np.column_stack([x, np.ones(n)])
    y = np.column_stack([x[:, 0] + 0.5 * rng.standard_normal(n), rng.standard_normal(n)])
    return features, y, rng.permutation(n) % 5


def test_weights_are_those_of_scikit_learn_on_standardised_features() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    features, y, fold = task()
    weights, _ = ridges(features, y[:, :1], fold)
    strength = regress._best_strength(features, y[:, 0])
    x = features[:, :-1]
    scaled = (x - x.mean(0)) / x.std(0)
    expected = linear.Ridge(strength).fit(scaled, y[:, 0])
    np.testing.assert_allclose(features @ weights[:, 0], expected.predict(scaled), atol=1e-8)


def test_the_strength_has_the_least_leave_one_out_error() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    features, y, _ = task(60)
    x = features[:, :-1]
    scaled = (x - x.mean(0)) / x.std(0)
    grid = 60 * np.logspace(-3, 3, 19)
    path = linear.RidgeCV(grid).fit(scaled, y[:, 0])
    assert regress._best_strength(features, y[:, 0]) == pytest.approx(path.alpha_)


def test_what_cannot_be_predicted_is_predicted_by_its_mean_everywhere() -> None:
    features, y, fold = task(seed=3)
    weights, unseen = ridges(features, np.column_stack([y, np.full(200, 4.0)]), fold)
    assert np.ptp(unseen[:, 0]) > 1
    np.testing.assert_allclose(unseen[:, 2], 4.0)
    np.testing.assert_allclose(features @ weights[:, 2], 4.0)
    strengths = [regress._best_strength(features, t) for t in y.T]
    if np.isinf(strengths[1]):
        np.testing.assert_allclose(unseen[:, 1], y[:, 1].mean())
        np.testing.assert_allclose(features @ weights[:, 1], y[:, 1].mean())


def test_predictions_of_a_row_do_not_depend_on_its_own_target() -> None:
    features, y, fold = task()
    changed = y.copy()
    row = int(np.flatnonzero(fold == 2)[0])
    changed[row, 0] += 0.01  # too little to change the strength
    before, after = (ridges(features, t, fold)[1] for t in (y, changed))
    np.testing.assert_array_equal(before[fold == 2, 0], after[fold == 2, 0])
    assert (before[fold != 2, 0] != after[fold != 2, 0]).all()


def test_the_logistic_model_is_scikit_learns_where_signs_agree() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 2)) * [1, 50] + [3, -7]
    success = rng.random(400) < 1 / (1 + np.exp(-(x[:, 0] - 3) + (x[:, 1] + 7) / 50))
    found = signed_logistic(x, success, (1, -1))
    scaled = (x - x.mean(0)) / x.std(0)
    expected = linear.LogisticRegression(C=1.0, tol=1e-8).fit(scaled, success)
    np.testing.assert_allclose(
        found[0] + x @ found[1:], expected.decision_function(scaled), atol=2e-3
    )


def test_a_coefficient_of_the_wrong_sign_is_nought() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 2))
    x[:, 1] = 7.0  # constant
    success = rng.random(400) < 1 / (1 + np.exp(-2 * x[:, 0]))
    found = signed_logistic(x, success, (-1, 1))
    np.testing.assert_allclose(found[1:], 0, atol=1e-12)
    assert 1 / (1 + np.exp(-found[0])) == pytest.approx(success.mean(), abs=1e-4)
