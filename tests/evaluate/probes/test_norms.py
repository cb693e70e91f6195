"""How long rows are."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus.evaluate.probes import norm_distribution
from isthmus.moments import Moments


def _of(rows: np.ndarray, **options: int):
    moments = Moments.of(rows, rows)
    assert moments.norms_x is not None
    return norm_distribution(moments.norms_x, np.linalg.norm(rows, axis=1), **options)


def test_agrees_with_numpy(rng):
    rows = rng.standard_normal((500, 6)) * rng.gamma(2, size=(500, 1))
    norms = np.linalg.norm(rows, axis=1)
    found = _of(rows, bins=12)
    counts, edges = np.histogram(norms, bins=12)
    assert found.counts == tuple(counts)
    np.testing.assert_allclose(found.edges, edges)
    assert dict(found.quantiles)[0.95] == pytest.approx(np.quantile(norms, 0.95))
    assert found.median == pytest.approx(np.median(norms))
    assert (found.mean, found.deviation) == pytest.approx((norms.mean(), norms.std()))
    assert found.lowest == pytest.approx(norms.min(), rel=0.02)
    assert found.highest == pytest.approx(norms.max(), rel=0.02)


def test_rows_of_length_one(rng):
    rows = rng.standard_normal((200, 6))
    unit = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)
    assert _of(unit.astype(np.float32)).unit
    assert not _of(2 * unit.astype(np.float32)).unit
    assert not _of(rows).unit


def test_equal_rows_are_one_bin():
    found = _of(np.ones((20, 4)))
    assert found.counts == (20,)
    assert found.relative_deviation == 0
