"""Diagonal maps: least squares in each dimension, drawn towards one common scale."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isthmus.adapters import Affine, Diagonal
from isthmus.errors import InputError
from isthmus.moments import FoldMoments
from isthmus.spaces.split import fold_of


def scaled(n: int = 200, d: int = 6, noise: float = 0.3, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d)) * np.arange(1, d + 1) + 2
    return x, x * rng.uniform(0.5, 2, d) - 3 + noise * rng.standard_normal((n, d))


class Widened(Diagonal):
    """Gives each target of scikit-learn's checks the width of the source."""

    def fit(self, X: Any, y: Any) -> Any:
        return super().fit(X, self._widened(X, y))

    def score(self, X: Any, y: Any) -> float:
        return super().score(X, self._widened(X, y))

    @staticmethod
    def _widened(X: Any, y: Any) -> Any:
        rows = None if hasattr(X, "toarray") else np.asarray(X)
        if y is None or rows is None or rows.ndim != 2 or not rows.shape[1]:
            return y
        target = np.asarray(y)
        return np.repeat(target.reshape(len(target), -1)[:, :1], rows.shape[1], axis=1)


@pytest.mark.filterwarnings("ignore:.*does not inherit from `sklearn.base.BaseEstimator`")
def test_scikit_learn_accepts_it() -> None:
    checks = pytest.importorskip("sklearn.utils.estimator_checks")
    results = checks.check_estimator(Widened(), on_skip=None, on_fail=None)
    assert not [(r["check_name"], r["exception"]) for r in results if r["status"] == "failed"]
    assert len([r for r in results if r["status"] == "passed"]) > 20


def test_without_shrinkage_it_is_one_regression_for_each_dimension() -> None:
    x, y = scaled()
    fitted = Diagonal(0.0).fit(x, y)
    for j in range(6):
        slope, intercept = np.polyfit(x[:, j], y[:, j], 1)
        assert fitted.scale_[j] == pytest.approx(slope)
        assert fitted.offset_[j] == pytest.approx(intercept)
    np.testing.assert_allclose(fitted.transform(x), x * fitted.scale_ + fitted.offset_)
    stage = fitted.chain_.stages[0]
    assert isinstance(stage, Affine)
    assert stage.matrix is not None
    assert stage.matrix.ndim == 1
    assert fitted.chain_.products == 0


def test_a_strong_one_has_the_common_scale() -> None:
    x, y = scaled()
    fitted = Diagonal(1e9).fit(x, y)
    cx, cy = x - x.mean(0), y - y.mean(0)
    assert fitted.common_scale_ == pytest.approx((cx * cy).sum() / (cx**2).sum())
    np.testing.assert_allclose(fitted.scale_, fitted.common_scale_, rtol=1e-6)


def test_the_strength_with_the_least_error_on_held_out_rows_is_known() -> None:
    x, y = scaled(60, noise=4.0)
    folds = FoldMoments.of(x, y, 3, keep={"square", "xy"})
    tried = Diagonal.expanded({"alpha": "auto"}, folds.splits)
    alphas = [t[0]["alpha"] for t in tried]
    assert alphas == sorted(alphas, reverse=True)
    assigned, spread = fold_of(np.arange(60), 3), 0.0
    direct = np.zeros(len(alphas))
    for k in range(3):
        train, held = assigned != k, assigned == k
        spread += ((y[held] - y[held].mean(0)) ** 2).sum()
        for i, alpha in enumerate(alphas):
            fitted = Diagonal(float(alpha)).fit(x[train], y[train])
            direct[i] += ((fitted.transform(x[held]) - y[held]) ** 2).sum()
    np.testing.assert_allclose([t[1] for t in tried], direct / spread, rtol=1e-9)
    assert Diagonal.expanded({}, folds.splits) == [({"alpha": 1e-3}, None)]
    assert Diagonal.expanded({"alpha": "auto"}, list)[0][1] is None


def test_constant_and_bad_input() -> None:
    x, y = scaled()
    x[:, 2] = 5.0
    for alpha in (0.0, 0.1):
        fitted = Diagonal(alpha).fit(x, y)
        assert np.isfinite(fitted.matrix_).all()
        assert fitted.scale_[2] == pytest.approx(fitted.common_scale_)
    same = Diagonal().fit(np.ones((5, 3)), np.full((5, 3), 2.0))
    np.testing.assert_allclose(same.transform(np.ones((1, 3))), 2)
    with pytest.raises(InputError, match="widths 6 and 4"):
        Diagonal().fit(x, y[:, :4])
    with pytest.raises(InputError, match="0 or more"):
        Diagonal(-1.0).fit(x, y)


def test_a_strength_beyond_the_usual_ones_is_found() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 3)) * [300.0, 1.0, 1.0]
    y = x * [1 / 300, 1.0, -1.0]  # scales that have nothing in common, of unlike variances
    folds = FoldMoments.of(x, y, 3, keep={"square", "xy"})
    tried = Diagonal.expanded({"alpha": "auto"}, folds.splits)
    best, error = min(tried, key=lambda t: float(t[1] or 0))
    assert float(best["alpha"]) < 1e-3 and float(error or 0) < 0.01
