from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.ways.running import r1, run

from isthmus.errors import InputError
from isthmus.evaluate import relevant_ranks, top_k
from isthmus.evaluate.scores import scores_of
from isthmus.ways.choose_rescore import choose_rescore, deepest
from isthmus.ways.depth import FixedDepth, MarginDepth
from isthmus.ways.recall import recalled
from isthmus.ways.way import Part, Recall, Rescore, Way

OLD, BRIDGE = Recall(kind="old"), Recall(kind="bridge")


def fixed(recall, k, **options):
    return Way(recall=recall, rescore=Rescore(depth=FixedDepth(k=k), **options))


def depths_of(rescore, found):
    scores, new = (a[:, : rescore.most] for a in (found.found.scores, found.new_scores))
    return rescore.depth.depths(scores, rescore.fused(scores, new), rescore)


@pytest.mark.parametrize("recall", [OLD, BRIDGE, Recall(kind="mixed", alpha=0.3)])
def test_rescoring_everything_is_the_new_model(trials, recall):
    trial, _ = trials(queries=(40, 1), gallery=60)
    ranks, price = run(trial, fixed(recall, 60))
    new = relevant_ranks(trial.query_new, trial.gallery_new, trial.relevance)
    np.testing.assert_array_equal(ranks.ranks, new.ranks)
    assert price.encodings == 60
    assert price.encodings_cached == pytest.approx(60 / 40)
    assert price.cached_share == 1
    assert price.old_query == (recall.kind != "bridge")


def test_rescoring_one_item_changes_nothing(weak):
    trial = weak[0]
    ranks, _ = run(trial, fixed(OLD, 1))
    old = relevant_ranks(trial.query_old, trial.gallery_old, trial.relevance)
    np.testing.assert_array_equal(ranks.ranks, old.ranks)


def test_what_was_re_embedded_ahead_costs_nothing_more(weak):
    trial = weak[0]
    cascade = fixed(OLD, 10)
    known = np.zeros(trial.n_gallery, bool)
    known[::2] = True
    alone, _ = run(trial, cascade)
    helped, price = run(trial, cascade.model_copy(update={"part": Part(share=0.5)}), known)
    np.testing.assert_array_equal(alone.ranks, helped.ranks)
    found = top_k(trial.query_old, trial.gallery_old, 10).indices
    assert price.encodings == pytest.approx((found % 2 == 1).sum(axis=1).mean())
    assert price.reembedded == pytest.approx(0.5)


def test_serving_orders_as_the_evaluation_did(weak):
    trial = weak[1]
    cascade = fixed(OLD, 12, weight=0.3, scale=1.4)
    found = top_k(trial.query_old, trial.gallery_old, 12)
    new = scores_of(trial.query_new, trial.gallery_new, found.indices, "cosine")
    fused = 0.7 * new.astype(float) + 0.3 * 1.4 * found.scores
    order = np.take_along_axis(found.indices, np.argsort(-fused, axis=1), axis=1)
    ranks = run(trial, cascade)[0].ranks
    place = [np.flatnonzero(o == i) for o, i in zip(order, trial.relevance.indices, strict=True)]
    for found_at, rank in zip(place, ranks, strict=True):
        assert rank == found_at[0] + 1 if len(found_at) else rank > 12


@pytest.mark.parametrize("recall", [OLD, BRIDGE])
def test_the_choice_is_cheap_and_about_as_good_as_the_deepest(weak, recall):
    support, test = weak
    found = choose_rescore(support, recall, primary="recall@1")
    whole = found.model_copy(update={"depth": FixedDepth(k=found.most)})
    chosen, price = run(test, Way(recall=recall, rescore=found))
    deep, most = run(test, Way(recall=recall, rescore=whole))
    assert price.encodings < 0.7 * most.encodings
    assert r1(chosen) > r1(deep) - 0.03
    old = relevant_ranks(test.query_old, test.gallery_old, test.relevance)
    assert r1(chosen) > r1(old) + 0.1


def test_a_price_is_kept_to(weak):
    support, test = weak
    for price in (1, 2.5, 6):
        found = choose_rescore(support, OLD, primary="recall@1", price=price)
        way = Way(recall=OLD, rescore=found)
        assert run(support, way)[1].encodings <= price
        assert run(test, way)[1].encodings <= 1.3 * price
    with pytest.raises(InputError, match=r"no cascade costs 0\.5"):
        choose_rescore(support, OLD, price=0.5)


def test_queries_of_different_hardness_get_different_depths(trials):
    support, test = trials(hard=True, old_noise=0.3)
    found = choose_rescore(support, OLD, primary="recall@1")
    assert not isinstance(found.depth, FixedDepth)
    spent, price = run(test, Way(recall=OLD, rescore=found))
    depths = depths_of(found, recalled(test, OLD, found.most))
    assert depths[1::2].mean() > 1.3 * depths[::2].mean()
    alike = found.model_copy(update={"depth": FixedDepth(k=round(price.encodings))})
    assert r1(spent) > r1(run(test, Way(recall=OLD, rescore=alike))[0]) - 0.005


def test_a_single_support_query_chooses_nothing(weak):
    one = weak[0].of(np.arange(250) == 3)
    found = choose_rescore(one, OLD)
    assert found == Rescore(depth=FixedDepth(k=25))
    assert choose_rescore(one, OLD, price=7.5).depth == FixedDepth(k=7)


def test_more_than_the_gallery_holds(weak):
    with pytest.raises(InputError, match="cannot rescore 501 of 500"):
        choose_rescore(weak[0], OLD, most=501)
    # a search that rescores more than there is rescores all
    np.testing.assert_array_equal(
        run(weak[0], fixed(OLD, 501))[0].ranks, run(weak[0], fixed(OLD, 500))[0].ranks
    )


@pytest.mark.parametrize("missing", ["gallery_new", "relevance"])
def test_what_rescoring_needs(weak, missing):
    with pytest.raises(InputError, match="cannot be judged"):
        choose_rescore(replace(weak[0], **{missing: None}), OLD)


def test_all_scores_tied(weak):
    support = weak[0]
    ones = np.ones_like(support.gallery_old)
    tied = replace(support, gallery_old=ones, gallery_new=ones)
    found = choose_rescore(tied, OLD, primary="recall@1")
    ranks, price = run(tied, Way(recall=OLD, rescore=found))
    assert r1(ranks) <= 1 / 250  # the query about the first item of the gallery
    assert np.isfinite(price.encodings)


def test_default_depth_is_a_small_share(weak):
    assert deepest(*weak) == 25
    assert deepest(weak[0], replace(weak[1], gallery_old=weak[1].gallery_old[:15])) == 1


def test_margins_need_the_recall_alone(weak):
    # one batch: nothing that is encoded later may decide what is encoded
    trial = weak[0]
    rescore = Rescore(depth=MarginDepth(margin=0.05, most=25))
    found = recalled(trial, OLD, 25)
    blind = replace(found, new_scores=np.zeros_like(found.new_scores))
    np.testing.assert_array_equal(depths_of(rescore, found), depths_of(rescore, blind))
