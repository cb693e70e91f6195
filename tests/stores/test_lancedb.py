from __future__ import annotations

import itertools
import shutil
from datetime import timedelta

import numpy as np
import pytest
from tests.stores.conformance import DIM, Conformance, gaussian, ids_of

from isthmus.errors import (
    InputError,
    OutputError,
    StoreChangedError,
    StoreError,
    StoreUnavailableError,
    UnsupportedError,
)
from isthmus.stores import Index, create_store, open_store

pa = pytest.importorskip("pyarrow")
lancedb = pytest.importorskip("lancedb")


class TestLanceDB(Conformance):
    @pytest.fixture
    def make(self, tmp_path):
        numbers = itertools.count()

        def make(ids, vectors, payload=None, metric="cosine"):
            url = f"lancedb://{tmp_path}/db#docs{next(numbers)}"
            return create_store(url, ids, vectors, payload, metric=metric)

        return make


@pytest.fixture
def database(tmp_path):
    return lancedb.connect(tmp_path)


def foreign(database, name, **columns):
    """A table as somebody else made it."""
    return database.create_table(name, pa.table(columns))


def lists(rows, kind=None):
    return pa.array([None if r is None else list(r) for r in rows], pa.list_(kind or F32, DIM))


F32 = pa.float32()
ROWS = gaussian(4)


def test_a_table_of_somebody_else(database, tmp_path):
    foreign(
        database,
        "notes",
        body=["a", "b", "c", "d"],
        doc_id=pa.array([4, 3, 2, 1], pa.int32()),
        emb=lists(ROWS.astype(np.float16), pa.float16()),
    )
    with open_store(f"lancedb://{tmp_path}?metric=l2") as store:
        said = store.describe()
        assert (said.name, said.key, said.text_field) == ("notes", "int", "body")
        assert said.column("emb").dtype == "float16"
        assert said.column("emb").metric == "l2"
        found = store.fetch(np.array([1, 4]), column="emb")
        np.testing.assert_array_equal(found.vectors, ROWS[[3, 0]].astype(np.float16))
        assert store.texts(np.array([1])) == ["d"]
        assert store.put(np.array([1]), ROWS[:1], column="emb") == 1
        rounded = store.fetch(np.array([1]), column="emb").vectors
        np.testing.assert_array_equal(rounded, ROWS[:1].astype(np.float16))


def test_items_without_a_vector(database, tmp_path):
    foreign(database, "t", id=["a", "b", "c"], v=lists([ROWS[0], None, ROWS[2]]))
    store = open_store(f"lancedb://{tmp_path}#t.v")
    assert store.filled("v") == 2
    (batch,) = store.scan(column="v")
    assert batch.present.tolist() == [True, False, True]
    assert np.isnan(batch.vectors[1]).all()
    hits = store.search(ROWS[:1], 3, column="v")
    assert hits.found.tolist() == [[True, True, False]]


@pytest.mark.parametrize("ids", [["a", "b", "a"], [7, 8, 7]])
def test_doubled_ids_are_refused_before_anything_relies_on_them(database, tmp_path, ids):
    foreign(database, "t", id=ids, v=lists(ROWS[:3]))
    store = open_store(f"lancedb://{tmp_path}#t")
    with pytest.raises(InputError, match="1 item.*have an id that another item has"):
        next(store.scan())
    with pytest.raises(InputError, match="have an id that another"):
        store.put(np.array(ids[:1]), ROWS[:1], column="v")


