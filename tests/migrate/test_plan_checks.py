"""What a plan refuses before anything is measured, and a run before anything is written."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from isthmus.errors import InputError, StorePermissionError
from isthmus.migrate.plan_checks import absolute, check_granted, checked_store
from isthmus.progress import silent
from isthmus.stores import MemoryStore, Store, open_store
from isthmus.stores.url import SCHEMES, Scheme


class Lacking:
    """A store whose user was not granted all."""

    url = "the shop"

    def __init__(self, needed: tuple[str, ...]) -> None:
        self._needed = needed

    def grants_needed(self) -> tuple[str, ...]:
        return self._needed


def test_a_run_says_what_has_to_be_granted() -> None:
    needed = ("GRANT CREATE ON SCHEMA shop TO app", "GRANT REFERENCES ON shop.docs TO app")
    check_granted(cast(Store, Lacking(())))
    check_granted(MemoryStore())
    with pytest.raises(StorePermissionError) as raised:
        check_granted(cast(Store, Lacking(needed)))
    assert str(raised.value) == (
        "the shop: this user may not move the collection. Let somebody who may run: "
        "GRANT CREATE ON SCHEMA shop TO app; GRANT REFERENCES ON shop.docs TO app."
    )


@pytest.mark.parametrize("local", [True, False])
def test_a_new_kind_of_store_says_itself_whether_its_place_is_of_this_machine(
    local: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan is run from another folder than it was made in."""
    monkeypatch.setitem(SCHEMES, "shelf", Scheme("shelf", "Shelf", local=local))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "db").mkdir()
    place = tmp_path.resolve() / "db" if local else "db"
    assert absolute("shelf://db?id=name#docs") == f"shelf://{place}?id=name#docs"


def test_a_vector_of_zeros_is_named(postgres, models) -> None:
    psycopg = pytest.importorskip("psycopg")
    url, table = f"{postgres}#zeros", "zeros (id int primary key, text text, vector vector(8))"
    with psycopg.connect(postgres, autocommit=True) as sql:
        sql.execute(f"create table {table}")
        sql.execute(
            "insert into zeros select i, 'text of ' || i, array_fill((i <> 4)::int, array[8])::"
            "real[]::vector from generate_series(1, 9) i"
        )
    with open_store(url) as store:
        held = store.describe()
        with pytest.raises(InputError, match="vector of item '4' in column 'vector' is all zeros"):
            checked_store(store, held, 9, "vector", models.new, silent, mapped=False)
