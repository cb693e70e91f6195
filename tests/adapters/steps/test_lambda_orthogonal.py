"""The estimator and the choice of λ: scikit-learn's checks, exact errors, recipes, bad input."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import isthmus
from isthmus.adapters import LambdaOrthogonal, Procrustes, Recipe, Ridge
from isthmus.adapters.pipeline import fit_chain, fit_front
from isthmus.adapters.steps.lambda_orthogonal import DEFAULT_LAMBDAS, choose_lambda
from isthmus.errors import InputError, NotFittedError, RecipeError
from isthmus.moments import FoldMoments, Moments
from isthmus.spaces.pairs import Pairs
from isthmus.spaces.split import fold_of


def paired(n: int, dx: int, dy: int, *, bend: float = 0.6, noise: float = 0.2) -> tuple[Any, Any]:
    """Rows and their images under a map that is ``bend`` away from a rotation."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, dx)) * np.arange(1, dx + 1) ** -0.3 + 1
    rigid = np.linalg.qr(rng.standard_normal((max(dx, dy), min(dx, dy))))[0]
    rigid = rigid.T if dx < dy else rigid
    mixing = rigid + bend * rng.standard_normal((dx, dy)) / max(dx, dy) ** 0.5
    return x, x @ mixing + noise * rng.standard_normal((n, dy)) - 1


@pytest.mark.filterwarnings("ignore:.*does not inherit from `sklearn.base.BaseEstimator`")
@pytest.mark.parametrize(
    "estimator", [LambdaOrthogonal(), LambdaOrthogonal(1.5, relative=False)], ids=repr
)
def test_scikit_learn_accepts_it(estimator: Any) -> None:
    checks = pytest.importorskip("sklearn.utils.estimator_checks")
    results = checks.check_estimator(
        estimator, on_skip=None, on_fail=None, expected_failed_checks=None
    )
    failed = [(r["check_name"], r["exception"]) for r in results if r["status"] == "failed"]
    assert not failed
    assert len([r for r in results if r["status"] == "passed"]) > 20


@pytest.mark.parametrize(("dx", "dy"), [(8, 8), (6, 9), (9, 6)])
def test_the_fitted_map_is_as_far_from_a_rotation_as_it_may_be(dx: int, dy: int) -> None:
    x, y = paired(400, dx, dy)
    fitted = LambdaOrthogonal(0.1).fit(x, y)
    s = np.linalg.svd(fitted.matrix_, compute_uv=False)
    assert np.sqrt(((s**2 - 1) ** 2).mean()) == pytest.approx(0.1, rel=1e-3)
    assert fitted.departure_ == pytest.approx(0.1 * min(dx, dy) ** 0.5, rel=1e-3)
    absolute = LambdaOrthogonal(fitted.departure_, relative=False).fit(x, y)
    np.testing.assert_allclose(absolute.matrix_, fitted.matrix_, atol=1e-2)
    np.testing.assert_allclose(fitted.transform(x).mean(axis=0), y.mean(axis=0))


def test_it_lies_between_a_rotation_and_least_squares() -> None:
    x, y = paired(400, 8, 8)

    def error(fitted: Any) -> float:
        return float(((fitted.transform(x) - y) ** 2).sum(axis=1).mean())

    rigid, least = Procrustes().fit(x, y), Ridge(0.0).fit(x, y)
    np.testing.assert_allclose(LambdaOrthogonal(0).fit(x, y).matrix_, rigid.matrix_, atol=1e-9)
    loose = LambdaOrthogonal(np.inf).fit(x, y)
    np.testing.assert_allclose(loose.matrix_, least.matrix_, atol=1e-9)
    assert loose.multiplier_ == 0
    assert error(rigid) > error(LambdaOrthogonal(0.1).fit(x, y)) > error(least)


def test_the_same_moments_give_the_same_bytes() -> None:
    m = Moments.of(*paired(200, 10, 8)).second()
    one, two = (LambdaOrthogonal().fit_moments(m).matrix_ for _ in range(2))
    assert one.tobytes() == two.tobytes()


@pytest.mark.parametrize(("dx", "dy"), [(6, 6), (5, 7), (7, 5)])
def test_cross_validated_errors_are_those_of_the_rows(dx: int, dy: int) -> None:
    x, y = paired(150, dx, dy)
    grid = (0.05, 0.2)
    choice = choose_lambda(FoldMoments.of(x, y, 3).splits(), grid)
    assigned = fold_of(np.arange(150), 3)
    spread = y.var(axis=0).sum()
    for k in range(3):
        train, held = assigned != k, assigned == k
        assert choice.weights[k] == held.sum()
        for i, lam in enumerate(grid):
            fitted = LambdaOrthogonal(lam).fit(x[train], y[train])
            direct = ((fitted.transform(x[held]) - y[held]) ** 2).sum(axis=1).mean()
            assert choice.errors[k, i] == pytest.approx(direct, abs=2e-4 * spread)
    pooled = (choice.errors * choice.weights[:, None]).sum(axis=0) / 150
    np.testing.assert_allclose(choice.mean, pooled)


