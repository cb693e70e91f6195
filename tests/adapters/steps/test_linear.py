"""Linear maps: the published algebra, outside witnesses, and scikit-learn's own checks."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st

from isthmus.adapters import (
    Center,
    LayerNorm,
    Procrustes,
    Recipe,
    Ridge,
    ShrunkWhitening,
    Standardise,
    UnitNorm,
)
from isthmus.adapters.pipeline import fit_chain, fit_front
from isthmus.adapters.steps.normalisers import Temperature
from isthmus.adapters.steps.ridge import path_errors
from isthmus.errors import InputError, NotFittedError, RecipeError
from isthmus.moments import FoldMoments, Moments

ESTIMATORS = [
    *(Center(), Standardise(), UnitNorm(), LayerNorm(), ShrunkWhitening(), Temperature(0.5)),
    *(Procrustes(), Procrustes(scale=True), Ridge(), Ridge(power=0.5)),
]


def paired(n: int = 300, dx: int = 8, dy: int = 8, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, dx)) @ rng.standard_normal((dx, dx)) + 2
    return x, x @ rng.standard_normal((dx, dy)) + 0.5 * rng.standard_normal((n, dy)) - 1


def rotation(d: int, seed: int = 0) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))[0]


@pytest.mark.filterwarnings("ignore:.*does not inherit from `sklearn.base.BaseEstimator`")
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_scikit_learn_accepts_them(estimator: Any) -> None:
    checks = pytest.importorskip("sklearn.utils.estimator_checks")
    results = checks.check_estimator(
        estimator, on_skip=None, on_fail=None, expected_failed_checks=None
    )
    failed = [(r["check_name"], r["exception"]) for r in results if r["status"] == "failed"]
    assert not failed
    assert len([r for r in results if r["status"] == "passed"]) > 20


@given(st.integers(0, 10_000), st.floats(0.1, 10), st.floats(-50, 50))
def test_procrustes_recovers_a_rigid_motion(seed: int, scale: float, offset: float) -> None:
    x, _ = paired(60, seed=seed)
    q = rotation(8, seed)
    y = scale * x @ q + offset
    fitted = Procrustes(scale=True).fit(x, y)
    assert fitted.scale_ == pytest.approx(scale, rel=1e-6)
    np.testing.assert_allclose(fitted.transform(x), y, atol=1e-6 * (1 + abs(offset)))


def test_procrustes_agrees_with_scipy() -> None:
    x, y = paired()
    expected, alignment = scipy.linalg.orthogonal_procrustes(x - x.mean(0), y - y.mean(0))
    fitted = Procrustes(scale=True).fit(x, y)
    np.testing.assert_allclose(fitted.matrix_ / fitted.scale_, expected, atol=1e-10)
    assert fitted.scale_ == pytest.approx(alignment / ((x - x.mean(0)) ** 2).sum())


@pytest.mark.parametrize(("dx", "dy"), [(5, 9), (9, 5)])
def test_rectangular_procrustes_is_semi_orthogonal_and_optimal(dx: int, dy: int) -> None:
    x, y = paired(200, dx, dy)
    w = Procrustes().fit(x, y).matrix_
    small = w @ w.T if dx < dy else w.T @ w
    np.testing.assert_allclose(small, np.eye(min(dx, dy)), atol=1e-10)
    m = (x - x.mean(0)).T @ (y - y.mean(0))
    rng = np.random.default_rng(3)
    for _ in range(50):
        other = np.linalg.qr(rng.standard_normal((max(dx, dy), min(dx, dy))))[0]
        assert np.sum(m * (other.T if dx < dy else other)) <= np.sum(m * w)


@pytest.mark.parametrize("alpha", [0.0, 1e-4, 0.3, 10.0])
def test_ridge_agrees_with_scikit_learn(alpha: float) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    x, y = paired(200, 8, 5)
    absolute = alpha * ((x - x.mean(0)) ** 2).sum() / x.shape[1]
    expected = linear_model.Ridge(alpha=absolute).fit(x, y)
    fitted = Ridge(alpha).fit(x, y)
    np.testing.assert_allclose(fitted.matrix_, expected.coef_.T, atol=1e-8)
    np.testing.assert_allclose(fitted.offset_, expected.intercept_, atol=1e-7)


def test_the_path_gives_the_error_of_every_strength_exactly() -> None:
    x, y = paired(150, 6, 4)
    folds = FoldMoments.of(x, y, 3)
    alphas = np.array([1e-5, 1e-2, 1.0])
    splits = folds.splits()
    errors = path_errors(splits, alphas, np.float64)
    rounded = path_errors(splits, alphas)
    assert np.abs(rounded - errors).max() < 1e-5 * y.var(axis=0).sum()
    from isthmus.spaces.split import fold_of

    assigned = fold_of(np.arange(150), 3)
    for k in range(3):
        train, held = assigned != k, assigned == k
        for i, alpha in enumerate(alphas):
            fitted = Ridge(alpha).fit(x[train], y[train])
            direct = ((fitted.transform(x[held]) - y[held]) ** 2).sum(1).mean()
            assert errors[k, i] == pytest.approx(direct, rel=1e-8)


def test_cross_validation_in_float32_survives_dead_and_doubled_dimensions() -> None:
    rng = np.random.default_rng(5)
    basis = np.linalg.qr(rng.standard_normal((48, 48)))[0]
    x = (rng.standard_normal((900, 48)) * np.logspace(0, -5, 48)) @ basis
    x[:, 3], x[:, 7] = x[:, 4], 0.25
    y = x @ rng.standard_normal((48, 20)) + 0.1 * rng.standard_normal((900, 20))
    folds = FoldMoments.of(x, y, 5)
    splits = folds.splits()
    exact, rounded = path_errors(splits, dtype=np.float64), path_errors(splits)
    assert np.abs(rounded - exact).max() < 1e-4 * y.var(axis=0).sum()
    assert rounded.sum(0).argmin() == pytest.approx(exact.sum(0).argmin(), abs=1)


def test_the_spectral_exponent_runs_from_ridge_to_a_rotation() -> None:
    x, y = paired()
    m = Moments.of(x, y).second()
    full, half = Ridge(0.1).fit_moments(m).matrix_, Ridge(0.1, power=0.5).fit_moments(m).matrix_
    s, s_half = np.linalg.svd(full)[1], np.linalg.svd(half)[1]
    np.testing.assert_allclose(s_half / s_half[0], (s / s[0]) ** 0.5, rtol=1e-8)
    flat = Ridge(0.1, power=0).fit_moments(m).matrix_
    np.testing.assert_allclose(np.ptp(np.linalg.svd(flat)[1]), 0, atol=1e-9)


def test_rank_deficiency_constant_columns_and_few_rows_are_survived() -> None:
    x, y = paired(300)
    x[:, 2] = 7.0
    x[:, 3] = x[:, 4]
    for alpha in (0.0, 1e-6):
        w = Ridge(alpha).fit(x, y).matrix_
        assert np.isfinite(w).all()
        assert np.abs(w).max() < 1e3
    for n in (1, 2, 5):
        for estimator in (Procrustes(), Procrustes(scale=True), Ridge(), Ridge(0.0, power=0.5)):
            out = estimator.fit(x[:n], y[:n]).transform(x)
            assert np.isfinite(out).all()
    constant = Ridge(power=0.5).fit(np.ones((10, 3)), np.ones((10, 2)))
    np.testing.assert_allclose(constant.transform(np.ones((2, 3))), 1)


def test_a_large_common_mean_does_not_spoil_the_map() -> None:
    rng = np.random.default_rng(0)
    q = rotation(16).astype(np.float32)
    centred = rng.standard_normal((5000, 16)).astype(np.float32)
    x, y = centred + np.float32(1e4), centred @ q - np.float32(1e4)
    fitted = Procrustes().fit(x, y)
    np.testing.assert_allclose(fitted.matrix_, q, atol=2e-3)


def test_parameters_out_of_range_and_use_before_fit() -> None:
    x, y = paired(20)
    for estimator, says in (
        (Ridge(-1.0), "0 or more"),
        (Ridge(power=2.0), r"\[0, 1\]"),
        (ShrunkWhitening(2.0), r"\[0, 1\]"),
        (Temperature(0), "positive"),
    ):
        with pytest.raises(InputError, match=says):
            estimator.fit(x, y)
    with pytest.raises(NotFittedError, match="not fitted"):
        Ridge().transform(x)
    with pytest.raises(InputError, match="20 rows and y 19"):
        Ridge().fit(x, y[:19])
    with pytest.raises(InputError, match="no parameter 'beta'"):
        Ridge().set_params(beta=1)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_whitening_reaches_the_covariance_it_promises(power: float) -> None:
    x, _ = paired(4000)
    z = ShrunkWhitening(0.0, power).fit(x).transform(x)
    values = np.linalg.eigvalsh(np.cov(z.T, bias=True))
    original = np.linalg.eigvalsh(np.cov(x.T, bias=True))
    np.testing.assert_allclose(np.sort(values), np.sort(original ** (1 - power)), rtol=1e-6)


@pytest.mark.parametrize(
    "estimator", [Center(), Standardise(), ShrunkWhitening(), Temperature(0.2)], ids=repr
)
def test_affine_normalisers_are_undone_exactly(estimator: Any) -> None:
    x, _ = paired()
    x[:, 0] = 3.0
    np.testing.assert_allclose(
        estimator.fit(x).inverse_transform(estimator.transform(x)), x, atol=1e-8
    )


RECIPES = [
    "procrustes",
    "center | procrustes | unit_norm",
    "unit_norm | procrustes | unit_norm",
    "center | unit_norm | center | procrustes | unit_norm",
    "unit_norm | whiten(shrinkage=0.1, power=0.5) | procrustes | unit_norm",
    "standardise | ridge(alpha=0.01, power=0.75) | layer_norm | temperature(t=0.1)",
    "layer_norm | center | ridge",
]


def by_steps(recipe: Recipe, x: np.ndarray, y: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """The pipeline with the estimators' own fit and transform on rows, one after another."""
    undo: list[Any] = []
    for step in recipe.before:
        on_x, on_y = step.build().fit(x), step.build().fit(y)
        x, queries, y = on_x.transform(x), on_x.transform(queries), on_y.transform(y)
        undo.insert(0, on_y)
    out = recipe.adapter.build().fit(x, y).transform(queries)
    for normaliser in undo:
        out = normaliser.inverse_transform(out)
    for step in recipe.after:
        out = step.build().fit(out).transform(out)
    return out


