from __future__ import annotations

import itertools
import subprocess
import sys
import time
from contextlib import closing

import numpy as np
import pytest
from tests.stores.conformance import DIM, Conformance, gaussian, ids_of

from isthmus.errors import (
    InputError,
    MissingExtraError,
    OutputError,
    StoreChangedError,
    StoreError,
    StorePermissionError,
    StoreUnavailableError,
    UnsupportedError,
)
from isthmus.stores import create_store, open_store
from isthmus.stores.beside import with_second_column

apsw = pytest.importorskip("apsw")
sqlite_vec = pytest.importorskip("sqlite_vec")


def bare(path):
    """The bare client, as an application has it."""
    connection = apsw.Connection(str(path))
    connection.enable_load_extension(True)
    connection.load_extension(sqlite_vec.loadable_path())
    connection.set_busy_timeout(10_000)
    return connection


class Tables(Conformance):
    second_column = False

    def targets(self, store):
        other = store.describe().name + "_2"
        if store.neighbour(other) is None:
            payload = {"text": ["x"], "rank": [1]}
            store.make_neighbour(
                other, ids_of("str", 1), {"new": gaussian(1, 3)}, payload, "cosine"
            )
        return store.describe().name, other


class TestVec0(Tables):
    @pytest.fixture
    def make(self, tmp_path):
        numbers = itertools.count()

        def make(ids, vectors, payload=None, metric="cosine"):
            url = f"sqlite://{tmp_path}/app.db#docs{next(numbers)}"
            return create_store(url, ids, vectors, payload, metric=metric)

        return make


class TestBlobs(Tables):
    """An ordinary table of somebody else, with BLOBs."""

    @pytest.fixture
    def make(self, tmp_path):
        numbers = itertools.count()

        def make(ids, vectors, payload=None, metric="cosine"):
            name = f"docs{next(numbers)}"
            ((column, rows),) = vectors.items()
            payload = payload or {}
            kind = "integer" if ids.dtype.kind == "i" else "text"
            connection = bare(tmp_path / "app.db")
            # one without rows says nothing of its vectors, so there it is said in the statement
            note = (
                ""
                if len(ids)
                else f'/* isthmus:{{"dim.{column}": "{DIM}", "metric.{column}": "{metric}"}} */'
            )
            types = {"text": "text", "rank": "integer"}
            fields = "".join(f"{field} {types[field]}, " for field in payload)
            connection.execute(
                f"create table {name} (id {kind} primary key, {fields}{column} blob {note})"
            )
            connection.execute("begin")
            values = [ids.tolist(), *payload.values(), [row.tobytes() for row in rows]]
            connection.executemany(
                f"insert into {name} values ({', '.join('?' * len(values))})",
                zip(*values, strict=True),
            )
            connection.execute("commit")
            connection.close()
            return open_store(f"sqlite://{tmp_path}/app.db?metric={metric}#{name}")

        return make


# -- tables of somebody else -----------------------------------------------------------------------

ROWS, NEW = gaussian(20), gaussian(20, 3)


@pytest.fixture
def db(tmp_path):
    connection = bare(tmp_path / "app.db")
    connection.execute("pragma journal_mode = wal").fetchall()
    yield connection
    connection.close()


def fill(db, table, *columns, vectors=ROWS):
    """Rows of ``(number, vector)`` made into ``columns``, functions of both."""
    values = [[make(i, row.tobytes()) for make in columns] for i, row in enumerate(vectors)]
    db.execute("begin")
    db.executemany(f"insert into {table} values ({', '.join('?' * len(columns))})", values)
    db.execute("commit")


def number(i, _):
    return i


def vector(_, blob):
    return blob


def text(i, _):
    return f"text {i}"


