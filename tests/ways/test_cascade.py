from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.evaluate import parse_metric, relevant_ranks, top_k
from isthmus.evaluate.rescore import scores_of
from isthmus.ways.cascade import Cascade, choose_cascade, deepest
from isthmus.ways.depth import FixedDepth, MarginDepth
from isthmus.ways.mixed_query import MixedQuery
from isthmus.ways.recall import Recall, recalled

OLD, BRIDGE = Recall("old"), Recall("bridge")


def r1(ranks):
    return parse_metric("recall@1").per_query(ranks).mean()


@pytest.mark.parametrize("recall", [OLD, BRIDGE, Recall("mixed", MixedQuery(0.3))])
def test_rescoring_everything_is_the_new_model(trials, recall):
    trial, _ = trials(queries=(40, 1), gallery=60)
    found = Cascade(recall, FixedDepth(60), 60).run(trial)
    new = relevant_ranks(trial.query_new, trial.gallery_new, trial.relevance)
    np.testing.assert_array_equal(found.ranks.ranks, new.ranks)
    assert found.price.encodings == 60
    assert found.price.encodings_cached == pytest.approx(60 / 40)
    assert found.price.cached_share == 1
    assert found.price.old_query == (recall.kind != "bridge")


def test_rescoring_one_item_changes_nothing(weak):
    trial = weak[0]
    found = Cascade(OLD, FixedDepth(1), 1).run(trial)
    old = relevant_ranks(trial.query_old, trial.gallery_old, trial.relevance)
    np.testing.assert_array_equal(found.ranks.ranks, old.ranks)


def test_what_was_re_embedded_ahead_costs_nothing_more(weak):
    trial = weak[0]
    cascade = Cascade(OLD, FixedDepth(10), 10)
    known = np.zeros(trial.n_gallery, bool)
    known[::2] = True
    alone, helped = cascade.run(trial), cascade.run(trial, known=known)
    np.testing.assert_array_equal(alone.ranks.ranks, helped.ranks.ranks)
    found = top_k(trial.query_old, trial.gallery_old, 10).indices
    assert helped.price.encodings == pytest.approx((found % 2 == 1).sum(axis=1).mean())
    assert helped.price.reembedded == pytest.approx(0.5)


def test_serving_orders_as_the_evaluation_did(weak):
    trial = weak[1]
    cascade = Cascade(OLD, FixedDepth(12), 12, weight=0.3, scale=1.4)
    found = top_k(trial.query_old, trial.gallery_old, 12)
    new = scores_of(trial.query_new, trial.gallery_new, found.indices, "cosine")
    order = cascade.rescore(found.indices, found.scores, new)
    ranks = cascade.run(trial).ranks.ranks
    place = [np.flatnonzero(o == i) for o, i in zip(order, trial.relevance.indices, strict=True)]
    for found_at, rank in zip(place, ranks, strict=True):
        assert rank == found_at[0] + 1 if len(found_at) else rank > 12


@pytest.mark.parametrize("recall", [OLD, BRIDGE])
def test_the_choice_is_cheap_and_about_as_good_as_the_deepest(weak, recall):
    support, test = weak
    found = choose_cascade(support, recall, primary="recall@1")
    whole = replace(found, rule=FixedDepth(found.most))
    chosen, deep = found.run(test), whole.run(test)
    assert chosen.price.encodings < 0.7 * deep.price.encodings
    assert r1(chosen.ranks) > r1(deep.ranks) - 0.03
    old = relevant_ranks(test.query_old, test.gallery_old, test.relevance)
    assert r1(chosen.ranks) > r1(old) + 0.1
    assert found.parameters["recall"] == recall.kind


def test_a_price_is_kept_to(weak):
    support, test = weak
    for price in (1, 2.5, 6):
        found = choose_cascade(support, OLD, primary="recall@1", price=price)
        assert found.run(support).price.encodings <= price
        assert found.run(test).price.encodings <= 1.3 * price
    with pytest.raises(InputError, match=r"no cascade costs 0\.5"):
        choose_cascade(support, OLD, price=0.5)


def test_queries_of_different_hardness_get_different_depths(trials):
    support, test = trials(hard=True, old_noise=0.3)
    found = choose_cascade(support, OLD, primary="recall@1")
    assert not isinstance(found.rule, FixedDepth)
    spent = found.run(test)
    depths = found.depths(recalled(test, OLD, found.most))
    assert depths[1::2].mean() > 1.3 * depths[::2].mean()
    fixed = replace(found, rule=FixedDepth(round(spent.price.encodings))).run(test)
    assert r1(spent.ranks) > r1(fixed.ranks) - 0.005


def test_trust_is_used_where_it_helps_and_then_needed(weak):
    support = weak[0]
    # an oracle that knows which queries the recall has right
    trust = (recalled(support, OLD, 25).ranks.ranks == 1).astype(float)
    chosen = choose_cascade(support, OLD, primary="recall@1", trust=trust)
    plain = choose_cascade(support, OLD, primary="recall@1")
    assert chosen.trusting and chosen.parameters["trusting"] is True
    assert not plain.trusting
    spent, without = chosen.run(support, trust=trust), plain.run(support)
    assert spent.price.encodings < without.price.encodings
    assert r1(spent.ranks) >= r1(without.ranks) - 0.01
    with pytest.raises(InputError, match=r"trust: .*not given"):
        chosen.run(support)


def test_a_single_support_query_chooses_nothing(weak):
    one = weak[0].of(np.arange(250) == 3)
    found = choose_cascade(one, OLD)
    assert found == Cascade(OLD, FixedDepth(25), 25)
    assert choose_cascade(one, OLD, price=7.5).rule == FixedDepth(7)


def test_more_than_the_gallery_holds(weak):
    with pytest.raises(InputError, match="cannot rescore 501 of 500"):
        choose_cascade(weak[0], OLD, most=501)
    with pytest.raises(InputError, match="k is 501"):
        Cascade(OLD, FixedDepth(501), 501).run(weak[0])


@pytest.mark.parametrize("missing", ["gallery_new", "relevance"])
def test_what_rescoring_needs(weak, missing):
    with pytest.raises(InputError, match="cannot be judged"):
        choose_cascade(replace(weak[0], **{missing: None}), OLD)


def test_all_scores_tied(weak):
    support = weak[0]
    ones = np.ones_like(support.gallery_old)
    tied = replace(support, gallery_old=ones, gallery_new=ones)
    found = choose_cascade(tied, OLD, primary="recall@1")
    outcome = found.run(tied)
    assert r1(outcome.ranks) <= 1 / 250  # the query about the first item of the gallery
    assert np.isfinite(outcome.price.encodings)


def test_default_depth_is_a_small_share(weak):
    assert deepest(*weak) == 25
    assert deepest(weak[0], replace(weak[1], gallery_old=weak[1].gallery_old[:15])) == 1


def test_margins_need_the_recall_alone(weak):
    # one batch: nothing that is encoded later may decide what is encoded
    trial = weak[0]
    cascade = Cascade(OLD, MarginDepth(0.05, 25), 25)
    found = recalled(trial, OLD, 25)
    blind = replace(found, new_scores=np.zeros_like(found.new_scores))
    np.testing.assert_array_equal(cascade.depths(found), cascade.depths(blind))
