from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
import zlib

import numpy as np
import pytest
from tests.databases import KINDS, url_of
from tests.stores.conformance import gaussian

from isthmus.errors import StoreChangedError, StoreError, UnsupportedError
from isthmus.stores import MemoryStore, create_store, open_store
from isthmus.stores.ledger import FileLedger

HOLD = """
import sys
from pathlib import Path
from isthmus.stores.ledger import FileLedger
with FileLedger(Path(sys.argv[1])).held():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(params=KINDS)
def store(request, tmp_path):
    # Chroma's own modules warn
    url = url_of(request.param, tmp_path, request)
    with create_store(url, ["a", "b"], {"v": gaussian(2)}, {"text": ["x", "y"]}) as made:
        yield made


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_kind_of_store_keeps_one(store):
    ledger = store.ledger("journal")
    assert list(ledger.read()) == []
    for number, text in enumerate(["zero", "öne", "%s {}'"]):
        ledger.append(number, text)
    again = store.ledger("journal")
    assert list(again.read()) == ["zero", "öne", "%s {}'"]
    assert list(again.read(2)) == ["%s {}'"]
    for number in (0, 2, 4):
        with pytest.raises(StoreChangedError, match="another process"):
            again.append(number, "late")
    again.append(3, "three")
    with pytest.raises(StoreChangedError, match="another process"):
        ledger.append(3, "also three")
    assert list(store.ledger("other").read()) == []
    with ledger.held(), pytest.raises(StoreChangedError, match="at work"), again.held():
        pass
    with again.held():
        pass
    ledger.erase()
    assert list(again.read()) == []
    ledger.append(0, "anew")
    # the items are what they were
    assert store.count() == 2


def test_memory_keeps_none():
    with pytest.raises(UnsupportedError):
        MemoryStore(vectors={"v": gaussian(2)}).ledger("journal")


def test_a_line_that_a_crash_cut_is_not_there(tmp_path):
    ledger = FileLedger(tmp_path / "journal")
    ledger.append(0, "zero")
    with (tmp_path / "journal").open("ab") as file:
        file.write(b"half of a li")
    assert list(ledger.read()) == ["zero"]
    ledger.append(1, "one")
    assert (tmp_path / "journal").read_text() == "zero\none\n"


def test_what_is_no_text_is_refused(tmp_path):
    (tmp_path / "journal").write_bytes(b"\xff\xfe\n")
    with pytest.raises(StoreError, match="not text"):
        list(FileLedger(tmp_path / "journal").read())


def test_an_entry_that_nobody_wrote_so_long_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("isthmus.stores.ledger.LONGEST_ENTRY", 8)
    ledger = FileLedger(tmp_path / "journal")
    with pytest.raises(ValueError, match="at most 8 bytes, this has 9"):
        ledger.append(0, "9" * 9)
    ledger.append(0, "8" * 8)
    assert list(ledger.read()) == ["8" * 8]
    for content in (b"8" * 9 + b"\n", bytes(100)):
        (tmp_path / "journal").write_bytes(b"zero\n" + content)
        with pytest.raises(StoreError, match="entry 1 has more than 8 bytes"):
            list(ledger.read())
        with pytest.raises(StoreError, match="entry 1 has more than 8 bytes"):
            ledger.append(1, "one")


def test_an_entry_of_postgresql_unpacks_to_no_more_than_was_written(postgres, numbers):
    pytest.importorskip("psycopg")
    import psycopg

    url = f"{postgres}#ledger{next(numbers)}"
    with create_store(url, ["a"], {"v": gaussian(1)}) as store:
        ledger = store.ledger("journal")
        ledger.append(0, "zero")
        for body in (zlib.compress(bytes(1 << 28)), zlib.compress(b"one")[:-1], b"one"):
            with psycopg.connect(postgres) as connection:
                connection.execute(
                    "update isthmus_ledger set body = %s where name = %s",
                    (body, ledger.where.rpartition(", ")[2]),
                )
            tracemalloc.start()
            with pytest.raises(StoreError, match="entry 0 is not as it was written"):
                list(ledger.read())
            _, most = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert most < 3 << 26
        ledger.erase()


def test_another_process_is_kept_out_until_it_dies(tmp_path):
    file = tmp_path / "journal"
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(file)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    with pytest.raises(StoreChangedError, match="at work"), FileLedger(file).held():
        pass
    other.kill()
    other.communicate()
    with FileLedger(file).held():
        pass


def test_a_full_disk_leaves_the_ledger_as_it_was(tmp_path, monkeypatch):
    ledger = FileLedger(tmp_path / "journal")
    ledger.append(0, "zero")
    real = os.write

    def cut(descriptor, data):
        real(descriptor, bytes(data)[:2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", cut)
    with pytest.raises(OSError, match="No space left"):
        ledger.append(1, "one")
    monkeypatch.undo()
    assert (tmp_path / "journal").read_text() == "zero\n"
    ledger.append(1, "one")
    assert list(ledger.read()) == ["zero", "one"]


def test_the_only_table_of_a_database_is_still_found(postgres):
    pytest.importorskip("psycopg")
    import psycopg

    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("create database of_one")
    start, slash, end = postgres.rpartition("/postgres")
    other = f"{start}{slash.replace('postgres', 'of_one')}{end}"
    with psycopg.connect(other, autocommit=True) as connection:
        connection.execute("create extension vector")
    with create_store(f"{other}#docs", np.arange(2), {"v": gaussian(2)}) as store:
        store.ledger("journal").append(0, "zero")
    with open_store(other) as store:
        assert store.describe().name == "docs"
