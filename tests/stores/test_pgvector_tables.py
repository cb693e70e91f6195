"""Tables of PostgreSQL of kinds that people have: each is moved rightly, or refused by name."""

from __future__ import annotations

import uuid

import numpy as np
import pytest
from tests.stores.conformance import DIM, gaussian
from tests.stores.test_pgvector import text

from isthmus.errors import InputError, StoreError, UnsupportedError
from isthmus.stores import open_store
from isthmus.stores.beside import with_second_column

psycopg = pytest.importorskip("psycopg")

N = 6
ROWS = gaussian(N)


def made(sql, name, key="int primary key", vector=f"vector({DIM})", kind="", fields=""):
    sql.execute(f"create {kind} table {name} (id {key}, text text, emb {vector}{fields})")


def filled(sql, name, ids=range(N)):
    for i, row in zip(ids, ROWS, strict=True):
        sql.execute(
            f"insert into {name} (id, text, emb) values (%s, %s, %s)",
            (i, f"text of {i}", text(row)),
        )


@pytest.mark.parametrize(
    ("made_as", "kind"), [("view", "a view"), ("materialized view", "a materialised view")]
)
def test_a_view_is_searched_but_not_moved(sql, postgres, name, made_as, kind):
    made(sql, name)
    filled(sql, name)
    sql.execute(f"create {made_as} {name}_shown as select id, text, emb from {name}")
    with open_store(f"{postgres}#{name}_shown") as store:
        assert store.search(ROWS[[2]], 1, column="emb").ids.tolist() == [[2]]
        with pytest.raises(UnsupportedError, match=f"it is {kind}: name the table"):
            with_second_column(store, "new")


@pytest.mark.parametrize("kind", ["unlogged", "partitioned"])
def test_tables_of_other_kinds_have_a_side_table_that_fits(sql, postgres, name, kind):
    if kind == "unlogged":
        made(sql, name, kind=kind)
    else:
        sql.execute(
            f"create table {name} (id int primary key, text text, emb vector({DIM})) "
            f"partition by range (id)"
        )
        sql.execute(f"create table {name}_a partition of {name} for values from (0) to (3)")
        sql.execute(f"create table {name}_b partition of {name} for values from (3) to (99)")
    filled(sql, name)
    with open_store(f"{postgres}#{name}") as store:
        store.add_column("new", 4)
        assert store.put(np.arange(N), gaussian(N, 4), column="new") == N
        sql.execute(f"delete from {name} where id = 4")
        assert store.fetch(np.arange(N), column="new").present.tolist() == [True] * 4 + [
            False,
            True,
        ]
        (kept,) = sql.execute(
            "select relpersistence::text from pg_class where relname = %s", (f"{name}__new",)
        ).fetchone()
        assert kept == ("u" if kind == "unlogged" else "p")


@pytest.mark.parametrize("fields", ["", ", text text, n int generated always as (7) stored"])
def test_what_the_server_computes_is_not_written(sql, postgres, name, fields):
    kind = f"id int generated always as identity primary key{fields}, emb vector({DIM})"
    sql.execute(f"create table {name} ({kind})")
    ids, rows = np.array([3, 5, 9]), gaussian(3, DIM)
    payload = {"text": ["a", "b", "c"]} if fields else {}
    with open_store(f"{postgres}#{name}") as store:
        store.add_column("new", 4)
        for some in (slice(0, 3), slice(1, 3)):  # made, and replaced
            given = {key: values[some] for key, values in payload.items()}
            store.add(ids[some], {"emb": rows[some], "new": rows[some, :4]}, given)
        expected = [{"text": t, "n": 7} for t in "abc"] if fields else [{}] * 3
        assert store.payload(ids) == expected
        np.testing.assert_array_equal(store.fetch(ids, column="emb").vectors, rows)
        np.testing.assert_array_equal(store.fetch(ids, column="new").vectors, rows[:, :4])


