from __future__ import annotations

import numpy as np
import pytest
from tests.stores.conformance import Conformance, gaussian

from isthmus.errors import InputError
from isthmus.evaluate import scores
from isthmus.evaluate.search import top_k
from isthmus.stores import MemoryStore


class TestMemoryStore(Conformance):
    @pytest.fixture
    def make(self):
        def make(ids, vectors, payload=None, metric="cosine"):
            return MemoryStore(ids, vectors, payload=payload, metric=metric)

        return make


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("k", [1, 10, 700])
def test_hits_are_those_of_the_evaluation_to_the_last_bit(metric, k):
    queries, rows = gaussian(40, seed=1), np.round(gaussian(700), 0) + 0.5  # many ties
    found = top_k(queries, rows, k, metric=metric)
    hits = MemoryStore(vectors={"v": rows}, metric=metric).search(queries, k, column="v")
    np.testing.assert_array_equal(hits.ids, found.indices)
    np.testing.assert_array_equal(hits.scores, found.scores)


def test_the_gallery_is_checked_once(monkeypatch):
    store = MemoryStore(vectors={"v": gaussian(100)})
    checked = []
    real = scores.checked_norms
    monkeypatch.setattr(
        scores, "checked_norms", lambda v, name, m: checked.append(name) or real(v, name, m)
    )
    for _ in range(3):
        store.search(gaussian(2), 3, column="v")
    assert "gallery" not in checked


def test_arrays_are_used_in_place_until_something_is_put():
    rows = gaussian(10)
    before = rows.copy()
    store = MemoryStore(vectors={"v": rows})
    (batch,) = store.scan(column="v")
    assert np.shares_memory(batch.vectors, rows)
    store.put(np.array([3]), gaussian(1, seed=2), column="v")
    np.testing.assert_array_equal(rows, before)


def test_a_memory_map_will_do(tmp_path):
    np.save(tmp_path / "a.npy", gaussian(50))
    store = MemoryStore(vectors={"v": np.load(tmp_path / "a.npy", mmap_mode="r")})
    assert store.search(gaussian(50)[:2], 1, column="v").ids.tolist() == [[0], [1]]


def test_columns_have_metrics_of_their_own():
    store = MemoryStore(
        vectors={"a": gaussian(5), "b": gaussian(5, 3)}, metric={"a": "dot", "b": "l2"}
    )
    assert {c.name: c.metric for c in store.describe().columns.values()} == {"a": "dot", "b": "l2"}
    assert store.column == "a"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ids": ["a", "a"], "vectors": {"v": gaussian(2)}}, "occurs twice"),
        ({"ids": ["a", "b"], "vectors": {"v": gaussian(3)}}, r"shape \(3, 8\)"),
        ({"vectors": {"v": np.zeros((2, 3), np.float32)}}, "zero vector"),
        ({"vectors": {"v": gaussian(2)}, "payload": {"text": ["one"]}}, "1 values for 2 items"),
    ],
)
def test_refuses_what_does_not_fit(arguments, message):
    with pytest.raises(InputError, match=message):
        MemoryStore(**arguments)


def test_repr_says_what_it_holds():
    assert repr(MemoryStore(vectors={"v": gaussian(1200)})) == (
        "MemoryStore('memory', 1,200 items, v 8)"
    )
