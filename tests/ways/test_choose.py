from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.evaluate import Judging, WayLimits
from isthmus.evaluate.arms import ARMS
from isthmus.evaluate.relevance import from_ids
from isthmus.ways import FixedDepth, choose_ways, evaluate_upgrade

QUICK = Judging(primary="recall@1", resamples=300)


def judged(trials, seed=0, **limits):
    chosen = choose_ways(
        *trials, primary="recall@1", resamples=200, limits=WayLimits(**limits), seed=seed
    )
    return chosen, evaluate_upgrade(trials[1], QUICK, chosen=chosen)


@pytest.mark.parametrize("corpus", [False, True])
def test_a_perfect_map_is_used(trials, corpus):
    # the new model sees what the old one does: nothing beats the bridge, and nothing is cheaper
    chosen, found = judged(trials("perfect", corpus=corpus, old_noise=0.0, new_noise=0.0))
    assert found.verdict == "use the bridge", found.reason
    assert found.recommended == "bridge"
    assert "backfill" in chosen.ways


@pytest.mark.parametrize("corpus", [False, True])
@pytest.mark.parametrize("bridge", ["random", "shuffled"])
def test_what_rests_on_a_map_that_learned_nothing_is_refused(trials, bridge, corpus):
    chosen, found = judged(trials(bridge, corpus=corpus))
    assert found.recommended in ("old_rescore", "backfill_rescore"), found.reason
    assert "it has learned nothing" in found.reason
    assert "mixed" not in chosen.ways
    # with the old encoder gone, nothing is left but to re-embed
    _, found = judged(trials(bridge, corpus=corpus), old_encoder=False)
    assert found.verdict == "re-embed", found.reason


def test_a_weak_map_is_helped(trials, weak):
    chosen, found = judged(weak)
    assert found.verdict.serves and found.recommended not in ("bridge", "rescore")
    arm = found.arms[found.recommended]
    assert arm.to_old.low > 0.3
    assert arm.price is not None and arm.price.load(found.rule.items_per_query) < 20
    assert set(chosen.ways) == {name for name, arm in ARMS.items() if arm.chosen}
    assert found.arms["mixed"].to_old.low > 0
    assert found.arms["mixed"].parameters["alpha"] == chosen.ways["mixed"].recall.alpha
    assert found.arms["old_rescore"].price.old_query
    assert not found.arms["bridge_rescore"].price.old_query
    helped, alone = (found.arms[n].price for n in ("backfill_rescore", "old_rescore"))
    assert helped.encodings < alone.encodings
    assert helped.reembedded == pytest.approx(0.1)


def test_a_new_model_that_is_no_better_is_never_recommended(trials):
    _, found = judged(trials(old_noise=0.1, new_noise=0.7))
    assert found.verdict == "keep the old model", found.reason
    assert found.recommended is None


def test_without_the_new_gallery_only_queries_can_be_mixed(weak):
    some = tuple(replace(trial, gallery_new=None) for trial in weak)
    chosen, found = judged(some)
    assert list(chosen.ways) == ["mixed"]
    assert found.verdict == "mix the queries", found.reason
    assert "not known" in chosen.absent["backfill"]
    assert set(chosen.absent) == {
        *("bridge_rescore", "old_rescore", "mixed_rescore"),
        *("backfill", "backfill_most", "backfill_rescore"),
    }


def test_without_the_old_encoder(weak):
    chosen, found = judged(weak, old_encoder=False)
    assert not any(way.recall.old_query for way in chosen.ways.values())
    assert chosen.absent["mixed"] == "the old encoder does not run"
    assert found.recommended in ("bridge_rescore", "backfill_rescore", "rescore")


def test_a_corpus_bridge_maps_no_queries(trials):
    chosen, _ = judged(trials(corpus=True))
    assert chosen.absent["mixed"] == "a corpus bridge maps no queries"
    assert set(chosen.ways) >= {"bridge_rescore", "old_rescore", "backfill"}


@pytest.mark.parametrize("side", [0, 1])
def test_without_relevance_the_plan_is_empty(weak, side):
    some = list(weak)
    some[side] = replace(some[side], relevance=None)
    assert choose_ways(*some).ways == {}
    some[side] = replace(some[side], relevance=from_ids(["?"] * some[side].n_queries, range(500)))
    assert "no query has" in choose_ways(*some).absent["backfill"]


def test_unanswerable_queries_are_left_out(weak):
    validation, test = weak
    ids = np.arange(400)
    ids[::4] = -1
    some = replace(test, relevance=from_ids(ids, range(500)))
    chosen, found = judged((validation, some))
    assert found.n_queries == 300
    assert set(found.strategies) == set(chosen.ways)


def test_a_price_binds_every_cascade(weak):
    _, found = judged(weak, max_encodings=5.0)
    spent = [arm.price.encodings for name, arm in found.arms.items() if ARMS[name].chosen]
    assert 0 < max(spent) <= 6.5


@pytest.mark.parametrize("limits", [{"max_share": 0.0}, {"max_share": 1.5}, {"max_encodings": 0.5}])
def test_limits_that_nothing_meets(limits):
    with pytest.raises(InputError):
        WayLimits(**limits)


def test_a_share_binds_every_part(weak):
    chosen, _ = judged(weak, max_share=0.03)
    shares = [way.part.share for way in chosen.ways.values() if way.part is not None]
    assert len(shares) >= 2 and max(shares) <= 0.03


def test_one_validation_query(weak):
    one = weak[0].of(np.arange(250) == 3)
    chosen, found = judged((one, weak[1]))
    assert "mixed" not in chosen.ways
    assert chosen.ways["old_rescore"].rescore.depth == FixedDepth(k=25)
    assert all(arm.chosen_gain is None for arm in found.arms.values())
    assert found.verdict.serves


def test_same_seed_same_plan(weak):
    one, same = (judged(weak, seed=3)[1] for _ in range(2))
    assert one.to_json() == same.to_json()
