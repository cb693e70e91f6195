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