def test_a_vec0_table_with_every_kind_of_column(db, tmp_path):
    db.execute(
        "CREATE VIRTUAL TABLE IF NOT EXISTS notes USING vec0(\n  user_id INTEGER partition key,"
        " -- whose\n  Emb FLOAT[8] distance_metric=cosine, genre text, flag boolean, rating float,"
        " +body text, chunk_size=8)"
    )
    fill(db, "notes(rowid, user_id, emb, genre, flag, rating, body)", number, lambda i, _: i % 3,
         vector, lambda *_: "g", lambda i, _: i % 2, lambda *_: 1.5, text)  # fmt: skip
    with open_store(f"sqlite://{tmp_path}/app.db") as store:
        said = store.describe()
        assert (said.name, said.key, said.text_field) == ("notes", "int", "body")
        assert said.fields == ("user_id", "genre", "flag", "rating", "body")
        assert said.column("Emb").metric == "cosine"
        assert store.texts(np.array([3])) == ["text 3"]
        payload = {"user_id": [9], "genre": ["h"], "flag": [True], "rating": [2], "body": ["new"]}
        store.add(np.array([3]), {"Emb": ROWS[:1]}, payload)
    assert db.execute("select rowid, user_id, genre, flag, rating, body from notes where rowid = 3"
                      ).fetchall() == [(3, 9, "h", 1, 2.0, "new")]  # fmt: skip


def test_the_metric_is_what_the_table_declares(db, tmp_path):
    db.execute("create virtual table far using vec0(id integer primary key, v float[8])")
    fill(db, "far", number, vector)
    with open_store(f"sqlite://{tmp_path}/app.db#far") as store:
        assert store.describe().column("v").metric == "l2"
        scores = store.search(ROWS[:1], 20, column="v").scores[0]
        exact = -np.sort(((ROWS - ROWS[0]) ** 2).sum(axis=1))
        np.testing.assert_allclose(scores, exact, rtol=1e-5, atol=1e-5)
    with pytest.raises(InputError, match="compares by l2, as its table declares, and not by cos"):
        open_store(f"sqlite://{tmp_path}/app.db?metric=cosine#far")


@pytest.mark.parametrize(
    ("declared", "url", "message"),
    [
        ("v bit[8]", "", r"'v' is of the type bit\[8\]: what is read are float columns"),
        ("v int8[8]", "", r"'v' is of the type int8\[8\]"),
        ("v float[8] distance_metric=L1", "", "'v' compares by L1"),
        ("a float[8], v bit[8]", ".v", r"'v' is of the type bit\[8\]"),
    ],
)
def test_vectors_of_vec0_that_are_not_read(db, tmp_path, declared, url, message):
    db.execute(f"create virtual table t using vec0({declared})")
    with pytest.raises(InputError, match=message):
        open_store(f"sqlite://{tmp_path}/app.db#t{url}")


def test_rows_with_several_vectors_are_searched_and_not_moved(db, tmp_path):
    db.execute("create virtual table t using vec0(id integer primary key, a float[8], b float[8])")
    fill(db, "t", number, vector, vector)
    with open_store(f"sqlite://{tmp_path}/app.db#t.a") as store:
        assert store.search(ROWS[:1], 1, column="b").ids.tolist() == [[0]]
        with pytest.raises(UnsupportedError, match="vectors in several columns"):
            with_second_column(store, "new")
        with pytest.raises(InputError, match="come without vectors for column 'b'"):
            store.add(np.array([1]), {"a": ROWS[:1]})


