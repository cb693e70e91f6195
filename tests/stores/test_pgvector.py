from __future__ import annotations

import threading
import time
import traceback
import uuid
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import numpy as np
import pytest
from tests.stores.conformance import DIM, Conformance, gaussian, ids_of, read_all

from isthmus.errors import (
    InputError,
    StoreChangedError,
    StoreError,
    StorePermissionError,
    StoreUnavailableError,
    UnsupportedError,
)
from isthmus.evaluate.search import top_k
from isthmus.stores import Index, create_store, open_store
from isthmus.stores.beside import with_second_column
from isthmus.stores.id_set import filled_ids
from isthmus.stores.pgvector.statements import nearest_asked

psycopg = pytest.importorskip("psycopg")


class TestPgVector(Conformance):
    @pytest.fixture
    def make(self, postgres, numbers):
        stores = []

        def make(ids, vectors, payload=None, metric="cosine"):
            url = f"{postgres}#docs{next(numbers)}"
            stores.append(create_store(url, ids, vectors, payload, metric=metric))
            return stores[-1]

        yield make
        for store in stores:
            store.close()

    def targets(self, store):
        """Names of tables that exist: a view can be of nothing else."""
        name = store.describe().name
        with psycopg.connect(store.url.partition("#")[0], autocommit=True) as connection:
            connection.execute("drop view if exists live")
            connection.execute(f"create table {name}_2 (like {name} including all)")
        return name, f"{name}_2"


ROWS = gaussian(6)


def text(row):
    return "[" + ",".join(map(repr, row.tolist())) + "]"


def foreign(sql, name, ids, rows, id_type="text primary key", kind=f"vector({DIM})"):
    """A table as somebody else made it."""
    sql.execute(f"create table {name} (id {id_type}, title text, emb {kind})")
    for i, row in zip(ids, rows, strict=True):
        sql.execute(
            f"insert into {name} values (%s, 'x', %s)", (i, None if row is None else text(row))
        )


@pytest.mark.parametrize(
    "id_type", ["int", "smallint", "bigint", "uuid", "varchar(40)", "char(20)", "text"]
)
def test_ids_of_any_type_a_key_has(sql, postgres, name, id_type):
    ids = ids_of("uuid" if id_type == "uuid" else "int" if "int" in id_type else "str", 6)
    foreign(sql, name, ids.tolist(), ROWS, f"{id_type} primary key")
    with open_store(f"{postgres}#{name}") as store:
        kinds = {"uuid": "uuid", "int": "int", "smallint": "int", "bigint": "int"}
        assert store.describe().key == kinds.get(id_type, "str")
        whole = read_all(store, column="emb", fields=["title"], batch=4)
        assert sorted(whole["ids"].tolist()) == sorted(ids.tolist())
        assert store.put(ids[[3]], ROWS[[0]], column="emb") == 1
        np.testing.assert_array_equal(store.fetch(ids[[3]], column="emb").vectors, ROWS[[0]])
        store.add_column("new", 3)
        assert store.put(ids, gaussian(6, 3), column="new") == 6


def test_uuids_are_taken_as_objects_too(sql, postgres, name):
    ids = [uuid.uuid4() for _ in range(3)]
    foreign(sql, name, ids, ROWS[:3], "uuid primary key")
    with open_store(f"{postgres}#{name}") as store:
        found = store.fetch(np.array([str(ids[1]).upper()]), column="emb")
        np.testing.assert_array_equal(found.vectors, ROWS[[1]])
        assert store.texts if store.describe().has_texts else True
        with pytest.raises(InputError, match="'x' is no UUID"):
            store.fetch(np.array(["x"]), column="emb")


def test_halfvec_rounds_and_says_so(sql, postgres, name):
    foreign(sql, name, list("abcdef"), ROWS, kind=f"halfvec({DIM})")
    with open_store(f"{postgres}#{name}") as store:
        assert store.describe().column("emb").dtype == "float16"
        ids = np.array(list("abcdef"))
        store.put(ids, ROWS, column="emb")
        found = store.fetch(ids, column="emb").vectors
        np.testing.assert_array_equal(found, ROWS.astype(np.float16).astype(np.float32))
        hits = store.search(ROWS, 1, column="emb")
        assert hits.ids[:, 0].tolist() == ids.tolist()


