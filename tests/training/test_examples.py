"""Rows to train on: distinct, held out by item, with the neighbours a search would confuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.spaces.sample import Batch
from isthmus.training import Examples


def batch(n: int = 200, d: int = 6, seed: int = 0, **options: Any) -> Batch:
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((2, n, d)).astype(np.float32)
    return Batch(np.arange(n), x, y, **options)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_rows_of_one_item_stay_together() -> None:
    one = batch()
    both = Batch(np.tile(one.ids, 2), np.vstack([one.x, one.x + 1]), np.vstack([one.y, one.y + 1]))
    examples = Examples.of(both, seed=3)
    assert examples is not None
    np.testing.assert_array_equal(examples.item, np.tile(np.arange(200), 2))
    np.testing.assert_array_equal(examples.held_out[:200], examples.held_out[200:])
    assert 0.03 < examples.held_out.mean() < 0.2
    other = Examples.of(both, seed=4)
    assert other is not None
    assert (other.held_out != examples.held_out).any()


@pytest.mark.parametrize("sphere", [True, False])
def test_neighbours_are_the_nearest_training_targets(sphere: bool) -> None:
    rows = batch()
    y = (unit(rows.y) if sphere else rows.y + 5).astype(np.float32)
    examples = Examples.of(Batch(rows.ids, rows.x, y), negatives=3)
    assert examples is not None
    assert examples.unit == sphere
    distances = ((y[:, None].astype(float) - y[None]) ** 2).sum(-1)
    distances[:, examples.held_out] = np.inf
    np.fill_diagonal(distances, np.inf)
    for row in examples.train:
        assert set(examples.neighbours[row]) == set(np.argsort(distances[row])[:3])


def test_a_batch_is_compared_with_its_items_and_their_neighbours() -> None:
    one = batch()
    both = Batch(np.tile(one.ids, 2), np.vstack([one.x, one.x + 1]), np.vstack([one.y, one.y + 1]))
    examples = Examples.of(both, negatives=2)
    assert examples is not None
    rows = examples.train[:5]
    expected = {*rows, *(rows + 200), *examples.neighbours[rows].ravel()}
    assert set(examples.candidates(rows)) == expected
    alone = Examples.of(both, negatives=0)
    assert alone is not None
    assert set(alone.candidates(rows)) == {*rows, *(rows + 200)}


def test_a_repeated_pair_is_taken_once() -> None:
    one = batch()
    twice = Batch(np.arange(400), np.tile(one.x, (2, 1)), np.tile(one.y, (2, 1)))
    examples = Examples.of(twice)
    assert examples is not None
    np.testing.assert_array_equal(examples.x, one.x)


def test_where_there_is_nothing_to_learn() -> None:
    rows = batch()
    same = np.ones_like(rows.x)
    assert Examples.of(batch(49)) is None
    assert Examples.of(Batch(rows.ids, rows.x, same)) is None
    assert Examples.of(Batch(rows.ids, same, rows.y)) is None
    assert Examples.of(Batch(rows.ids, same, same)) is None
    # 1e4 and what float32 cannot tell from it
    almost = np.full_like(rows.y, 1e4) + np.float32(1e-3) * rows.y
    assert Examples.of(Batch(rows.ids, rows.x, almost)) is None
    assert Examples.of(Batch(np.zeros(200, int), rows.x, rows.y)) is None
    assert Examples.of(rows) is not None


def test_labels_are_numbered() -> None:
    examples = Examples.of(batch(labels=np.array(["b", "a"] * 100)))
    assert examples is not None
    assert examples.labels is not None
    np.testing.assert_array_equal(examples.labels, [1, 0] * 100)


def test_read_only_and_half_precision_rows_are_taken() -> None:
    rows = batch()
    for side in (rows.x, rows.y):
        side.flags.writeable = False
    examples = Examples.of(Batch(rows.ids, rows.x, rows.y.astype(np.float64)))
    assert examples is not None
    assert examples.x.dtype == examples.y.dtype == np.float32
    assert examples.x.flags.writeable
    with pytest.raises(InputError, match="0 or more"):
        Examples.of(rows, negatives=-1)
