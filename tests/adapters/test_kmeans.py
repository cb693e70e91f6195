"""k-means: the fixed point of Lloyd, no worse than scikit-learn, and calm about degenerate rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isthmus.adapters.kmeans import kmeans, nearest
from isthmus.errors import InputError


def blobs(n: int = 600, k: int = 6, d: int = 5, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    centres, own = 6.0 * rng.standard_normal((k, d)), np.arange(n) % k
    return centres[own] + rng.standard_normal((n, d)) + 50, own


def test_a_result_is_a_fixed_point_of_lloyd() -> None:
    rows, _ = blobs()
    found = kmeans(rows, 6, seed=1)
    for c in range(6):
        np.testing.assert_allclose(found.centroids[c], rows[found.labels == c].mean(0), rtol=1e-9)
    direct = ((rows[:, None] - found.centroids[None]) ** 2).sum(2)
    np.testing.assert_array_equal(found.labels, direct.argmin(1))
    assert found.inertia == pytest.approx(direct.min(1).sum())
    np.testing.assert_array_equal(found.counts, np.bincount(found.labels))


def test_it_is_as_good_as_scikit_learn() -> None:
    cluster = pytest.importorskip("sklearn.cluster")
    rows, _ = blobs(k=12)
    theirs = cluster.KMeans(12, n_init=5, random_state=0).fit(rows).inertia_
    assert kmeans(rows, 12, seed=0, restarts=5).inertia <= 1.02 * theirs


def test_equal_seeds_give_equal_centroids_and_float32_the_same_clusters() -> None:
    rows, own = blobs()
    once, again = kmeans(rows, 6, seed=3, restarts=3), kmeans(rows, 6, seed=3, restarts=3)
    np.testing.assert_array_equal(once.centroids, again.centroids)
    narrow = kmeans(rows.astype(np.float32), 6, seed=3, restarts=3)
    np.testing.assert_array_equal(narrow.labels, once.labels)
    assert len({(a, b) for a, b in zip(once.labels.tolist(), own.tolist(), strict=True)}) == 6


def test_blocks_do_not_matter_and_a_far_mean_costs_nothing() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((9000, 3)).astype(np.float32) + np.float32(1000)
    centroids = rng.standard_normal((7, 3)) + 1000
    labels, squares = nearest(rows, centroids)
    direct = ((rows[:, None].astype(np.float64) - centroids[None]) ** 2).sum(2)
    np.testing.assert_allclose(squares, direct.min(1), atol=1e-3)
    assert (labels == direct.argmin(1)).mean() > 0.999


def test_duplicates_give_fewer_clusters_and_no_nan() -> None:
    rows = np.repeat(np.eye(3), 5, axis=0)
    found = kmeans(rows, 8, seed=0)
    assert len(found.centroids) == 3
    assert found.inertia == pytest.approx(0)
    same = kmeans(np.full((10, 4), 0.1, np.float32), 4, seed=0)
    assert same.centroids.shape == (1, 4)
    assert np.isfinite(same.centroids).all()
    own = kmeans(np.arange(6.0)[:, None], 6, seed=0)
    assert own.inertia == pytest.approx(0)
    assert (own.counts == 1).all()


@pytest.mark.parametrize("k", [0, 11])
def test_impossible_numbers_of_clusters_are_refused(k: int) -> None:
    with pytest.raises(InputError, match=f"cannot form {k} clusters"):
        kmeans(np.ones((10, 2)), k, seed=0)
    with pytest.raises(InputError, match="at least one iteration"):
        kmeans(np.ones((10, 2)), 2, seed=0, iterations=0)