def test_items_without_a_vector(sql, postgres, name):
    foreign(sql, name, ["a", "b", "c"], [ROWS[0], None, ROWS[2]])
    with open_store(f"{postgres}#{name}") as store:
        assert store.filled("emb") == 2
        (batch,) = store.scan(column="emb")
        assert batch.present.tolist() == [True, False, True]
        assert store.search(ROWS[:1], 3, column="emb").found.tolist() == [[True, True, False]]


def test_mixed_widths_are_refused(sql, postgres, name):
    foreign(sql, name, ["a", "b", "c"], [ROWS[0], ROWS[1, :5], ROWS[2]], kind="vector")
    with pytest.raises(InputError, match="several widths: 1 of width 5, 2 of width 8"):
        open_store(f"{postgres}#{name}")


def test_a_width_that_is_not_declared(sql, postgres, name):
    foreign(sql, name, ["a", "b"], ROWS[:2], kind="vector")
    with open_store(f"{postgres}#{name}") as store:
        assert store.describe().column("emb").dim == DIM


def test_doubled_and_missing_ids(sql, postgres, name):
    foreign(sql, name, ["a", "b", "a"], ROWS[:3], "text")
    with (
        open_store(f"{postgres}#{name}") as store,
        pytest.raises(InputError, match="1 item.*have an id that another item has"),
    ):
        next(store.scan())
    sql.execute(f"delete from {name} where id = 'a'")
    sql.execute(f"insert into {name} values (null, 'x', null)")
    with open_store(f"{postgres}#{name}") as store, pytest.raises(InputError, match="id is null"):
        next(store.scan())
    # they come last in the order of the ids, and no unique index keeps them out
    sql.execute(f"alter table {name} add unique (id)")
    sql.execute(f"insert into {name} values ('c', 'x', null)")
    with open_store(f"{postgres}#{name}") as store:
        assert store.describe().capabilities.second_column
        with pytest.raises(InputError, match="id is null"):
            next(store.scan(batch=1))


def test_an_id_that_is_empty_is_refused(sql, postgres, name):
    foreign(sql, name, ["a", "", "c"], ROWS[:3], "text")
    with open_store(f"{postgres}#{name}") as store:
        for read in (store.scan, lambda: store.scan(column=None)):
            with pytest.raises(InputError, match="an id is empty"):
                list(read())


@pytest.mark.parametrize(
    ("fragment", "message"),
    [
        ("nmae", "no table 'nmae'"),
        ("{}x", "no table.*Did you mean '{}'"),
        ("{}.emv", "no vector column 'emv'.*Did you mean 'emb'"),
        ("nowhere.{}.emb", "no table"),
    ],
)
def test_names_that_do_not_exist(sql, postgres, name, fragment, message):
    foreign(sql, name, ["a"], ROWS[:1])
    with pytest.raises(InputError, match=message.format(name)):
        open_store(f"{postgres}#{fragment.format(name)}")


def test_a_schema_may_be_named(sql, postgres, name):
    sql.execute(f"create schema s_{name}")
    foreign(sql, f"s_{name}.docs", ["a"], ROWS[:1])
    for fragment in (f"s_{name}.docs.emb", f"s_{name}.docs"):
        with open_store(f"{postgres}#{fragment}") as store:
            assert store.column == "emb"
            assert store.filled("emb") == 1


def test_names_are_quoted(postgres, name):
    odd = f'{name}"; drop table x; --'
    url = f"{postgres}#{quote(odd, safe='')}"
    column = 'v"%s{}; select'
    ids = np.array(["a'; --", "b%s"])
    with create_store(url, ids, {column: ROWS[:2]}, {"te'xt\"": ["x", "y"]}) as store:
        assert store.search(ROWS[:1], 1, column=column).ids.tolist() == [["a'; --"]]
        assert store.payload(ids[1:]) == [{"te'xt\"": "y"}]
        store.add_column("n'\"ew", 3)
        assert store.put(ids, gaussian(2, 3), column="n'\"ew") == 2
        assert store.describe().name == odd
        assert read_all(store, column=column, batch=1)["ids"].tolist() == ids.tolist()


