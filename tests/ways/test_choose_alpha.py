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
    with pytest.raises(InputError, match="must ascend"):
        choose_alpha(weak[0], alphas=(0.5, 0.1))
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
    assert choose_alpha(support, primary="recall@1").alpha == ALPHAS[1 + expected.argmax()]
    assert choose_alpha(plain, primary="recall@1").alpha == ALPHAS[1 + as_is.argmax()]