def test_a_missing_id_is_refused(database, tmp_path):
    foreign(database, "t", id=["a", None, "c"], v=lists(ROWS[:3]))
    with pytest.raises(InputError, match="an id is null"):
        next(open_store(f"lancedb://{tmp_path}#t").scan())


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("lancedb://{}#dosc", "no table 'dosc'.*Did you mean 'docs'"),
        ("lancedb://{}#docs.vek", "no vector column 'vek'.*Did you mean 'vec'"),
        ("lancedb://{}", "not clear which table.*docs, other"),
        ("lancedb://{}?id=uid#docs", "no field of ids 'uid'"),
        ("lancedb://{}?text=txt#docs", "no payload field 'txt'.*Did you mean 'text'"),
        ("lancedb://{}?metric=cosin#docs", "no metric 'cosin'.*Did you mean 'cosine'"),
        ("lancedb://{}/nowhere#docs", "no folder"),
    ],
)
def test_names_that_do_not_exist(database, tmp_path, url, message):
    for name in ("docs", "other"):
        foreign(database, name, id=["a"], text=["x"], vec=lists(ROWS[:1]))
    with pytest.raises(InputError, match=message):
        open_store(url.format(tmp_path)).describe()
    assert not (tmp_path / "nowhere").exists()


def test_several_columns_and_none_named(database, tmp_path):
    foreign(database, "t", id=["a"], v=lists(ROWS[:1]), w=lists(ROWS[:1]))
    store = open_store(f"lancedb://{tmp_path}#t")
    assert set(store.describe().columns) == {"v", "w"}
    with pytest.raises(InputError, match="not clear which vector column is meant; there are: v, w"):
        _ = store.column
    assert open_store(f"lancedb://{tmp_path}#t.w").column == "w"


def test_the_metric_is_the_indexes_and_the_search_is_then_not_exact(database, tmp_path):
    rows = gaussian(600)
    table = foreign(database, "t", id=np.arange(600), v=lists(rows))
    table.create_index("v", config=lancedb.index.IvfFlat(distance_type="l2", num_partitions=2))
    column = open_store(f"lancedb://{tmp_path}#t").describe().column("v")
    assert (column.metric, column.exact) == ("l2", False)


def test_tags_bring_back_what_was(tmp_path):
    ids = np.array(["a", "b", "c", "d"])
    store = create_store(f"lancedb://{tmp_path}#t", ids, {"v": ROWS})
    store.tag("before")
    store.put(ids[:2], gaussian(2, seed=5), column="v")
    store.add_column("new", 3)
    assert store.tags() == {"before": 1}
    store.restore("before")
    np.testing.assert_array_equal(store.fetch(ids, column="v").vectors, ROWS)
    assert set(store.describe().columns) == {"v"}
    assert store.put(ids[:1], ROWS[1:2], column="v") == 1  # the newest version, not a frozen one
    store.untag("before")
    with pytest.raises(InputError, match="no tag 'before'"):
        store.restore("before")


def test_a_cursor_of_a_version_that_is_gone(tmp_path):
    ids = np.array(["a", "b", "c", "d"])
    store = create_store(f"lancedb://{tmp_path}#t", ids, {"v": ROWS})
    cursor = next(store.scan(batch=2)).cursor
    store.put(ids[:1], ROWS[1:2], column="v")
    table = lancedb.connect(tmp_path).open_table("t")
    table.optimize(cleanup_older_than=timedelta(milliseconds=1), delete_unverified=True)
    with pytest.raises(StoreChangedError, match="no longer kept"):
        list(store.scan(after=cursor))
    with pytest.raises(StoreError, match="no cursor"):
        list(store.scan(after="x"))


def test_an_alias_opens_what_it_stands_for(tmp_path):
    ids = np.array(["a", "b", "c", "d"])
    create_store(f"lancedb://{tmp_path}#one", ids, {"v": ROWS, "w": ROWS[:, :3].copy()})
    store = create_store(f"lancedb://{tmp_path}#two", ids, {"v": ROWS})
    store.swap_alias("live", None, "one.w")
    opened = open_store(f"lancedb://{tmp_path}#live")
    assert (opened.describe().name, opened.column) == ("one", "w")
    store.swap_alias("live", "one.w", "two")
    assert open_store(f"lancedb://{tmp_path}#live.v").describe().name == "two"
    with pytest.raises(InputError, match="name of a table"):
        store.swap_alias("one", None, "two")