def test_a_new_column_beside_an_old_index_is_a_side_table(postgres, sql, name):
    ids = ids_of("str", 200)
    with create_store(f"{postgres}#{name}", ids, {"old": gaussian(200)}) as store:
        store.build_index("old")
        assert not store.describe().column("old").exact
        store.add_column("new", 3, metric="l2")
        tables = sql.execute(
            "select relname from pg_class where relname like %s and relkind = 'r'", (f"{name}%",)
        ).fetchall()
        assert sorted(tables) == [(name,), (f"{name}__new",)]
        new = gaussian(50, 3, seed=1)
        assert store.put(ids[:50], new, column="new") == 50
        assert store.put(np.array(["nobody"]), new[:1], column="new") == 0
        with open_store(f"{postgres}#{name}.new") as again:
            assert again.filled("new") == 50
            assert again.describe().column("new").metric == "l2"
            hits = again.search(new[:4], 3, column="new")
            np.testing.assert_array_equal(
                hits.ids, ids[:50][top_k(new[:4], new, 3, metric="l2").indices]
            )
            whole = read_all(again, column="new", batch=70)
            assert whole["ids"].tolist() == ids.tolist()
            assert (~np.isnan(np.concatenate(whole["vectors"])[:, 0])).sum() == 50
        assert store.delete(ids[:10]) == 10
        assert store.filled("new") == 40
        store.add(ids[10:12], {"old": gaussian(2)})
        assert store.filled("new") == 38
        store.drop_column("new")
        assert set(store.describe().columns) == {"old"}


def test_an_index_finds_as_many_as_are_asked_for(postgres, name):
    ids, rows = ids_of("int", 3000), gaussian(3000)
    with create_store(f"{postgres}#{name}", ids, {"v": rows}) as store:
        store.build_index("v")
        hits = store.search(rows[:3], 1500, column="v")
        assert hits.found.all()
        near = store.search(rows[:20], 10, column="v")
        exact = ids[top_k(rows[:20], rows, 10).indices]
        assert np.mean([len(set(a) & set(b)) for a, b in zip(near.ids, exact, strict=True)]) > 9.5


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_an_index_of_lists_finds_as_many_as_are_asked_for(postgres, name, metric):
    """IVFFlat looks into one list unless it is told to go on."""
    rows = gaussian(1000)
    with create_store(f"{postgres}#{name}", np.arange(1000), {"v": rows}, metric=metric) as store:
        exact = store.search(rows[:3], 1000, column="v")
        store.build_index("v", Index("ivfflat", (("lists", "50"),)))
    with open_store(f"{postgres}&options=-cenable_seqscan%3Doff#{name}") as store:
        for k in (10, 400, 1000):
            found = store.search(rows[:3], k, column="v")
            assert found.found.all(), k
            assert (np.diff(found.scores, axis=1) <= 0).all(), k
        np.testing.assert_array_equal(np.sort(found.ids), np.sort(exact.ids))


def test_an_index_goes_on_past_items_that_are_gone_or_not_asked_for(postgres, name):
    """The first candidates of a search are all deleted, or none of those that are wanted."""
    ids, rows = np.arange(3000), gaussian(3000)
    nearest = top_k(rows[:1], rows, 3000).indices[0]
    with create_store(f"{postgres}#{name}", ids, {"v": rows}) as store:
        store.build_index("v")
        far = nearest[-5:]
        with open_store(store.url) as other:
            hits = other.search(rows[:1], 5, column="v", only=far)
            assert set(hits.ids[0].tolist()) == set(far.tolist())
        store.delete(nearest[:100])
        with open_store(store.url) as other:
            hits = other.search(rows[:1], 10, column="v")
            assert hits.found.all()
            assert len(set(hits.ids[0].tolist()) & set(nearest[100:110].tolist())) > 7


def test_an_index_is_built_as_another_was(postgres, sql, name):
    ids, rows = ids_of("int", 300), gaussian(300)
    with create_store(f"{postgres}#{name}", ids, {"v": rows}) as store:
        assert store.index_of("v") is None
        how = "hnsw (v vector_cosine_ops) with (m=8, ef_construction=40)"
        sql.execute(f"create index on {name} using {how}")
        found = store.index_of("v")
        assert found == Index("hnsw", (("m", "8"), ("ef_construction", "40")))
        assert str(found) == "hnsw m=8 ef_construction=40"
        store.add_column("new", 5)
        store.put(ids, gaussian(300, 5), column="new")
        # what an interrupted build leaves
        sql.execute(f"create index dead on {name}__new using hnsw (new vector_cosine_ops)")
        sql.execute("update pg_index set indisvalid = false where indexrelid = 'dead'::regclass")
        assert store.index_of("new") is None
        store.build_index("new", found)
        assert store.index_of("new") == found
        assert not store.describe().column("new").exact
        left = sql.execute("select count(*) from pg_class where relname = 'dead'").fetchone()
        assert left == (0,)
        lists = Index("ivfflat", (("lists", "3"),))
        store.add_column("flat", 5)
        store.put(ids, gaussian(300, 5), column="flat")
        store.build_index("flat", lists)
        assert store.index_of("flat") == lists