def test_the_choice_is_rigid_for_a_rotation_and_loose_for_a_bent_map() -> None:
    rigid = choose_lambda(FoldMoments.of(*paired(60, 12, 12, bend=0)).splits())
    assert rigid.chosen == min(DEFAULT_LAMBDAS)
    bent = choose_lambda(FoldMoments.of(*paired(4000, 12, 12, bend=0.5)).splits())
    assert bent.chosen >= 0.3


def test_a_tie_within_one_standard_error_goes_to_the_more_rigid() -> None:
    choices = [
        choose_lambda(FoldMoments.of(*paired(n, 12, 12, bend=0.2)).splits()) for n in (40, 100)
    ]
    for choice in choices:
        assert choice.chosen <= choice.best
        at, best = choice.lams.index(choice.chosen), choice.lams.index(choice.best)
        share = choice.weights / choice.weights.sum()
        apart = choice.errors - choice.errors[:, [best]]
        mean = share @ apart
        deviation = np.sqrt(share @ (apart - mean) ** 2 / (len(share) - 1))
        assert mean[at] <= deviation[at]
        assert all(mean[i] > deviation[i] for i in range(at))
    assert any(choice.chosen < choice.best for choice in choices)
    assert f"chosen={choices[0].chosen:g}" in repr(choices[0])


def test_auto_tries_every_lambda_up_to_the_one_of_the_least_error() -> None:
    x, y = paired(300, 12, 12, bend=0.3, noise=0.6)
    folds = FoldMoments.of(x, y, 4)
    choice = choose_lambda(folds.splits())
    tried = LambdaOrthogonal.expanded({"lam": "auto"}, folds.splits)
    assert [p["lam"] for p, _ in tried] == [v for v in DEFAULT_LAMBDAS if v <= choice.best]
    np.testing.assert_allclose(
        [e for _, e in tried], choice.mean[: len(tried)] / y.var(axis=0).sum(), rtol=0.05
    )
    absolute = LambdaOrthogonal.expanded({"lam": "auto", "relative": False}, folds.splits)
    for (p, _), (q, _) in zip(tried, absolute, strict=True):
        assert q["relative"] is False
        assert q["lam"] == pytest.approx(p["lam"] * 12**0.5, rel=1e-2)


def test_without_auto_or_without_folds_nothing_is_compared() -> None:
    def unused() -> Any:
        raise AssertionError("moments are not needed")

    assert LambdaOrthogonal.expanded({"lam": 0.3}, unused) == [({"lam": 0.3}, None)]
    blind = LambdaOrthogonal.expanded({"lam": "auto"}, list)
    assert [p["lam"] for p, _ in blind] == list(DEFAULT_LAMBDAS)
    assert all(error is None for _, error in blind)


def test_a_recipe_with_it_equals_its_steps() -> None:
    x, y = paired(300, 7, 6)
    recipe = Recipe.parse("unit_norm | center | lambda_orthogonal(lam=0.1) | unit_norm")

    def moments(on_x: Any, on_y: Any) -> Any:
        return Moments.of(on_x(x), on_y(y)).second()

    front = fit_front(recipe.front, moments, cosine=True)
    chain = fit_chain(recipe, front, moments(front.x, front.y))

    def unit(rows: np.ndarray) -> np.ndarray:
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    expected = unit(LambdaOrthogonal(0.1).fit(unit(x), unit(y)).transform(unit(x)))
    np.testing.assert_allclose(chain(x), expected, atol=1e-6)
    assert chain.products == 1


def test_a_fit_leaves_lambda_to_held_out_retrieval() -> None:
    x, y = (rows.astype(np.float32) for rows in paired(1500, 12, 12, bend=0.3))
    bridge = isthmus.fit(Pairs(x, y), recipe="unit_norm | lambda_orthogonal(lam=auto) | unit_norm")
    lam = bridge.recipe.adapter.parameters["lam"]
    assert lam in DEFAULT_LAMBDAS


def test_bad_parameters_and_use_before_fit() -> None:
    x, y = paired(30, 4, 4)
    for lam in (-1.0, float("nan"), "loose", True):
        with pytest.raises(InputError, match="0 or more"):
            LambdaOrthogonal(lam).fit(x, y)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="0 or more"):
        choose_lambda(FoldMoments.of(x, y, 3).splits(), [-0.1])
    with pytest.raises(InputError, match="impossible"):
        choose_lambda([])
    with pytest.raises(InputError, match="impossible"):
        choose_lambda(FoldMoments.of(x, y, 3).splits(), [])
    with pytest.raises(NotFittedError, match="not fitted"):
        LambdaOrthogonal().transform(x)
    with pytest.raises(RecipeError, match="cannot be left"):
        Recipe.parse("lambda_orthogonal(relative=auto)")


def test_clone_and_repr_follow_the_parameters() -> None:
    base = pytest.importorskip("sklearn.base")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shown = repr(base.clone(LambdaOrthogonal(12, relative=False)))
    assert shown == "LambdaOrthogonal(lam=12, relative=False)"
