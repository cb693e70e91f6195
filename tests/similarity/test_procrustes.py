from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.spatial

from isthmus.errors import InputError
from isthmus.moments import Moments
from isthmus.similarity import compare
from isthmus.similarity.procrustes import TRANSFORMS, alignment, cross_singular


def test_the_disparity_is_scipys(pair: Any) -> None:
    x, y = pair(100, 6, 6, 0)
    expected = scipy.spatial.procrustes(x, y)[2]
    assert compare(x, y, measures="procrustes_disparity")["procrustes_disparity"].value == (
        pytest.approx(expected, rel=1e-9)
    )


def test_padding_with_zeros_changes_nothing(pair: Any) -> None:
    x, y = pair(100, 6, 4, 0)
    padded = np.column_stack([y, np.zeros((100, 2))])
    for name in TRANSFORMS:
        own, wide = (compare(x, side, measures=name)[name].value for side in (y, padded))
        assert own == pytest.approx(wide, rel=1e-9)
    assert 1 - compare(x, y, measures="procrustes")["procrustes"].details["alignment"] ** 2 == (
        pytest.approx(scipy.spatial.procrustes(x, padded)[2], rel=1e-9)
    )


def test_the_distance_is_what_the_best_rotation_leaves(pair: Any) -> None:
    x, y = pair(100, 5, 5, 0)
    x, y = x - x.mean(0), y - y.mean(0)
    x, y = x / np.linalg.norm(x), y / np.linalg.norm(y)
    rotation = scipy.linalg.orthogonal_procrustes(x, y)[0]
    assert compare(x, y, measures="procrustes")["procrustes"].value == pytest.approx(
        np.linalg.norm(x @ rotation - y), rel=1e-9
    )


def test_a_side_without_variance() -> None:
    second = Moments.of(np.ones((5, 2)), np.eye(5)[:, :2]).second()
    with pytest.raises(InputError, match="the same"):
        alignment(second, cross_singular(second))


def test_sides_that_are_nearly_equal_keep_their_small_distance() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 80)) * np.arange(1, 81) ** -1.0
    y = x + 1e-7 * rng.standard_normal(x.shape)
    a, b = (side - side.mean(0) for side in (x, y))
    s = np.linalg.norm((a / np.linalg.norm(a)).T @ (b / np.linalg.norm(b)), "nuc")
    found = compare(x, y, measures="procrustes")["procrustes"].value
    assert found == pytest.approx(np.sqrt(max(2 - 2 * s, 0)), abs=5e-8)
    assert found < 1e-6