def test_an_index_takes_the_time_that_it_takes(sql, postgres, name):
    """A role may have limits that fit questions; building waits here for another's transaction."""
    role = f"short_{name}"
    sql.execute(f"create role {role} login superuser")
    limits = ("statement_timeout", "lock_timeout")
    for limit in limits:
        sql.execute(f"alter role {role} set {limit} = '1s'")
    create_store(f"{postgres}#{name}", np.arange(30), {"v": gaussian(30)}).close()
    try:
        with (
            psycopg.connect(postgres) as other,
            open_store(f"{postgres.replace('postgres:', f'{role}:', 1)}#{name}") as store,
        ):
            other.execute(f"delete from {name} where id = 7")
            ended = threading.Timer(2.5, other.rollback)
            ended.start()
            store.build_index("v")
            ended.join()
            assert store.index_of("v") == Index("hnsw")
            with store._connections.lend() as connection:
                for limit in limits:
                    assert connection.execute(f"show {limit}").fetchone() == ("1s",)
    finally:
        sql.execute(f"drop role {role}")


def test_an_index_has_a_widest_vector(postgres, name):
    rows = gaussian(2, 4001)
    with (
        create_store(f"{postgres}#{name}", np.arange(2), {"v": rows}) as store,
        pytest.raises(UnsupportedError, match=r"4,000 dimensions.*has 4,001"),
    ):
        store.build_index("v")


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("made", ["by us", "by others"])
def test_vectors_indexed_as_halves_are_compared_whole(sql, postgres, name, metric, made):
    """Wider than an index of vectors; and an index that others have made over a cast."""
    n, dim = 200, 2001 if made == "by us" else 8
    rows, queries = gaussian(n, dim), gaussian(5, dim, seed=1)
    ops = {"cosine": "cosine", "dot": "ip", "l2": "l2"}[metric]
    column = 'say "v"'
    with create_store(f"{postgres}#{name}", np.arange(n), {column: rows}, metric=metric) as store:
        exact = store.search(queries, 10, column=column)
        if made == "by us":
            store.build_index(column, Index("hnsw", (("m", "9"),)))
        else:
            sql.execute(
                f'create index on {name} using hnsw (("say ""v"""::halfvec({dim})) '
                f"halfvec_{ops}_ops) with (m = 9)"
            )
        like = Index("hnsw", (("m", "9"),), "halfvec")
        assert store.index_of(column) == like
        assert str(like) == "hnsw m=9 (as halfvec)"
        held = store.describe().column(column)
        assert (held.exact, held.metric) == (False, metric)
        found = store.search(queries, 10, column=column)
        np.testing.assert_allclose(found.scores, exact.scores, rtol=1e-5, atol=1e-5)
        assert (found.ids == exact.ids).mean() > 0.9  # as approximate as an index is
        only = store.search(queries, 3, column=column, only=np.arange(20))
        assert (only.ids < 20).all()
        with store._connections.lend() as connection:
            connection.execute("set enable_seqscan = off")
            asked = nearest_asked(store._table.homes[column], held, "int", 10, False)
            given = "'" + text(queries[0]) + "'"
            plan = connection.execute("explain " + asked.replace("%s", given)).fetchall()
            connection.execute("reset enable_seqscan")
        assert any("Index Scan using" in line for (line,) in plan), plan
        store.add_column("new", 7, metric=metric)
        store.put(np.arange(n), gaussian(n, 7), column="new")
        store.build_index("new", like)
        assert store.index_of("new") == like


def test_an_index_of_some_rows_answers_no_search(sql, postgres, name):
    rows = gaussian(40, 8)
    with create_store(f"{postgres}#{name}", np.arange(40), {"v": rows}) as store:
        sql.execute(f"create index on {name} using hnsw (v vector_l2_ops) where id < 20")
        held = store.describe().column("v")
        assert (held.exact, held.metric, store.index_of("v")) == (True, "l2", None)


