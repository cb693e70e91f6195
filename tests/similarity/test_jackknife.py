from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats

from isthmus.errors import InputError
from isthmus.similarity import compare
from isthmus.similarity.jackknife import jackknife_interval


def test_of_a_mean_it_is_the_interval_of_student() -> None:
    values = np.random.default_rng(0).standard_normal(12)
    without = (values.sum() - values) / 11
    low, high = jackknife_interval(values.mean(), without, np.ones(12))
    expected = scipy.stats.t.interval(0.95, 11, values.mean(), scipy.stats.sem(values))
    assert (low, high) == pytest.approx(expected)


def test_unequal_blocks_of_a_mean() -> None:
    """The variance is that of a mean, whatever the blocks: averaged over many tries."""
    rng = np.random.default_rng(1)
    sizes = np.array([5, 10, 20, 40, 25])
    block = np.repeat(np.arange(5), sizes)
    half = []
    for _ in range(400):
        values = rng.standard_normal(100)
        without = np.array([values[block != j].mean() for j in range(5)])
        low, high = jackknife_interval(values.mean(), without, sizes)
        half.append(((high - low) / 2 / scipy.stats.t.ppf(0.975, 4)) ** 2)
    assert np.mean(half) == pytest.approx(1 / 100, rel=0.12)


def test_the_range_of_the_measure_bounds_it() -> None:
    without = np.array([0.2, 0.9, 1.0])
    low, high = jackknife_interval(0.7, without, np.ones(3), low=0, high=1)
    assert (low, high) == (0, 1)


def test_no_interval_where_a_part_is_undefined() -> None:
    def refuse() -> float:
        raise InputError("no")

    assert jackknife_interval(0.5, np.array([0.4, 0.6]), np.ones(2)) is None
    assert jackknife_interval(0.5, np.array([0.4, 0.6, np.nan]), np.ones(3)) is None
    assert jackknife_interval(0.5, [lambda: 0.5, lambda: 0.6, refuse], np.ones(3)) is None


@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say(pair: Any) -> None:
    """The truth is the value of a large sample; debiased CKA, Procrustes and CCA."""
    rng = np.random.default_rng(0)
    names = ["debiased_cka", "linear_cka", "procrustes", "mean_cca", "svcca", "gulp"]
    x, y = pair(40_000, 6, 6, 0)
    truth = compare(x, y, measures=names)
    held = dict.fromkeys(names, 0)
    for _ in range(40):
        rows = rng.choice(len(x), 1000, replace=False)
        for name, found in compare(x[rows], y[rows], measures=names).items():
            held[name] += found.low <= truth[name].value <= found.high
    assert min(held.values()) >= 33, held
