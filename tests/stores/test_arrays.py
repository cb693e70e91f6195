from __future__ import annotations

import numpy as np
import pytest
from tests.stores.conformance import gaussian, ids_of, read_all

from isthmus.errors import InputError, UnsupportedError
from isthmus.spaces.writers import open_writer
from isthmus.stores import create_store, open_store

ROWS = gaussian(6)


@pytest.mark.parametrize("suffix", [".npy", ".parquet"])
def test_what_isthmus_writes_is_a_store(tmp_path, suffix):
    path = tmp_path / f"docs{suffix}"
    ids = ids_of("str", 6)
    with open_writer(path, 8) as writer:
        writer.write(ROWS, ids)
    store = open_store(f"{path}?metric=dot" if suffix == ".npy" else path)
    found = read_all(store, column=store.column, batch=4)
    assert found["ids"].tolist() == ids.tolist()
    np.testing.assert_array_equal(np.concatenate(found["vectors"]), ROWS)
    assert store.search(ROWS[:1], 1, column=store.column).found.all()


def test_rows_without_ids_are_numbered(tmp_path):
    np.save(tmp_path / "a.npy", ROWS)
    store = open_store(tmp_path / "a.npy")
    assert store.describe().key == "int"
    assert store.search(ROWS[3:4], 1, column="vector").ids.tolist() == [[3]]


def test_nothing_is_written(tmp_path):
    np.save(tmp_path / "a.npy", ROWS)
    before = (tmp_path / "a.npy").read_bytes()
    store = open_store(tmp_path / "a.npy")
    assert not store.describe().capabilities.writable
    for write in (
        lambda: store.put(np.arange(6), -ROWS, column="vector"),
        lambda: store.add(np.arange(6), {"vector": -ROWS}),
        lambda: store.delete(np.arange(6)),
        lambda: store.add_column("new", 3),
        lambda: create_store(tmp_path / "b.npy", np.arange(6), {"vector": ROWS}),
    ):
        with pytest.raises(UnsupportedError):
            write()
    assert (tmp_path / "a.npy").read_bytes() == before
    assert not (tmp_path / "b.npy").exists()


def test_a_column_that_is_not_there(tmp_path):
    np.save(tmp_path / "a.npy", ROWS)
    with pytest.raises(InputError, match="no vector column 'vectors'.*'vector'"):
        open_store(f"{tmp_path}/a.npy#vectors")