def test_an_alias_is_a_view_that_applications_read(postgres, sql, name):
    ids = ids_of("str", 20)
    rows, new = gaussian(20), gaussian(20, 3, seed=1)
    with create_store(f"{postgres}#{name}", ids, {"old": rows}, {"text": ["t"] * 20}) as store:
        store.build_index("old")
        store.add_column("new", 3)
        store.put(ids, new, column="new")
        live = f"live_{name}"
        store.swap_alias(live, None, f"{name}.old")
        ask = f"select id from {live} order by old <=> %s limit 1"
        assert sql.execute(ask, (text(rows[4]),)).fetchone() == (ids[4],)
        store.swap_alias(live, f"{name}.old", f"{name}.new")
        assert sql.execute(ask, (text(new[7]),)).fetchone() == (ids[7],)
        with open_store(f"{postgres}#{live}") as opened:
            assert (opened.describe().name, opened.column) == (name, "new")
        with pytest.raises(InputError, match="no vector column 'gone'"):
            store.swap_alias(live, f"{name}.new", f"{name}.gone")
        assert store.alias(live) == f"{name}.new"


def test_readers_of_a_view_that_moves_see_no_error(postgres, sql, name):
    ids, rows = ids_of("str", 30), gaussian(30)
    live = f"live_{name}"
    with create_store(f"{postgres}#{name}", ids, {"a": rows, "b": -rows}) as store:
        store.swap_alias(live, None, f"{name}.a")
        stop, seen = threading.Event(), []

        def read():
            with psycopg.connect(postgres, autocommit=True) as connection:
                while not stop.is_set():
                    asked = f"select id from {live} order by a <=> %s limit 1"
                    seen.append(connection.execute(asked, (text(rows[0]),)).fetchone())

        readers = [threading.Thread(target=read) for _ in range(2)]
        for reader in readers:
            reader.start()
        for _ in range(5):
            store.swap_alias(live, f"{name}.a", f"{name}.b")
            store.swap_alias(live, f"{name}.b", f"{name}.a")
        stop.set()
        for reader in readers:
            reader.join()
        assert seen
        assert all(found is not None for found in seen)


@pytest.mark.parametrize("change", ["swap", "drop", "make"])
def test_a_change_gives_way_to_those_who_come_behind_it(sql, postgres, name, change, monkeypatch):
    ids, live = ids_of("str", 6), f"live_{name}"
    with create_store(f"{postgres}#{name}", ids, {"old": ROWS}, {"text": ["t"] * 6}) as store:
        if change != "make":
            store.add_column("new", 3)
            store.put(ids, ROWS[:, :3].copy(), column="new")
        store.swap_alias(live, None, f"{name}.old")
        work = {
            "swap": lambda: store.swap_alias(live, f"{name}.old", f"{name}.new"),
            "drop": lambda: store.drop_column("new"),
            "make": lambda: store.add_column("new", 3),
        }[change]
        # a reader's open transaction is in the way of the first two, a writer's of the third
        use = f"select from {live}" if change != "make" else f"update {name} set text = 'u'"
        behind = {"make": f"update {name} set text = 'w' where false"}.get(change, use)
        with psycopg.connect(postgres, application_name="an app") as holder:
            holder.execute(use)
            monkeypatch.setattr("isthmus.stores.pgvector.yielding._PATIENCE_S", 0.0)
            with pytest.raises(StoreUnavailableError, match=r"an app, idle in transaction"):
                work()
            monkeypatch.setattr("isthmus.stores.pgvector.yielding._PATIENCE_S", 60.0)
            with ThreadPoolExecutor(1) as pool:
                waiting = pool.submit(work)
                sql.execute("set statement_timeout = '10s'")
                for _ in range(8):
                    sql.execute(behind)  # is cancelled where the change holds it up
                    assert not waiting.done()
                    time.sleep(0.05)
                sql.execute("reset statement_timeout")
                holder.commit()
                waiting.result()
        assert ("new" in store.describe().columns) is (change != "drop")
        assert store.alias(live) == f"{name}.{'new' if change == 'swap' else 'old'}"


@pytest.fixture
def reader_url(sql, postgres, name):
    """The URL of a user who may read and nothing else."""
    foreign(sql, name, list("abcdef"), ROWS)
    sql.execute(f"create role reader_{name} login password 'hunter2'")
    sql.execute(f"grant select on {name} to reader_{name}")
    yield f"{postgres.replace('postgres:', f'reader_{name}:hunter2', 1)}#{name}"
    sql.execute(f"drop owned by reader_{name}")
    sql.execute(f"drop role reader_{name}")