def test_a_vector_that_no_row_may_lack_is_made_with_the_row(sql, postgres, name):
    sql.execute(f"create table {name} (id int primary key, text text, v vector({DIM}) not null)")
    ids, rows = np.array([3, 5, 9]), gaussian(3, DIM)
    with open_store(f"{postgres}#{name}") as store:
        store.add_column("new", 4)
        store.add(ids, {"v": rows, "new": rows[:, :4]}, {"text": ["a", "b", "c"]})
        store.add(ids[:2], {"v": -rows[:2], "new": rows[:2, :4]}, {"text": ["d", "e"]})
        expected = np.vstack([-rows[:2], rows[2:]])
        np.testing.assert_array_equal(store.fetch(ids, column="v").vectors, expected)
        assert store.texts(ids) == ["d", "e", "c"]
        with pytest.raises(StoreError, match="not-null"):
            store.add(np.array([10]), {"new": rows[:1, :4]}, {"text": ["f"]})
        assert store.count() == 3


def test_rows_of_heirs_are_moved_with_the_others(sql, postgres, name):
    made(sql, name)
    sql.execute(f"create table {name}_heir () inherits ({name})")
    filled(sql, name)
    sql.execute(f"with gone as (delete from {name} where id > 3 returning *) "
                f"insert into {name}_heir select * from gone")  # fmt: skip
    with open_store(f"{postgres}#{name}") as store:
        store.add_column("new", 4)
        assert store.put(np.arange(N), gaussian(N, 4), column="new") == N
        assert store.fetch(np.arange(N), column="new").present.all()
        store.swap_alias(f"{name}_live", None, f"{name}.emb")
        store.swap_alias(f"{name}_live", f"{name}.emb", f"{name}.new")
        assert sql.execute(f"select count(emb) from {name}_live").fetchone() == (N,)
        store.swap_alias(f"{name}_live", f"{name}.new", None)
        store.drop_column("new")
        assert "new" not in store.describe().columns
        sql.execute(f"insert into {name}_heir (id) values (2)")
    with open_store(f"{postgres}#{name}") as store, pytest.raises(InputError, match="another item"):
        list(store.scan())


@pytest.mark.parametrize(
    ("key", "ids"),
    [
        ("char(6) primary key", ["a", "ab c", "b", "c", "d'", "e"]),
        ("keyed primary key", ["a", "ab", "b", "c", "d", "e"]),
    ],
)
def test_ids_of_fixed_width_and_of_a_domain(sql, postgres, name, key, ids):
    domain = f"d{uuid.uuid4().hex[:8]}"
    sql.execute(f"create domain {domain} as varchar(9) check (length(value) > 0)")
    made(sql, name, key.replace("keyed", domain))
    filled(sql, name, ids)
    with open_store(f"{postgres}#{name}") as store:
        assert [i for part in store.scan(batch=2) for i in part.ids.tolist()] == sorted(ids)
        store.add_column("new", 4)
        for some in (np.array(ids[:3]), np.array(ids)):
            assert store.put(some, gaussian(N, 4)[: len(some)], column="new") == len(some)
        np.testing.assert_allclose(
            store.fetch(np.array(ids), column="new").vectors, gaussian(N, 4), rtol=1e-6
        )
        assert [t[:4] for t in store.texts(np.array(ids))] == ["text"] * N


def test_a_key_that_ids_cannot_be_is_named(sql, postgres, name):
    made(sql, name, "numeric primary key", fields=", code text unique")
    with open_store(f"{postgres}#{name}") as store:
        assert store.describe().key == "str"  # by its other unique field
    sql.execute(f"alter table {name} drop column code")
    with pytest.raises(InputError, match="told apart by 'id', which is of type numeric"):
        open_store(f"{postgres}#{name}")


@pytest.mark.parametrize("kind", [f"bit({DIM})", f"sparsevec({DIM})", "real[]"])
def test_vectors_of_other_types_are_named(sql, postgres, name, kind):
    made(sql, name, vector=kind)
    with pytest.raises(InputError, match=r"no column is of type vector or halfvec: 'emb' is of"):
        open_store(f"{postgres}#{name}")


@pytest.fixture
def tenants(sql, name):
    """A table whose rows are seen by the role they name, and two such roles."""
    roles = [f"tenant{uuid.uuid4().hex[:8]}" for _ in range(2)]
    made(sql, name, fields=", tenant text")
    filled(sql, name)
    for number, role in enumerate(roles):
        sql.execute(f"create role {role} login")
        sql.execute(f"update {name} set tenant = '{role}' where id % 2 = {number}")
        sql.execute(f"grant select on {name} to {role}")
    sql.execute(f"alter table {name} enable row level security")
    sql.execute(f"create policy own on {name} using (tenant = current_user)")
    yield roles
    for role in roles:
        sql.execute(f"drop owned by {role}")
        sql.execute(f"drop role {role}")


