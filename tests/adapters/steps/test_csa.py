"""CSA: canonical correlations by an outside witness, and the exactness of the one-sided fold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.adapters import CSA, Chain, Recipe
from isthmus.adapters.pipeline import fit_chain, fit_front
from isthmus.adapters.steps.csa import likely_shrinkages
from isthmus.bridge import Bridge
from isthmus.errors import InputError, RecipeError
from isthmus.evaluate import Judging, top_k
from isthmus.evaluate.relevance import from_pairs
from isthmus.evaluate.trial import Trial
from isthmus.moments import Moments
from isthmus.spaces.contract import Space
from isthmus.ways import evaluate_upgrade


def shared(n: int = 500, common: int = 4, seed: int = 0, noise: float = 1.0) -> Any:
    """Two spaces that share ``common`` latent dimensions, each with noise of its own."""
    rng = np.random.default_rng(seed)
    models = np.random.default_rng(7)
    z = rng.standard_normal((n, common))
    x = z @ models.standard_normal((common, 8)) + noise * rng.standard_normal((n, 8)) + 1
    y = z @ models.standard_normal((common, 6)) + noise * rng.standard_normal((n, 6)) - 2
    return x, y


def unit(rows: Any) -> Any:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.filterwarnings("ignore:.*does not inherit from `sklearn.base.BaseEstimator`")
@pytest.mark.parametrize("estimator", [CSA(), CSA(mean=0.2)], ids=repr)
def test_scikit_learn_accepts_it(estimator: Any) -> None:
    checks = pytest.importorskip("sklearn.utils.estimator_checks")
    results = checks.check_estimator(estimator, on_skip=None, on_fail=None)
    assert not [(r["check_name"], r["exception"]) for r in results if r["status"] == "failed"]


def test_without_shrinkage_the_variates_are_canonical() -> None:
    """Witness: canonical correlations are the singular values of ``Qxᵀ Qy`` of centred rows."""
    x, y = shared()
    fitted = CSA(shrinkage=0.0, weight=0.0).fit(x, y)
    qx, qy = (np.linalg.qr(rows - rows.mean(0))[0] for rows in (x, y))
    expected = np.linalg.svd(qx.T @ qy)[1]
    np.testing.assert_allclose(fitted.correlations_, expected / expected[0], atol=1e-8)
    p, q = (x - x.mean(0)) @ fitted.source_, (y - y.mean(0)) @ fitted.target_
    np.testing.assert_allclose(p.T @ p / 500, np.eye(6), atol=1e-8)
    np.testing.assert_allclose(q.T @ q / 500, np.eye(6), atol=1e-8)
    np.testing.assert_allclose(p.T @ q / 500, np.diag(expected), atol=1e-8)


def test_it_agrees_with_scikit_learn() -> None:
    cross = pytest.importorskip("sklearn.cross_decomposition")
    x, y = shared()
    theirs = cross.CCA(n_components=3, scale=False, max_iter=5000, tol=1e-12).fit(x, y)
    of_x, of_y = theirs.transform(x, y)
    expected = [np.corrcoef(of_x[:, i], of_y[:, i])[0, 1] for i in range(3)]
    fitted = CSA(shrinkage=0.0, weight=0.0).fit(x, y)
    found = fitted.correlations_[:3] / fitted.correlations_[0] * expected[0]
    np.testing.assert_allclose(found, expected, rtol=1e-3)


@pytest.mark.parametrize("whitening", [0.5, 1.0])
def test_the_one_sided_map_ranks_as_the_shared_space_does(whitening: float) -> None:
    x, y = shared()
    fitted = CSA(shrinkage=0.2, whitening=whitening, weight=1.5).fit(x, y)
    queries, gallery = shared(40, seed=1)[0], unit(shared(300, seed=2)[1])
    p = (queries - x.mean(0)) @ fitted.source_
    q = (gallery - y.mean(0)) @ fitted.target_
    expected = np.argsort(-(p @ q.T), axis=1)
    np.testing.assert_array_equal(
        np.argsort(-(fitted.transform(queries) @ gallery.T), axis=1), expected
    )
    by_cosine = top_k(fitted.transform(queries), gallery, 20, metric="cosine").indices
    assert (by_cosine == expected[:, :20]).mean() > 0.999  # float32 scores


def test_two_sided_search_is_a_trial(tmp_path: Path) -> None:
    """A corpus of the old model and queries of the new one, both in the shared space."""
    old, new = (r.astype(np.float32) for r in shared(900, common=6, noise=0.2))
    fitted = CSA(weight=2.0).fit(old[:500], new[:500])
    items = list(range(400))
    trial = Trial(
        query_old=old[500:],
        query_new=new[500:],
        gallery_old=old[500:],
        gallery_new=new[500:],
        query_bridged=fitted.chain_y_(new[500:]),
        gallery_bridged=fitted.chain_x_(old[500:]),
        relevance=from_pairs(items, items, list(zip(items, items, strict=True))),
    )
    found = evaluate_upgrade(trial, Judging(resamples=50)).arms["bridge"].metrics["recall@10"]
    assert found.value > 0.8
    # kept as two bridges into one third space
    space = Space.describe(fitted.chain_x_(old), "shared", "cosine")
    for side, chain, rows in (("x", fitted.chain_x_, old), ("y", fitted.chain_y_, new)):
        bridge = Bridge("corpus", Space.describe(rows, side, "cosine"), space, chain.rounded())
        bridge.save(tmp_path / side)
        again = Bridge.load(tmp_path / side)
        np.testing.assert_allclose(again.transform(rows), chain(rows), atol=1e-5)


def test_the_mean_is_left_out_or_kept_in_part() -> None:
    x, y = shared()
    at_mean = x.mean(0, keepdims=True)
    for share in (0.0, 0.3, 1.0):
        fitted = CSA(mean=share).fit(x, y)
        np.testing.assert_allclose(fitted.transform(at_mean)[0], share * y.mean(0), atol=1e-9)


def test_degenerate_pairs_give_no_nan() -> None:
    x, y = shared()
    constant = CSA().fit(x, np.full((500, 6), 3.0))
    np.testing.assert_allclose(constant.transform(x), 3.0)
    assert np.isfinite(constant.chain_x_(x)).all()
    x[:, 2], x[:, 3] = 1.0, x[:, 4]
    for shrinkage in (0.0, 0.1):
        fitted = CSA(shrinkage=shrinkage).fit(x, y)
        assert np.isfinite(fitted.transform(x)).all()
        twice = CSA(shrinkage=shrinkage).fit(np.vstack([x, x]), np.vstack([y, y]))
        np.testing.assert_allclose(twice.transform(x), fitted.transform(x), atol=1e-6)
        for n in (1, 2, 5):
            few = CSA(shrinkage=shrinkage).fit(x[:n], y[:n])
            assert np.isfinite(few.transform(x)).all()


def test_parameters_out_of_range_are_refused() -> None:
    x, y = shared()
    for wrong, says in (
        (CSA(shrinkage=1.5), r"\[0, 1\]"),
        (CSA(whitening=-0.1), r"\[0, 1\]"),
        (CSA(weight=-1.0), "0 or more"),
        (CSA(mean=2.0), r"\[0, 1\]"),
    ):
        with pytest.raises(InputError, match=says):
            wrong.fit(x, y)


def _fitted(text: str, x: Any, y: Any) -> Chain:
    recipe = Recipe.parse(text)

    def moments(on_x: Any, on_y: Any) -> Any:
        return Moments.of(on_x(x), on_y(y)).second()

    front = fit_front(recipe.front, moments, cosine=True)
    return fit_chain(recipe, front, moments(front.x, front.y))


def test_in_a_recipe_it_is_one_matrix() -> None:
    x, y = shared()
    chain = _fitted("unit_norm | csa(shrinkage=0.2) | unit_norm", x, y)
    assert chain.products == 1
    assert chain.one_matrix is not None
    by_hand = CSA(0.2).fit(unit(x), unit(y))
    np.testing.assert_allclose(chain(x), unit(by_hand.transform(unit(x))), atol=1e-9)
    for steps in ("center", "standardise", "whiten"):
        with pytest.raises(RecipeError, match="has its own frame"):
            Recipe.parse(f"{steps} | csa")


def test_auto_tries_every_combination_and_no_squared_error() -> None:
    tried = CSA.expanded({"shrinkage": "auto", "mean": "auto", "weight": 1.0}, list)
    shrinkages = [p["shrinkage"] for p, _ in tried]
    assert len(tried) == 2 * len(set(shrinkages))
    assert {error for _, error in tried} == {None}
    assert all(p["weight"] == 1.0 and "auto" not in p.values() for p, _ in tried)
    assert shrinkages[0] > shrinkages[1]
    assert CSA.expanded({}, list) == [({}, None)]
    assert CSA.expanded({"shrinkage": 0.3}, list) == [({"shrinkage": 0.3}, None)]


@pytest.mark.parametrize("weight", [1.0, 0.5])
def test_fewer_rows_are_shrunk_more(weight: float) -> None:
    x, y = np.random.default_rng(0).standard_normal((2, 400, 8))
    few, many = (likely_shrinkages(Moments.of(x[:n], y[:n]).second(), weight) for n in (10, 400))
    assert max(few) > max(many)
    assert min(few) > min(many)
    assert all(0 < s < 1 for s in few + many)
    assert list(few) == sorted(few, reverse=True)


def test_a_weight_of_one_needs_no_decomposition_of_the_product() -> None:
    """It is the limit of the others: U ρ Vᵀ is the whitened cross-covariance itself."""
    x, y = np.random.default_rng(1).standard_normal((2, 200, 5))
    exact, near = (CSA(weight=w).fit(x, y + x).matrix_ for w in (1.0, 1.0 + 1e-9))
    np.testing.assert_allclose(exact, near, atol=1e-7)


def test_behind_an_end_of_its_path_lie_half_and_twice_the_odds() -> None:
    for last in (0.2, 0.5, 0.9):
        odds = last / (1 - last)
        for step, factor in ((1, 0.5), (-1, 2.0)):
            more = CSA.beyond({"shrinkage": last}, step)
            assert more is not None
            found = float(more["shrinkage"])
            assert found / (1 - found) == pytest.approx(odds * factor, rel=0.1)
    assert CSA.beyond({"shrinkage": 0.02}, 1) is None
    assert CSA.beyond({"shrinkage": 0.97}, -1) is None
