"""Fitting: from pairs to a bridge with evidence that no held-out item has touched."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import isthmus
from isthmus.adapters.pipeline import fit_chain, fit_front
from isthmus.adapters.recipe import Recipe
from isthmus.bridge import Bridge, Fitting, Queries, SampleSizes, assess, fit
from isthmus.bridge.held_out_samples import PARTS
from isthmus.errors import InputError, RecipeError
from isthmus.evaluate import Judging, Verdict
from isthmus.moments import FoldMoments, Moments
from isthmus.spaces.contract import Space
from isthmus.spaces.pairs import Pairs
from isthmus.ways.judge import judge_ways

GOOD = (Verdict.USE_BRIDGE, Verdict.BRIDGE_AND_RESCORE)


# ---- what comes out ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["query", "corpus"])
@pytest.mark.parametrize(("dx", "dy"), [(16, 16), (12, 20), (20, 12)])
def test_widths_and_kinds(make_world: Callable[..., Any], kind: Any, dx: int, dy: int) -> None:
    world = make_world(dx, dy, noise_x=0.02, noise_y=0.02)
    pairs, queries = world.upgrade()
    # canonical correlations rank the target's vectors and do not lie among them
    bridge = fit(pairs, kind=kind, queries=queries, recipe=["procrustes", "ridge(alpha=auto)"])
    names = ("new", "old") if kind == "query" else ("old", "new")
    assert (bridge.source.name, bridge.target.name) == names
    assert (bridge.source.dim, bridge.target.dim) == (dx, dy)
    z = world.latent(200)
    mapped, truth = bridge.transform(world.seen("x", z)), world.seen("y", z)
    assert mapped.shape == (200, dy)
    assert mapped.dtype == np.float32
    cosine = (
        (mapped * truth).sum(1) / np.linalg.norm(mapped, axis=1) / np.linalg.norm(truth, axis=1)
    )
    # a wider target holds dimensions that the source never saw
    assert np.median(cosine) > (0.98 if dx >= dy else 0.9)
    evidence = bridge.evidence
    assert evidence is not None
    assert ("naive" in evidence.absent) == (dx != dy)
    value = {arm: a.metrics["recall@10"].value for arm, a in evidence.arms.items()}
    assert value["bridge"] > 0.6
    assert value["control"] < 0.1


@pytest.mark.parametrize("metric", ["dot", "l2"])
def test_other_metrics(make_world: Callable[..., Any], metric: Any) -> None:
    world = make_world(noise_x=0.02, noise_y=0.02)
    pairs, queries = world.upgrade(metric=metric)
    bridge = fit(pairs, queries=queries)
    assert bridge.source.metric == bridge.target.metric == metric
    assert bridge.evidence is not None
    arms = bridge.evidence.arms
    found = {arm: arms[arm].metrics["recall@10"].value for arm in ("old", "bridge", "control")}
    assert found["bridge"] > 0.9 * found["old"] > 5 * found["control"]
    z = world.latent(300)
    # lengths matter here: the map must hit the vectors themselves
    error = bridge.transform(world.seen("x", z)) - world.seen("y", z)
    assert (error**2).sum() < 0.02 * world.seen("y", z).var(axis=0).sum() * 300


def test_a_recipe_given_is_the_map_that_its_steps_make(upgrade: tuple[Pairs, Pairs]) -> None:
    """Folding, streaming and rounding change nothing: the steps by hand on the fit rows agree."""
    pairs, _ = upgrade
    recipe = Recipe.parse("center | standardise | ridge(alpha=0.01, power=1.0) | unit_norm")
    bridge = fit(pairs, recipe=recipe)
    assert bridge.recipe == recipe
    assert [t.recipe for t in bridge.tried] == [str(recipe)]
    everything = pairs.head(len(pairs))
    rows = pairs.split({"fit": 0.8, "validation": 0.1, "test": 0.1}).assign(everything.ids) == 0
    assert bridge.provenance.fits[0].fit_rows == rows.sum()
    x, y = everything.x[rows], everything.y[rows]
    front = fit_front(recipe.front, lambda *_: pytest.fail("no pass is needed"), cosine=True)
    by_hand = fit_chain(recipe, front, Moments.of(x, y).second())
    probe = everything.x[~rows]
    np.testing.assert_allclose(bridge.transform(probe), by_hand(probe), atol=5e-5)

    def standard(v: np.ndarray, like: np.ndarray) -> np.ndarray:
        return (v - like.mean(0)) / like.std(0)

    sx, sy = standard(x.astype(float), x.astype(float)), standard(y.astype(float), y.astype(float))
    strength = 0.01 * np.trace(sx.T @ sx) / sx.shape[1]
    w = np.linalg.solve(sx.T @ sx + strength * np.eye(sx.shape[1]), sx.T @ sy)
    out = (standard(probe.astype(float), x.astype(float)) @ w) * y.std(0) + y.mean(0)
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    np.testing.assert_allclose(bridge.transform(probe), out, atol=1e-4)


def test_of_several_recipes_the_best_on_validation_is_taken(upgrade: tuple[Pairs, Pairs]) -> None:
    pairs, queries = upgrade
    recipes = ["procrustes | unit_norm", "center | procrustes | unit_norm"]
    bridge = fit(pairs, queries=queries, recipe=recipes)
    assert {t.recipe for t in bridge.tried} == set(recipes)
    assert [t.score for t in bridge.tried] == sorted((t.score for t in bridge.tried), reverse=True)
    assert str(bridge.recipe) in recipes


def test_auto_tries_rotations_and_ridge(bridge: Any) -> None:
    tried = " ".join(t.recipe for t in bridge.tried)
    assert "procrustes" in tried
    assert "ridge(alpha=" in tried
    assert "auto" not in tried
    errors = [t.squared_error for t in bridge.tried if "ridge" in t.recipe]
    assert all(0 < e < 1 for e in errors)


def test_without_queries_or_labels_there_is_only_agreement(upgrade: tuple[Pairs, Pairs]) -> None:
    evidence = fit(upgrade[0]).evidence
    assert evidence is not None
    assert evidence.evidence_kind == "agreement"
    assert evidence.compatible is None
    assert evidence.arms["old"].metrics[evidence.primary].value == 1
    assert evidence.verdict is not Verdict.RE_EMBED


def test_labels_say_what_is_relevant(make_world: Callable[..., Any]) -> None:
    world = make_world()
    labels = np.repeat(np.arange(60), 25)
    z = 2.5 * world.latent(60)[labels] + world.latent(1500)
    pairs = world.pairs(z, labels=labels)
    evidence = fit(pairs).evidence
    assert evidence is not None
    assert evidence.evidence_kind == "relevance"
    assert evidence.primary == "ndcg@10"  # more than ten answers
    assert evidence.arms["bridge"].metrics["ndcg@10"].value > 0.5
    # labels that have nothing to do with the items leave the old model at chance
    senseless = fit(world.pairs(z, labels=np.random.default_rng(5).permutation(labels))).evidence
    assert senseless is not None
    assert senseless.verdict is Verdict.NOT_ENOUGH_EVIDENCE


def test_qrels_say_which_items_answer(make_world: Callable[..., Any]) -> None:
    world = make_world()
    z = world.latent(1500)
    names = np.array([f"doc {i}" for i in range(1500)])
    items = world.pairs(z, ids=names)
    queries = world.pairs(world.near(z), ids=np.array([f"query {i}" for i in range(1500)]))
    right = {f"query {i}": [f"doc {i}"] for i in range(1500)}
    wrong = {f"query {i}": [f"doc {(i + 7) % 1500}"] for i in range(1500)}
    evidence = {
        name: fit(
            items, queries=Queries(queries, qrels), fitting=Fitting(fit_on_queries=False)
        ).evidence
        for name, qrels in (("right", right), ("wrong", wrong))
    }
    assert evidence["right"].arms["bridge"].metrics["recall@10"].value > 0.8
    assert evidence["wrong"].arms["old"].metrics["recall@10"].value < 0.1
    assert evidence["wrong"].verdict is Verdict.NOT_ENOUGH_EVIDENCE
    with pytest.raises(
        InputError, match="of 1,500 queries none is answered by an item of the test"
    ):
        fit(
            items,
            queries=Queries(queries, {f"query {i}": ["elsewhere"] for i in range(1500)}),
            fitting=Fitting(cross_fit=False),
        )
    absent = {query: [f"{i} elsewhere"] for i, query in enumerate(right)}
    with pytest.raises(InputError, match="no held-out query has its relevant item"):
        fit(items, queries=Queries(queries, absent))


@pytest.mark.parametrize("primary", ["mrr", "recall@1", "cmc@5"])
def test_the_primary_metric_decides(upgrade: tuple[Pairs, Pairs], primary: str) -> None:
    pairs, queries = upgrade
    bridge = fit(pairs, queries=queries, judging=Judging(primary=primary))
    assert bridge.evidence is not None
    assert bridge.evidence.primary == primary
    assert primary in bridge.evidence.reason
    with pytest.raises(InputError, match="recall@ten"):
        fit(pairs, queries=queries, judging=Judging(primary="recall@ten"))


def test_a_contract_given_is_kept_and_held_against_the_pairs(upgrade: tuple[Pairs, Pairs]) -> None:
    pairs, _ = upgrade
    space = Space.describe(pairs.head(500).x, "mini", "cosine").revise(
        model="mini-lm", version="2.0.0"
    )
    assert fit(pairs, fitting=Fitting(source=space)).source == space
    with pytest.raises(InputError, match=r"space 'mini': .* 24 dimensions under cosine"):
        fit(Pairs(pairs.head(200).x, pairs.head(200).y, metric="l2"), fitting=Fitting(source=space))


# ---- held-out items stay held out --------------------------------------------------------------


class Spy:
    """What a fit accumulates, and what it is judged on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fitted: set[Any] = set()
        self.trials: list[Any] = []
        update = FoldMoments.update

        def spied(moments: FoldMoments, ids: Any, x: Any, y: Any, **options: Any) -> FoldMoments:
            self.fitted |= set(ids.tolist())
            return update(moments, ids, x, y, **options)

        def evaluate(trial: Any, *args: Any, **options: Any) -> Any:
            self.trials.append(trial)
            return judge_ways(trial, *args, **options)

        monkeypatch.setattr(FoldMoments, "update", spied)
        monkeypatch.setattr(sys.modules["isthmus.bridge.examine"], "judge_ways", evaluate)


