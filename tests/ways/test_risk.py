"""Thresholds that hold as often as they say, and counts that come back from a file."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.stats

from isthmus.errors import InputError
from isthmus.ways import risk
from isthmus.ways.risk import RiskControl, area_under_curve, control_risk, cuts_of

NONE = (np.empty(0), np.empty(0, dtype=bool))


def drawn(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Raw scores, and successes with probability ``0.3 + 0.65 raw``."""
    rng = np.random.default_rng(seed)
    raw = rng.random(n)
    return raw, rng.random(n) < 0.3 + 0.65 * raw


def controlled(n: int = 800, seed: int = 0, verify: int = 0) -> RiskControl:
    cuts = cuts_of(np.random.default_rng([seed, 1]).random(500))
    other = drawn(verify, seed + 10_000) if verify else NONE
    return control_risk(cuts, *drawn(n, seed), *other)


@pytest.mark.parametrize("asked", [0.7, 0.8])
def test_a_threshold_fails_no_more_often_than_allowed(asked: float) -> None:
    failures = found = 0
    trials = 300
    for seed in range(trials):
        control = controlled(400, seed)
        threshold = control.threshold(asked, confidence=0.8)
        if threshold is None:
            continue
        found += 1
        at = float(control.curve.inverse_at(np.array([threshold]))[0])
        true = 0.3 + 0.65 * (at + 1) / 2  # of a uniform score above ``at``
        failures += true < asked - 1e-6
    assert found > trials / 2
    # 20 % are allowed; three standard errors more would be 27 %
    assert failures / trials < 0.27
    assert failures > 0  # thresholds are not needlessly strict


def test_the_tail_is_the_binomial_tail() -> None:
    for n, good, p in ((10, 0, 0.5), (10, 10, 0.9), (400, 371, 0.9), (0, 0, 0.3), (50, 1, 0.01)):
        expected = scipy.stats.binom.sf(good - 1, n, p)
        assert risk._tail(n, good, p) == pytest.approx(expected, rel=1e-10)


def test_probabilities_are_calibrated_and_keep_the_order() -> None:
    control = controlled(4000, verify=4000)
    at = np.linspace(0.001, 0.999, 500)
    read = control.probability(at)
    assert (np.diff(read) > 0).all()
    np.testing.assert_allclose(read[20:-20], 0.3 + 0.65 * at[20:-20], atol=0.06)
    assert control.error < 0.04
    raw, success = drawn(4000, 10_000)
    assert control.area == pytest.approx(area_under_curve(raw, success))


def test_a_level_says_what_it_keeps_and_what_it_showed() -> None:
    control = controlled(verify=1000)
    raw, success = drawn(1000, 10_000)
    for level in control.levels((0.5, 0.7, 0.99999)):
        assert level.threshold == control.threshold(level.probability)
        if level.threshold is None:
            assert level == (0.99999, None, 0.0, None, None)
            continue
        kept = control.probability(raw).astype(np.float32) >= level.threshold
        assert level.held_out_kept == kept.mean()
        assert level.held_out == success[kept].mean()
        assert level.held_out > level.probability - 0.05
        again = control.probability(drawn(800, 0)[0]).astype(np.float32) >= level.threshold
        assert level.kept == again.mean()
    assert controlled().levels()[0].held_out is None


def test_more_confidence_is_never_cheaper() -> None:
    control = controlled()
    found = [control.threshold(0.8, c) for c in (0.5, 0.9, 0.99, 0.9999)]
    cost = [1.0 if t is None else t for t in found]
    assert cost == sorted(cost)
    assert cost[0] < cost[-1]
    with pytest.raises(InputError, match="probability: it must lie between 0 and 1, got 1"):
        control.threshold(1)
    with pytest.raises(InputError, match="confidence"):
        control.threshold(0.5, 0)


