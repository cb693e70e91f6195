from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.ways.running import r1, run

from isthmus.errors import InputError
from isthmus.evaluate import Estimate, Resampling, relevant_ranks
from isthmus.ways.choose_part import BackfillCurve, backfill_curves, choose_part
from isthmus.ways.order import Orders, first_share, random_priority
from isthmus.ways.recall import gallery_search
from isthmus.ways.way import Join, Recall, Way

OLD, BRIDGE = Recall(kind="old"), Recall(kind="bridge")
PLAIN = Join()


def outcome(found, support, test):
    priority = Orders(support, found.recall).priority(found.part.order, test)
    filled = first_share(priority, found.part.share)
    return run(test, Way(recall=found.recall, part=found.part), filled)


@pytest.mark.parametrize("recall", [OLD, BRIDGE])
@pytest.mark.parametrize("corpus", [False, True])
def test_a_curve_goes_from_one_search_to_the_other(trials, recall, corpus):
    trial, _ = trials(corpus=corpus)
    orders = {"random": random_priority(500)}
    halves = np.arange(250) % 3 == 0
    curve = backfill_curves(
        trial,
        [orders, orders],
        halves,
        recall,
        PLAIN,
        primary="recall@1",
        resampling=Resampling(200),
    )[0]
    side = gallery_search(trial, recall)
    ends = [
        r1(relevant_ranks(q, g, trial.relevance))
        for q, g in ((side.queries, side.gallery), (trial.query_new, trial.gallery_new))
    ]
    assert (curve.values[0], curve.values[-1]) == pytest.approx(ends)
    assert curve.shares[0] == 0 and curve.shares[-1] == 1
    old = r1(relevant_ranks(trial.query_old, trial.gallery_old, trial.relevance))
    assert curve.gains[-1].value == pytest.approx(ends[1] - old)
    assert curve.added[-1].value == pytest.approx(ends[1] - ends[0])
    assert curve.added[0].value == 0
    # more re-embedded, more found
    assert curve.values[0] < curve.values[5] < curve.values[-1]


def curve(shares, values, low, added=None):
    estimates = [
        tuple(Estimate(value=x + 0.01, low=x, high=x + 0.02) for x in lows)
        for lows in (low, low if added is None else added)
    ]
    return BackfillCurve("random", "old", tuple(shares), tuple(values), *estimates)


def test_area_and_smallest_gain():
    found = curve([0, 0.1, 1], [0.5, 0.6, 0.9], [0.0, 0.01, 0.3])
    assert found.area == pytest.approx(0.1 * 0.55 + 0.9 * 0.75)
    assert found.smallest_gain(0.1) == 1
    assert found.smallest_gain(0.05) is None
    assert str(found).startswith("random (old queries): 0% 0.500, 10% 0.600, 100% 0.900; area 0.7")
    # a bridge that gains by itself is no gain of the backfill
    alone = curve([0, 0.1, 1], [0.8, 0.8, 0.9], [0.3, 0.3, 0.4], [0.0, -0.01, 0.1])
    assert alone.smallest_gain(0.1) is None
    assert alone.smallest_gain(1) == 2


def test_the_smallest_share_that_gains(weak):
    support, test = weak
    found = choose_part(support, [BRIDGE, OLD], primary="recall@1", max_share=0.2)
    assert found.recall == OLD
    assert 0 < found.part.share <= 0.2
    assert found.gain.low > 0
    _, price = outcome(found, support, test)
    assert price.reembedded == pytest.approx(found.part.share)
    assert price.encodings == 0
    old = relevant_ranks(test.query_old, test.gallery_old, test.relevance)
    assert r1(outcome(found.at(0.2), support, test)[0]) > r1(old) + 0.02
    assert {c.order for c in found.curves} == {"popularity", "distance", "random"}
    assert found.areas["random"] == pytest.approx(
        next(c.area for c in found.curves if c.order == "random"), abs=1e-4
    )
    with pytest.raises(InputError, match=r"0\.123 was not tried"):
        found.at(0.123)


def test_predicted_error_beats_random_where_errors_can_be_foreseen(trials):
    """A map that fails on one side of the space: those items are better re-embedded first."""
    support, _ = trials("perfect", old_noise=0.2, new_noise=0.2)
    wrong = support.gallery_old[:, 0] > 0
    turned = np.where(wrong[:, None], np.roll(support.gallery_old, 3, axis=1), support.gallery_old)
    broken = replace(
        support,
        gallery_old=turned,
        gallery_error=np.where(wrong, 4.0, 0.1),
        query_bridged=support.query_bridged,
    )
    found = choose_part(broken, [BRIDGE], primary="recall@1")
    areas = {c.order: c.area for c in found.curves}
    assert areas["error"] > areas["random"] + 0.03


def test_where_nothing_gains_the_largest_share_is_shown(trials):
    support, _ = trials(old_noise=0.1, new_noise=0.6)
    found = choose_part(support, [OLD], primary="recall@1")
    assert found.part.share == 0.1
    assert found.gain.low <= 0


def test_an_empty_backfill_is_the_search_alone(weak):
    support, trial = weak
    part = choose_part(support, [OLD], primary="recall@1").part
    ranks, price = run(trial, Way(recall=OLD, part=part), np.zeros(500, bool))
    old = relevant_ranks(trial.query_old, trial.gallery_old, trial.relevance)
    np.testing.assert_array_equal(ranks.ranks, old.ranks)
    assert price.reembedded == 0


def test_a_single_support_query(weak):
    one = weak[0].of(np.arange(250) == 3)
    found = choose_part(one, [OLD], primary="recall@1")
    assert found.part.share == 0.1
    assert found.gain is None and found.at(0.05).gain is None


def test_all_scores_tied(weak):
    support = weak[0]
    ones = np.ones_like(support.gallery_old)
    tied = replace(support, gallery_old=ones, gallery_new=ones)
    found = choose_part(tied, [OLD], primary="recall@1")
    assert np.isfinite(found.curves[0].values).all()
    assert found.gain.low <= 0


def test_many_relevant_items_are_judged_on_some_queries(weak, monkeypatch):
    from isthmus.evaluate.relevance import from_labels
    from isthmus.ways import choose_part as module

    monkeypatch.setattr(module, "_MOST_QUERIES", 60)
    labelled = replace(weak[0], relevance=from_labels(np.arange(250) % 50, np.arange(500) % 50))
    found = choose_part(labelled, [OLD], shares=(0.1, 1.0))
    assert found.gain is not None
    assert found.curves[0].values[-1] > found.curves[0].values[0]


@pytest.mark.parametrize("missing", ["gallery_new", "relevance"])
def test_what_a_backfill_needs(weak, missing):
    with pytest.raises(InputError, match="a backfill cannot be judged"):
        choose_part(replace(weak[0], **{missing: None}), [OLD])


def test_a_share_that_is_none(weak):
    with pytest.raises(InputError, match=r"lies in \(0, 1\]"):
        choose_part(weak[0], [OLD], max_share=0)