def test_a_table_is_not_made_twice(tmp_path):
    url = f"lancedb://{tmp_path}#t"
    create_store(url, np.array(["a"]), {"v": ROWS[:1]})
    with pytest.raises(OutputError, match="exists already"):
        create_store(url, np.array(["b"]), {"v": ROWS[1:2]})
    np.testing.assert_array_equal(
        open_store(url).fetch(np.array(["a"]), column="v").vectors, ROWS[:1]
    )


def test_a_database_that_goes_away(tmp_path):
    store = create_store(f"lancedb://{tmp_path}/db#t", np.arange(4), {"v": ROWS})
    scan = store.scan(batch=1)
    shutil.rmtree(tmp_path / "db")
    for ask in (
        store.describe,
        lambda: store.search(ROWS, 1, column="v"),
        lambda: store.put(np.arange(4), ROWS, column="v"),
        lambda: list(scan),
    ):
        with pytest.raises(StoreUnavailableError):
            ask()


def test_a_search_reads_the_layout_once(tmp_path, monkeypatch):
    store = create_store(f"lancedb://{tmp_path}#docs", ["a", "b", "c", "d"], {"v": ROWS})
    first = store.search(ROWS, 2, column="v")
    monkeypatch.setattr(type(store), "_now", lambda _: pytest.fail("the layout was read again"))
    np.testing.assert_array_equal(store.search(ROWS, 2, column="v").ids, first.ids)


def test_a_column_that_somebody_else_made_anew_is_noticed(database, tmp_path):
    store = create_store(f"lancedb://{tmp_path}#docs", ["a", "b", "c", "d"], {"v": ROWS})
    store.search(ROWS, 1, column="v")
    other = database.open_table("docs")
    other.drop_columns(["v"])
    with pytest.raises(StoreError):
        store.search(ROWS, 1, column="v")
    wider = pa.list_(F32, DIM + 1)
    other.add_columns(pa.field("v", wider))
    rows = gaussian(4, dim=DIM + 1)
    source = {"id": ["a", "b", "c", "d"], "v": pa.array([r.tolist() for r in rows], wider)}
    other.merge_insert("id").when_matched_update_all().execute(pa.table(source))
    assert store.search(rows, 1, column="v").ids[:, 0].tolist() == ["a", "b", "c", "d"]


def test_what_was_just_added_is_read_back_as_it_is_now(tmp_path, monkeypatch):
    first, more = np.arange(5), np.arange(5, 9)
    store = create_store(f"lancedb://{tmp_path}#docs", first, {"vector": gaussian(5, DIM)})
    rows = gaussian(4, DIM, seed=1)
    store.add(more, {"vector": rows})
    taken = store._ids.taken
    searched = []
    monkeypatch.setattr(store._ids, "taken", lambda *given: searched.append(1) or taken(*given))
    for _ in range(2):
        np.testing.assert_array_equal(store.fetch(more, column="vector").vectors, rows)
    assert not searched
    with open_store(f"lancedb://{tmp_path}#docs") as other:
        other.put(more[:2], 2 * rows[:2], column="vector")
    expected = np.vstack([2 * rows[:2], rows[2:]])
    np.testing.assert_array_equal(store.fetch(more, column="vector").vectors, expected)
    np.testing.assert_array_equal(store.fetch(more[::-1], column="vector").vectors, expected[::-1])
    assert len(searched) == 2


