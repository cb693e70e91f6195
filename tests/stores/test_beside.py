"""A second collection beside the first: another vector of the same items, the first untouched."""

from __future__ import annotations

import numpy as np
import pytest
from tests.stores.conformance import gaussian, ids_of, read_all

from isthmus.errors import InputError, StoreChangedError, UnsupportedError
from isthmus.evaluate.search import top_k
from isthmus.stores import MemoryStore, create_store, open_store
from isthmus.stores.beside import BesideStore, with_second_column
from isthmus.ways.joined import ColumnQueries, joined_search
from isthmus.ways.way import Join

N, DIM = 60, 5
NEEDS = {"parquet": "pyarrow", "qdrant": "qdrant_client", "chroma": "chromadb"}
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(params=["lancedb", "chroma", "qdrant", "parquet", "faiss"])
def url(request, tmp_path):
    kind = request.param
    pytest.importorskip(NEEDS.get(kind, kind))
    if kind in ("parquet", "faiss"):
        return f"{kind}://{tmp_path}/docs.{kind}"
    return f"{kind}://{tmp_path}/db#docs"


@pytest.fixture
def ids(url):
    return ids_of("int" if url.startswith(("chroma", "faiss")) else "str", N)


@pytest.fixture
def store(url, ids):
    payload = {"text": [f"text {i}" for i in range(N)], "rank": list(range(N))}
    first = create_store(url, ids, {"vector": gaussian(N)}, payload)
    made = with_second_column(first, "new")
    made.add_column("new", DIM)
    yield made
    made.close()


def test_both_columns_of_one_store(store, ids):
    before = read_all(store.first, column=store.column)
    assert isinstance(store, BesideStore)
    assert not store.search(gaussian(2, DIM), 3, column="new").found.any()
    assert not store.fetch(ids[:2], column="new").present.any()
    assert store.filled("new") == 0
    new = gaussian(N, DIM, seed=1)
    assert store.put(ids[:40], new[:40], column="new") == 40
    assert store.put(ids[30:50], new[30:50], column="new") == 20
    said = store.describe()
    assert (said.column("new").dim, store.filled("new")) == (DIM, 50)
    assert store.count() == N
    hits = store.search(new[:6], 4, column="new")
    np.testing.assert_array_equal(hits.ids, ids[:50][top_k(new[:6], new[:50], 4).indices])
    (batch,) = store.scan(column="new", fields=["rank"])
    where = {i: row for row, i in enumerate(ids.tolist())}
    for i, present, rank, row in zip(
        batch.ids.tolist(), batch.present, batch.payload["rank"], batch.vectors, strict=True
    ):
        assert present == (where[i] < 50)
        assert rank == where[i]
        if present:
            mine = new[where[i]]
            cosine = row @ mine / np.linalg.norm(row) / np.linalg.norm(mine)
            assert cosine == pytest.approx(1, abs=1e-5)
    # the first collection is what it was
    after = read_all(store.first, column=store.column)
    np.testing.assert_array_equal(before["ids"], after["ids"])
    np.testing.assert_array_equal(*(np.concatenate(r["vectors"]) for r in (before, after)))


def test_somebody_else_drops_the_second_collection(store, ids):
    new = gaussian(N, DIM, seed=1)
    store.put(ids, new, column="new")
    assert store.search(new[:2], 3, column="new").found.all()
    reader = BesideStore(store.first, "new")
    assert reader.filled("new") == N
    store.drop_column("new")
    assert reader.filled("new") == 0
    assert not reader.search(new[:2], 3, column="new").found.any()
    assert not reader.fetch(ids[:2], column="new").present.any()
    reader.leads = True
    with pytest.raises(StoreChangedError, match="docs__new.* is gone"):
        reader.search(new[:2], 3, column="new")
    # and makes another
    reader.leads = False
    store.add_column("new", DIM)
    store.put(ids[:30], new[:30], column="new")
    assert reader.filled("new") == 30
    assert reader.fetch(ids, column="new").present.sum() == 30


def test_items_that_are_gone_are_not_found(store, ids):
    new = gaussian(N, DIM, seed=1)
    store.put(ids, new, column="new")
    store.first.delete(ids[:10])
    hits = store.search(new[:3], 20, column="new")
    assert hits.found.all()
    assert not np.isin(hits.ids, ids[:10]).any()
    np.testing.assert_array_equal(hits.ids, ids[10:][top_k(new[:3], new[10:], 20).indices])
    assert store.tidy() == 10
    assert store.filled("new") == 50
    assert store.put(ids[:12], new[:12], column="new") == 2
    assert store.delete(ids[10:12]) == 2
    assert store.filled("new") == 48


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_items_that_are_gone_are_not_found_in_both_columns_as_one_either(store, ids, weight):
    old, new = gaussian(N), gaussian(N, DIM, seed=1)
    store.put(ids, new, column="new")
    store.first.delete(ids[:10])
    columns = (
        ColumnQueries(old[:5], store.column, "cosine"),
        ColumnQueries(new[:5], "new", "cosine"),
    )
    hits = joined_search(store, *columns, Join(weight=weight), 50)
    assert hits.found.all()
    assert not np.isin(hits.ids, ids[:10]).any()
    # what the second alone holds are items once it leads
    store.leads = True
    hits = joined_search(store, *columns, Join(weight=weight), 50)
    assert np.isin(hits.ids, ids[:10]).any()


def test_an_item_that_is_replaced_has_no_new_vector(store, ids):
    store.put(ids, gaussian(N, DIM, seed=1), column="new")
    payload = {"text": ["edited"], "rank": [7]}
    store.add(ids[:1], {store.column: gaussian(1)}, payload)
    assert store.fetch(ids[:2], column="new").present.tolist() == [False, True]
    rows = gaussian(1, DIM, seed=3)
    store.add(ids[1:2], {store.column: gaussian(1), "new": rows}, payload)
    assert store.fetch(ids[:2], column="new").present.tolist() == [False, True]
    assert store.texts(ids[:2]) == ["edited", "edited"]