def test_texts_in_another_table_are_read_and_never_touched(db, tmp_path):
    db.execute("create table docs (doc integer primary key, title text, content text not null)")
    db.execute("create virtual table vectors using vec0(doc integer primary key, v float[8])")
    fill(db, "docs", number, text, text)
    fill(db, "vectors", number, vector)
    db.execute("delete from docs where doc = 5")
    url = f"sqlite://{tmp_path}/app.db?text=docs.content#vectors"
    with open_store(url) as store:
        store.swap_alias("live", None, "vectors")
        assert store.texts(np.array([3, 5])) == ["text 3", None]
        (batch,) = store.scan(column="v", fields=["content"])
        assert batch.payload["content"][:6] == [*(f"text {i}" for i in range(5)), None]
        assert store.put(np.array([3]), ROWS[:1], column="v") == 1
        store.add(np.array([4]), {"v": ROWS[:1]}, {"content": ["text 4"]})
        for name, given in [(4, "another"), (99, "of nobody")]:
            with pytest.raises(InputError, match=f"text of item '{name}' is not the one in table"):
                store.add(np.array([name]), {"v": ROWS[:1]}, {"content": [given]})
        assert store.delete(np.array([6])) == 1
        second = moved(store).second.store
        assert store.texts(np.array([6, 7])) == [None, "text 7"]
        # once the new vectors are served, one whose text is gone is no item
        assert second.count() == second.filled("new") == 18
        pages = list(second.scan(column="new", fields=["content"], batch=5))
        assert [len(part) for part in pages] == [5, 5, 5, 3]
        texts = [text for part in pages for text in part.payload["content"]]
        assert texts == [f"text {i}" for i in range(20) if i not in (5, 6)]
        assert second.fetch(np.array([3, 5]), column="new").present.tolist() == [True, False]
        everything = second.search(NEW[:1], 20, column="new")
        assert everything.found.sum() == 18
        for k in (1, 9, 18):
            hits = second.search(NEW[:1], k, column="new")
            assert hits.ids.tolist() == everything.ids[:, :k].tolist()
    docs = "select count(*), sum(content = 'text ' || doc), sum(title = content) from docs"
    assert db.execute(docs).fetchall() == [(19, 19, 19)]
    assert db.execute("select name from pragma_table_info('live')").fetchall() == [
        (name,) for name in ("doc", "v", "distance", "k")
    ]
    for text_option, message in [
        ("doc.content", "no table 'doc'. Did you mean 'docs'"),
        ("docs.contents", "no payload field 'contents'. Did you mean 'content'"),
    ]:
        with pytest.raises(InputError, match=message):
            open_store(f"sqlite://{tmp_path}/app.db?text={text_option}#vectors")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("id integer primary key", vector, "nothing says how the vectors of table 't' are compar"),
        ("id integer", vector, "no column of table 't' keeps the items apart"),
        ("id integer primary key", lambda i, _: ROWS[i].astype(np.float64).tobytes(),
         "they are float64: write them anew"),
        ("id integer primary key", lambda i, _: str(ROWS[i].tolist()), r"one is '\[.*vec_f32"),
        ("id integer primary key", lambda i, blob: blob[: 4 * (i + 3)], "several lengths"),
        ("id integer primary key", lambda *_: None, "v: it is empty"),
    ],
)  # fmt: skip
def test_tables_that_say_too_little(db, tmp_path, key, value, message):
    db.execute(f"create table t ({key}, v blob)")
    fill(db, "t", number, value)
    with pytest.raises(InputError, match=message):
        open_store(f"sqlite://{tmp_path}/app.db#t")


def test_a_broken_vector_is_named(db, tmp_path):
    db.execute("create table t (id integer primary key, v blob)")
    rows = gaussian(100)
    fill(db, "t", number, lambda i, blob: blob[:12] if i == 90 else blob, vectors=rows)
    with open_store(f"sqlite://{tmp_path}/app.db?metric=cosine#t") as store:
        with pytest.raises(InputError, match="vector of item '90' is 12 bytes: 8 floats take 32"):
            store.search(rows[:1], 1, column="v")
        assert store.fetch(np.array([89]), column="v").present.all()


def test_more_hits_than_vec0_gives(db, tmp_path):
    rows = gaussian(4200)
    db.execute("create virtual table t using vec0(id integer primary key, v float[8])")
    fill(db, "t", number, vector, vectors=rows)
    with open_store(f"sqlite://{tmp_path}/app.db#t") as store:
        hits = store.search(rows[:1], 4150, column="v")
        assert hits.found.all()
        exact = np.argsort(((rows - rows[0]) ** 2).sum(axis=1), kind="stable")[:4150]
        assert (hits.ids[0] == exact).mean() > 0.99  # but for ties of the last bit
        few = store.search(rows[:1], 100, column="v")
        np.testing.assert_array_equal(few.ids, hits.ids[:, :100])


# -- what an application sees ----------------------------------------------------------------------


def moved(store, name="live"):
    """The alias moved to a second table with new vectors of width 3."""
    second = with_second_column(store, "new")
    second.add_column("new", 3)
    ids = np.concatenate([part.ids for part in store.scan()])
    second.put(ids, NEW[: len(ids)], column="new")
    store.swap_alias(name, store.describe().name, second.beside)
    return second


