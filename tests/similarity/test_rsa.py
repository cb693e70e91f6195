from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats
from scipy.spatial.distance import pdist

from isthmus.errors import InputError
from isthmus.similarity.rsa import Rdms, correlation_distances, rsa


def test_ties_are_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 3, (25, 4)).astype(float), rng.standard_normal((25, 3))
    x = x[x.std(axis=1) > 0]
    y = y[: len(x)]
    distances = np.round(pdist(x, "correlation"), 12)
    expected = scipy.stats.spearmanr(distances, pdist(y, "correlation"))[0]
    assert rsa(x, y) == pytest.approx(expected, abs=1e-12)


def test_a_permutation_is_that_of_rows(pair: Any) -> None:
    x, y = pair(40, 5, 6, 0)
    order = np.random.default_rng(0).permutation(40)
    assert Rdms.of(x, y).correlation(order) == pytest.approx(rsa(x, y[order]), abs=1e-6)


def test_leaving_rows_out_is_near_to_ranking_again(pair: Any) -> None:
    x, y = pair(150, 5, 6, 0)
    kept = np.r_[0:30, 45:150]
    assert Rdms.of(x, y).without(slice(30, 45)) == pytest.approx(rsa(x[kept], y[kept]), abs=5e-3)


def test_rows_and_sides_without_correlation_are_refused() -> None:
    with pytest.raises(InputError, match="y: 2 of 4 sampled rows"):
        correlation_distances(np.array([[1.0, 2], [3, 3], [4, 1], [0, 0]]), "y")
    with pytest.raises(InputError, match="all pairs"):
        rsa(np.array([[1.0, 2], [3, 5], [4, 9]]), np.eye(3))