def _rows_in(found: np.ndarray, where: np.ndarray) -> list[int]:
    place = {row.tobytes(): i for i, row in enumerate(where)}
    return [place[row.tobytes()] for row in found]


def test_no_held_out_item_was_fitted_on(
    make_world: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world()
    z = world.latent(1500)
    items = world.pairs(z)
    queries = world.pairs(world.near(z[::-1]), ids=np.arange(10_000, 11_500))
    qrels = {10_000 + i: [1499 - i] for i in range(1500)}
    spy = Spy(monkeypatch)
    bridge = fit(items, queries=Queries(queries, qrels), fitting=Fitting(cross_fit=False))
    (trial,) = spy.trials
    asked = 10_000 + np.array(_rows_in(trial.query_new, queries.head(1500).x))
    answers = np.array(_rows_in(trial.gallery_new[trial.relevance.indices], items.head(1500).x))
    np.testing.assert_array_equal(answers, 1499 - (asked - 10_000))
    assert len(asked) > 100
    assert not spy.fitted & set(asked.tolist())
    assert not spy.fitted & set(answers.tolist())
    # queries of fitted items are fitted on, each in the fold of its item
    assert max(spy.fitted) < 1500
    assert 0.75 < bridge.provenance.fits[0].fit_rows / 3000 < 0.85
    assert bridge.provenance.fits[0].fit_rows == 2 * len(spy.fitted)


@pytest.mark.parametrize("labelled", [False, True])
def test_no_item_that_searches_was_fitted_on(
    make_world: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, labelled: bool
) -> None:
    world = make_world()
    pairs = world.pairs(world.latent(1500), labels=np.arange(1500) // 30 if labelled else None)
    spy = Spy(monkeypatch)
    fit(pairs)
    (trial,) = spy.trials
    asked = set(_rows_in(trial.query_new, pairs.head(1500).x))
    assert len(asked) > 100
    assert not spy.fitted & asked
    np.testing.assert_array_equal(trial.exclude, np.arange(len(asked)))
    np.testing.assert_array_equal(trial.query_old, trial.gallery_old[: len(asked)])


def test_adding_pairs_moves_no_item(
    make_world: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world()
    z = world.latent(2000)
    x, y = world.seen("x", z), world.seen("y", z)
    runs = {}
    for n in (1500, 2000):
        spy = Spy(monkeypatch)
        fit(Pairs(x[:n], y[:n]))
        runs[n] = (spy.fitted, set(_rows_in(spy.trials[0].query_new, x)))
        monkeypatch.undo()
    assert runs[1500][0] == {i for i in runs[2000][0] if i < 1500}
    assert runs[1500][1] == {i for i in runs[2000][1] if i < 1500}


def test_the_data_of_the_fit_are_judged_on_the_part_it_did_not_see(
    upgrade: tuple[Pairs, Pairs], tmp_path: Any
) -> None:
    pairs, queries = upgrade
    shares = {"fit": 0.6, "validation": 0.3, "test": 0.1}
    bridge = fit(pairs, queries=queries, fitting=Fitting(shares=shares))
    again = assess(bridge, pairs, queries=queries)
    assert again == bridge.evidence
    bridge.save(tmp_path / "bridge")
    assert assess(isthmus.Bridge.load(tmp_path / "bridge"), pairs, queries=queries) == again
    assert list(shares) == list(PARTS)


# ---- the gates ---------------------------------------------------------------------------------


def test_a_perfect_map_is_used(make_world: Callable[..., Any]) -> None:
    world = make_world(noise_x=0)

    def turned() -> tuple[Pairs, Pairs]:
        z = world.latent(1500)
        items, queries = world.seen("x", z), world.seen("x", world.near(z))
        return Pairs(items, items @ world.basis["y"]), Pairs(queries, queries @ world.basis["y"])

    pairs, queries = turned()
    # fewer than about 300 queries cannot show that not one in a hundred is lost
    shares = {"fit": 0.6, "validation": 0.1, "test": 0.3}
    # a map for search alone may find more than the old model, and so other items
    bridge = fit(pairs, queries=queries, recipe="procrustes", fitting=Fitting(shares=shares))
    assert bridge.evidence is not None
    assert bridge.evidence.verdict is Verdict.USE_BRIDGE
    fresh, asked = turned()
    evidence = assess(bridge, fresh, queries=asked)
    assert evidence.verdict is Verdict.USE_BRIDGE
    assert evidence.n_queries == 1500
    assert evidence.overlap["old"].value > 0.99


def test_few_pairs_with_queries_are_all_fitted_on_and_judged_out_of_fold(
    make_world: Callable[..., Any], tmp_path: Path
) -> None:
    """What is judged can be judged again, from the file, by maps that have not seen the queries."""
    world = make_world()
    z = world.latent(300)
    items = world.pairs(z, ids=np.arange(300))
    queries = world.pairs(world.near(z[::-1]), ids=np.arange(1000, 1300))
    qrels = {1000 + i: [299 - i] for i in range(300)}
    bridge = fit(items, queries=Queries(queries, qrels))
    (made,) = bridge.provenance.fits
    assert (made.cross_fitted, made.fit_rows) == (True, 600)
    assert bridge.evidence is not None
    assert bridge.evidence.n_queries == 300
    assert "300 queries, each behind a map of other pairs" in made.chosen_by
    bridge.save(tmp_path / "b")
    loaded = Bridge.load(tmp_path / "b")
    again = assess(loaded, items, queries=Queries(queries, qrels))
    assert again.arms["bridge"].metrics == bridge.evidence.arms["bridge"].metrics
    # the served map has seen them all
    seen = assess(loaded, items, queries=Queries(queries, qrels), all_rows=True)
    assert seen.n_queries == 300
    parts = {"fit": 0.8, "validation": 0.1, "test": 0.1}
    with pytest.raises(InputError, match="only a query bridge that is fitted on queries"):
        fit(items, fitting=Fitting(cross_fit=True))
    spared = fit(items, queries=Queries(queries, qrels), fitting=Fitting(shares=parts))
    assert spared.out_of_fold is None
    assert not spared.provenance.fits[0].cross_fitted


def test_maps_of_folds_are_of_the_recipe_that_is_served() -> None:
    """Or thresholds, trust and weights of ways would be on the scale of another map's scores."""
    for seed in range(4):
        rng = np.random.default_rng(seed)
        old = rng.standard_normal((2, 200, 12))
        new = (old + 1.5 * rng.standard_normal(old.shape)) @ rng.standard_normal((12, 12))
        items, queries = (Pairs(new[i], old[i], metric="cosine") for i in (0, 1))
        judging = Judging(limits=None, resamples=50)
        bridge = fit(items, queries=queries, recipe="linear", judging=judging)
        alone = fit(items, queries=queries, recipe=bridge.recipe, judging=judging)
        assert bridge.out_of_fold is not None and alone.out_of_fold is not None
        ids = np.arange(200)
        served = alone.out_of_fold.mapped(ids, new[1])
        np.testing.assert_allclose(bridge.out_of_fold.mapped(ids, new[1]), served, atol=1e-5)


def test_shuffled_pairs_are_refused(make_world: Callable[..., Any]) -> None:
    world = make_world()
    z = world.latent(1500)
    order = np.random.default_rng(3).permutation(1500)
    shuffled = Pairs(world.seen("x", z), world.seen("y", z)[order])
    queries = world.pairs(world.near(z))
    bridge = fit(shuffled, queries=queries, fitting=Fitting(fit_on_queries=False))
    assert bridge.evidence is not None
    assert bridge.evidence.verdict not in GOOD
    agreement = fit(shuffled).evidence
    assert agreement is not None
    assert agreement.verdict not in GOOD
    # judged on right pairs, the map itself is at fault
    right, asked = world.upgrade()
    evidence = assess(bridge, right, queries=asked, all_rows=True)
    assert evidence.verdict in (Verdict.RE_EMBED, Verdict.KEEP_OLD)


def test_too_thin_evidence_says_so(make_world: Callable[..., Any]) -> None:
    """Fewer pairs than dimensions."""
    world = make_world(64, 64)
    pairs, queries = world.upgrade(60)
    # a map for search alone may find more than the old model, and so other items
    bridge = fit(pairs, queries=queries, recipe="procrustes")
    assert bridge.evidence is not None
    assert bridge.evidence.verdict is Verdict.NOT_ENOUGH_EVIDENCE
    assert "with 60 queries the interval leaves open" in bridge.evidence.reason
    assert np.isfinite(bridge.transform(pairs.head(60).x)).all()
    pairs, queries = world.upgrade(40)
    few = fit(pairs, queries=queries, recipe="procrustes").evidence
    assert few is not None and few.verdict is Verdict.NOT_ENOUGH_EVIDENCE
    assert "40 queries are fewer than the 50" in few.reason


@pytest.mark.parametrize("n", [2, 3, 5, 8, 13, 21, 34])
def test_few_pairs_make_a_bridge_or_a_clear_error(make_world: Callable[..., Any], n: int) -> None:
    pairs, _ = make_world().upgrade(n)
    try:
        bridge = fit(pairs)
    except InputError as error:
        assert "Give more pairs" in str(error)
        assert n < 30
    else:
        assert bridge.evidence is not None
        assert bridge.evidence.verdict is Verdict.NOT_ENOUGH_EVIDENCE


def test_one_pair_is_refused(make_world: Callable[..., Any]) -> None:
    with pytest.raises(InputError, match=r"on 1 pair\(s\)"):
        fit(make_world().upgrade(1)[0])


# ---- usage -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"kind": "gallery"}, InputError, "of kind 'query' or 'corpus', got 'gallery'"),
        ({"recipe": []}, InputError, "the list of recipes is empty"),
        ({"recipe": "procrusted"}, RecipeError, "Did you mean 'procrustes'"),
        ({"fitting": Fitting(shares={"fit": 0.5, "test": 0.5})}, InputError, "shares are of"),
        (
            {"fitting": Fitting(shares={"fit": 0.9, "validation": 0.1, "test": 0.1})},
            InputError,
            "sum to 1",
        ),
        (
            {"fitting": Fitting(shares={"fit": 0.9, "validation": 0.1, "test": 0.0})},
            InputError,
            "none is held out to judge",
        ),
        (
            {"fitting": Fitting(shares={"fit": 0.0, "validation": 0.5, "test": 0.5})},
            InputError,
            r"only 0 pair\(s\) left",
        ),
        ({"fitting": Fitting(folds=1)}, InputError, "at least 2 folds"),
        ({"fitting": Fitting(sizes=SampleSizes(test=0))}, InputError, "at least 1 row"),
    ],
)
def test_what_cannot_be_asked(
    upgrade: tuple[Pairs, Pairs], options: Any, error: Any, message: str
) -> None:
    with pytest.raises(error, match=message):
        fit(upgrade[0], **options)


def test_queries_must_come_from_the_same_models(
    upgrade: tuple[Pairs, Pairs], make_world: Callable[..., Any]
) -> None:
    pairs, queries = upgrade
    narrow = make_world(24, 16).upgrade(100)[0]
    with pytest.raises(InputError, match="queries have dim_y = 16, the items 24"):
        fit(pairs, queries=narrow)
    lengths = Pairs(queries.head(50).x, queries.head(50).y, metric="dot")
    with pytest.raises(InputError, match="queries have metric = dot"):
        fit(pairs, queries=lengths)


def test_progress_is_told(upgrade: tuple[Pairs, Pairs]) -> None:
    told: list[tuple[str, int, int | None]] = []
    fit(upgrade[0], progress=lambda *what: told.append(what))
    assert ("reading pairs", 1500, 1500) in told
    chosen = [done for task, done, _ in told if task == "choose the map"]
    assert chosen == list(range(1, len(chosen) + 1))


def test_the_seed_changes_the_split_and_nothing_else_is_random(
    upgrade: tuple[Pairs, Pairs],
) -> None:
    pairs, _ = upgrade
    one, same, other = (fit(pairs, fitting=Fitting(seed=seed)) for seed in (0, 0, 1))
    probe = pairs.head(20).x
    np.testing.assert_array_equal(one.transform(probe), same.transform(probe))
    assert (one.transform(probe) != other.transform(probe)).any()
    assert one.evidence == same.evidence
    assert replace(one.canary, ids=()) != other.canary
