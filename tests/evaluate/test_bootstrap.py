from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from isthmus.errors import InputError
from isthmus.evaluate import bootstrap as module
from isthmus.evaluate.bootstrap import Estimate, estimate, resampled_means


def test_same_seed_same_means_in_any_blocks(rng, monkeypatch):
    values = rng.random((40, 3))
    one = resampled_means(values, resamples=50, seed=7)
    np.testing.assert_array_equal(one, resampled_means(values, resamples=50, seed=7))
    assert not np.array_equal(one, resampled_means(values, resamples=50, seed=8))
    monkeypatch.setattr(module, "_BLOCK_CELLS", 100)
    np.testing.assert_allclose(one, resampled_means(values, resamples=50, seed=7), rtol=1e-12)


def test_arms_are_resampled_together(rng):
    arm = rng.random(30)
    means = resampled_means(np.column_stack([arm, arm + 0.25]), resamples=200)
    np.testing.assert_allclose(means[:, 1] - means[:, 0], 0.25)


def test_spread_is_the_standard_error(rng):
    values = rng.standard_normal((400, 1))
    means = resampled_means(values, resamples=4000)
    assert means.mean() == pytest.approx(values.mean(), abs=0.005)
    assert means.std() == pytest.approx(values.std() / 20, rel=0.05)


def test_intervals_cover(rng):
    hits = 0
    for seed in range(300):
        values = (rng.random((150, 1)) < 0.3).astype(float)
        interval = estimate(values.mean(), resampled_means(values, resamples=400, seed=seed))
        assert interval.low is not None and interval.high is not None
        hits += interval.low <= 0.3 <= interval.high
    assert 0.90 <= hits / 300 <= 0.98


def test_clusters_widen_the_interval(rng):
    groups = np.repeat(np.arange(20), 15)
    values = rng.standard_normal(20)[groups][:, None]
    alone = resampled_means(values).std()
    together = resampled_means(values, groups=[f"g{g}" for g in groups]).std()
    assert together == pytest.approx(alone * np.sqrt(15), rel=0.15)


def test_groups_of_one_are_no_groups(rng):
    values = rng.random((25, 2))
    np.testing.assert_allclose(
        resampled_means(values, groups=np.arange(25)), resampled_means(values)
    )


def test_an_estimate_is_never_nan():
    with pytest.raises(ValidationError):
        Estimate(value=float("nan"))


def test_estimates_print():
    assert str(Estimate(value=0.5, low=0.25, high=0.75)) == "0.500 [0.250, 0.750]"
    assert str(Estimate(value=None, reason="no")) == "undefined: no"
    assert str(Estimate(value=1.0, reason="no")) == "1.000 (no interval: no)"


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (np.ones(3), {}, "one row per query"),
        (np.ones((0, 1)), {}, "one row per query"),
        (np.array([[1.0], [np.nan]]), {}, "values, row 1: a value is not finite"),
        (np.ones((3, 1)), {"groups": [1, 2]}, "2 groups for 3 queries"),
        (np.ones((3, 1)), {"resamples": 0}, "at least one resample"),
    ],
)
def test_faulty_values(values, options, message):
    with pytest.raises(InputError, match=message):
        resampled_means(values, **options)
