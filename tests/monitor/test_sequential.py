"""The betting test: however often one looks, false alarms stay below the stated rate."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.errors import InputError
from isthmus.monitor import MeanTest


@pytest.mark.parametrize("side", ["at most", "at least"])
@pytest.mark.parametrize("bound", [0.02, 0.5, 0.9])
def test_false_alarms_stay_below_the_rate_however_often_one_looks(side: str, bound: float) -> None:
    rng, alarms, runs, alpha = np.random.default_rng(0), 0, 150, 0.1
    for _ in range(runs):
        test = MeanTest(bound, side, alpha=alpha)  # type: ignore[arg-type]
        alarms += test.update(rng.random(300) < bound)
    # three standard errors of a share of 0.1 of 150
    assert alarms / runs <= alpha + 3 * (alpha * (1 - alpha) / runs) ** 0.5


def test_a_broken_bound_is_noticed_and_stays_noticed() -> None:
    rng = np.random.default_rng(0)
    test = MeanTest(0.9, "at least", alpha=0.001)
    looks = 0
    while not test.update(rng.random(20) < 0.7):
        looks += 1
        assert looks < 20
    test.update(np.ones(5000))
    assert test.alarm and test.log_e < test.most and test.p <= 0.001


def test_a_long_good_time_delays_an_alarm_by_little() -> None:
    """From the start or after ten thousand good values: as soon, up to some values."""
    rng = np.random.default_rng(0)
    after: dict[int, int] = {}
    for good in (0, 10_000):
        test = MeanTest(0.8, "at least")
        assert not test.update(rng.random(good) < 0.9)
        after[good] = 0
        while not test.update(rng.random(1) < 0.5):
            after[good] += 1
    assert after[0] < 80 and after[10_000] < 160, after


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(0.05, 0.95))
def test_values_at_once_and_one_by_one_give_the_same_money(
    values: list[float], bound: float
) -> None:
    at_once, one_by_one = MeanTest(bound, "at most"), MeanTest(bound, "at most")
    at_once.update(np.array(values))
    for value in values:
        one_by_one.update(np.array([value]))
    assert at_once.log_e == pytest.approx(one_by_one.log_e, abs=1e-9)
    assert at_once.most == pytest.approx(one_by_one.most, abs=1e-9)
    assert at_once.mean == pytest.approx(np.mean(values))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.floats(0.05, 0.95))
def test_the_two_sides_mirror_each_other(values: list[float], bound: float) -> None:
    low, high = MeanTest(bound, "at least"), MeanTest(1 - bound, "at most")
    low.update(np.array(values))
    high.update(1 - np.array(values))
    assert low.log_e == pytest.approx(high.log_e, abs=1e-6)


@pytest.mark.parametrize(("bound", "share"), [(0.5, 0.5), (0.1, 0.1), (0.9, 0.9)])
def test_the_money_is_fair(bound: float, share: float) -> None:
    """Over both outcomes, by their chances, the expected money after any bet is what it was."""
    expected = 0.0
    for value, chance in ((1.0, share), (0.0, 1 - share)):
        test = MeanTest(bound, "at most")
        test.update(np.array([value]))
        expected += chance * np.exp(test.log_e)
    assert expected == pytest.approx(1.0, abs=1e-12)


def test_a_test_goes_on_from_its_state() -> None:
    rng = np.random.default_rng(0)
    test = MeanTest(0.2, "at most")
    test.update(rng.random(50) < 0.3)
    again = MeanTest.of_state(json.loads(json.dumps(test.as_state())))
    more = rng.random(50) < 0.3
    assert test.update(more) == again.update(more)
    assert (test.log_e, test.most, test.n) == (again.log_e, again.most, again.n)
    state = test.as_state()
    for change in ({"side": "near"}, {"log_wealth": [1.0]}, {"more": 1}, {"n": "x"}):
        with pytest.raises(InputError, match="no state of a test"):
            MeanTest.of_state(state | change)


@pytest.mark.parametrize(("bound", "alpha"), [(0, 0.1), (1, 0.1), (0.5, 0), (0.5, 1)])
def test_refusals(bound: float, alpha: float) -> None:
    with pytest.raises(InputError):
        MeanTest(bound, "at most", alpha)
    for values in ([1.1], [-0.1], [np.nan]):
        with pytest.raises(InputError):
            MeanTest(0.5, "at most").update(np.array(values))
