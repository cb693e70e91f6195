"""Two columns searched as one index."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.stores import MemoryStore
from isthmus.ways.joined import ColumnQueries, joined_search
from isthmus.ways.way import Join, ScoreMatch


def store_of(old, new, part, ids=None):
    store = MemoryStore(ids, {"old": old})
    store.add_column("new", new.shape[1])
    held = np.arange(len(old)) if ids is None else ids
    store.put(held[part], new[part], column="new")
    return store


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@given(
    seed=st.integers(0, 10_000),
    share=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    weight=st.sampled_from([0.0, 0.3, 0.6]),
    offset=st.sampled_from([-0.5, 0.0, 0.4]),
    k=st.sampled_from([1, 5, 30, 200]),
)
def test_the_best_of_all_joined_scores(seed, share, weight, offset, k):
    """Whatever the match, nothing better is missed: as if every pair had been scored."""
    rng = np.random.default_rng(seed)
    old, new = (rng.standard_normal((300, d)).astype(np.float32) for d in (5, 4))
    q_old, q_new = (rng.standard_normal((7, d)).astype(np.float32) for d in (5, 4))
    part = rng.random(300) < share
    join = Join(match=ScoreMatch(slope=0.8, offset=offset), weight=weight)
    found = joined_search(
        store_of(old, new, part),
        ColumnQueries(q_old, "old", "cosine"),
        ColumnQueries(q_new, "new", "cosine"),
        join,
        k,
    )
    low = (unit(q_old) @ unit(old).T).astype(np.float64)
    high = 0.8 * (unit(q_new) @ unit(new).T).astype(np.float64) + offset
    scores = np.where(part, (1 - weight) * high + weight * low, low)
    expected = -np.sort(-scores, axis=1)[:, :k]
    np.testing.assert_allclose(found.scores, expected, atol=2e-6)
    own = np.take_along_axis(scores, found.ids, axis=1)
    np.testing.assert_allclose(own, expected, atol=2e-6)
    assert all(len(set(row)) == k for row in found.ids.tolist())


def test_equal_scores_come_by_id_whatever_the_order_of_the_rows(rng):
    ids = np.array([f"i{n:02d}" for n in range(40)])
    rows, order = np.ones((40, 3), np.float32), rng.permutation(40)
    part = np.arange(40) % 2 == 0
    query = np.ones((1, 3), np.float32)
    found = [
        joined_search(
            store_of(rows, rows, p, i),
            ColumnQueries(query, "old", "cosine"),
            ColumnQueries(query, "new", "cosine"),
            Join(),
            8,
        )
        for i, p in ((ids, part), (ids[order], part[order]))
    ]
    np.testing.assert_array_equal(found[0].ids, found[1].ids)
    assert (found[0].scores == found[0].scores[0, 0]).all()


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_an_item_that_was_never_in_the_old_model_is_judged_by_the_new_one(weight):
    store = MemoryStore(["a", "b"], {"old": np.eye(2, dtype=np.float32)})
    store.add_column("new", 2)
    store.add(["c"], {"new": np.array([[1.0, 0.0]], np.float32)})
    query = np.array([[1.0, 0.1]], np.float32)
    join = Join(match=ScoreMatch(offset=0.5), weight=weight)
    found = joined_search(
        store, ColumnQueries(query, "old", "cosine"), ColumnQueries(query, "new", "cosine"), join, 3
    )
    assert found.ids[0].tolist() == ["c", "a", "b"]


def test_fewer_items_than_results():
    rows = np.eye(2, dtype=np.float32)
    store = store_of(rows, rows, np.array([True, False]))
    found = joined_search(
        store, ColumnQueries(rows, "old", "cosine"), ColumnQueries(rows, "new", "cosine"), Join(), 4
    )
    assert found.scores.shape == (2, 4)
    assert found.found.sum(axis=1).tolist() == [2, 2]
    assert found.ids[:, 2:].tolist() == [[-1, -1], [-1, -1]]
