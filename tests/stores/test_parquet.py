from __future__ import annotations

import itertools

import numpy as np
import pytest
from tests.stores.conformance import DIM, Conformance, gaussian, ids_of, read_all

from isthmus.errors import (
    InputError,
    OutputError,
    StoreChangedError,
    StoreUnavailableError,
    UnsupportedError,
)
from isthmus.stores import create_store, open_store

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


class TestParquet(Conformance):
    @pytest.fixture(params=["docs{}.parquet", "folder{}"])
    def make(self, tmp_path, request):
        numbers = itertools.count()

        def make(ids, vectors, payload=None, metric="cosine"):
            path = tmp_path / request.param.format(next(numbers))
            return create_store(f"parquet://{path}", ids, vectors, payload, metric=metric)

        return make


ROWS = gaussian(6)


def table(ids, rows, **columns):
    vectors = pa.array([None if r is None else r.tolist() for r in rows], pa.list_(pa.float32()))
    return pa.table({"doc_id": ids, "emb": vectors, **columns})


def test_a_folder_of_somebody_else(tmp_path):
    (tmp_path / "docs").mkdir()
    pq.write_table(table([1, 2], ROWS[:2], body=["a", "b"]), tmp_path / "docs" / "0.parquet")
    pq.write_table(table([3, 4], [ROWS[2], None], body=["c", "d"]), tmp_path / "docs" / "1.parquet")
    store = open_store(tmp_path / "docs")
    said = store.describe()
    assert (said.key, said.text_field, store.count()) == ("int", "body", 4)
    assert store.filled("emb") == 3
    assert said.column("emb").dim == DIM
    found = store.fetch(np.arange(1, 5), column="emb")
    np.testing.assert_array_equal(found.vectors[:3], ROWS[:3])
    assert found.present.tolist() == [True, True, True, False]
    assert store.put(np.array([4]), ROWS[3:4], column="emb") == 1
    assert open_store(f"{tmp_path}/docs#emb").filled("emb") == 4
    assert store.texts(np.array([2, 4])) == ["b", "d"]


def test_a_folder_with_other_files_is_not_rewritten(tmp_path):
    (tmp_path / "docs").mkdir()
    pq.write_table(table([1, 2], ROWS[:2]), tmp_path / "docs" / "0.parquet")
    (tmp_path / "docs" / "README").write_text("mine")
    store = open_store(tmp_path / "docs")
    with pytest.raises(UnsupportedError, match="other files too, such as README"):
        store.put(np.array([1]), ROWS[3:4], column="emb")
    np.testing.assert_array_equal(store.fetch(np.array([1]), column="emb").vectors, ROWS[:1])
    assert (tmp_path / "docs" / "README").read_text() == "mine"


@pytest.mark.parametrize(
    ("ids", "rows", "message"),
    [
        ([1, 1], ROWS[:2], "occurs twice"),
        ([1, None], ROWS[:2], "an id is null"),
        ([1, 2, 3], [ROWS[0], None, ROWS[1, :5]], "row 2: the vector has 5 numbers.*have 8"),
        ([1, 2], [ROWS[0], np.full(DIM, np.nan, np.float32)], "not finite"),
    ],
)
def test_what_no_store_can_be_made_of(tmp_path, ids, rows, message):
    pq.write_table(table(ids, rows), tmp_path / "docs.parquet")
    with pytest.raises(InputError, match=message):
        open_store(tmp_path / "docs.parquet").describe()


def test_names_that_do_not_exist(tmp_path):
    pq.write_table(table([1], ROWS[:1]), tmp_path / "docs.parquet")
    with pytest.raises(InputError, match=r"no file 'dosc.parquet'. Did you mean 'docs.parquet'"):
        open_store(tmp_path / "dosc.parquet")
    with pytest.raises(InputError, match="no vector column 'enb'.*'emb'"):
        open_store(f"{tmp_path}/docs.parquet#enb")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match="not a readable Parquet file"):
        open_store(tmp_path / "bad.parquet").describe()


def test_a_damaged_page_is_an_error_that_names_the_file(tmp_path):
    path = tmp_path / "docs.parquet"
    pq.write_table(table(list(range(200)), gaussian(200)), path)
    content = bytearray(path.read_bytes())
    content[4:40] = bytes(36)  # the footer, which is read when it is opened, is whole
    path.write_bytes(content)
    store = open_store(path)
    with pytest.raises(InputError, match=r"docs.parquet: not a readable Parquet file"):
        store.describe()


def test_somebody_else_replaces_the_file(tmp_path):
    path = tmp_path / "docs.parquet"
    store = create_store(path, ids_of("str", 6), {"v": ROWS})
    scan = store.scan(column="v", batch=2)
    first = next(scan)
    create_store(tmp_path / "new.parquet", ids_of("str", 6)[3:], {"v": ROWS[3:]})
    (tmp_path / "new.parquet").replace(path)
    assert store.count() == 3
    assert len([i for batch in scan for i in batch.ids]) == 4  # as it was when it began
    with pytest.raises(StoreChangedError, match="where the scan stopped, is gone"):
        list(store.scan(after=first.cursor))
    path.unlink()
    for ask in (store.describe, lambda: store.put(ids_of("str", 6), ROWS, column="v")):
        with pytest.raises(StoreUnavailableError, match="the file is gone"):
            ask()
    assert not path.exists()


def test_a_disk_that_refuses_changes_nothing(tmp_path, monkeypatch):
    path = tmp_path / "docs.parquet"
    ids = ids_of("str", 6)
    store = create_store(path, ids, {"v": ROWS})
    before = path.read_bytes()

    def refuse(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", refuse)
    with pytest.raises(OutputError, match="the disk is full"):
        store.put(ids, -ROWS, column="v")
    assert path.read_bytes() == before
    np.testing.assert_array_equal(store.fetch(ids, column="v").vectors, ROWS)


def test_an_alias_beside_the_file_opens_it(tmp_path):
    ids = ids_of("str", 6)
    store = create_store(tmp_path / "a.parquet", ids, {"v": ROWS, "w": -ROWS})
    create_store(tmp_path / "b.parquet", ids[:2], {"v": ROWS[:2]})
    store.swap_alias("live", None, "a.parquet#w")
    assert open_store(tmp_path / "live").column == "w"
    store.swap_alias("live", "a.parquet#w", "b.parquet")
    assert open_store(tmp_path / "live").count() == 2
    with pytest.raises(InputError, match="name of a file"):
        store.swap_alias("a.parquet", None, "b.parquet")


def test_a_file_is_not_made_twice(tmp_path):
    create_store(tmp_path / "a.parquet", ids_of("str", 6), {"v": ROWS})
    with pytest.raises(OutputError, match="exists already"):
        create_store(tmp_path / "a.parquet", ids_of("str", 2), {"v": ROWS[:2]})
    assert len(read_all(open_store(tmp_path / "a.parquet"))["ids"]) == 6
