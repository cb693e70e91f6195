"""Fold moments: the folds partition the rows by id, whatever the order or the batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.moments import FoldMoments, KindsApart, Moments
from isthmus.moments.kinds import joined_apart
from isthmus.spaces.split import fold_of


@pytest.fixture
def data(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    ids = np.array([f"item-{i}" for i in range(500)])
    return ids, rng.standard_normal((500, 6)), rng.standard_normal((500, 4))


def test_each_fold_holds_the_rows_its_hash_says(data: Any) -> None:
    ids, x, y = data
    folds = FoldMoments.of(x, y, 5, ids=ids)
    assigned = fold_of(ids, 5)
    for k, fold in enumerate(folds.folds):
        rows = assigned == k
        assert fold.rows == rows.sum() > 50
        np.testing.assert_allclose(fold.xy, Moments.of(x[rows], y[rows]).xy, atol=1e-10)
    rest = folds.total - folds.folds[2]
    kept = assigned != 2
    np.testing.assert_allclose(rest.xx, Moments.of(x[kept], y[kept]).xx, atol=1e-9)


def test_order_and_batches_do_not_matter(data: Any, rng: np.random.Generator) -> None:
    ids, x, y = data
    whole = FoldMoments.of(x, y, 4, ids=ids)
    pieces = FoldMoments(6, 4, 4)
    order = rng.permutation(500)
    for rows in np.array_split(order, 7):
        pieces.update(ids[rows], x[rows], y[rows])
    for a, b in zip(whole.folds, pieces.folds, strict=True):
        np.testing.assert_allclose(a.xx, b.xx, atol=1e-10)


def test_splits_are_the_moments_of_the_rows_in_and_out_of_each_fold(data: Any) -> None:
    ids, x, y = data
    x = x + 30
    assigned = fold_of(ids, 3)
    for k, (train, held) in enumerate(FoldMoments.of(x, y, 3, ids=ids).splits()):
        for found, rows in ((train, assigned != k), (held, assigned == k)):
            expected = Moments.of(x[rows], y[rows]).second()
            for name in ("mean_x", "mean_y", "variance_x", "variance_y", "xx", "xy", "yy"):
                np.testing.assert_allclose(
                    getattr(found, name), getattr(expected, name), atol=1e-10, err_msg=name
                )


@pytest.mark.parametrize("apart", [False, True])
def test_several_folds_are_left_out_at_once(data: Any, apart: bool) -> None:
    ids, x, y = data
    folds: FoldMoments | KindsApart = FoldMoments.of(x, y, 4, ids=ids)
    rows = ~np.isin(fold_of(ids, 4), (1, 3))
    expected = Moments.of(x[rows], y[rows]).second()
    if apart:
        queries = FoldMoments.of(x + 5, y - 2, 4, ids=ids)
        folds = KindsApart(FoldMoments.of(x, y, 4, ids=ids), queries)
        expected = joined_apart(expected, Moments.of(x[rows] + 5, y[rows] - 2).second())
    found = folds.second_without((1, 3))
    assert found.n == expected.n
    for name in ("mean_x", "mean_y", "variance_x", "xx", "xy", "yy"):
        np.testing.assert_allclose(
            getattr(found, name), getattr(expected, name), atol=1e-9, err_msg=name
        )


def test_machines_accumulate_apart_and_merge(data: Any, tmp_path: Any) -> None:
    ids, x, y = data
    for name, rows in (("a", slice(0, 200)), ("b", slice(200, 500))):
        FoldMoments.of(x[rows], y[rows], 3, ids=ids[rows]).save(tmp_path / name)
    merged = FoldMoments.load(tmp_path / "a")
    merged += FoldMoments.load(tmp_path / "b")
    for a, b in zip(merged.folds, FoldMoments.of(x, y, 3, ids=ids).folds, strict=True):
        np.testing.assert_allclose(a.xy, b.xy, atol=1e-10)
    with pytest.raises(InputError, match="do not join"):
        merged += FoldMoments.of(x, y, 4, ids=ids)
    Moments.of(x, y).save(tmp_path / "plain")
    with pytest.raises(InputError, match="no set of fold moments, but a set of moments"):
        FoldMoments.load(tmp_path / "plain")


def test_other_widths_and_rows_that_do_not_pair_are_refused_as_by_plain_moments(data: Any) -> None:
    ids, x, y = data
    for bad_x, bad_y, says in (
        (x[:, :5], y, "widths 6 and 4"),
        (x, y[:, :3], "widths 6 and 4"),
        (x, y[:-1], "must pair"),
    ):
        for into in (FoldMoments(6, 4, 4), FoldMoments.of(x, y, 4, ids=ids)):
            with pytest.raises(InputError, match=says):
                into.update(ids, bad_x, bad_y)
        with pytest.raises(InputError, match=says):
            Moments(6, 4).update(bad_x, bad_y)