def test_match_goes_through_the_alias(db, tmp_path):
    db.execute("create virtual table t using vec0(id text primary key, v float[8], +body text)")
    fill(db, "t", text, vector, text)
    asked = "select id, body from live where v match ? and k = 2 order by distance"
    with open_store(f"sqlite://{tmp_path}/app.db") as store:
        store.swap_alias("live", None, "t")
        assert db.execute(asked, (ROWS[4].tobytes(),)).fetchall()[0] == ("text 4", "text 4")
        second = moved(store)
        new = NEW[1]
        assert db.execute(asked, (new.tobytes(),)).fetchall()[0] == ("text 1", "text 1")
        assert open_store(f"sqlite://{tmp_path}/app.db#live").describe().name == second.beside
        with pytest.raises(StoreChangedError, match="stands for 't__new'"):
            store.swap_alias("live", "t", None)
        with pytest.raises(InputError, match="'t' is the name of another table or view"):
            store.swap_alias("t", None, "t")


def test_an_ordinary_table_moves_with_all_its_columns(db, tmp_path):
    db.execute(
        "create table t (id text primary key, body text, seen real, raw blob, v blob, "
        "size integer generated always as (length(body)) virtual)"
    )
    fill(db, "t(id, body, seen, raw, v)", text, text, number, lambda *_: b"odd", vector)
    db.execute("update t set raw = null where id = 'text 1'")
    with open_store(f"sqlite://{tmp_path}/app.db?metric=cosine#t") as store:
        store.swap_alias("live", None, "t")
        before = db.execute("select id, body, seen, raw, size from live order by id").fetchall()
        second = moved(store)
        assert db.execute("select id, body, seen, raw, size from live order by id").fetchall() == (
            before
        )
        assert {len(blob) for (blob,) in db.execute("select v from live")} == {12}
        # what is copied back leaves to SQLite what it computes
        store.add(np.array(["text 2"]), {"v": ROWS[:1]}, {"body": ["longer"], "size": [99]})
        assert store.payload(np.array(["text 2"]), ["size", "seen"]) == [{"size": 6, "seen": None}]
        assert second.filled("new") == 20


def test_a_put_is_seen_whole_or_not_at_all(db, tmp_path):
    db.execute("create virtual table t using vec0(id integer primary key, v float[8])")
    fill(db, "t", number, vector)
    with open_store(f"sqlite://{tmp_path}/app.db") as store:
        db.execute("begin")
        seen = db.execute("select v from t where id = 3").fetchall()
        store.put(np.arange(20), ROWS[::-1].copy(), column="v")
        assert db.execute("select v from t where id = 3").fetchall() == seen
        db.execute("commit")
        assert db.execute("select v from t where id = 3").fetchall() == [(ROWS[16].tobytes(),)]


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_a_scan_leaves_nothing_open(db, tmp_path, mode):
    db.execute("create virtual table t using vec0(id integer primary key, v float[8])")
    fill(db, "t", number, vector)
    db.execute(f"pragma journal_mode = {mode}").fetchall()
    with open_store(f"sqlite://{tmp_path}/app.db") as store:
        scan = store.scan(column="v", batch=5)
        next(scan)
        db.execute("begin exclusive")
        db.execute("delete from t where id = 19")
        db.execute("commit")
        assert sum(map(len, scan)) == 14
        assert db.execute("pragma journal_mode").fetchall() == [(mode,)]


# -- what goes wrong -------------------------------------------------------------------------------


def test_places_that_are_no_database(tmp_path):
    (tmp_path / "notes.db").write_text("x" * 4096)
    with pytest.raises(InputError, match="no file '.*none.db'"):
        open_store(f"sqlite://{tmp_path}/none.db#t")
    with pytest.raises(InputError, match="there is no file"):
        open_store(f"sqlite://{tmp_path}#t")
    with pytest.raises(StoreError, match="no SQLite database, or it is encrypted"):
        open_store(f"sqlite://{tmp_path}/notes.db#t")
    with pytest.raises(InputError, match="there is no folder"):
        create_store(f"sqlite://{tmp_path}/none/a.db#t", [1], {"v": ROWS[:1]})
    assert sorted(file.name for file in tmp_path.iterdir()) == ["notes.db"]


