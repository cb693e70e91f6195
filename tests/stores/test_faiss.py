from __future__ import annotations

import itertools

import numpy as np
import pytest
from tests.stores.conformance import DIM, Conformance, gaussian, ids_of

from isthmus.errors import InputError, UnsupportedError
from isthmus.stores import create_store, open_store

faiss = pytest.importorskip("faiss")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


class TestFaiss(Conformance):
    second_column = False
    stored_normalised = True

    @pytest.fixture
    def make(self, tmp_path):
        numbers = itertools.count()

        def make(ids, vectors, payload=None, metric="cosine"):
            path = tmp_path / f"docs{next(numbers)}.faiss"
            return create_store(f"faiss://{path}", ids, vectors, payload, metric=metric)

        return make


ROWS = gaussian(6)


def saved(tmp_path, index, rows=ROWS, ids=None):
    if not index.is_trained:
        index.train(rows)
    if ids is None:
        index.add(rows)
    else:
        index.add_with_ids(rows, ids)
    faiss.write_index(index, str(tmp_path / "docs.faiss"))
    return tmp_path / "docs.faiss"


@pytest.mark.parametrize(
    ("index", "metric"),
    [(faiss.IndexFlatIP(DIM), "dot"), (faiss.IndexFlatL2(DIM), "l2")],
)
def test_an_index_of_somebody_else(tmp_path, index, metric):
    store = open_store(saved(tmp_path, index))
    assert store.describe().column("vector").metric == metric
    assert not store.describe().has_texts
    np.testing.assert_array_equal(store.fetch(np.arange(6), column="vector").vectors, ROWS)
    scores, found = index.search(ROWS[:2], 3)
    hits = store.search(ROWS[:2], 3, column="vector")
    np.testing.assert_array_equal(hits.ids, found)
    np.testing.assert_allclose(
        hits.scores, scores if metric == "dot" else -scores, rtol=1e-4, atol=1e-5
    )
    assert store.put(np.array([2]), ROWS[:1], column="vector") == 1
    np.testing.assert_array_equal(
        open_store(tmp_path / "docs.faiss").fetch(np.array([2]), column="vector").vectors, ROWS[:1]
    )


def test_its_own_ids(tmp_path):
    ids = np.array([50, 7, 9, 11, 3, 2])
    path = saved(tmp_path, faiss.IndexIDMap2(faiss.IndexFlatIP(DIM)), ids=ids)
    store = open_store(path)
    np.testing.assert_array_equal(store.fetch(ids[[1]], column="vector").vectors, ROWS[[1]])


def test_ids_and_texts_of_the_parquet_file_beside_it(tmp_path):
    path = saved(tmp_path, faiss.IndexFlatIP(DIM))
    pq.write_table(
        pa.table({"key": list("abcdef"), "content": list("uvwxyz")}), path.with_suffix(".parquet")
    )
    store = open_store(f"faiss://{path}?id=key&metric=cosine")
    assert store.texts(np.array(["b"])) == ["v"]
    assert store.describe().column("vector").metric == "cosine"
    pq.write_table(pa.table({"key": list("ab")}), path.with_suffix(".parquet"))
    with pytest.raises(InputError, match="it has 2 rows, the index 6 vectors"):
        open_store(f"faiss://{path}?id=key").describe()


def test_codes_are_read_but_not_written(tmp_path):
    rows = gaussian(300)
    index = faiss.index_factory(DIM, "IVF4,Flat")
    store = open_store(saved(tmp_path, index, rows))
    np.testing.assert_array_equal(store.fetch(np.arange(300), column="vector").vectors, rows)
    with pytest.raises(UnsupportedError, match="only flat FAISS indexes are written"):
        store.put(np.array([0]), rows[1:2], column="vector")


def test_a_file_that_is_no_index(tmp_path):
    path = tmp_path / "docs.faiss"
    path.write_bytes(b"no index")
    with pytest.raises(InputError, match="not a readable FAISS index file"):
        open_store(path).describe()


def test_inverted_lists_with_ids_of_their_own_and_bits_are_told(tmp_path):
    index = faiss.index_factory(DIM, "IVF2,Flat")
    index.train(gaussian(90))
    index.add_with_ids(gaussian(90), np.arange(90) * 3 + 5)
    faiss.write_index(index, str(tmp_path / "docs.faiss"))
    with pytest.raises(UnsupportedError, match="were added with ids of their own"):
        open_store(f"faiss://{tmp_path}/docs.faiss").count()
    bits = faiss.IndexBinaryFlat(64)
    bits.add(np.arange(80, dtype=np.uint8).reshape(10, 8))
    faiss.write_index_binary(bits, str(tmp_path / "bits.faiss"))
    with pytest.raises(InputError, match="an index of vectors of bits"):
        open_store(f"faiss://{tmp_path}/bits.faiss").count()


def test_an_index_that_keeps_its_vectors_to_itself(tmp_path):
    path = saved(tmp_path, faiss.index_factory(DIM, "IVF4,PQ4x4fs"), gaussian(700))
    with pytest.raises(UnsupportedError, match="IndexIVFPQFastScan does not give its vectors"):
        open_store(path).describe()


@pytest.mark.parametrize("kind", ["SQ8", "PCA4,Flat", "IVF4,PQ4", "HNSW8"])
def test_vectors_of_other_indexes_come_back(tmp_path, kind):
    rows = gaussian(700)
    index = faiss.index_factory(DIM, kind)
    path = saved(tmp_path, index, rows)
    found = open_store(path).fetch(np.arange(700), column="vector").vectors
    assert found.shape == (700, DIM)
    assert np.mean(np.sum((found - rows) ** 2, axis=1)) < np.mean(np.sum(rows**2, axis=1)) / 1.5


def test_the_index_moves_its_items_with_it(tmp_path):
    """A process that dies between the two files leaves the old pair whole."""
    path = tmp_path / "docs.faiss"
    ids = ids_of("str", 6)
    store = create_store(path, ids, {"v": ROWS}, {"text": list("abcdef")})
    before = path.read_bytes()
    items = {f.name: f.read_bytes() for f in tmp_path.glob("*.parquet")}
    store.delete(ids[:3])
    assert len(list(tmp_path.glob("*.parquet"))) == 1
    path.write_bytes(before)  # the index was not renamed, the new items lie beside
    for name, content in items.items():
        (tmp_path / name).write_bytes(content)
    again = open_store(path)
    assert again.count() == 6
    assert again.texts(ids[[5]]) == ["f"]


def test_one_column_only(tmp_path):
    with pytest.raises(UnsupportedError, match="one vector column"):
        create_store(tmp_path / "a.faiss", np.arange(6), {"v": ROWS, "w": ROWS})
    assert not list(tmp_path.glob("a*"))
