"""Dead, doubled and heavy-tailed dimensions."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from isthmus.evaluate.probes import dimensions
from isthmus.evaluate.probes.dimensions import duplicated_dimensions, kurtosis
from isthmus.moments import Moments


def _of(rows: np.ndarray):
    return dimensions(Moments.of(rows, rows).second().x, rows)


def test_kurtosis_agrees_with_scipy(rng):
    rows = rng.standard_t(5, (300, 1100)).astype(np.float32)
    rows[:, 3] = 7.0
    expected = scipy.stats.kurtosis(np.delete(rows, 3, axis=1).astype(np.float64))
    found = kurtosis(rows)
    np.testing.assert_allclose(np.delete(found, 3), expected, rtol=1e-5, atol=1e-6)
    assert found[3] == 0
    summary = _of(rows[:, :50])
    assert summary.kurtosis_at == int(np.argmax(found[:50]))
    assert summary.kurtosis_largest == pytest.approx(found[:50].max())


def test_dead_and_doubled_dimensions_are_named(rng):
    rows = rng.standard_normal((400, 30)).astype(np.float32)
    rows[:, 4], rows[:, 9] = 3.5, 1e-6 * rows[:, 9] + 0.1
    rows[:, 7], rows[:, 21], rows[:, 22] = -2 * rows[:, 3], rows[:, 3], 5 * rows[:, 11]
    found = _of(rows)
    assert found.dead == (4, 9)
    assert found.duplicated == ((3, 7, 21), (11, 22))
    assert (found.live, found.redundant) == (28, 3)


def test_a_healthy_space_has_neither(rng):
    rows = (1e4 + rng.standard_normal((400, 600))).astype(np.float32)
    found = _of(rows)
    assert (found.dead, found.duplicated) == ((), ())


def test_near_doubles_across_blocks_are_found(rng):
    covariance = np.cov(rng.standard_normal((2000, 600)).T)
    root = np.eye(600)
    root[590] = root[2] + 1e-3 * root[590]
    found = duplicated_dimensions(root @ covariance @ root.T, np.empty(0, np.int64))
    assert found == [(2, 590)]


def test_a_handful_of_rows_shows_no_doubles(rng):
    assert _of(rng.standard_normal((3, 40))).duplicated == ()


def test_the_widest_dimension(rng):
    rows = rng.standard_normal((500, 10))
    rows[:, 6] *= 10
    assert _of(rows).largest_variance_share == pytest.approx(100 / 109, rel=0.05)
