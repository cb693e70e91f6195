"""Pages of Parquet files: every writer's are read, and none may take more than its column."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.errors import InputError
from isthmus.spaces.formats import parquet_file
from isthmus.spaces.formats.parquet_file import (
    Chunk,
    column_chunks,
    open_parquet_file,
    page_header,
    pages_of,
)

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

ROWS = 3_000


def _table() -> Any:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((ROWS, 24), dtype=np.float32)
    return pa.table(
        {
            "id": pa.array([f"doc-{i}" for i in range(ROWS)]),
            # the least and the largest value stand in the headers of pages
            "text": pa.array(["x" * (1 + 7919 * i % 5_000) for i in range(ROWS)]),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 24),
            "tags": pa.array([[f"t{i % 5}"] * (i % 3) for i in range(ROWS)]),
            "some": pa.array([None if i % 3 else {"a": i, "b": i / 2} for i in range(ROWS)]),
        }
    )


WRITERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "old": {"version": "1.0", "use_dictionary": False, "compression": "NONE"},
    "pages of version 2": {"data_page_version": "2.0", "compression": "zstd"},
    "small pages": {"data_page_size": 512, "row_group_size": 700, "compression": "gzip"},
    "checksums": {"write_page_checksum": True, "compression": "lz4"},
    "an index of pages": {"write_page_index": True, "compression": "brotli"},
}


@pytest.mark.parametrize("writer", WRITERS)
def test_what_other_writers_write_is_read(tmp_path: Path, writer: str) -> None:
    table, path = _table(), tmp_path / "a.parquet"
    pq.write_table(table, path, **WRITERS[writer])
    with open_parquet_file(path) as opened:
        assert opened.read().equals(table)
        footer = opened.metadata
    # the pages that are walked through are the whole of each column
    with path.open("rb") as raw:
        for group in range(footer.num_row_groups):
            for column in range(footer.num_columns):
                chunk = footer.row_group(group).column(column)
                sizes = list(pages_of(raw, chunk))
                taken = sum(compressed for compressed, _ in sizes)
                assert 0 < taken < chunk.total_compressed_size
                assert sum(size for _, size in sizes) < chunk.total_uncompressed_size
    with path.open("rb") as file, open_parquet_file(file) as opened:
        assert opened.read().equals(table)


def _varint(value: int) -> bytes:
    coded, found = value << 1, bytearray()
    while coded > 127:
        found.append(coded & 127 | 128)
        coded >>= 7
    return bytes([*found, coded])


@pytest.mark.parametrize("field", ["compressed", "uncompressed"])
@pytest.mark.parametrize("claimed", [2**31 - 1, 10**9])
def test_a_page_that_claims_more_is_refused_before_it_is_read(
    tmp_path: Path, field: str, claimed: int
) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(_table().select(["vector"]), path, use_dictionary=False, compression="snappy")
    chunk = pq.ParquetFile(path).metadata.row_group(0).column(0)
    at = chunk.data_page_offset
    content = bytearray(path.read_bytes())
    with path.open("rb") as raw:
        _, (compressed, uncompressed) = page_header(raw, at)
    true = {"compressed": compressed, "uncompressed": uncompressed}[field]
    place = content.index(_varint(true), at)
    # the bytes behind it move; nothing is read that far
    content[place : place + len(_varint(true))] = _varint(claimed)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"column 'vector.*a page says that it"):
        open_parquet_file(path)


def test_a_header_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(_table().select(["id"]), path)
    content = bytearray(path.read_bytes())
    content[4:40] = b"\xff" * 36
    path.write_bytes(content)
    with pytest.raises(
        InputError,
        match="not a readable Parquet file .column 'id'.*header of a page cannot be read",
    ):
        open_parquet_file(path)


def test_only_the_groups_that_are_read_are_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(_table().select(["id"]), path, row_group_size=1000)
    footer = pq.ParquetFile(path).metadata
    content = bytearray(path.read_bytes())
    place = footer.row_group(2).column(0).data_page_offset
    content[place : place + 20] = b"\xff" * 20
    path.write_bytes(content)
    with open_parquet_file(path, [0, 1]) as opened:
        assert opened.read_row_groups([0, 1]).num_rows == 2000
    with pytest.raises(InputError, match="row group 2"):
        open_parquet_file(path)


@given(st.binary(max_size=300))
def test_any_bytes_end_soon(data: bytes) -> None:
    try:
        length, _ = page_header(BytesIO(data), 0)
    except IndexError:
        return
    assert length <= len(data)


def test_the_footer_says_what_pyarrow_reads_in_it(tmp_path: Path) -> None:
    rows = {"id": [f"{i}" for i in range(300)], "vector": [[1.0, float(i)] for i in range(300)]}
    pq.write_table(pa.table(rows), tmp_path / "a.parquet", row_group_size=70)
    with (tmp_path / "a.parquet").open("rb") as raw:
        found = column_chunks(raw)
    footer = pq.read_metadata(tmp_path / "a.parquet")
    assert len(found) == footer.num_row_groups == 5
    for group, columns in enumerate(found):
        assert len(columns) == footer.num_columns == 2
        for column, chunk in enumerate(columns):
            told = footer.row_group(group).column(column)
            assert chunk == Chunk(*(getattr(told, name) for name in Chunk._fields))


def test_numbers_of_a_column_that_disagree_do_not_end_the_process(tmp_path: Path) -> None:
    """A column said to hold no nulls, whose counts of nulls are those of one that may."""
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": [[1.0, None]] * 50, "y": [1, None] * 25}), path)
    content = bytearray(path.read_bytes())
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    data = bytes(content[start:-8])
    optional: list[int] = []

    def element(at: int) -> int:
        """A column of the schema, whose third field is 1 where it may hold nulls."""
        told, end = parquet_file._struct(data, at, 1)
        for place in range(at, end):
            other = data[:place] + b"\0" + data[place + 1 :]
            with suppress(IndexError):
                if told.get(3) == 1 and parquet_file._struct(other, at, 1) == ({**told, 3: 0}, end):
                    optional.append(place)
        return end

    parquet_file._struct(data, 0, 0, {2: parquet_file._structs(data, element)})
    assert optional
    for at in optional:
        content[start + at] = 0
    path.write_bytes(content)
    program = (
        "import sys; from pathlib import Path\n"
        "from isthmus.errors import InputError\n"
        "from isthmus.spaces.readers import open_vectors\n"
        "try:\n    open_vectors(sys.argv[1]).rows(0, 1)\n"
        "except InputError as error:\n    print('refused', error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("refused")


def test_the_footer_of_many_columns_is_read_in_one_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = []
    for columns in (100, 400):
        path = tmp_path / f"{columns}.parquet"
        table = pa.table({f"c{i}": np.ones(3) for i in range(columns)})
        pq.write_table(table, path)
        read, calls = parquet_file._varint, 0

        def counted(data: bytes, at: int, read=read) -> tuple[int, int]:
            nonlocal calls
            calls += 1
            return read(data, at)

        with monkeypatch.context() as patched, path.open("rb") as raw:
            patched.setattr(parquet_file, "_varint", counted)
            assert [len(group) for group in column_chunks(raw)] == [columns]
        counts.append(calls)
    assert counts[1] < 5 * counts[0]
    assert counts[1] < 400 * 60


def test_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    from isthmus.spaces.readers import open_vectors

    rows = pa.FixedSizeListArray.from_arrays(pa.array(np.ones(8)), 2)
    ids = pa.array(list("abcd"))
    for names in (["id", "vector", "vector"], ["id", "vector", "id"]):
        third = rows if names[2] == "vector" else ids
        pq.write_table(pa.table([ids, rows, third], names=names), tmp_path / "a.parquet")
        with pytest.raises(InputError, match=f"2 columns are called '{names[2]}'"):
            open_vectors(tmp_path / "a.parquet")


def test_a_footer_alone_does_not_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq.write_table(_table(), tmp_path / "a.parquet", row_group_size=100)
    open_parquet_file(tmp_path / "a.parquet").close()
    monkeypatch.setattr(parquet_file, "_MOST_FOOTER", 5_000)
    with pytest.raises(InputError, match=r"its footer takes [\d,]+ bytes, and 5,000 at the most"):
        open_parquet_file(tmp_path / "a.parquet")
