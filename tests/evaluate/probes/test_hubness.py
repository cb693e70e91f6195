"""Hubs."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from isthmus.errors import InputError
from isthmus.evaluate import top_k
from isthmus.evaluate.probes import hubness


def _lists(rows: np.ndarray, metric: str = "cosine") -> np.ndarray:
    return top_k(rows, rows, 10, metric=metric, exclude=np.arange(len(rows))).indices


def test_agrees_with_scikit_learn_and_scipy(rng):
    neighbors = pytest.importorskip("sklearn.neighbors")
    rows = rng.standard_normal((300, 12))
    index = neighbors.NearestNeighbors(n_neighbors=10, metric="cosine").fit(rows)
    counts = np.bincount(index.kneighbors(return_distance=False).ravel(), minlength=300)
    found = hubness(_lists(rows))
    assert found.skewness == pytest.approx(scipy.stats.skew(counts), rel=0.02)
    assert found.largest == counts.max()
    assert found.hubs[0] == int(np.argmax(counts))
    assert found.anti_hubs == pytest.approx((counts == 0).mean(), abs=0.01)
    assert sum(found.histogram) == 300
    assert sum(i * c for i, c in enumerate(found.histogram)) == 3000


def test_hubs_grow_with_the_dimension(rng):
    narrow, wide = (hubness(_lists(rng.standard_normal((600, d)), "l2")) for d in (3, 300))
    assert wide.skewness > narrow.skewness + 1
    assert wide.top_share > narrow.top_share
    assert wide.anti_hubs > narrow.anti_hubs


def test_a_ring_has_no_hubs():
    items = np.arange(40)
    found = hubness(np.column_stack([(items + 1) % 40, (items - 1) % 40]))
    assert (found.skewness, found.anti_hubs, found.largest) == (0, 0, 2)


@pytest.mark.parametrize("lists", [np.zeros(3, int), np.zeros((0, 2), int), np.array([[5], [0]])])
def test_faulty_lists(lists):
    with pytest.raises(InputError, match="neighbour"):
        hubness(lists)
