"""Agreement of clusterings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.errors import InputError
from isthmus.evaluate.probes import cluster_agreement
from isthmus.evaluate.probes.clusters import adjusted_rand_index, normalised_mutual_information


@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 6), st.integers(2, 60))
def test_agrees_with_scikit_learn(seed: int, a: int, b: int, n: int):
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(seed)
    one, other = rng.integers(0, a, n), rng.integers(0, b, n)
    expected = metrics.adjusted_rand_score(one, other)
    assert adjusted_rand_index(one, other) == pytest.approx(expected, abs=1e-9)
    expected = metrics.normalized_mutual_info_score(one, other)
    assert normalised_mutual_information(one, other) == pytest.approx(expected, abs=1e-9)


def test_names_do_not_matter(rng):
    groups = rng.integers(0, 4, 50)
    renamed = np.array(["d", "a", "c", "b"])[groups]
    found = cluster_agreement(groups, renamed, again_x=groups, again_y=renamed)
    assert found.adjusted_rand == pytest.approx(1)
    assert found.mutual_information == pytest.approx(1)
    assert (found.ceiling, found.clusters) == (1, 4)


def test_the_ceiling_is_that_of_the_less_stable_side(rng):
    groups = rng.integers(0, 4, 400)
    unstable = rng.integers(0, 4, 400)
    found = cluster_agreement(groups, groups, again_x=groups, again_y=unstable)
    assert abs(found.ceiling) < 0.05


def test_chance_is_zero_for_the_adjusted_index():
    rng = np.random.default_rng(3)
    values = [
        adjusted_rand_index(rng.integers(0, 5, 80), rng.integers(0, 5, 80)) for _ in range(300)
    ]
    assert abs(np.mean(values)) < 0.005


@pytest.mark.parametrize("other", [np.zeros(3, int), np.zeros((4, 1), int)])
def test_groupings_of_other_items(other):
    with pytest.raises(InputError, match="same items"):
        adjusted_rand_index(np.zeros(4, int), other)
