"""Quantised, halved and saturated numbers."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus.evaluate.probes import precision
from isthmus.moments import Moments


def _of(rows: np.ndarray):
    profile = Moments.of(rows, rows).norms_x
    assert profile is not None
    return precision(rows, profile)


def test_continuous_numbers_are_all_different(rng):
    found = _of(rng.standard_normal((600, 40)).astype(np.float32))
    assert found.distinct_share > 0.99
    assert found.distinct_in_row > 0.99
    assert (found.half, found.rounding_share, found.saturated) == (False, 0, ())


def test_levels_are_counted(rng):
    rows = rng.standard_normal((600, 40)).astype(np.float32)
    found = _of(np.round(rows * 8) / 8)
    expected = np.median([len(np.unique(c[c != 0])) for c in (np.round(rows * 8) / 8).T])
    assert found.distinct == expected
    assert found.distinct_share < 0.2
    assert _of(np.sign(rows)).distinct == 2


def test_codes_with_a_scale_for_each_row_repeat_within_it(rng):
    rows = rng.standard_normal((300, 400)).astype(np.float32)
    scale = np.abs(rows).max(axis=1, keepdims=True) / 127
    found = _of(np.round(rows / scale) * scale)
    assert found.distinct_share > 0.9
    assert found.distinct_in_row < 0.5


def test_the_rounding_of_float16_is_that_measured(rng):
    rows = (50 + rng.standard_normal((2000, 20))).astype(np.float32)
    rounded = rows.astype(np.float16).astype(np.float32)
    found = _of(rounded)
    measured = ((rounded - rows) ** 2).mean() / rows.var(axis=0).mean()
    assert found.half
    assert found.rounding_share == pytest.approx(measured, rel=0.1)


def test_zeros_of_a_sparse_space_are_not_levels(rng):
    rows = np.maximum(rng.standard_normal((600, 40)) - 1, 0).astype(np.float32)
    assert _of(rows).distinct_share > 0.99


def test_dead_dimensions_are_no_levels(rng):
    rows = rng.standard_normal((600, 40)).astype(np.float32)
    rows[:, 10:] = np.float32(0.25)
    assert _of(rows).distinct_share > 0.99


def test_saturation_in_any_row_is_seen(rng):
    rows = rng.standard_normal((100, 5)).astype(np.float32)
    rows[70, 2], rows[3, 4] = 65504, -65504
    assert _of(rows).saturated == (2, 4)
    rows[70, 2] = 65505
    assert _of(rows).saturated == (4,)