@pytest.mark.parametrize("kind", ["int", "str", "uuid"])
def test_rows_asked_for_often_are_those_of_the_newest_version(tmp_path, monkeypatch, kind):
    url, rng = f"lancedb://{tmp_path}#docs", np.random.default_rng(0)
    ids, rows = ids_of(kind, 40), gaussian(40)
    held = dict(zip(ids[:30].tolist(), rows[:30], strict=True))
    store = create_store(url, ids[:30], {"v": rows[:30]}, {"text": [f"t{i}" for i in range(30)]})
    texts = {name: f"t{i}" for i, name in enumerate(ids[:30].tolist())}
    filtered = store._ids.taken
    by_filter = []
    monkeypatch.setattr(store._ids, "taken", lambda *given: by_filter.append(1) or filtered(*given))

    def look():
        for _ in range(8):
            asked = rng.choice(ids, 7)
            found = store.fetch(asked, column="v")
            assert found.present.tolist() == [i in held for i in asked.tolist()]
            for name, row in zip(asked.tolist(), found.vectors, strict=True):
                if name in held:
                    np.testing.assert_array_equal(row, held[name])
            told = [item.get("text") for item in store.payload(asked)]
            assert told == [texts.get(i) for i in asked.tolist()]

    look()
    assert len(by_filter) == 4  # 16 questions to one version
    with open_store(url) as other:
        other.delete(ids[3:12])
        for name in ids[3:12].tolist():
            del held[name], texts[name]
        look()
        other.add(ids[5:8], {"v": -rows[5:8]}, {"text": ["a", "b", "c"]})
        for name, row, said in zip(ids[5:8].tolist(), -rows[5:8], "abc", strict=True):
            held[name], texts[name] = row, said
        look()
        other.put(ids[:3], 2 * rows[:3], column="v")
        held |= dict(zip(ids[:3].tolist(), 2 * rows[:3], strict=True))
        look()
        other._table.optimize()
        look()
        # what is gone between a look at the version and the reading of rows
        looked = type(store)._now

        def late(self):
            layout = looked(self)
            if self is store and ids[20].item() in held:
                other.delete(ids[14:21])
                for name in ids[14:21].tolist():
                    del held[name], texts[name]
            return layout

        monkeypatch.setattr(type(store), "_now", late)
        store.fetch(ids[25:], column="v")
        look()


def test_what_another_process_added_meanwhile_is_replaced_and_not_doubled(tmp_path):
    url = f"lancedb://{tmp_path}#docs"
    store = create_store(url, np.arange(4), {"vector": gaussian(4, DIM)})
    store.add(np.arange(4, 8), {"vector": gaussian(4, DIM, seed=1)})
    with open_store(url) as other:
        other.add(np.arange(8, 10), {"vector": gaussian(2, DIM, seed=2)})
    rows = gaussian(8, DIM, seed=3)
    for _ in range(2):
        store.add(np.arange(6, 14), {"vector": rows})
        assert store.count() == 14
    store.delete(np.array([13]))
    store.add(np.array([13, 14]), {"vector": rows[-2:]})
    assert store.count() == 15
    np.testing.assert_array_equal(store.fetch(np.arange(6, 13), column="vector").vectors, rows[:7])
    with open_store(url) as again:
        assert sorted(np.concatenate([p.ids for p in again.scan()]).tolist()) == list(range(15))


