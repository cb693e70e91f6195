"""Reduced-rank regression: optimal among maps of its rank, exact errors, two thin matrices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.adapters import Affine, Chain, LowRank, Recipe, Ridge, RowNorm
from isthmus.adapters.chain import Thin
from isthmus.adapters.pipeline import fit_chain, fit_front
from isthmus.adapters.select import SelectionTask, select
from isthmus.adapters.steps.low_rank import rank_errors
from isthmus.bridge import Bridge
from isthmus.errors import InputError
from isthmus.moments import FoldMoments, Moments
from isthmus.spaces.contract import Space
from isthmus.spaces.split import fold_of


def narrow(n: int = 300, dx: int = 12, dy: int = 9, rank: int = 3, noise: float = 0.1) -> Any:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, dx)) @ rng.standard_normal((dx, dx)) + 2
    truth = rng.standard_normal((dx, rank)) @ rng.standard_normal((rank, dy))
    return x, x @ truth + noise * rng.standard_normal((n, dy)) - 1


@pytest.mark.filterwarnings("ignore:.*does not inherit from `sklearn.base.BaseEstimator`")
@pytest.mark.parametrize("estimator", [LowRank(), LowRank(rank=1)], ids=repr)
def test_scikit_learn_accepts_it(estimator: Any) -> None:
    checks = pytest.importorskip("sklearn.utils.estimator_checks")
    results = checks.check_estimator(estimator, on_skip=None, on_fail=None)
    assert not [(r["check_name"], r["exception"]) for r in results if r["status"] == "failed"]


def test_full_rank_is_ridge_and_the_factors_are_the_map() -> None:
    x, y = narrow()
    full = LowRank(alpha=0.1).fit(x, y)
    np.testing.assert_allclose(full.matrix_, Ridge(0.1).fit(x, y).matrix_, atol=1e-9)
    cut = LowRank(rank=4, alpha=0.1).fit(x, y)
    assert cut.left_.shape == (12, 4)
    np.testing.assert_allclose(cut.right_ @ cut.right_.T, np.eye(4), atol=1e-9)
    np.testing.assert_allclose(cut.left_ @ cut.right_, cut.matrix_, atol=1e-12)
    np.testing.assert_allclose(cut.transform(x), x @ cut.matrix_ + cut.offset_, atol=1e-8)


@pytest.mark.parametrize("rank", [1, 3, 6])
@pytest.mark.parametrize("alpha", [0.0, 0.05])
def test_no_map_of_its_rank_has_a_lower_penalised_error(rank: int, alpha: float) -> None:
    """Witness: ridge is least squares on augmented rows, whose fit is cut by a plain SVD."""
    x, y = narrow(rank=6, noise=3.0)
    cx, cy = x - x.mean(0), y - y.mean(0)
    strength = alpha * (cx**2).sum() / cx.shape[1]
    rows = np.vstack([cx, np.sqrt(strength) * np.eye(12)])
    target = np.vstack([cy, np.zeros((12, 9))])
    fit = rows @ np.linalg.lstsq(rows, target, rcond=None)[0]
    u, s, vt = np.linalg.svd(fit, full_matrices=False)
    best = ((target - (u[:, :rank] * s[:rank]) @ vt[:rank]) ** 2).sum()
    w = LowRank(rank=rank, alpha=alpha).fit(x, y).matrix_
    assert np.linalg.matrix_rank(w, tol=1e-8) == rank
    assert ((target - rows @ w) ** 2).sum() == pytest.approx(best, rel=1e-9)


def test_the_error_of_every_rank_is_that_of_the_fit_on_rows() -> None:
    x, y = narrow(150, 6, 4, noise=2.0)
    splits = FoldMoments.of(x, y, 3).splits()
    errors = rank_errors(splits, [1e-3, 0.3], np.float64)
    assert errors.shape == (3, 2, 4)
    assert np.abs(rank_errors(splits, [1e-3, 0.3]) - errors).max() < 1e-5 * y.var(0).sum()
    assigned = fold_of(np.arange(150), 3)
    for k in range(3):
        train, held = assigned != k, assigned == k
        for a, alpha in enumerate([1e-3, 0.3]):
            for rank in range(1, 5):
                fitted = LowRank(rank, alpha).fit(x[train], y[train])
                direct = ((fitted.transform(x[held]) - y[held]) ** 2).sum(1).mean()
                assert errors[k, a, rank - 1] == pytest.approx(direct, rel=1e-8)


def test_cross_validation_finds_the_rank() -> None:
    x, y = narrow(400, 12, 9, rank=3, noise=2.0)
    folds = FoldMoments.of(x, y, 5)
    tried = LowRank.expanded({}, folds.splits)
    best = min(tried, key=lambda t: t[1] or np.inf)
    assert best[0]["rank"] == 3
    ranks = [t[0]["rank"] for t in tried]
    assert ranks == sorted(ranks)
    assert {1, 2, 3} == set(ranks)
    fixed = LowRank.expanded({"rank": 2, "alpha": "auto"}, folds.splits)
    assert {t[0]["rank"] for t in fixed} == {2}
    assert LowRank.expanded({"rank": 2, "alpha": 0.1}, folds.splits) == [
        ({"rank": 2, "alpha": 0.1}, None)
    ]


@pytest.mark.parametrize("rank", [0, 10, 2.5, True, -1])
def test_impossible_ranks_are_refused(rank: Any) -> None:
    x, y = narrow()
    with pytest.raises(InputError, match=r"the rank is .* 1 to 9"):
        LowRank(rank=rank).fit(x, y)
    with pytest.raises(InputError, match="1 to 9"):
        LowRank.expanded({"rank": rank, "alpha": "auto"}, FoldMoments.of(x, y, 3).splits)


def test_degenerate_pairs_give_no_nan() -> None:
    x, y = narrow()
    constant = LowRank(rank=2).fit(x, np.ones((300, 9)))
    np.testing.assert_allclose(constant.transform(x), 1, atol=1e-9)
    twice = LowRank(rank=2).fit(np.vstack([x, x]), np.vstack([y, y]))
    np.testing.assert_allclose(twice.matrix_, LowRank(rank=2).fit(x, y).matrix_, atol=1e-9)
    for n in (1, 2, 4):
        assert np.isfinite(LowRank(rank=5).fit(x[:n], y[:n]).transform(x)).all()
    tried = LowRank.expanded({}, FoldMoments.of(x, np.ones((300, 9)), 3).splits)
    assert all(np.isfinite(error or 0.0) for _, error in tried)
    assert LowRank.expanded({}, list)[0][0]["rank"] == 1


def _chain(text: str, x: Any, y: Any) -> Chain:
    recipe = Recipe.parse(text)

    def moments(on_x: Any, on_y: Any) -> Any:
        return Moments.of(on_x(x), on_y(y)).second()

    front = fit_front(recipe.front, moments, cosine=True)
    return fit_chain(recipe, front, moments(front.x, front.y))


@pytest.mark.parametrize("rank", [2, 8])
def test_a_recipe_keeps_the_factors_where_they_are_cheaper(rank: int, tmp_path: Path) -> None:
    x, y = narrow()
    chain = _chain(f"unit_norm | standardise | low_rank(rank={rank}, alpha=0.01) | unit_norm", x, y)
    thin = [stage for stage in chain.stages if isinstance(stage, Thin)]
    assert len(thin) == (rank == 2)
    steps = Recipe.parse(f"unit_norm | standardise | low_rank(rank={rank}, alpha=0.01) | unit_norm")
    unit_x, unit_y = (r / np.linalg.norm(r, axis=1, keepdims=True) for r in (x, y))
    on_x, on_y = steps.steps[1].build().fit(unit_x), steps.steps[1].build().fit(unit_y)
    fitted = LowRank(rank, 0.01).fit(on_x.transform(unit_x), on_y.transform(unit_y))
    plain = on_y.inverse_transform(fitted.transform(on_x.transform(unit_x)))
    expected = plain / np.linalg.norm(plain, axis=1, keepdims=True)
    np.testing.assert_allclose(chain(x), expected, atol=1e-8)
    np.testing.assert_allclose(chain(x[0]), expected[0], atol=1e-8)
    np.testing.assert_allclose(chain(x.astype(np.float32)), expected, atol=1e-4)
    spaces = [Space.describe(r.astype(np.float32), "s", "cosine") for r in (x, y)]
    bridge = Bridge("query", *spaces, chain.rounded())
    bridge.save(tmp_path / "b")
    again = Bridge.load(tmp_path / "b").chain
    assert [type(s) for s in again.stages] == [type(s) for s in chain.stages]
    single = x.astype(np.float32)
    np.testing.assert_array_equal(again(single), bridge.chain(single))


def test_auto_in_a_recipe_is_chosen_by_the_judge() -> None:
    x, y = narrow(noise=1.0)

    class Source:
        def means(self, on_x: Any, on_y: Any, /) -> Any:
            return Moments.of(on_x(x), on_y(y)).second()

        def folds(self, on_x: Any, on_y: Any, keep: Any, /) -> Any:
            return FoldMoments.of(on_x(x), on_y(y), 4, keep=keep)

        def rows(self, on_x: Any, on_y: Any, /) -> Any:
            return []

    selection = select(
        [Recipe.parse("low_rank(rank=auto, alpha=auto)")],
        Source(),
        SelectionTask(lambda chain: -((chain(x) - y) ** 2).sum(1), cosine=False),
    )
    assert selection.chosen.recipe.adapter.parameters["rank"] == 3


def test_a_damaged_thin_stage_is_refused() -> None:
    ones = np.ones((3, 2))
    for tensors, says in (
        ({"left": ones}, "a thin map has"),
        ({"left": ones, "right": ones, "offset": ones[0]}, "do not fit"),
        ({"left": ones, "right": ones.T, "offset": ones}, "one dimension"),
    ):
        with pytest.raises(ValueError, match=says):
            Thin.from_tensors(tensors)


@pytest.mark.parametrize("library", ["torch", "array_api_strict"])
def test_other_libraries_run_the_factors(library: str, rng: np.random.Generator) -> None:
    xp = pytest.importorskip(library)
    thin = Thin(rng.standard_normal((5, 2)), rng.standard_normal((2, 4)), rng.standard_normal(4))
    chain = Chain([RowNorm(), thin])
    x = rng.standard_normal((7, 5)).astype(np.float32)
    np.testing.assert_allclose(np.asarray(chain(xp.asarray(x))), chain(x), rtol=1e-4, atol=1e-5)
    dense = Chain([RowNorm(), Affine(thin.left @ thin.right, thin.offset)])
    np.testing.assert_allclose(chain(x), dense(x), rtol=1e-4, atol=1e-5)
    assert thin.dims == (5, 4)
