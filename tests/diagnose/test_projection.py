"""Both spaces in one picture."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus.diagnose.projection import project


def test_axes_are_the_principal_ones(rng):
    decomposition = pytest.importorskip("sklearn.decomposition")
    y = rng.standard_normal((80, 6)) * [5, 3, 1, 1, 1, 1]
    found = project(np.arange(80), y + 0.01, y)
    assert found is not None
    fitted = decomposition.PCA(2).fit(y)
    np.testing.assert_allclose(np.abs(found.y), np.abs(fitted.transform(y)), atol=1e-5)
    np.testing.assert_allclose(found.explained, fitted.explained_variance_ratio_)
    gaps = np.array(found.x) - np.array(found.y)
    np.testing.assert_allclose(gaps, np.broadcast_to(gaps[0], gaps.shape), atol=1e-5)
    assert found.ids[:2] == ("0", "1")


def test_at_most_three_hundred_points(rng):
    y = rng.standard_normal((900, 3))
    found = project(np.array([f"item {i}" for i in range(900)]), y, y)
    assert found is not None
    assert (len(found.ids), found.ids[-1]) == (300, "item 299")


def test_one_dimension_lies_on_one_axis(rng):
    y = rng.standard_normal((20, 1))
    found = project(np.arange(20), y, y)
    assert found is not None
    assert found.explained == (1, 0)
    assert {point[1] for point in found.y} == {0}


@pytest.mark.parametrize("rows", [2, 5])
def test_nothing_to_draw(rows):
    same = np.ones((rows, 3))
    assert project(np.arange(rows), same, same) is None
    assert project(np.arange(rows), None, same) is None