@pytest.mark.parametrize("rate", [0.0, 0.6, 1.0])
def test_equal_scores_give_one_probability(rate: float) -> None:
    n = 200
    raw, success = np.full(n, 0.4), np.arange(n) < rate * n
    control = control_risk(cuts_of(raw), raw, success, raw, success)
    assert control.constant
    read = np.unique(control.probability(raw))
    assert len(read) == 1
    assert read[0] == pytest.approx(rate, abs=0.005)
    assert control.area is (None if rate in (0.0, 1.0) else control.area)
    level = control.levels((0.5,))[0]
    assert (level.kept, level.threshold is not None) == (
        (1.0, True) if rate > 0.5 else (0.0, False)
    )
    if level.threshold is not None:
        assert (control.probability(raw).astype(np.float32) >= level.threshold).all()
        assert level.held_out == rate


def test_few_rows_give_one_cautious_probability() -> None:
    for n, good, expected in ((1, 1, 2 / 3), (1, 0, 1 / 3), (39, 39, 40 / 41)):
        raw = np.linspace(0.2, 0.4, n)
        control = control_risk(cuts_of(raw), raw, np.arange(n) < good, *NONE)
        np.testing.assert_allclose(control.probability(raw), expected, atol=0.011)
        # nothing is shown by so few, unless every one of them succeeds
        assert (control.threshold(0.9) is None) == (good < 39)
        assert control.threshold(0.95) is None
    with pytest.raises(InputError, match="no rows to calibrate"):
        control_risk((0.0,), *NONE, *NONE)


def test_the_area_is_that_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    scores, success = rng.random(500).round(1), rng.random(500) < 0.3
    expected = metrics.roc_auc_score(success, scores)
    assert area_under_curve(scores, success) == pytest.approx(expected)
    assert area_under_curve(scores, np.ones(500, dtype=bool)) is None


# ---- files -------------------------------------------------------------------------------------


def test_it_comes_back_from_json() -> None:
    control = controlled(verify=300)
    described = json.loads(json.dumps(control.to_json()))
    again = RiskControl.of_json(described, control.curve.tensor())
    assert again.levels() == control.levels()
    assert (again.error, again.area, again.cuts) == (control.error, control.area, control.cuts)
    bare = controlled()
    assert RiskControl.of_json(bare.to_json(), bare.curve.tensor()).verified == ()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("cuts", []),
        ("cuts", [0.5] * 20),
        ("cuts", [0.0] * 19 + [0.5]),
        ("cuts", "0"),
        ("cuts", None),
        ("calibrated", []),
        ("calibrated", [[1, 2]] * 20),
        ("calibrated", [[0, 0]] * 20),
        ("calibrated", [[1]] * 20),
        ("calibrated", [3] * 20),
        ("verified", [[1, 1]]),
        ("error", -1),
        ("error", "high"),
        ("area", 2),
    ],
)
def test_json_that_was_changed(key: str, value: Any) -> None:
    control = controlled(verify=300)
    with pytest.raises((ValueError, TypeError, KeyError)):
        RiskControl.of_json({**control.to_json(), key: value}, control.curve.tensor())
    with pytest.raises(KeyError):
        RiskControl.of_json(
            {k: v for k, v in control.to_json().items() if k != key}, control.curve.tensor()
        )


def test_probabilities_out_of_range() -> None:
    control = controlled()
    for knots in ([[0, 1], [-0.1, 1]], [[0, 1], [0, 1.1]]):
        with pytest.raises(ValueError, match="do not fit together"):
            RiskControl.of_json(control.to_json(), np.array(knots))


@pytest.mark.parametrize(("area", "said"), [(0.59, False), (0.6, True), (None, False)])
def test_a_score_that_tells_rows_apart_by_little_is_called_uninformative(
    area: float | None, said: bool
) -> None:
    raw = np.linspace(0, 1, 60)
    good = raw > 0.5
    control = replace(control_risk(cuts_of(raw), raw, good, raw[:0], good[:0]), area=area)
    assert control.informative is said
    assert ("uninformative" in str(control)) is (area is not None and not said)
    assert ("not verified" in str(control)) is (area is None)