@pytest.mark.parametrize("text", RECIPES)
def test_a_folded_pipeline_equals_its_steps(text: str) -> None:
    x, y = paired(400, 8, 6)
    queries = x[:50] + 0.3
    recipe = Recipe.parse(text)

    def moments(on_x: Any, on_y: Any) -> Any:
        return Moments.of(on_x(x), on_y(y)).second()

    front = fit_front(recipe.front, moments, cosine=False)
    chain = fit_chain(recipe, front, moments(front.x, front.y))
    np.testing.assert_allclose(chain(queries), by_steps(recipe, x, y, queries), atol=1e-8)
    assert chain.products == 1
    single = chain(queries.astype(np.float32))
    np.testing.assert_allclose(single, chain(queries), rtol=1e-3, atol=1e-3)


def test_whitening_before_a_row_norm_is_refused() -> None:
    recipe = Recipe.parse("whiten | unit_norm | procrustes")
    x, y = paired()
    with pytest.raises(RecipeError, match="cannot stand before"):
        fit_front(recipe.front, lambda a, b: Moments.of(a(x), b(y)).second(), cosine=True)


def test_clone_and_repr_follow_the_parameters() -> None:
    base = pytest.importorskip("sklearn.base")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert repr(base.clone(Ridge(0.5))) == "Ridge(alpha=0.5, power=1.0)"
