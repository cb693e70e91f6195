"""Choosing between maps: retrieval decides, ties go to the simpler one, passes are shared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import Ridge as TheirRidge

from isthmus.adapters.chain import Affine, Chain, RoutedMap
from isthmus.adapters.cross_fitted import mapped_rows
from isthmus.adapters.default_recipes import default_recipes, default_refinements
from isthmus.adapters.left_out_folds import RowsWithoutFolds
from isthmus.adapters.pipeline import FittedFront, fit_chain
from isthmus.adapters.recipe import Recipe
from isthmus.adapters.recipe_step import Step
from isthmus.adapters.select import Selection, SelectionTask
from isthmus.adapters.select import select as select_with
from isthmus.adapters.steps.csa import likely_shrinkages
from isthmus.adapters.steps.ridge import DEFAULT_ALPHAS, Ridge
from isthmus.errors import InputError, RecipeError
from isthmus.moments import FoldMoments, KindsApart, SecondMoments
from isthmus.progress import silent
from isthmus.spaces.sample import Batch
from isthmus.spaces.split import fold_of

N, D, FOLDS = 400, 6, 5


class Source:
    """Moments of arrays, counting passes."""

    def __init__(self, n: int = N, noise: float = 0.5) -> None:
        rng = np.random.default_rng(0)
        self.x = rng.standard_normal((n, D)) * np.arange(1, D + 1) + 1
        self.truth = rng.standard_normal((D, D))
        self.y = self.x @ self.truth + noise * rng.standard_normal((n, D))
        self.passes: list[tuple[str, frozenset[str]]] = []

    def means(self, x: Chain, y: Chain, /) -> SecondMoments:
        self.passes.append(("means", frozenset()))
        return FoldMoments.of(x(self.x), y(self.y), FOLDS, keep={"square"}).total.second()

    def folds(self, x: Chain, y: Chain, keep: frozenset[str], /) -> FoldMoments:
        self.passes.append(("folds", keep))
        return FoldMoments.of(x(self.x), y(self.y), FOLDS, keep=keep)

    def rows(self, x: Chain, y: Chain, /) -> list[Batch]:
        return [Batch(np.arange(len(self.x)), x(self.x), y(self.y))]


def select(
    recipes: list[Recipe], source: Any, judge: Any, *, cosine: bool, progress: Any = silent
) -> Selection:
    return select_with(recipes, source, SelectionTask(judge, cosine, progress=progress))


def _recipes(*texts: str) -> list[Recipe]:
    return [Recipe.parse(text) for text in texts]


def _scores(values: dict[str, Any]) -> Callable[[Chain], np.ndarray]:
    """A judge that gives what it is told, in the order in which maps come."""
    left = list(values.values())
    return lambda _: np.asarray(left.pop(0), dtype=np.float64)


def _judge_by_error(source: Source) -> Callable[[Chain], np.ndarray]:
    return lambda chain: -((chain(source.x) - source.y) ** 2).sum(axis=1)


@pytest.mark.parametrize(
    ("gap", "chosen"),
    [(-0.01, "procrustes"), (0.0, "procrustes"), (0.01, "ridge(alpha=0.1, power=1.0)")],
)
def test_the_best_mean_is_taken_and_of_equals_the_simpler(gap: float, chosen: str) -> None:
    simple = np.zeros(100)
    selection = select(
        _recipes("procrustes", "ridge(alpha=0.1)"),
        Source(),
        _scores({"simple": simple, "better": simple + gap}),
        cosine=False,
    )
    assert str(selection.chosen.recipe) == chosen
    assert [c.score for c in selection.candidates] == pytest.approx(sorted([0, gap], reverse=True))
    assert [c.recipe.adapter.name for c in selection.in_order] == ["procrustes", "ridge"]


def test_the_order_given_decides_whatever_the_passes() -> None:
    """Recipes of one pass are fitted together; of two equal maps the one named first is taken."""
    recipes = _recipes("center | procrustes", "unit_norm | procrustes", "center | ridge(alpha=0.1)")
    fitted: list[Chain] = []

    def judge(chain: Chain) -> np.ndarray:
        fitted.append(chain)
        return np.full(
            5, float(len(fitted) > 1)
        )  # the first is clearly worse, the others are equal

    chosen = select(recipes, Source(), judge, cosine=True).chosen
    assert str(chosen.recipe) == "unit_norm | procrustes"
    assert chosen.chain is fitted[2]


def test_recipes_that_share_their_front_share_a_pass() -> None:
    source = Source()
    select(
        _recipes("center | procrustes", "ridge(alpha=0.1)", "whiten | procrustes"),
        source,
        _judge_by_error(source),
        cosine=False,
    )
    ((kind, keep),) = source.passes
    assert kind == "folds"
    assert {"xx", "xy", "yy"} <= keep
    alone = Source()
    select(_recipes("procrustes"), alone, _judge_by_error(alone), cosine=False)
    assert alone.passes == [("folds", frozenset({"xy"}) | alone.passes[0][1])]
    assert "xx" not in alone.passes[0][1]


def test_only_a_row_norm_behind_a_fitted_step_costs_more_passes() -> None:
    source = Source()
    select(_recipes("center | unit_norm | procrustes"), source, lambda _: np.ones(3), cosine=True)
    kinds = [kind for kind, _ in source.passes]
    assert kinds.count("folds") == 1
    assert kinds.count("means") in (1, 2)
    first = Source()
    select(_recipes("unit_norm | procrustes"), first, lambda _: np.ones(3), cosine=True)
    assert [kind for kind, _ in first.passes] == ["folds"]


def test_automatic_strengths_are_those_of_cross_validation() -> None:
    """The strength with the least error over held-out folds, by scikit-learn on the rows."""
    source = Source(n=60, noise=8.0)
    selection = select(_recipes("ridge(alpha=auto)"), source, _judge_by_error(source), cosine=False)
    folds = fold_of(np.arange(60), FOLDS)
    errors = np.zeros(len(DEFAULT_ALPHAS))
    for k in range(FOLDS):
        train, test = folds != k, folds == k
        x = source.x[train] - source.x[train].mean(0)
        for i, alpha in enumerate(DEFAULT_ALPHAS):
            # isthmus states strengths relative to the mean variance of the source
            model = TheirRidge(alpha=alpha * np.trace(x.T @ x) / D)
            model.fit(source.x[train], source.y[train])
            errors[i] += ((model.predict(source.x[test]) - source.y[test]) ** 2).sum()
    best = DEFAULT_ALPHAS[int(np.argmin(errors))]
    least = min(selection.candidates, key=lambda c: c.squared_error)
    assert least.recipe.adapter.parameters["alpha"] == pytest.approx(best, rel=0.01)
    scale = sum(
        ((source.y[folds == k] - source.y[folds == k].mean(0)) ** 2).sum() for k in range(FOLDS)
    )
    assert least.squared_error == pytest.approx(errors.min() / scale, rel=0.05)


def test_every_power_is_tried_with_every_strength() -> None:
    source = Source()
    selection = select(
        _recipes("ridge(alpha=auto, power=auto)"), source, _judge_by_error(source), cosine=False
    )
    tried = {tuple(c.recipe.adapter.parameters.values()) for c in selection.candidates}
    assert {power for _, power in tried} == {1.0, 0.75, 0.5}
    for power in (1.0, 0.75, 0.5):
        assert len([alpha for alpha, of in tried if of == power]) > 1
    assert not any(c.recipe.adapter.automatic for c in selection.candidates)
    fixed = select(
        _recipes("ridge(alpha=0.3, power=auto)"), source, _judge_by_error(source), cosine=False
    )
    assert {c.recipe.adapter.parameters["alpha"] for c in fixed.candidates} == {0.3}
    assert {c.squared_error for c in fixed.candidates} == {None}


@pytest.mark.parametrize(("top", "tried"), [(0, 4), (1, 4), (2, 3), (3, 3), (4, 3)])
def test_a_path_is_followed_from_its_middle_as_far_as_retrieval_rises(top: int, tried: int) -> None:
    """The top of what rises and then falls is found; what lies beyond a fall is not tried."""
    source = Source(n=60, noise=8.0)
    folds = source.folds(Chain(), Chain(), frozenset({"square", "xx", "xy"}))
    path = [p["alpha"] for p, _ in Ridge.expanded({"alpha": "auto"}, folds.splits)]
    sizes = [np.linalg.norm(Ridge(alpha).fit(source.x, source.y).matrix_) for alpha in path]
    assert len(path) == 5

    def judge(chain: Chain) -> np.ndarray:
        size = np.linalg.norm(chain(np.eye(D)) - chain(np.zeros((D, D))))
        place = int(np.argmin(np.abs(np.array(sizes) - size)))
        return np.array([-abs(place - top)], dtype=float)

    found = select(_recipes("ridge(alpha=auto)"), source, judge, cosine=False)
    assert found.chosen.recipe.adapter.parameters["alpha"] == path[top]
    assert len(found.candidates) == tried


def test_a_path_goes_on_behind_its_end_while_retrieval_rises() -> None:
    source = Source(n=60, noise=8.0)
    named = _recipes("csa(shrinkage=auto, weight=1.0)")

    def judge(chain: Chain) -> np.ndarray:
        values = np.linalg.svd(chain(np.eye(D)) - chain(np.zeros((D, D))), compute_uv=False)
        return np.array([values[0] / values.sum()])  # the weaker the shrinkage, the more uneven

    tried = select(named, source, judge, cosine=True).in_order
    found = [float(c.recipe.adapter.parameters["shrinkage"]) for c in tried]
    assert found == sorted(found, reverse=True) and len(found) == 5
    folds = source.folds(Chain(), Chain(), frozenset({"square", "xx", "xy", "yy"}))
    assert min(likely_shrinkages(folds.splits()[0][0])) > found[-1]
    flat = select(named, source, lambda chain: np.zeros(1), cosine=True).candidates
    assert len(flat) <= 3


def test_only_the_best_of_all_maps_is_trained_too() -> None:
    source = Source()
    task = SelectionTask(
        _judge_by_error(source),
        cosine=False,
        refinements=[Step("polish")],
    )
    found = select_with(_recipes("procrustes", "ridge(alpha=1e-9)"), source, task)
    refined = [c.recipe for c in found.in_order if c.recipe.refinement is not None]
    assert [r.adapter.name for r in refined] == ["ridge"]
    assert found.in_order[-1].recipe == refined[0]
    assert found.chosen.recipe.refinement is None, "least squares has the least error"


def test_the_chosen_map_is_the_least_squares_one() -> None:
    source = Source(noise=0.0)
    selection = select(
        _recipes("procrustes", "ridge(alpha=1e-9)"), source, _judge_by_error(source), cosine=False
    )
    assert selection.chosen.recipe.adapter.name == "ridge"
    np.testing.assert_allclose(selection.chosen.chain(source.x), source.y, atol=1e-4)


def test_only_the_best_map_is_refined() -> None:
    """Its strength is chosen without the refinement; the global map heads what is tried."""
    source, maps = Source(noise=2.0), []

    def judge(chain: Chain) -> np.ndarray:
        maps.append(chain)
        return _judge_by_error(source)(chain)

    recipes = _recipes("ridge(alpha=auto)", "ridge(alpha=auto) | local(experts=auto)")
    selection = select(recipes, source, judge, cosine=False)
    plain = [c for c in selection.candidates if c.recipe.refinement is None]
    refined = [c for c in selection.candidates if c.recipe.refinement is not None]
    # a map that is fitted for both recipes is fitted once
    assert len(maps) == len(selection.candidates) == len(plain) + len(refined)
    (strength,) = {c.recipe.adapter.parameters["alpha"] for c in refined}
    alone = select(recipes[:1], source, _judge_by_error(source), cosine=False)
    assert strength == alone.chosen.recipe.adapter.parameters["alpha"]
    experts = {c.recipe.refinement.parameters["experts"]: c for c in refined}
    assert len(experts) == 3
    np.testing.assert_array_equal(
        experts[1].chain(source.x),
        next(c for c in plain if c.recipe.adapter == experts[1].recipe.adapter).chain(source.x),
    )
    assert not any(c.recipe.refinement.automatic for c in refined)


def test_a_refinement_that_is_asked_for_is_given() -> None:
    source = Source()
    selection = select(
        _recipes("ridge(alpha=0.1) | local(experts=2)"), source, lambda _: np.ones(3), cosine=False
    )
    (found,) = selection.candidates
    assert str(found.recipe.refinement) == "local(experts=2)"
    assert any(isinstance(stage, RoutedMap) for stage in found.chain.stages)


def test_a_refinement_needs_rows() -> None:
    source, recipe = Source(), Recipe.parse("procrustes | local")
    moments = source.folds(Chain(), Chain(), frozenset({"xy"})).total.second()
    with pytest.raises(RecipeError, match="'local' reads rows, and only their moments are known"):
        fit_chain(recipe, FittedFront(Chain(), Chain(), Affine()), moments)


def test_refinements_tell_how_far_they_are() -> None:
    source, told = Source(), []
    select(
        _recipes("procrustes | local(experts=3)"),
        source,
        lambda _: np.ones(3),
        cosine=False,
        progress=lambda *event: told.append(event),
    )
    assert told == [
        *(("fit the local maps", j, 3) for j in (1, 2, 3)),
        ("choose the map", 1, None),
    ]


def test_progress_counts_every_candidate() -> None:
    source, told = Source(), []
    select(
        default_recipes("l2"),
        source,
        _judge_by_error(source),
        cosine=False,
        progress=lambda task, done, total: told.append((task, done, total)),
    )
    assert [done for _, done, _ in told] == list(range(1, len(told) + 1))
    assert len(told) > 10


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_the_default_recipes_suit_the_metric(metric: str) -> None:
    recipes = [str(recipe) for recipe in default_recipes(metric)]
    assert {r.count("unit_norm") for r in recipes} == {2 if metric == "cosine" else 0}
    assert ("scale=true" in recipes[0]) == (metric != "cosine")
    linear = [r.adapter.name for r in default_recipes(metric)]
    assert linear == ["procrustes", "procrustes", "lambda_orthogonal", "ridge"]
    for_search = default_recipes(metric, search_only=True, apart=True)
    assert ("csa" in [r.adapter.name for r in for_search]) == (metric == "cosine")
    # first the plain rotation, for spaces where one mean serves documents and queries alike
    assert [r.apart for r in for_search] == [False] + [True] * (len(for_search) - 1)
    assert [str(step) for step in default_refinements(metric, 9)] == ["polish"] * (
        metric == "cosine"
    )
    few, many = (default_refinements(metric, n, pools=True) for n in (1000, 1001))
    assert str(few[0]) == "match_pools(mutual=auto)"
    assert few[1:] == many


class Upgrade:
    """Items, queries that lie elsewhere, and the moments of both."""

    def __init__(self, n: int = 200, shift: float = 4.0) -> None:
        rng = np.random.default_rng(3)
        turn = np.linalg.qr(rng.standard_normal((D, D)))[0]
        z = rng.standard_normal((n, D))
        self.ids = np.arange(n)
        self.items = z, z @ turn
        asked = z + 0.3 * rng.standard_normal((n, D))
        away, there = shift * rng.standard_normal((2, D))
        self.asked_rows = asked + away, asked @ turn + there

    def folds(self, x: Chain, y: Chain, keep: frozenset[str], /) -> FoldMoments:
        sides = [(x(a), y(b)) for a, b in (self.items, self.asked_rows)]
        ids = np.concatenate([self.ids, self.ids])
        both = FoldMoments.of(*(np.vstack(side) for side in zip(*sides, strict=True)), ids=ids)
        queries = FoldMoments.of(*sides[1], ids=self.ids)
        both.apart = KindsApart(both.without(queries), queries)
        return both

    def means(self, x: Chain, y: Chain, /) -> SecondMoments:
        return self.folds(x, y, frozenset()).second()

    def rows(self, x: Chain, y: Chain, /) -> list[Batch]:
        return [Batch(self.ids, x(a), y(b)) for a, b in (self.items, self.asked_rows)]

    def ranks(self, chain: Any) -> np.ndarray:
        mapped = mapped_rows(chain, self.ids, self.asked_rows[0])
        near = ((mapped[:, None] - self.items[1][None]) ** 2).sum(axis=2)
        return 1.0 / (near <= np.diagonal(near)[:, None]).sum(axis=1)


def test_documents_and_queries_are_centred_apart() -> None:
    """A query is mapped from the mean of the queries to the mean of the documents."""
    source = Upgrade()
    selection = select(
        _recipes("procrustes", "apart | procrustes"), source, source.ranks, cosine=False
    )
    assert selection.chosen.recipe.apart
    pooled, apart = (c.score for c in selection.in_order)
    assert apart > pooled + 0.1
    np.testing.assert_allclose(
        selection.chain(source.asked_rows[0]).mean(axis=0), source.items[1].mean(axis=0), atol=1e-9
    )


def test_each_row_is_mapped_by_a_fit_that_has_not_seen_it() -> None:
    """Against maps fitted on the rows of the other folds, one by one."""
    source = Source(n=60)

    seen: list[np.ndarray] = []

    def judge(chain: Any) -> np.ndarray:
        seen.append(mapped_rows(chain, np.arange(60), source.x))
        return -((seen[-1] - source.y) ** 2).sum(axis=1)

    task = SelectionTask(judge, False, cross_fit=True)
    selection = select_with(_recipes("ridge(alpha=0.5)"), source, task)
    folds = fold_of(np.arange(60), FOLDS)
    for k in range(FOLDS):
        alone = Ridge(alpha=0.5).fit(source.x[folds != k], source.y[folds != k])
        np.testing.assert_allclose(
            seen[0][folds == k], alone.transform(source.x[folds == k]), atol=1e-9
        )
    everything = Ridge(alpha=0.5).fit(source.x, source.y)
    np.testing.assert_allclose(selection.chain(source.x), everything.transform(source.x), atol=1e-9)


def test_a_refinement_of_a_fold_reads_the_other_folds() -> None:
    batches = [Batch(np.arange(10), *np.zeros((2, 10, 3)))]
    left_out = RowsWithoutFolds(batches, (2,), FOLDS, 0)
    (left,) = left_out
    assert set(left.ids.tolist()) == set(np.flatnonzero(fold_of(np.arange(10), FOLDS) != 2))
    assert [batch.ids.tolist() for batch in left_out.items] == [left.ids.tolist()]
    assert list(left_out.asked) == []


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(InputError, match=r"only 1 pair\(s\) left to fit on.*Give more pairs"):
        select(_recipes("procrustes"), Source(n=1), lambda _: np.ones(1), cosine=False)
