from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.ways.depth import (
    FixedDepth,
    MarginDepth,
    ScoreLink,
    StoppingDepth,
    fused_scores,
)
from isthmus.ways.way import Rescore


def fusing(weight=0.0, scale=1.0):
    return Rescore(depth=FixedDepth(k=1), weight=weight, scale=scale)


def stopping(z, step, most, link):
    line = {"slope": link.slope, "intercept": link.intercept, "spread": link.spread}
    return StoppingDepth(z=z, step=step, most=most, **line)


def lists(seed, n=6, k=17):
    rng = np.random.default_rng(seed)
    recall = -np.sort(-rng.standard_normal((n, k)), axis=1).astype(np.float32)
    return recall, (recall + rng.standard_normal((n, k))).astype(np.float32)


@given(seed=st.integers(0, 10_000), weight=st.sampled_from([0.0, 0.4]))
def test_stopping_by_definition(seed, weight):
    recall, new = lists(seed)
    link = ScoreLink.of(recall, new)
    rule = stopping(1.2, 3, 15, link)
    fused = fused_scores(recall, new, weight, 0.7)
    expected = []
    for q in range(6):
        encoded = 3
        while encoded < 15:
            best = fused[q, :encoded].max()
            hoped = link.intercept + max(link.slope, 0) * recall[q, encoded] + 1.2 * link.spread
            if (1 - weight) * hoped + weight * 0.7 * recall[q, encoded] < best:
                break
            encoded += 3
        expected.append(min(encoded, 15))
    assert rule.depths(recall, fused, fusing(weight, 0.7)).tolist() == expected


@given(seed=st.integers(0, 10_000))
def test_margin_by_definition(seed):
    recall, new = lists(seed)
    found = MarginDepth(margin=0.9, most=12).depths(recall, new.astype(float), fusing())
    expected = [sum(s >= row[0] - 0.9 for s in row[:12].astype(float)) for row in recall]
    assert found.tolist() == expected


def test_fixed_is_cut_at_what_was_recalled():
    recall, new = lists(0)
    assert FixedDepth(k=5).depths(recall, new.astype(float), fusing()).tolist() == [5] * 6
    assert FixedDepth(k=50).depths(recall, new.astype(float), fusing()).tolist() == [17] * 6


def test_fewer_items_than_a_step_are_all_encoded():
    recall, new = lists(0, k=4)
    rule = stopping(0.0, 5, 4, ScoreLink.of(recall, new))
    assert rule.depths(recall, new.astype(float), fusing()).tolist() == [4] * 6


def test_tied_scores_are_all_looked_at():
    recall = np.zeros((3, 9), np.float32)
    link = ScoreLink.of(recall, recall)
    assert link == ScoreLink(0.0, 0.0, 0.0)
    assert (
        MarginDepth(margin=0.0, most=9).depths(recall, recall.astype(float), fusing()).tolist()
        == [9] * 3
    )
    rule = stopping(1.0, 2, 9, link)
    assert rule.depths(recall, recall.astype(float), fusing(0.3)).tolist() == [9] * 3


def test_a_link_is_the_least_squares_line(rng):
    recall, new = lists(3, n=50)
    link = ScoreLink.of(recall, new)
    slope, intercept = np.polyfit(recall.ravel().astype(float), new.ravel().astype(float), 1)
    assert (link.slope, link.intercept) == pytest.approx((slope, intercept))
    residual = new - slope * recall - intercept
    assert link.spread == pytest.approx(residual.std(), rel=1e-5)


@pytest.mark.parametrize("kind", ["fixed", "margin", "stopping"])
def test_a_rule_looks_at_nothing_that_is_not_encoded(kind):
    """Whatever the items behind it would score, a rule that has ended would end there."""
    recall, new = lists(5, n=30)
    rule = {
        "fixed": FixedDepth(k=4),
        "margin": MarginDepth(margin=0.8, most=12),
        "stopping": stopping(0.4, 2, 15, ScoreLink.of(recall, new)),
    }[kind]
    fused = new.astype(float)
    depths = rule.depths(recall, fused, fusing())
    other = np.where(np.arange(17) < depths[:, None], fused, 1e6)
    np.testing.assert_array_equal(rule.depths(recall, other, fusing()), depths)


def test_nothing_that_was_not_found_is_encoded():
    recall = np.array([[1.0, 0.5, -np.inf, -np.inf]], np.float32)
    link = ScoreLink(1.0, 0.0, 1.0)
    rules = [FixedDepth(k=3), MarginDepth(margin=9.0, most=4), stopping(9.0, 3, 4, link)]
    for rule in rules:
        assert rule.depths(recall, np.zeros((1, 4)), fusing()).tolist() == [2]