def test_who_does_not_see_all_rows_cannot_move_them(postgres, name, tenants):
    with open_store(f"{postgres.replace('postgres:@', f'{tenants[0]}@')}#{name}") as store:
        assert store.count() == N / 2
        with pytest.raises(UnsupportedError, match="row-level security decides"):
            with_second_column(store, "new")


def test_readers_see_their_own_rows_and_vectors_alone(sql, postgres, name, tenants):
    view = f"{name}_live"
    with open_store(f"{postgres}#{name}") as store:
        with_second_column(store, "new")
        store.swap_alias(view, None, f"{name}.emb")
        store.add_column("new", 4)
        store.put(np.arange(N), gaussian(N, 4), column="new")

        def seen():
            """The ids that each tenant finds in the alias and in the side table."""
            return [
                {i for (i,) in reader.execute(f"select id from {place}").fetchall()}
                for reader in readers
                for place in (view, f"{name}__new")
            ]

        urls = [postgres.replace("postgres:@", f"{role}@") for role in tenants]
        readers = [psycopg.connect(url, autocommit=True) for url in urls]
        assert seen() == [{0, 2, 4}] * 2 + [{1, 3, 5}] * 2
        store.swap_alias(view, f"{name}.emb", f"{name}.new")
        assert seen() == [{0, 2, 4}] * 2 + [{1, 3, 5}] * 2
        sql.execute(f"update {name} set tenant = '{tenants[1]}' where id = 0")
        assert seen() == [{2, 4}] * 2 + [{0, 1, 3, 5}] * 2
        for reader in readers:
            reader.close()


def test_names_that_cannot_be_are_told(sql, postgres, name):
    made(sql, name)
    with open_store(f"{postgres}#{name}") as store:
        store.check_names("new", f"{name}_live")
        with pytest.raises(InputError, match="the alias would be called 'ä+', 64 bytes"):
            store.check_names("new", "ä" * 32)
        store.check_names("new", "ä" * 31)
        sql.execute(f"create table {name}__new (id int)")
        with pytest.raises(InputError, match=f"'{name}__new', which is the name of something"):
            store.check_names("new", f"{name}_live")
        with pytest.raises(InputError, match=f"the alias would be called '{name}'"):
            store.check_names("other", name)
        # what isthmus made itself is in nobody's way
        store.add_column("other", 4)
        store.swap_alias(f"{name}_live", None, f"{name}.other")
        store.check_names("other", f"{name}_live")


def test_an_alias_of_one_of_several_vectors_shows_each_by_its_name(sql, postgres, name):
    """Titles and bodies have vectors each; those of the bodies move, twice."""
    sql.execute(f"create table {name} (id int primary key, title vector(2), body vector(2))")
    sql.execute(f"insert into {name} values (1, '[1,0]', '[2,0]')")
    view = f"{name}_live"
    shown = f"select id, title::text, body::text from {view}"
    with open_store(f"{postgres}#{name}.body") as store:
        store.swap_alias(view, None, f"{name}.body")
        assert sql.execute(shown).fetchall() == [(1, "[1,0]", "[2,0]")]
        for column, value in (("new", 3.0), ("newer", 4.0)):
            store.add_column(column, 1)
            store.put(np.arange(1, 2), np.full((1, 1), value, np.float32), column=column)
        store.swap_alias(view, f"{name}.body", f"{name}.new")
        assert sql.execute(shown).fetchall() == [(1, "[1,0]", "[3]")]
        store.drop_column("body")
        store.swap_alias(view, f"{name}.new", f"{name}.newer")
        assert sql.execute(shown).fetchall() == [(1, "[1,0]", "[4]")]


def test_a_table_whose_name_holds_a_dot_is_searched_but_not_moved(sql, postgres, name):
    sql.execute(f'create table "{name}.docs" (id int primary key, v vector(2))')
    sql.execute(f"""insert into "{name}.docs" values (1, '[1,0]')""")
    with open_store(f"{postgres}#{name}%2Edocs") as store:
        found = store.search(np.ones((1, 2), np.float32), 1, column="v")
        assert found.ids.tolist() == [[1]]
        with pytest.raises(UnsupportedError, match="holds a dot"):
            with_second_column(store, "new")