def test_a_user_who_may_only_read(reader_url, sql, name):
    ids = np.array(list("abcdef"))
    with open_store(reader_url) as store:
        np.testing.assert_array_equal(store.fetch(ids, column="emb").vectors, ROWS)
        for write in (
            lambda: store.put(ids, ROWS[::-1].copy(), column="emb"),
            lambda: store.add(ids, {"emb": ROWS[::-1].copy()}),
            lambda: store.delete(ids),
            lambda: store.add_column("new", 3),
            lambda: store.drop_column("emb"),
            lambda: store.swap_alias("x", None, name),
        ):
            with pytest.raises(StorePermissionError) as told:
                write()
            assert "hunter2" not in str(told.value) + repr(store)
        np.testing.assert_array_equal(store.fetch(ids, column="emb").vectors, ROWS)


@pytest.mark.parametrize(
    "setting",
    ["search_path = ''", "search_path = elsewhere", "client_encoding = latin1",
     "bytea_output = escape", "idle_in_transaction_session_timeout = 50"],
)  # fmt: skip
def test_what_is_set_for_a_user_does_not_matter(sql, postgres, name, setting):
    role, ids = f"set_{name}", ["日本", "ж"]
    sql.execute(f"create role {role} login superuser")
    sql.execute(f"alter role {role} set {setting}")
    url = postgres.replace("postgres:", f"{role}:", 1)
    try:
        foreign(sql, name, ids, ROWS[:2])
        with open_store(f"{url}#public.{name}") as store:
            store.add_column("new", 3)
            store.put(np.array(ids), ROWS[:2, :3].copy(), column="new")
            found = store.search(ROWS[1:2, :3], 1, column="new")
            assert found.ids.tolist() == [["ж"]]
            assert [p.ids.tolist() for p in store.scan(column="new")] == [sorted(ids)]
            store.swap_alias(f"live_{name}", None, f"{name}.new")
            assert store.alias(f"live_{name}") == f"{name}.new"
    finally:
        sql.execute(f"reassign owned by {role} to current_user")
        sql.execute(f"drop role {role}")


def test_a_connection_that_may_only_read_moves_nothing(sql, postgres, name):
    foreign(sql, name, list("abcdef"), ROWS)
    url = f"{postgres}&options=-cdefault_transaction_read_only%3Don#{name}"
    with open_store(url) as store:
        assert store.search(ROWS[:1], 1, column="emb").ids.tolist() == [["a"]]
        with pytest.raises(UnsupportedError, match="may only read"):
            with_second_column(store, "new")


def test_nobody_answers_and_no_secret_is_told(monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "hunter3")
    url = "postgresql://me:hunter2@127.0.0.1:1/db#docs"
    with pytest.raises(StoreUnavailableError, match="does not answer") as told:
        open_store(url)
    shown = "".join(traceback.format_exception(told.value))
    assert "hunter2" not in shown
    assert "hunter3" not in shown
    assert "me:***@127.0.0.1:1" in str(told.value)


@pytest.mark.parametrize("sign", "/?#@% ")
def test_a_password_that_no_url_holds_is_refused_before_anything_is_asked(sign):
    with pytest.raises(InputError, match="means something else there") as told:
        open_store(f"postgresql://me:hun{sign}ter2@127.0.0.1:1/db#docs")
    shown = str(told.value)
    assert "hun" not in shown
    assert "ter2" not in shown
    assert f"write '%{ord(sign):02X}'" in shown
    with pytest.raises(StoreUnavailableError, match="does not answer"):
        open_store(f"postgresql://me:hun%{ord(sign):02X}ter2@127.0.0.1:1/db#docs")


def test_a_server_that_goes_away_and_comes_back(own_postgres):
    url = f"{own_postgres.get_uri()}#docs"
    ids, rows = ids_of("int", 30), gaussian(30)
    with create_store(url, ids, {"v": rows}) as store:
        scan = store.scan(column="v", batch=10)
        first = next(scan)
        own_postgres.stop()
        for ask in (
            lambda: next(scan),
            store.describe,
            lambda: store.search(rows[:1], 1, column="v"),
            lambda: store.put(ids, rows[::-1].copy(), column="v"),
            lambda: open_store(url),
        ):
            with pytest.raises(StoreUnavailableError, match="does not answer"):
                ask()
        own_postgres.ensure_postgres_running()
        rest = read_all(store, column="v", after=first.cursor, batch=10)
        assert [*first.ids, *rest["ids"]] == ids.tolist()
        np.testing.assert_array_equal(store.fetch(ids, column="v").vectors, rows)