def test_tables_that_are_no_collections(db, tmp_path):
    db.execute("create virtual table words using fts5(body)")
    db.execute("create view shown as select 1")
    for name, message in [
        ("words", "'words' is a virtual table of another kind than vec0"),
        ("shown", "'shown' is a view. Name the table"),
        ("word", "no table 'word'. Did you mean 'words'"),
    ]:
        with pytest.raises(InputError, match=message):
            open_store(f"sqlite://{tmp_path}/app.db#{name}")
    create_store(f"sqlite://{tmp_path}/app.db#t", [1], {"v": ROWS[:1]}).close()
    with pytest.raises(OutputError, match="the table 't' exists already"):
        create_store(f"sqlite://{tmp_path}/app.db#t", [1], {"v": ROWS[:1]})


def test_a_writer_that_does_not_end_is_told(db, tmp_path, monkeypatch):
    monkeypatch.setattr("isthmus.stores.sqlite.connections._PATIENCE_MS", 100)
    with create_store(f"sqlite://{tmp_path}/app.db#t", [1], {"v": ROWS[:1]}) as store:
        db.execute("begin immediate")
        with pytest.raises(StoreUnavailableError, match="kept the database locked.*is locked"):
            store.put(np.array([1]), ROWS[:1], column="v")
        assert store.count() == 1  # readers do not wait
        db.execute("rollback")
        assert store.put(np.array([1]), ROWS[:1], column="v") == 1


def test_a_table_that_is_gone_is_told(db, tmp_path):
    with create_store(f"sqlite://{tmp_path}/app.db#t", [1], {"v": ROWS[:1]}) as store:
        db.execute("drop table t")
        for ask in (
            store.describe,
            store.count,
            lambda: store.search(ROWS[:1], 1, column="v"),
            lambda: list(store.scan(column="v")),
            lambda: store.put(np.array([1]), ROWS[:1], column="v"),
        ):
            with pytest.raises(StoreChangedError, match=r"not as it was|no table 't' any more"):
                ask()


def test_a_file_that_may_only_be_read(tmp_path, monkeypatch):
    create_store(f"sqlite://{tmp_path}/app.db#t", [1], {"v": ROWS[:1]}, {"text": ["x"]}).close()
    # as SQLite itself opens a file without the right to write it, which the superuser always has
    monkeypatch.setattr("apsw.SQLITE_OPEN_READWRITE", apsw.SQLITE_OPEN_READONLY)
    with open_store(f"sqlite://{tmp_path}/app.db#t") as store:
        assert not store.describe().capabilities.writable
        assert store.search(ROWS[:1], 1, column="v").ids.tolist() == [[1]]
        with pytest.raises(StorePermissionError, match="may not be written"):
            store.put(np.array([1]), ROWS[:1], column="v")


@pytest.mark.parametrize("missing", ["apsw", "sqlite_vec"])
def test_without_the_extra(tmp_path, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'isthmus\[sqlite\]'"):
        open_store(f"sqlite://{tmp_path}/app.db#t")


def test_another_process_killed_while_it_puts_leaves_whole_puts(tmp_path):
    url = f"sqlite://{tmp_path}/app.db#t"
    create_store(url, np.arange(500), {"v": np.full((500, 8), 1, np.float32)}).close()
    for seed in range(4):
        process = subprocess.Popen([sys.executable, "-c", PUTTING, url], stdout=subprocess.PIPE)
        assert process.stdout is not None and process.stdout.readline()
        time.sleep(0.02 + 0.03 * seed)
        process.kill()
        process.wait()
        process.stdout.close()
        with closing(bare(tmp_path / "app.db")) as db:
            found = {blob for (blob,) in db.execute("select v from t")}
            assert len(found) == 1, "half of a put"
            assert db.execute("pragma integrity_check").fetchall() == [("ok",)]


PUTTING = """
import sys
import numpy as np
from isthmus.stores import open_store
with open_store(sys.argv[1]) as store:
    print("begun", flush=True)
    for number in range(2, 10**6):
        store.put(np.arange(500), np.full((500, 8), number, np.float32), column="v")
"""
