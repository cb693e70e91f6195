from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.ridge_world import RidgeWorld

from isthmus.errors import InputError
from isthmus.evaluate import Trial, from_ids, parse_metric, relevant_ranks
from isthmus.ways.choose_alpha import ALPHAS, choose_alpha
from isthmus.ways.recall import gallery_search, values_of
from isthmus.ways.way import Recall


def test_the_choice_does_best_and_has_an_interval(weak):
    support, test = weak
    found = choose_alpha(support, primary="recall@1", resamples=200)
    assert 0 < found.alpha < 1
    assert found.certain
    assert found.interval.low <= found.alpha <= found.interval.high

    def score(alpha):
        side = gallery_search(test, Recall(kind="mixed", alpha=alpha))
        ranks = relevant_ranks(side.queries, side.gallery, test.relevance)
        return parse_metric("recall@1").per_query(ranks).mean()

    assert score(found.alpha) > max(score(0), score(1)) + 0.02
    again = choose_alpha(support, primary="recall@1", resamples=200)
    assert again == found


def test_a_bridge_that_learned_nothing_is_not_mixed_in(trials):
    support, _ = trials("random")
    found = choose_alpha(support, primary="recall@1", resamples=200)
    assert found.alpha == 0
    assert not found.certain


def test_a_support_set_of_one_query_chooses_nothing(weak):
    one = weak[0].of(np.arange(250) == 7)
    found = choose_alpha(one)
    assert found.alpha == 0
    assert found.interval.low is None
    assert found.interval.reason == "1 support query chooses nothing"
    assert not found.certain


def test_equal_queries_choose_nothing(weak):
    support = weak[0]
    same = replace(support, query_bridged=support.query_old)
    found = choose_alpha(same, resamples=50)
    assert (found.alpha, found.interval.reason) == (0, "every weight does equally well")


def test_all_scores_tied(weak):
    support = weak[0]
    tied = replace(support, gallery_old=np.ones_like(support.gallery_old))
    assert choose_alpha(tied, resamples=50).alpha == 0


def test_what_cannot_be_chosen(weak, trials):
    with pytest.raises(InputError, match="without relevance"):
        choose_alpha(replace(weak[0], relevance=None))
    corpus, _ = trials(corpus=True)
    with pytest.raises(InputError, match="nothing to mix"):
        choose_alpha(corpus)


def test_rows_that_the_map_was_fitted_on_do_not_speak_against_it() -> None:
    world = RidgeWorld(2)
    x, y, mapped, _, fitted = world.folded(120)
    old = (y + 0.45 * world.rng.standard_normal(y.shape)).astype(np.float32)
    same, metric = from_ids(range(120), range(120)), parse_metric("recall@1")
    support = Trial(old, x, y, query_bridged=mapped, relevance=same, fitted=fitted)
    plain = replace(support, fitted=None)
    expected, as_is = (
        np.array([values_of(t, Recall(kind="mixed", alpha=a), metric).mean() for a in ALPHAS[1:]])
        for t in (support, plain)
    )
    # the more the bridge weighs, the more such rows come first
    assert expected[-1] > as_is[-1] + 0.03
    assert expected[0] == pytest.approx(as_is[0], abs=0.02)
    # .1 to 1 by .05, on a parabola through what was measured
    may = np.arange(2, 21) / 20
    for trial, values in ((support, expected), (plain, as_is)):
        parabola = np.polynomial.Polynomial.fit(ALPHAS[1:], values, 2)
        found = choose_alpha(trial, primary="recall@1").alpha
        assert found == may[parabola(may).argmax()]


def test_halves_of_the_queries_take_nearly_the_same_weight() -> None:
    # of two models of equal noise: the curve is flat about a half, and the best of the weights
    # that were tried is the best by luck
    metric, apart, by_luck = parse_metric("recall@1"), list[float](), list[float]()
    for seed in range(12):
        rng = np.random.default_rng(seed)
        items = rng.standard_normal((400, 12)).astype(np.float32)
        old, mapped = (items + rng.standard_normal(items.shape).astype(np.float32) for _ in "ab")
        same = from_ids(range(400), range(400))
        trial = Trial(old, mapped, items, None, query_bridged=mapped, relevance=same)
        halves = [trial.of(np.arange(400) % 2 == half) for half in (0, 1)]
        found = [choose_alpha(half, primary="recall@1", resamples=20).alpha for half in halves]
        apart.append(abs(found[0] - found[1]))
        tried = [
            max(
                ALPHAS[1:],
                key=lambda a, half=half: values_of(
                    half, Recall(kind="mixed", alpha=a), metric
                ).mean(),
            )
            for half in halves
        ]
        by_luck.append(abs(tried[0] - tried[1]))
    assert np.mean(apart) < 0.06 < 0.08 < np.mean(by_luck)