def test_a_session_that_was_ended_while_idle_is_not_used(sql, postgres, name):
    with create_store(f"{postgres}#{name}", ["a"], {"v": gaussian(1)}) as store:
        assert store.count() == 1
        sql.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity where state = 'idle' "
            "and application_name = 'isthmus'"
        )
        assert store.count() == 1


def test_a_run_at_work_is_not_ended_for_being_idle(postgres, name):
    impatient = f"{postgres}&options=-c%20idle_session_timeout%3D100ms"
    with create_store(f"{impatient}#{name}", ["a"], {"v": gaussian(1)}) as store:
        with store.ledger("journal").held():
            time.sleep(0.5)
            with (
                pytest.raises(StoreChangedError, match="at work"),
                store.ledger("journal").held(),
            ):
                pass
        assert store.count() == 1


def test_vectors_of_two_columns_are_added_in_one_call(postgres, name):
    with create_store(f"{postgres}#{name}", np.arange(4), {"old": gaussian(4)}) as store:
        for column, dim in (("new", 3), ("other", DIM)):
            store.add_column(column, dim)
        rows = {"old": gaussian(3, seed=1), "new": gaussian(3, 3, seed=2),
                "other": gaussian(3, seed=3)}  # fmt: skip
        store.add(np.array([2, 3, 4]), rows)
        for column, wanted in rows.items():
            found = store.fetch(np.array([2, 3, 4]), column=column)
            np.testing.assert_array_equal(found.vectors, wanted)


@pytest.mark.parametrize(
    ("id_type", "ids"),
    [
        ("text", ['a"b', "back\\slash", "é", "null", "a,b {}"]),
        ("int", [1, -7, 2**31 - 1, 5, 6]),
        ("smallint", [1, -7, 2**15 - 1, 5, 6]),
    ],
)
def test_vectors_of_a_side_table_whether_items_have_one_or_not(sql, postgres, name, id_type, ids):
    held, rows = np.array(ids), gaussian(5, 3)
    foreign(sql, name, ids, ROWS[:5], f"{id_type} primary key")
    nobody = np.array([2**40 if id_type != "text" else "nobody"])
    with open_store(f"{postgres}#{name}") as store:
        store.add_column("new", 3)
        assert store.put(held[1:4], rows[1:4], column="new") == 3
        assert filled_ids(store, "new").has(held).tolist() == [False, True, True, True, False]
        # the first has one, the last has none; then the other way round
        assert store.put(held[3:], -rows[3:], column="new") == 2
        assert store.put(held[[0, 4]], -rows[[0, 4]], column="new") == 2
        with_nobody = np.concatenate([held[:1], nobody])
        assert store.put(with_nobody, rows[[0, 1]], column="new") == 1
        wanted = np.vstack([rows[:3], -rows[3:]])
        np.testing.assert_array_equal(store.fetch(held, column="new").vectors, wanted)
        np.testing.assert_array_equal(store.fetch(held[::-1], column="new").vectors, wanted[::-1])
        assert not store.fetch(nobody, column="new").present.any()


def test_an_item_that_was_deleted_is_not_put_with_the_others(postgres, name):
    ids = ids_of("str", 6)
    with create_store(f"{postgres}#{name}", ids, {"old": gaussian(6)}) as store:
        store.add_column("new", 3)
        store.delete(ids[[2]])
        assert store.put(ids, gaussian(6, 3), column="new") == 5
        assert store.fetch(ids, column="new").present.tolist() == [i != 2 for i in range(6)]


@pytest.fixture
def stranger(sql):
    """A role that may read and no more, and the URL part that names it."""
    role = f"reader{uuid.uuid4().hex[:8]}"
    sql.execute(f"create role {role} login")
    yield role
    sql.execute(f"drop owned by {role}")
    sql.execute(f"drop role {role}")


def of_user(postgres, role):
    return postgres.replace("postgres:@", f"{role}@")


def test_what_a_user_may_not_do_is_known_before_it_is_tried(sql, postgres, name, stranger):
    sql.execute("create schema if not exists shop")
    foreign(sql, f"shop.{name}", ids_of("str", 6).tolist(), ROWS)
    sql.execute(f"grant usage on schema shop to {stranger}")
    sql.execute(f"grant select on shop.{name} to {stranger}")
    with open_store(f"{of_user(postgres, stranger)}#shop.{name}") as store:
        held = store.describe()
        assert held.schema == "shop"
        assert store.grants_needed() == (
            f'GRANT USAGE, CREATE ON SCHEMA "shop" TO {stranger}',
            f'GRANT REFERENCES ON "shop"."{name}" TO {stranger}',
            f'GRANT UPDATE ("emb") ON "shop"."{name}" TO {stranger}',
        )
        for statement in store.grants_needed():
            sql.execute(statement)
        assert store.grants_needed() == ()
        store.add_column("new", 4)
        store.put(ids_of("str", 6), gaussian(6, 4), column="new")
        store.put(ids_of("str", 6), ROWS, column="emb")
        store.swap_alias("live", None, f"{name}.new")
        store.ledger("journal").append(0, "begun")
    with open_store(f"{postgres}#shop.{name}") as store:
        assert store.grants_needed() == ()
    sql.execute("drop schema shop cascade")


