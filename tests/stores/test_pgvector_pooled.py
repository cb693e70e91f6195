from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlparse

import numpy as np
import pytest
from tests.stores.conformance import gaussian, read_all
from tests.stores.pooler import pooler

from isthmus.errors import StoreChangedError
from isthmus.stores import create_store, open_store

psycopg = pytest.importorskip("psycopg")


@pytest.fixture(scope="module")
def pooled(postgres):
    """The URL of the server behind a pooler of transactions."""
    asked = parse_qs(urlparse(postgres).query)
    with pooler(str(Path(asked["host"][0], ".s.PGSQL.5432"))) as address:
        yield f"postgresql://postgres@{address}/postgres"


def test_a_pooler_of_transactions_changes_nothing(pooled, name):
    rows, new = gaussian(300), gaussian(300, seed=5)
    ids = np.arange(300)
    with create_store(f"{pooled}#{name}", ids, {"v": rows}) as store:
        exact = store.search(rows[:7], 120, column="v")
        store.build_index("v")
        store.add_column("new", new.shape[1])
        assert store.put(ids, new, column="new") == 300
        np.testing.assert_array_equal(store.fetch(ids, column="new").vectors, new)
        whole = read_all(store, column="v", batch=70)
        np.testing.assert_array_equal(np.concatenate(whole["vectors"]), rows)
        store.swap_alias(f"{name}_live", None, f"{name}.v")
        ledger = store.ledger("journal")
        for number in range(8):
            ledger.append(number, str(number))
        assert list(ledger.read()) == [str(number) for number in range(8)]
    with open_store(f"{pooled}#{name}") as store:
        assert not store.describe().column("v").exact
        # sessions that each were told how far to look, by turns
        for _ in range(5):
            found = store.search(rows[:7], 120, column="v")
            np.testing.assert_array_equal(np.sort(found.ids), np.sort(exact.ids))


def test_two_processes_behind_a_pooler_are_not_both_at_work(pooled, postgres, name):
    create_store(f"{pooled}#{name}", ["a"], {"v": gaussian(1)}).close()
    with open_store(f"{pooled}#{name}") as one, open_store(f"{postgres}#{name}") as two:
        for mine, theirs in ((one, one), (one, two), (two, one)):
            with mine.ledger("journal").held():
                with (
                    pytest.raises(StoreChangedError, match="at work"),
                    theirs.ledger("journal").held(),
                ):
                    pass
                assert mine.count() == 1
    with psycopg.connect(postgres) as connection:
        asked = "select count(*) from pg_locks where locktype = 'advisory'"
        assert connection.execute(asked).fetchone() == (0,)


def test_a_run_behind_a_pooler_keeps_no_snapshot(pooled, postgres, sql, name):
    """An index that is built meanwhile would wait for it for ever, and no row be vacuumed."""
    role = f"strict_{name}"
    sql.execute(f"create role {role} login superuser")
    sql.execute(f"alter role {role} set default_transaction_isolation = 'repeatable read'")
    sql.execute(f"alter role {role} set statement_timeout = '10s'")
    create_store(f"{postgres}#{name}", np.arange(300), {"v": gaussian(300)}).close()
    try:
        with open_store(f"{pooled.replace('postgres@', role + '@')}#{name}") as store:
            with store.ledger("journal").held():
                kept = "select backend_xmin from pg_stat_activity where usename = %s"
                assert set(sql.execute(kept, (role,)).fetchall()) == {(None,)}
                store.build_index("v")
            assert not store.describe().column("v").exact
    finally:
        sql.execute(f"drop role {role}")
