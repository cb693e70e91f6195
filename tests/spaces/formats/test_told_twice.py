"""What a file says twice, or at any length, is refused: nobody knows what is meant."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.json_text import read_json, read_json_at
from isthmus.spaces import json_values
from isthmus.spaces.formats import arrow, contents, csv_file, word2vec
from isthmus.spaces.readers import open_vectors

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def test_a_key_that_stands_twice_in_an_object() -> None:
    for text in ('{"a": 1, "a": 1}', '[{"b": {"c": 1, "a": 2, "a": 3}}]'):
        for read in (read_json, lambda text: read_json_at(text, 0)):
            with pytest.raises(ValueError, match="the key 'a' stands twice in one object"):
                read(text)
    assert read_json('[{"a": 1}, {"a": {"a": 2}}]') == [{"a": 1}, {"a": {"a": 2}}]


def test_vectors_that_are_told_twice(tmp_path: Path) -> None:
    rows = np.ones((4, 2), np.float32)
    content = io.BytesIO()
    np.save(content, rows)
    with (
        pytest.warns(UserWarning, match="Duplicate name"),
        zipfile.ZipFile(tmp_path / "a.npz", "w") as archive,
    ):
        for _ in range(2):
            archive.writestr("x.npy", content.getvalue())
    with pytest.raises(InputError, match=r"a.npz:x: two arrays of the archive have this name"):
        open_vectors(tmp_path / "a.npz")

    one = '"x": {"dtype": "F32", "shape": [4, 2], "data_offsets": [0, 32]}'
    header = f"{{{one}, {one}}}".encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + rows.tobytes())
    with pytest.raises(InputError, match="the key 'x' stands twice"):
        open_vectors(path)

    path = tmp_path / "a.jsonl"
    path.write_text('{"id": "a", "vector": [1, 2], "vector": [3, 4]}\n')
    with pytest.raises(InputError, match="the key 'vector' stands twice"):
        open_vectors(path)


def test_lines_and_columns_without_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    rows = [{"id": i, "vector": [1.0, 2.0], "text": "x" * 40 * i} for i in range(3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setattr(json_values, "_LONGEST", 100)
    with pytest.raises(InputError, match=r"a.jsonl, line 3: the value has more than 100 charact"):
        open_vectors(path)

    path = tmp_path / "a.csv"
    path.write_text("id," + ",".join(f"v{i}" for i in range(30)) + "\n" + "1," * 30 + "1\n")
    monkeypatch.setattr(arrow, "_MOST_COLUMNS", 20)
    with pytest.raises(InputError, match="it has 31 columns, and 20 at the most"):
        open_vectors(path)
    monkeypatch.setattr(csv_file, "_LONGEST_LINE", 50)
    with pytest.raises(InputError, match="the first line has more than 50 characters"):
        open_vectors(path)


def test_small_files_that_unpack_to_large_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zeros = np.zeros((4096, 64), np.float32)
    monkeypatch.setattr(contents, "_UNPACKED_FREELY", 1 << 18)
    np.savez_compressed(tmp_path / "a.npz", vectors=zeros)
    pq.write_table(pa.table({"vector": list(zeros)}), tmp_path / "a.parquet", compression="zstd")
    for name in ("a.npz", "a.parquet"):
        message = rf"{name}.*: [\d,]+ bytes unpack to [\d,]+ or more, over 500 times as many"
        with pytest.raises(InputError, match=message):
            open_vectors(tmp_path / name)

    honest = np.random.default_rng(0).normal(size=zeros.shape).round(1).astype(np.float32)
    np.savez_compressed(tmp_path / "b.npz", vectors=honest)
    assert open_vectors(tmp_path / "b.npz").n == len(honest)


ZEROS = " ".join(["0"] * 4096)
LIST = ZEROS.replace(" ", ",")


@pytest.mark.parametrize(
    ("name", "head", "row"),
    [
        ("a.bin.gz", b"4096 4096\n", b"a " + bytes(4 * 4096)),
        ("a.vec.gz", b"4096 4096\n", f"a {ZEROS}\n".encode()),
        ("a.jsonl.gz", b"", f'{{"id": 1, "embedding": [{LIST}]}}\n'.encode()),
        ("b.jsonl.gz", b"", f'{{"a": {{"embedding": [[{LIST}]], "b": 1}}}}\n'.encode()),
        ("c.jsonl.gz", b"", f'{{"embedding": "{"AAAA" * 4096}"}}\n'.encode()),
    ],
)
def test_no_more_of_a_packed_file_is_held_than_a_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, head: bytes, row: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(head + row * 4096))
    monkeypatch.setattr(contents, "_UNPACKED_FREELY", 1 << 18)
    monkeypatch.setattr(contents, "_MOST_TIMES", 4)
    monkeypatch.setattr(contents, "_BLOCK_VALUES", 1 << 16)
    monkeypatch.setattr(word2vec, "_BLOCK_BYTES", 1 << 20)
    tracemalloc.start()
    with pytest.raises(InputError, match="or more, over 4 times as many"):
        open_vectors(path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1 << 24
