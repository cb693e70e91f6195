"""An application that knows nothing of isthmus edits rows by SQL behind the cut-over."""

from __future__ import annotations

import numpy as np
import pytest
from tests.databases import url_of
from tests.migrate.conftest import OLD_DIM, N, filled, opened, plan_of, state_of, text_of


def test_a_row_that_came_late_gets_the_old_vector_of_its_text(
    request, tmp_path, path, models, postgres
):
    """Its old vector was not there to be summed up, and stays where the text alone is edited."""
    psycopg = pytest.importorskip("psycopg")
    url = filled(url_of("postgresql", tmp_path, request), models)
    table = url.rpartition("#")[2]
    plan = plan_of(url, models)
    with opened(plan, path, models) as migration:
        migration.run()
        late = text_of(4000)
        migration.store.add(np.array([4000]), {"vector": models.old.encode([late])},
                            {"text": [late], "rank": [0]})  # fmt: skip
        migration.cut_over()
    edited = {name: text_of(name, edition=2) for name in (9, 4000)}
    with psycopg.connect(postgres, autocommit=True) as sql:
        for name, text in edited.items():
            new = str(models.new.encode([text])[0].tolist())
            sql.execute(f"update {table} set text = %s where id = %s", (text, name))
            sql.execute(f"update {table}__new set new = %s where id = %s", (new, name))
    with opened(plan, path, models) as migration:
        assert migration.rollback().encoded == 2
    after = state_of(url)
    for name, text in edited.items():
        assert after["vector"][name] == models.old.encode([text])[0].tobytes()


def test_texts_in_a_table_of_their_own_stay_the_applications(tmp_path, path, models):
    """A table of vectors beside one of texts, as applications of sqlite-vec have them."""
    apsw = pytest.importorskip("apsw")
    sqlite_vec = pytest.importorskip("sqlite_vec")
    db = apsw.Connection(str(tmp_path / "app.db"))
    db.enable_load_extension(True)
    db.load_extension(sqlite_vec.loadable_path())
    db.execute("pragma journal_mode = wal").fetchall()
    db.execute("create table docs (id integer primary key, author text not null, body text)")
    db.execute(
        "create virtual table vectors using vec0(id integer primary key, "
        f"embedding float[{OLD_DIM}] distance_metric=cosine)"
    )

    def write(name, text, table="vectors", column="embedding", model=None):
        vector = (model or models.old).encode([text])[0].tobytes()
        with db:
            db.execute("insert into docs values (?, 'me', ?) on conflict do update set body = ?",
                       (name, text, text))  # fmt: skip
            db.execute(f"delete from {table} where id = ?", (name,))
            db.execute(f"insert into {table} (id, {column}) values (?, ?)", (name, vector))

    def old_vectors():
        return dict(db.execute("select id, embedding from vectors"))

    for number in range(N):
        write(number, text_of(number))
    before = old_vectors()
    plan = plan_of(f"sqlite://{tmp_path}/app.db?text=docs.body#vectors", models)
    with opened(plan, path, models) as migration:
        migration.run()
        for name in (4000, 4001):
            write(name, text_of(name))
        write(5, text_of(5, edition=1))
        migration.cut_over()
    asked = f"select l.id, d.body from {plan.target.alias} l join docs d on d.id = l.id " \
        "where embedding match ? and k = 1"  # fmt: skip
    for number, edition in ((5, 1), (30, 0), (4001, 0)):
        text = text_of(number, edition)
        vector = models.new.encode([text])[0].tobytes()
        assert db.execute(asked, (vector,)).fetchall() == [(number, text)]
    # now the application goes on by the new model, and knows nothing of the old table
    since = {9: text_of(9, edition=2), 4000: text_of(4000, edition=2), 5000: text_of(5000)}
    for name, text in since.items():
        write(name, text, "vectors__new", "new", models.new)
    with db:
        db.execute("delete from docs where id = 11")
        db.execute("delete from vectors__new where id = 11")
    docs = db.execute("select * from docs order by id").fetchall()
    with opened(plan, path, models) as migration:
        migration.rollback()
    after = old_vectors()
    assert db.execute("select * from docs order by id").fetchall() == docs
    assert set(after) == {*range(N), 4000, 4001, 5000} - {11} == {row[0] for row in docs}
    texts = {name: body for name, _, body in docs}
    assert {i for i in range(N) if i != 11 and after[i] != before[i]} == {5, 9}
    for name in (5, 9, 4000, 4001, 5000):
        assert after[name] == models.old.encode([texts[name]])[0].tobytes()
    assert db.execute("select count(*) from pragma_table_list where name like '%new%'").fetchall(
    ) == [(0,)]  # fmt: skip
    db.close()


def test_no_time_is_left_where_more_is_filled_than_there_is(lance, path, models):
    with opened(plan_of(lance, models), path, models) as migration:
        migration.run()
        migration.store.first.delete(np.array([12]))
        status = migration.status()
        assert (status.count, status.filled, status.seconds_left) == (N - 1, N, 0)
        assert "s left" not in str(status)
