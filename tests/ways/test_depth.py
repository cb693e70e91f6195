from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.errors import InputError
from isthmus.ways.depth import (
    FixedDepth,
    MarginDepth,
    ScoreLink,
    StoppingDepth,
    fused_scores,
)


def lists(seed, n=6, k=17):
    rng = np.random.default_rng(seed)
    recall = -np.sort(-rng.standard_normal((n, k)), axis=1).astype(np.float32)
    return recall, (recall + rng.standard_normal((n, k))).astype(np.float32)


@given(seed=st.integers(0, 10_000), weight=st.sampled_from([0.0, 0.4]), trusted=st.booleans())
def test_stopping_by_definition(seed, weight, trusted):
    recall, new = lists(seed)
    trust = np.random.default_rng(seed).random(6) if trusted else None
    link = ScoreLink.of(recall, new)
    rule = StoppingDepth(1.2, 3, 15, link, weight, 0.7)
    fused = fused_scores(recall, new, weight, 0.7)
    expected = []
    for q in range(6):
        z = 1.2 * (1 if trust is None else 2 * (1 - trust[q]))
        encoded = 3
        while encoded < 15:
            best = fused[q, :encoded].max()
            hoped = link.intercept + max(link.slope, 0) * recall[q, encoded] + z * link.spread
            if (1 - weight) * hoped + weight * 0.7 * recall[q, encoded] < best:
                break
            encoded += 3
        expected.append(min(encoded, 15))
    assert rule.depths(recall, fused, trust).tolist() == expected


@given(seed=st.integers(0, 10_000))
def test_margin_by_definition(seed):
    recall, new = lists(seed)
    found = MarginDepth(0.9, 12).depths(recall, new.astype(float), None)
    expected = [sum(s >= row[0] - 0.9 for s in row[:12].astype(float)) for row in recall]
    assert found.tolist() == expected


def test_less_trust_looks_deeper():
    recall, new = lists(0, n=40)
    fused = new.astype(float)
    rules = [MarginDepth(0.5, 17), StoppingDepth(0.8, 1, 17, ScoreLink.of(recall, new), 0.0, 1.0)]
    for rule in rules:
        sure, half, plain, unsure = (
            rule.depths(recall, fused, trust)
            for trust in (np.ones(40), np.full(40, 0.5), None, np.zeros(40))
        )
        np.testing.assert_array_equal(half, plain)
        assert (sure <= plain).all() and (plain <= unsure).all()
        assert sure.sum() < plain.sum() < unsure.sum()


def test_fixed_is_cut_at_what_was_recalled():
    recall, new = lists(0)
    assert FixedDepth(5).depths(recall, new.astype(float), None).tolist() == [5] * 6
    assert FixedDepth(50).depths(recall, new.astype(float), None).tolist() == [17] * 6


def test_fewer_items_than_a_step_are_all_encoded():
    recall, new = lists(0, k=4)
    rule = StoppingDepth(0.0, 5, 4, ScoreLink.of(recall, new), 0.0, 1.0)
    assert rule.depths(recall, new.astype(float), None).tolist() == [4] * 6


def test_tied_scores_are_all_looked_at():
    recall = np.zeros((3, 9), np.float32)
    link = ScoreLink.of(recall, recall)
    assert link == ScoreLink(0.0, 0.0, 0.0)
    assert MarginDepth(0.0, 9).depths(recall, recall.astype(float), None).tolist() == [9] * 3
    stopping = StoppingDepth(1.0, 2, 9, link, 0.3, 1.0)
    assert stopping.depths(recall, recall.astype(float), None).tolist() == [9] * 3


def test_a_link_is_the_least_squares_line(rng):
    recall, new = lists(3, n=50)
    link = ScoreLink.of(recall, new)
    slope, intercept = np.polyfit(recall.ravel().astype(float), new.ravel().astype(float), 1)
    assert (link.slope, link.intercept) == pytest.approx((slope, intercept))
    residual = new - slope * recall - intercept
    assert link.spread == pytest.approx(residual.std(), rel=1e-5)


@pytest.mark.parametrize("trust", [np.full(6, 1.5), np.full(5, 0.5), np.full(6, np.nan)])
def test_trust_is_one_share_per_query(trust):
    recall, new = lists(0)
    with pytest.raises(InputError, match="trust"):
        MarginDepth(0.1, 5).depths(recall, new.astype(float), trust)