def test_every_write_by_anybody_makes_another_version(tmp_path):
    url = f"lancedb://{tmp_path}#docs"
    store = create_store(url, ["a", "b"], {"v": np.eye(2)}, {"text": ["x", "y"]})
    seen = [store.version()]
    assert store.version() == seen[0]
    with open_store(url) as other:
        assert other.version() == seen[0]
        for write in (
            lambda: other.put(np.array(["a"]), np.ones((1, 2)), column="v"),
            lambda: other.add(np.array(["c"]), {"v": np.ones((1, 2))}, {"text": ["z"]}),
            lambda: other.delete(np.array(["c"])),
        ):
            write()
            seen.append(store.version())
    store.drop_neighbour("docs")
    again = create_store(url, ["a", "b"], {"v": np.eye(2)}, {"text": ["x", "y"]})
    seen.append(again.version())
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize(
    ("kind", "options", "wide", "odd"),
    [
        ("IvfFlat", {}, "IvfFlat", "IvfFlat"),
        ("IvfSq", {}, "IvfSq num_bits=8", "IvfSq num_bits=8"),
        ("IvfPq", {"num_sub_vectors": 4}, "IvfPq num_sub_vectors=4 num_bits=8", "IvfPq "),
        ("IvfRq", {}, "IvfRq num_bits=1", "none"),
        ("HnswFlat", {"m": 9, "ef_construction": 70}, "IvfHnswFlat m=9 ef_construction=70", None),
    ],
)
def test_an_index_as_that_of_another_column(tmp_path, kind, options, wide, odd):
    """``odd``: on vectors of a width that the options do not divide."""
    from lancedb import index as kinds

    url, rng = f"lancedb://{tmp_path}#docs", np.random.default_rng(0)
    rows = {
        name: rng.standard_normal((400, dim)) for name, dim in (("v", 16), ("w", 24), ("o", 18))
    }
    with create_store(url, np.arange(400), rows, metric="dot") as store:
        config = getattr(kinds, kind)(distance_type="dot", **options)
        lancedb.connect(tmp_path).open_table("docs").create_index("v", config=config)
        found = store.index_of("v")
        store.build_index("w", found)
        assert str(store.index_of("w")) == wide == str(found)
        assert not store.describe().column("w").exact
        assert store.describe().column("w").metric == "dot"
        if odd == "none":
            with pytest.raises(UnsupportedError, match="divisible"):
                store.build_index("o", found)
        else:
            store.build_index("o", found)
            assert str(store.index_of("o")).startswith(odd or wide)


def test_an_index_that_needs_more_rows_is_refused(tmp_path):
    rows = np.random.default_rng(0).standard_normal((40, 16))
    with create_store(f"lancedb://{tmp_path}#docs", np.arange(40), {"v": rows}) as store:
        with pytest.raises(UnsupportedError, match="256 rows at least, the table has 40"):
            store.build_index("v", Index("IvfPq"))
        assert store.index_of("v") is None


def test_strings_kept_once_are_texts(tmp_path):
    vectors = pa.array([[1.0, 0.0], [0.0, 1.0]], pa.list_(pa.float32(), 2))
    texts = pa.array(["x", "x"]).dictionary_encode()
    table = pa.table({"id": pa.array(["a", "b"]), "text": texts, "v": vectors})
    lancedb.connect(tmp_path).create_table("docs", table)
    with open_store(f"lancedb://{tmp_path}#docs") as store:
        assert store.describe().has_texts
        assert store.texts(np.array(["b", "a"])) == ["x", "x"]


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (pa.list_(F32), "'emb' is of type list"),
        (pa.list_(pa.list_(F32, 2)), "'emb' is of type list<item: fixed_size_list"),
        (pa.list_(pa.int8(), 2), "'emb' is of type fixed_size_list<item: int8>"),
    ],
)
def test_vectors_of_other_types_are_named(database, tmp_path, kind, told):
    nested = pa.types.is_list(kind) and pa.types.is_fixed_size_list(kind.value_type)
    values = [[[1, 2]], [[3, 4], [5, 6]]] if nested else [[1, 2], [3, 4]]
    foreign(database, "docs", id=["a", "b"], emb=pa.array(values, kind), tags=[["x"], ["y"]])
    for fragment in ("docs", "docs.emb"):
        with pytest.raises(InputError) as refused:
            open_store(f"lancedb://{tmp_path}#{fragment}")
        assert told in str(refused.value)
        assert "tags" not in str(refused.value)


def test_an_id_that_is_too_great_is_named(tmp_path):
    vectors = pa.array([[1.0, 0.0], [0.0, 1.0]], pa.list_(pa.float32(), 2))
    table = pa.table({"id": pa.array([1, 2**63], pa.uint64()), "v": vectors})
    lancedb.connect(tmp_path).create_table("docs", table)
    with (
        open_store(f"lancedb://{tmp_path}#docs") as store,
        pytest.raises(InputError, match="the id 9223372036854775808 is more than"),
    ):
        list(store.scan())
