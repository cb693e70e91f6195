"""One pass: moments, a sample, and the rows that were set aside."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus import Pairs
from isthmus.diagnose.pair_pass import read_pairs
from isthmus.errors import InputError
from isthmus.moments import Moments
from isthmus.numeric import unit_rows
from isthmus.spaces.split import fold_of


def _pair(rng, n: int = 300):
    return rng.standard_normal((n, 5)).astype(np.float32), rng.standard_normal((n, 3))


def test_moments_are_of_every_row_and_the_sample_is_seeded(rng):
    x, y = _pair(rng)
    found = read_pairs(Pairs(x, y), sample=40, seed=3)
    expected = Moments.of(x, y).second()
    np.testing.assert_allclose(found.total.second().xy, expected.xy, rtol=1e-6, atol=1e-8)
    assert (found.n, len(found.sample)) == (300, 40)
    np.testing.assert_array_equal(found.sample.x, x[found.sample.ids])
    np.testing.assert_array_equal(found.folds, fold_of(found.sample.ids, 5, 3))
    same = read_pairs(Pairs(x, y), sample=40, seed=3)
    np.testing.assert_array_equal(same.sample.ids, found.sample.ids)


def test_unit_rows_are_followed_only_where_lengths_matter_and_differ(rng):
    x, y = _pair(rng)
    found = read_pairs(Pairs(x, y), sample=40, seed=0)
    assert found.unit is not None
    unit = found.unit.total.second()
    np.testing.assert_allclose(unit.mean_x, unit_rows(x, None).mean(axis=0), atol=1e-6)
    assert read_pairs(Pairs(x, y, metric="l2"), sample=40, seed=0).unit is None
    assert read_pairs(Pairs(unit_rows(x, None), unit_rows(y, None)), sample=40, seed=0).unit is None


@pytest.mark.parametrize("ids", [False, True])
def test_unusable_rows_are_set_aside_on_both_sides(rng, ids, tmp_path):
    x, y = _pair(rng)
    x[5, 1], x[9, 0], y[20], y[30, 2] = np.nan, np.inf, 0, np.nan
    order = rng.permutation(300) if ids else np.arange(300)
    if ids:
        np.savez(tmp_path / "x.npz", vectors=x, ids=np.arange(300))
        np.savez(tmp_path / "y.npz", vectors=y[order], ids=order)
        pairs = Pairs(tmp_path / "x.npz", tmp_path / "y.npz")
    else:
        pairs = Pairs(x, y)
    found = read_pairs(pairs, sample=300, seed=0)
    assert found.n == 296
    assert not np.isin([5, 9, 20, 30], found.sample.ids).any()
    good = np.setdiff1d(np.arange(300), [5, 9, 20, 30])
    expected = Moments.of(x[good], y[good]).second()
    np.testing.assert_allclose(found.total.second().xy, expected.xy, rtol=1e-6, atol=1e-8)
    source, target = found.set_aside
    assert (source.missing, source.infinite, source.zero) == (1, 1, 0)
    assert (target.missing, target.infinite, target.zero) == (1, 0, 1)
    assert source.rows.tolist() == [5, 9]


def test_zero_rows_are_usable_where_length_counts(rng):
    x, y = _pair(rng)
    y[4] = 0
    assert read_pairs(Pairs(x, y, metric="dot"), sample=10, seed=0).n == 300


def test_a_stream_is_seen_as_a_whole(rng, monkeypatch):
    x, y = _pair(rng)
    whole = read_pairs(Pairs(x, y), sample=50, seed=1)
    batches = Pairs.batches
    monkeypatch.setattr(
        Pairs, "batches", lambda self, size=37, **options: batches(self, 37, **options)
    )
    parts = read_pairs(Pairs(x, y), sample=50, seed=1)
    np.testing.assert_allclose(parts.total.second().xx, whole.total.second().xx, atol=1e-6)
    np.testing.assert_array_equal(parts.sample.ids, whole.sample.ids)


def test_labels_come_along(rng):
    x, y = _pair(rng)
    found = read_pairs(Pairs(x, y, labels=np.arange(300) * 2), sample=20, seed=0)
    np.testing.assert_array_equal(found.sample.labels, found.sample.ids * 2)


def test_nothing_left_is_an_error(rng):
    x, y = _pair(rng)
    y[2:] = np.nan
    with pytest.raises(InputError, match="298 of 300 rows cannot be used: 0 hold an infinity, 298"):
        read_pairs(Pairs(x, y), sample=20, seed=0)