def test_readers_of_an_alias_may_read_it_whatever_it_stands_for(sql, postgres, name, stranger):
    foreign(sql, name, ids_of("str", 6).tolist(), ROWS)
    sql.execute(f"grant select on {name} to {stranger}")
    view = f"{name}_live"
    with open_store(f"{postgres}#{name}") as store:
        store.add_column("new", 4)
        store.put(ids_of("str", 6), gaussian(6, 4), column="new")
        store.swap_alias(view, None, f"{name}.emb")
        sql.execute(f"grant delete on {view} to {stranger}")

        def rights():
            asked = f"select has_table_privilege('{stranger}', '{view}', %s)"
            found = [sql.execute(asked, (r,)).fetchone()[0] for r in ("select", "delete", "insert")]
            return dict(zip(("select", "delete", "insert"), found, strict=True))

        expected = {"select": True, "delete": True, "insert": False}
        assert rights() == expected
        # of another width, and back
        for before, after in (("emb", "new"), ("new", "emb")):
            store.swap_alias(view, f"{name}.{before}", f"{name}.{after}")
            assert rights() == expected
            (width,) = sql.execute(f"select vector_dims(emb) from {view} limit 1").fetchone()
            assert width == {"emb": DIM, "new": 4}[after]
            assert store.alias(view) == f"{name}.{after}"


def test_a_view_that_reads_an_alias_stays_where_the_width_does(sql, postgres, name):
    foreign(sql, name, ids_of("str", 6).tolist(), ROWS)
    view = f"{name}_live"
    with open_store(f"{postgres}#{name}") as store:
        for column, dim in (("same", DIM), ("wider", DIM + 1)):
            store.add_column(column, dim)
            store.put(ids_of("str", 6), gaussian(6, dim), column=column)
        store.swap_alias(view, None, f"{name}.emb")
        sql.execute(f"create view {name}_report as select id, emb from {view}")
        store.swap_alias(view, f"{name}.emb", f"{name}.same")
        (shown,) = sql.execute(
            f"select emb::text from {name}_report order by id limit 1"
        ).fetchone()
        np.testing.assert_allclose(
            np.array(shown.strip("[]").split(","), float), gaussian(6, DIM)[0], rtol=1e-5
        )
        with pytest.raises(StoreError, match=f"cannot be made anew: view {name}_report depends"):
            store.swap_alias(view, f"{name}.same", f"{name}.wider")
        assert store.alias(view) == f"{name}.same"


def test_a_deep_search_takes_no_more_processes_than_a_shallow_one(postgres, name):
    rows = gaussian(3000, 8)
    with create_store(f"{postgres}#{name}", np.arange(3000), {"v": rows}) as store:
        with store._connections.lend() as connection:
            for setting in ("min_parallel_table_scan_size", "parallel_tuple_cost"):
                connection.execute(f"set {setting} = 0")
            connection.execute(f"analyze {name}")

            def helped(k: int) -> bool:
                query = "[1, 0, 0, 0, 0, 0, 0, 0]"
                asked = f"select id, v <=> '{query}' from {name} order by v <=> '{query}' limit {k}"
                return "Gather" in str(connection.execute(f"explain {asked}").fetchall())

            cost = 200
            while helped(10):
                cost += 1
                connection.execute(f"set parallel_setup_cost = {cost}")
            while not helped(10):
                cost -= 1
                connection.execute(f"set parallel_setup_cost = {cost}")
            connection.execute(f"set parallel_setup_cost = {cost + 2}")
            assert [helped(k) for k in (10, 64, 500)] == [False, True, True]
        for k, deepest in ((10, 10), (64, 64), (500, 500), (64, 500)):
            assert store.search(rows[:1], k, column="v").ids[0, 0] == 0
            assert [helped(n) for n in (10, 64, 500)] == [n > deepest for n in (10, 64, 500)], k