def test_the_second_is_a_store_of_its_own(store, ids, url):
    new = gaussian(N, DIM, seed=1)
    store.put(ids, new, column="new")
    store.swap_alias("live", None, store.beside)
    assert store.alias("live") == store.beside
    if url.startswith(("lancedb", "chroma")):
        with open_store(url.replace("#docs", "#live")) as alone:
            hits = alone.search(new[:3], 1, column=alone.column)
            assert hits.ids[:, 0].tolist() == ids[:3].tolist()
            assert alone.payload(ids[:1])[0]["text"] == "text 0"
    store.drop_column("new")
    assert "new" not in store.describe().columns
    assert store.first.neighbour(store.beside) is None


def test_another_width_is_refused(store, ids):
    store.put(ids[:2], gaussian(2, DIM), column="new")
    with pytest.raises(InputError, match="exists already"):
        store.add_column("new", DIM + 1)
    with pytest.raises(InputError, match="width"):
        store.put(ids[2:4], gaussian(2, DIM + 1), column="new")
    with pytest.raises(UnsupportedError):
        store.add_column("other", 3)


def test_a_store_with_columns_of_its_own_is_taken_as_it_is(tmp_path):
    memory = MemoryStore(vectors={"v": gaussian(3)})
    assert with_second_column(memory, "new") is memory
    np.save(tmp_path / "a.npy", gaussian(3))


def test_a_table_whose_making_was_killed_is_none(tmp_path):
    pytest.importorskip("lancedb")
    with create_store(f"lancedb://{tmp_path}/db#docs", ["a"], {"v": gaussian(1)}) as first:
        (tmp_path / "db" / "docs__new.lance" / "data").mkdir(parents=True)
        store = with_second_column(first, "new")
        assert "new" not in store.describe().columns
        store.add_column("new", DIM)
        assert store.put(np.array(["a"]), gaussian(1, DIM), column="new") == 1
        assert store.filled("new") == 1
        (tmp_path / "db" / "gone__new.lance").mkdir()
        first.drop_neighbour("gone__new")


@pytest.mark.parametrize("kind", ["chroma", "qdrant"])
def test_a_collection_whose_filling_was_killed_before_it_held_anything_is_made_anew(tmp_path, kind):
    pytest.importorskip(NEEDS[kind])
    url = f"{kind}://{tmp_path}/db#docs"
    payload = {"text": ["x", "y"]}
    with create_store(url, ["a", "b"], {"v": gaussian(2)}, payload) as first:
        nothing = {"new": np.empty((0, DIM), np.float32)}
        first.make_neighbour("docs__new", np.empty(0, np.str_), nothing, {"text": []}, "cosine")
        store = with_second_column(first, "new")
        store.add_column("new", DIM)
        assert store.put(np.array(["a", "b"]), gaussian(2, DIM), column="new") == 2
        assert store.filled("new") == 2


def test_items_without_payload_differ_where_one_collection_lacks_them(tmp_path):
    first = create_store(f"lancedb://{tmp_path}#bare", ["a", "b"], {"old": np.eye(2)})
    store = BesideStore(first, "new")
    store.add_column("new", 2)
    store.put(np.array(["a", "b"]), np.eye(2, dtype=np.float32), column="new")
    first.delete(np.array(["a"]))
    found = {i: bool(d) for part, differs in store.differing()
             for i, d in zip(part.ids.tolist(), differs, strict=True)}  # fmt: skip
    assert found == {"a": True, "b": False}


@pytest.mark.parametrize(
    "columns", [{"a": np.eye(2), "b": np.eye(2)}, {}], ids=["two vectors", "no vectors"]
)
def test_another_collection_of_that_name_is_no_second_one(tmp_path, columns):
    payload = {"text": ["x", "y"]}
    first = create_store(f"lancedb://{tmp_path}#docs", ["a", "b"], {"old": np.eye(2)}, payload)
    lancedb = pytest.importorskip("lancedb")
    table = [
        {"id": name, **{c: rows[i].tolist() for c, rows in columns.items()}}
        for i, name in enumerate("ab")
    ]
    lancedb.connect(tmp_path).create_table("docs__new", table)
    with pytest.raises(InputError, match="'docs__new' is the name of another collection"):
        BesideStore(first, "new")
    BesideStore(first, "other").check_names("other", "docs_live")
    with pytest.raises(InputError, match="the alias would be called 'docs__new', which is the"):
        BesideStore(first, "other").check_names("other", "docs__new")
    first.swap_alias("docs_live", None, "docs")
    BesideStore(first, "other").check_names("other", "docs_live")


def test_a_field_that_came_since_is_in_the_second_collection_too(tmp_path):
    lancedb = pytest.importorskip("lancedb")
    url, ids = f"lancedb://{tmp_path}/db#docs", np.arange(4)
    rows = np.eye(4, dtype=np.float32)
    create_store(url, ids, {"old": rows}, {"text": list("abcd")}).close()
    store = with_second_column(open_store(url), "new")
    store.add_column("new", 4)
    store.put(ids[:2], rows[:2], column="new")
    lancedb.connect(f"{tmp_path}/db").open_table("docs").add_columns({"rank": "id * 2"})
    store.put(ids[1:], rows[1:], column="new")
    with open_store(f"lancedb://{tmp_path}/db#docs__new") as second:
        told = [(item["text"], item["rank"]) for item in second.payload(ids)]
    assert told == [("a", None), ("b", 2), ("c", 4), ("d", 6)]
