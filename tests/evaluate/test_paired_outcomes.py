from __future__ import annotations

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.evaluate import paired_outcomes as module
from isthmus.evaluate.bootstrap import Resampling
from isthmus.evaluate.paired_outcomes import PairedOutcomes


def outcomes(n, first_only, second_only, both=0.5):
    """Two columns of 0 and 1 that differ on so many of ``n`` queries."""
    one, two = (np.arange(n) < both * n for _ in range(2))
    one[-first_only or n :] = True
    two[-first_only - second_only : n - first_only] = True
    return np.column_stack([one, two]).astype(float)


def test_an_interval_is_there_where_nothing_was_seen_to_differ():
    gain = PairedOutcomes(np.ones((60, 2))).difference(0, 1)
    assert gain.value == 0
    # of 60 queries without a change, three in a hundred may change (the rule of three: 1 in 20)
    assert -0.06 < gain.low < -0.015 and 0.015 < gain.high < 0.06


def test_a_mean_of_zeros_and_ones_has_the_interval_of_jeffreys():
    from scipy.stats import beta

    hits = (np.arange(800) < 40).astype(float)[:, None]
    found = PairedOutcomes(hits, Resampling(resamples=20_000)).mean(0)
    low, high = beta(40.5, 760.5).ppf([0.025, 0.975])
    assert found.low == pytest.approx(low, abs=0.002)
    assert found.high == pytest.approx(high, abs=0.002)
    assert found.value == 0.05


def test_outcomes_that_cannot_be_1_are_not_pulled_towards_it(rng):
    small = rng.uniform(0, 0.1, (40, 1))
    assert PairedOutcomes(small, best=np.array([0.1])).mean(0).high < 0.07
    assert PairedOutcomes(small).mean(0).high > 0.07


def test_columns_are_drawn_together(rng):
    arm = rng.uniform(0.2, 0.7, 400)
    found = PairedOutcomes(np.column_stack([arm, arm + 0.25])).difference(1, 0)
    # nothing but the corners keeps this from being exact
    assert found.low > 0.23 and found.high < 0.27


def test_every_interval_holds_its_value(rng):
    for seed in range(20):
        values = (rng.random((30, 3)) < [0.98, 0.03, 0.5]).astype(float)
        drawn = PairedOutcomes(values, Resampling(200, seed=seed))
        for found in (*map(drawn.mean, range(3)), drawn.difference(0, 1), drawn.ratio(1, 0, "")):
            assert found.low <= found.value <= found.high


def test_same_seed_same_draws_and_blocks_do_not_matter(rng, monkeypatch):
    values = rng.random((50, 2))
    one = PairedOutcomes(values, Resampling(100, seed=3))
    again = PairedOutcomes(values, Resampling(100, seed=3))
    np.testing.assert_array_equal(one.drawn_mean(0), again.drawn_mean(0))
    monkeypatch.setattr(module, "_BLOCK_CELLS", 120)
    blocked = PairedOutcomes(values, Resampling(100, seed=3))
    np.testing.assert_allclose(one.drawn_mean(0), blocked.drawn_mean(0), rtol=1e-12)


def test_whole_groups_are_drawn(rng):
    groups = np.repeat(np.arange(20), 15)
    values = rng.random(20)[groups][:, None]
    alone = PairedOutcomes(values).drawn_mean(0).std()
    together = PairedOutcomes(values, groups=[f"g{g}" for g in groups]).drawn_mean(0).std()
    assert together > 3 * alone


def test_ratios():
    values = np.column_stack([np.tile([1.0, 0, 0, 0], 50), np.tile([1.0, 1, 0, 0], 50)])
    drawn = PairedOutcomes(values)
    half = drawn.ratio(0, 1, "nothing is found")
    assert half.value == 0.5 and half.low < 0.5 < half.high
    nothing = PairedOutcomes(0 * values).ratio(0, 1, "nothing is found")
    assert nothing.value is None and nothing.reason == "nothing is found"
    gained = PairedOutcomes(np.column_stack([0 * values[:, 0], values]))
    assert gained.share_of_gain(1, 2, 0, "not better").value == 0.5
    assert gained.share_of_gain(1, 0, 2, "not better").reason == "not better"
    assert gained.share_of_gain(2, 2, 0, "not better").low == 1
    few = PairedOutcomes(outcomes(60, 2, 1)).share_of_gain(0, 0, 1, "not better")
    assert few.value == 1
    three = np.column_stack([outcomes(60, 2, 1), outcomes(60, 2, 1)[:, 0]])
    assert "not better in" in PairedOutcomes(three).share_of_gain(2, 0, 1, "not better").reason


def test_intervals_that_hold_at_once_are_wider_and_do_hold(rng):
    """Twelve arms without any gain: one of them seems to gain far too often, by itself."""
    alone = together = 0
    pairs = {str(i): (i, 0) for i in range(1, 13)}
    for seed in range(150):
        values = (rng.random((120, 13)) < 0.6).astype(float)
        drawn = PairedOutcomes(values, Resampling(500, seed=seed))
        at_once = drawn.at_once(pairs)
        alone += max(drawn.difference(*pair).low for pair in pairs.values()) > 0
        together += max(found.low for found in at_once.values()) > 0
    assert alone >= 12
    assert together <= 9  # 2.5 % are 3.75


def test_a_family_of_one_is_that_one(rng):
    drawn = PairedOutcomes((rng.random((200, 2)) < 0.5).astype(float))
    one, alone = drawn.at_once({"a": (0, 1)})["a"], drawn.difference(0, 1)
    assert one.low == pytest.approx(alone.low, abs=0.002)
    assert one.high == pytest.approx(alone.high, abs=0.002)
    assert drawn.at_once({}) == {}


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (np.ones(3), {}, "one row per query"),
        (np.ones((0, 1)), {}, "one row per query"),
        (np.array([[1.0], [np.nan]]), {}, "values, row 1: a value is not finite"),
        (np.ones((3, 1)), {"groups": [1, 2]}, "2 groups for 3 queries"),
        (np.ones((3, 1)), {"resampling": Resampling(resamples=0)}, "at least one resample"),
    ],
)
def test_faulty_values(values, options, message):
    with pytest.raises(InputError, match=message):
        PairedOutcomes(values, **options)
