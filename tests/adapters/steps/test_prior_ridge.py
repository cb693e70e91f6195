"""Ridge towards a prior: the closed form, its two limits, and refits of a running bridge."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isthmus.adapters import Affine, Chain, PriorRidge, Recipe, Ridge, RowNorm
from isthmus.adapters.pipeline import fit_chain, fit_front
from isthmus.adapters.select import SelectionTask, select
from isthmus.adapters.steps.prior_ridge import prior_affine, residual
from isthmus.errors import InputError, RecipeError
from isthmus.moments import FoldMoments, Moments


def paired(n: int = 200, dx: int = 7, dy: int = 5, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, dx)) @ rng.standard_normal((dx, dx)) + 2
    truth = np.random.default_rng(99).standard_normal((dx, dy))
    return x, x @ truth + 0.5 * rng.standard_normal((n, dy)) - 1, truth


@pytest.mark.filterwarnings("ignore:.*does not inherit from `sklearn.base.BaseEstimator`")
def test_scikit_learn_accepts_it() -> None:
    checks = pytest.importorskip("sklearn.utils.estimator_checks")
    results = checks.check_estimator(PriorRidge(), on_skip=None, on_fail=None)
    assert not [(r["check_name"], r["exception"]) for r in results if r["status"] == "failed"]


@pytest.mark.parametrize("alpha", [0.0, 0.1, 20.0])
def test_it_is_least_squares_with_the_prior_as_further_rows(alpha: float) -> None:
    x, y, truth = paired()
    prior = truth + 1
    fitted = PriorRidge(Affine(prior), alpha).fit(x, y)
    cx, cy = x - x.mean(0), y - y.mean(0)
    strength = np.sqrt(alpha * (cx**2).sum() / 7)
    rows = np.vstack([cx, strength * np.eye(7)])
    expected = np.linalg.lstsq(rows, np.vstack([cy, strength * prior]), rcond=None)[0]
    np.testing.assert_allclose(fitted.matrix_, expected, atol=1e-8)
    np.testing.assert_allclose(fitted.offset_, y.mean(0) - x.mean(0) @ fitted.matrix_)


def test_its_limits_are_the_prior_and_plain_ridge() -> None:
    x, y, truth = paired()
    strong = PriorRidge(Affine(truth + 1), 1e9).fit(x, y)
    np.testing.assert_allclose(strong.matrix_, truth + 1, atol=1e-6)
    without = PriorRidge(None, 0.1).fit(x, y)
    np.testing.assert_array_equal(without.matrix_, Ridge(0.1).fit(x, y).matrix_)
    np.testing.assert_allclose(
        PriorRidge(Affine(np.zeros((7, 5))), 0.1).fit(x, y).matrix_, without.matrix_, atol=1e-12
    )
    diagonal = PriorRidge(Affine(np.full(7, 2.0)), 1e9).fit(x, x)
    np.testing.assert_allclose(diagonal.matrix_, 2 * np.eye(7), atol=1e-6)
    identity = PriorRidge(Affine(offset=np.ones(7)), 1e9).fit(x, x + 3)
    np.testing.assert_allclose(identity.transform(x), x + 3, atol=1e-6)


def test_the_moments_of_a_residual_are_those_of_its_rows() -> None:
    x, y, truth = paired()
    rng = np.random.default_rng(4)
    for prior in (Affine(truth + rng.standard_normal(truth.shape), rng.standard_normal(5)),):
        found = residual(Moments.of(x, y).second(), prior)
        direct = Moments.of(x, y - Chain([prior])(x)).second()
        for name in ("mean_y", "xy", "yy", "variance_y"):
            np.testing.assert_allclose(getattr(found, name), getattr(direct, name), atol=1e-8)


def test_with_few_pairs_a_near_prior_beats_none() -> None:
    x, y, truth = paired(20, seed=5)
    more_x, more_y, _ = paired(500, seed=6)
    errors = [
        ((PriorRidge(p, 0.3).fit(x, y).transform(more_x) - more_y) ** 2).mean()
        for p in (Affine(truth + 0.02), None)
    ]
    assert errors[0] < 0.8 * errors[1]


def test_priors_that_do_not_fit_are_refused() -> None:
    x, y, truth = paired()
    for prior, says in (
        (Affine(truth.T), "maps 5 to 7 dimensions, the pairs have 7 and 5"),
        (Affine(np.ones(5)), "maps 5 to 5"),
        (Affine(), "leaves rows as they are"),
        (Chain([Affine(truth), RowNorm("layer"), Affine(np.ones((5, 5)))]), "more than one matrix"),
    ):
        with pytest.raises(InputError, match=says):
            PriorRidge(prior).fit(x, y)
    with pytest.raises(InputError, match="0 or more"):
        PriorRidge(Affine(truth), -1.0).fit(x, y)


UNIT = RowNorm("unit")


def test_what_a_running_chain_does_behind_the_front() -> None:
    w = np.random.default_rng(0).standard_normal((7, 5))
    b = np.ones(5)
    for chain, front in (
        (Chain([UNIT, Affine(w, b), UNIT]), Chain([UNIT])),
        (Chain([Affine(w, b), UNIT]), Chain([UNIT])),
        (Chain([Affine(w, b)]), Chain()),
    ):
        found = prior_affine(chain, front)
        np.testing.assert_array_equal(found.matrix, w)
        np.testing.assert_array_equal(found.offset, b)
    layered = Chain([RowNorm("layer"), Affine(w, b), UNIT])
    with pytest.raises(InputError, match="more than one matrix"):
        prior_affine(layered, Chain([UNIT]))
    with pytest.raises(InputError, match="behind a fitted step"):
        prior_affine(layered, Chain([Affine(offset=np.ones(7)), UNIT]))
    assert prior_affine(Chain(), Chain()).matrix is None


class Source:
    def __init__(self, x: Any, y: Any) -> None:
        self.x, self.y = x, y

    def means(self, x: Chain, y: Chain, /) -> Any:
        return Moments.of(x(self.x), y(self.y)).second()

    def folds(self, x: Chain, y: Chain, keep: Any, /) -> FoldMoments:
        return FoldMoments.of(x(self.x), y(self.y), 4, keep=keep)

    def rows(self, x: Chain, y: Chain, /) -> Any:
        return []


@pytest.mark.parametrize("steps", ["", "standardise | ", "whiten(shrinkage=0.1, power=0.5) | "])
def test_a_refit_keeps_the_prior_whatever_the_frame(steps: str) -> None:
    """A strong prior is the prior, although it acts on other rows than the adapter sees."""
    x, y, truth = paired()
    prior = Chain([UNIT, Affine(truth, np.ones(5)), UNIT])
    recipe = Recipe.parse(f"unit_norm | {steps}prior_ridge(alpha=1e9) | unit_norm")

    def moments(on_x: Any, on_y: Any) -> Any:
        return Moments.of(on_x(x), on_y(y)).second()

    front = fit_front(recipe.front, moments, cosine=True)
    at = prior_affine(prior, front.x)
    chain = fit_chain(recipe, front, moments(front.x, front.y), prior=at)
    matrix = chain.stages[1].matrix  # type: ignore[union-attr]
    np.testing.assert_allclose(matrix, truth, atol=1e-5)


def test_selection_weighs_the_prior_against_the_data() -> None:
    x, y, truth = paired(2000)
    few, _, _ = paired(30, seed=2)
    source = Source(few, few @ truth + 0.5 * np.random.default_rng(3).standard_normal((30, 5)) - 1)
    recipes = [Recipe.parse("prior_ridge(alpha=auto)")]

    def judge(chain: Chain) -> Any:
        return -((chain(x) - y) ** 2).sum(1)

    near = select(
        recipes,
        source,
        SelectionTask(judge, cosine=False, prior=Chain([Affine(truth, -np.ones(5))])),
    )
    assert near.chosen.recipe.adapter.parameters["alpha"] > 1  # near the prior, which is the truth
    errors = [c.squared_error for c in near.candidates]
    assert all(e is not None and 0 < e < 0.1 for e in errors)  # of the target, not of the residual
    wrong = select(
        recipes, source, SelectionTask(judge, cosine=False, prior=Chain([Affine(-truth)]))
    )
    assert wrong.chosen.recipe.adapter.parameters["alpha"] < 1e-1
    with pytest.raises(RecipeError, match="none was given.*prior="):
        select(recipes, source, SelectionTask(judge, cosine=False))
    recipes = [Recipe.parse("standardise | prior_ridge(alpha=auto)")]
    with pytest.raises(InputError, match="maps 5 to 7"):
        select(recipes, source, SelectionTask(judge, cosine=False, prior=Chain([Affine(truth.T)])))
    # a recipe that has no use for it does not look at it
    plain = [Recipe.parse("layer_norm | ridge(alpha=0.1)")]
    odd = Chain([RowNorm(), Affine(truth), RowNorm("layer"), Affine(np.ones((5, 5)))])
    chosen = select(plain, source, SelectionTask(judge, cosine=False, prior=odd)).chosen
    assert chosen.recipe.adapter.name == "ridge"
