"""Held-out explained variance of maps: from moments as from rows."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.diagnose.maps import (
    _permutation,
    best_explained,
    explained,
    fold_splits,
    judge_maps,
)
from isthmus.moments import FoldMoments, Moments
from isthmus.spaces.split import fold_of


def paired(seed: int = 0, n: int = 300, dx: int = 6, dy: int = 4):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, dx)) * np.arange(1, dx + 1) + 3
    return x, x @ rng.standard_normal((dx, dy)) + 2 * rng.standard_normal((n, dy)) - 1


@given(st.integers(0, 1000))
def test_explained_is_that_of_the_rows(seed: int):
    x, y = paired(seed)
    matrix = np.random.default_rng(seed).standard_normal((6, 4))
    splits = fold_splits(FoldMoments.of(x, y, 5))
    folds = fold_of(np.arange(300), 5)
    for k, train, held in splits:
        seen, unseen = folds != k, folds == k
        residual = y[unseen] - ((x[unseen] - x[seen].mean(0)) @ matrix + y[seen].mean(0))
        total = ((y[unseen] - y[seen].mean(0)) ** 2).sum()
        expected = 1 - (residual**2).sum() / total
        assert explained(matrix, train, held) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_the_training_mean_explains_nothing():
    x, y = paired()
    _, train, held = fold_splits(FoldMoments.of(x, y, 5))[0]
    assert explained(np.zeros((6, 4)), train, held) == 0


def test_the_linear_map_is_that_of_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    x, y = paired()
    found, fitted_outside = judge_maps(
        fold_splits(FoldMoments.of(x, y, 5)), Moments.of(x, y).second()
    )
    folds = fold_of(np.arange(300), 5)
    scores = []
    for own in fitted_outside.linear:
        seen = folds != own.fold
        strength = found.alpha * ((x[seen] - x[seen].mean(0)) ** 2).sum() / 6
        fitted = linear_model.Ridge(alpha=strength).fit(x[seen], y[seen])
        mapped = (x - own.mean_x) @ own.matrix + own.mean_y
        np.testing.assert_allclose(mapped, fitted.predict(x), atol=1e-3)
        residual = y[~seen] - fitted.predict(x[~seen])
        scores.append(1 - (residual**2).sum() / ((y[~seen] - y[seen].mean(0)) ** 2).sum())
    assert found.linear.value == pytest.approx(np.mean(scores), abs=1e-5)
    assert found.linear.low is not None and found.linear.high is not None
    assert found.linear.low < found.linear.value < found.linear.high
    assert found.same is None and found.permutation is None


@given(st.integers(0, 1000))
def test_the_permutation_is_the_best_of_all(seed: int):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((100, 4)) * [1, 2, 3, 4]
    y = x[:, rng.permutation(4)] * rng.choice([-1, 1], 4) + rng.standard_normal((100, 4))
    splits = fold_splits(FoldMoments.of(x, y, 5))
    found, _ = judge_maps(splits, Moments.of(x, y).second())
    _, order, _ = _permutation(splits[0][1])
    cross = np.abs(splits[0][1].require("xy"))
    best = max(permutations(range(4)), key=lambda order: cross[range(4), order].sum())
    assert tuple(order) == best
    # in units of each side's spread nothing changes the order; a rotation may explain more
    assert found.order in (best, None)


def test_scale_and_offset_of_a_rigid_motion():
    x, _ = paired(dx=5)
    turn = np.linalg.qr(np.random.default_rng(2).standard_normal((5, 5)))[0]
    y = 2.5 * x @ turn
    found, _ = judge_maps(fold_splits(FoldMoments.of(x, y, 5)), Moments.of(x, y).second())
    assert found.scale == pytest.approx(2.5)
    assert found.offset == pytest.approx(0, abs=1e-9)
    shift = np.array([3.0, 0, 0, 0, 4.0])
    moved, _ = judge_maps(
        fold_splits(FoldMoments.of(x, y + shift, 5)), Moments.of(x, y + shift).second()
    )
    assert moved.offset == pytest.approx(5 / np.sqrt(y.var(axis=0).sum()))
    assert moved.rigid.value == pytest.approx(1)
    assert moved.same is not None and moved.same.value is not None
    assert moved.same.value < 0.9


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_scale_of_a_side_changes_no_share(scale: float):
    x, y = paired()
    one, other = (
        judge_maps(fold_splits(FoldMoments.of(x, rows, 5)), Moments.of(x, rows).second())[0]
        for rows in (y, scale * y)
    )
    assert other.linear.value == pytest.approx(one.linear.value, abs=1e-4)
    assert other.rigid.value == pytest.approx(one.rigid.value, abs=1e-6)
    assert other.scale == pytest.approx(scale * one.scale)


def test_backward_is_forward_of_the_exchanged_sides():
    x, y = paired()
    forward, _ = judge_maps(fold_splits(FoldMoments.of(x, y, 5)), Moments.of(x, y).second())
    turned, _ = judge_maps(fold_splits(FoldMoments.of(y, x, 5)), Moments.of(y, x).second())
    assert forward.backward.value == pytest.approx(turned.linear.value, abs=1e-5)


def test_the_best_of_a_fold():
    x, _ = paired(dx=5)
    splits = fold_splits(FoldMoments.of(x, x * [1, 9, 2, 5, 3.0], 5))
    assert best_explained(splits[:1]) == pytest.approx(1, abs=1e-4)
