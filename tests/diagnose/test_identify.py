"""Ranks of partners."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus.diagnose.identify import identify, mapped_rows, partner_places, rank_partners
from isthmus.diagnose.maps import FoldMap


def _identity(fold: int, d: int) -> FoldMap:
    return FoldMap(fold, np.eye(d), np.zeros(d), np.zeros(d))


def test_rows_go_through_the_map_of_their_fold(rng):
    x = rng.standard_normal((9, 3))
    folds = np.array([0, 1, 2] * 3)
    maps = [
        FoldMap(k, rng.standard_normal((3, 2)), rng.standard_normal(3), rng.standard_normal(2))
        for k in (0, 1)
    ]
    mapped = mapped_rows(x, folds, maps)
    for i in range(9):
        own = maps[1] if folds[i] == 1 else maps[0]  # a fold without a map takes the first
        np.testing.assert_allclose(mapped[i], (x[i] - own.mean_x) @ own.matrix + own.mean_y)


def test_places_are_ranks_by_cosine(rng):
    y = rng.standard_normal((60, 5))
    mapped = y + 1.5 * rng.standard_normal(y.shape)
    folds = np.repeat([0, 1], 30)
    places = partner_places(mapped, y, folds, [_identity(0, 5), _identity(1, 5)])
    assert places is not None
    found = identify(places)
    one, other = (r / np.linalg.norm(r, axis=1, keepdims=True) for r in (mapped, y))
    expected = []
    for fold in (0, 1):
        scores = one[folds == fold] @ other[folds == fold].T
        own = np.diagonal(scores)[:, None]
        expected += list((scores > own).sum(axis=1) / 29)
    np.testing.assert_allclose(places.places, expected, atol=1e-9)
    assert found.first.value == pytest.approx(np.mean(np.array(expected) == 0))
    assert found.chance == pytest.approx(1 / 30)
    assert found.mean_place == pytest.approx(np.mean(expected))
    assert found.rows == 60
    assert places.judged.tolist() == list(range(60))


def test_unrelated_rows_rank_by_chance():
    scores = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        rows = rng.standard_normal((2, 60, 4))
        places = partner_places(rows[0], rows[1], np.zeros(60, int), [_identity(0, 4)])
        assert places is not None
        scores.append(identify(places).z)
    assert abs(np.mean(scores)) < 0.25
    assert np.std(scores) == pytest.approx(1, abs=0.25)


def test_nothing_held_out_is_no_identification(rng):
    rows = rng.random((3, 2))
    assert partner_places(rows, rows, np.arange(3), [_identity(0, 2)]) is None


def test_partners_among_all_rows_are_those_of_one_fold(rng):
    y = rng.standard_normal((50, 5))
    mapped = y + rng.standard_normal(y.shape)
    one_fold = FoldMap(0, np.eye(5), np.zeros(5), y.mean(axis=0))
    expected = partner_places(mapped, y, np.zeros(50, int), [one_fold])
    assert expected is not None
    found = rank_partners(mapped, y)
    np.testing.assert_array_equal(found.places, expected.places)
    assert (found.chance, found.first.mean()) == (1 / 50, expected.first.mean())
