"""What people's tools write beside the plain forms is the same rows, or is refused."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.spaces.readers import open_vectors

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

ROWS = np.random.default_rng(4).standard_normal((30, 4)).astype(np.float32)
NAMES = [f"wört{i}" for i in range(30)]


def _binary(path: Path, ends: bytes = b"", rows: int = 30) -> None:
    words = zip(NAMES[:rows], ROWS, strict=False)
    body = b"".join(name.encode() + b" " + row.tobytes() + ends for name, row in words)
    path.write_bytes(b"30 4\n" + body)


def _feather_1(path: Path) -> None:
    from pyarrow import feather

    table = pa.table({"id": NAMES, **{f"d{i}": ROWS[:, i] for i in range(4)}})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        feather.write_feather(table, path, version=1)


def _lines(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _semicolons(path: Path, point: str) -> None:
    rows = [
        ";".join([name, *(repr(v).replace(".", point) for v in row)])
        for name, row in zip(NAMES, ROWS.tolist(), strict=True)
    ]
    _lines(path, ["id;d0;d1;d2;d3", *rows])


def _printed(path: Path) -> None:
    with np.printoptions(floatmode="unique"):
        rows = [f'{name},"{row}"' for name, row in zip(NAMES, ROWS, strict=True)]
    _lines(path, ["id,embedding", *rows])


WRITTEN: dict[str, tuple[str, Callable[[Path], Any], bool]] = {
    "word2vec": ("a.bin", lambda p: _binary(p, b"\n"), True),
    "gensim": ("a.bin", _binary, True),
    "gensim, named as text": ("a.w2v", _binary, True),
    "R": ("a.feather", _feather_1, True),
    "a spreadsheet": ("a.csv", lambda p: _semicolons(p, "."), True),
    "a spreadsheet with decimal commas": ("a.csv", lambda p: _semicolons(p, ","), True),
    "pandas, of numpy rows": ("a.csv", _printed, True),
    "numpy.savetxt": ("a.csv", lambda p: np.savetxt(p, ROWS, delimiter=","), False),
    "a bare list": ("a.json", lambda p: p.write_text(json.dumps(ROWS.tolist())), False),
    "bare lists on lines": ("a.jsonl", lambda p: _lines(p, list(map(str, ROWS.tolist()))), False),
    "names and vectors": (
        "a.json",
        lambda p: p.write_text(json.dumps(dict(zip(NAMES, ROWS.tolist(), strict=True)))),
        True,
    ),
    "Ollama": (
        "a.json",
        lambda p: p.write_text(json.dumps({"model": "m", "embeddings": ROWS.tolist()})),
        False,
    ),
    "Cohere": (
        "a.json",
        lambda p: p.write_text(
            json.dumps({"id": "x", "embeddings": {"float": ROWS.tolist()}, "texts": NAMES})
        ),
        False,
    ),
    "Gemini": (
        "a.json",
        lambda p: p.write_text(json.dumps({"embeddings": [{"values": r} for r in ROWS.tolist()]})),
        False,
    ),
}


@pytest.mark.parametrize("tool", WRITTEN)
def test_the_rows_are_those_that_were_written(tool: str, tmp_path: Path) -> None:
    name, write, named = WRITTEN[tool]
    path = tmp_path / name
    write(path)
    opened = open_vectors(path)
    np.testing.assert_allclose(opened.rows(0, 30), ROWS, rtol=1e-6, atol=1e-7)
    assert (opened.ids is not None) == named
    if opened.ids is not None:
        assert opened.ids.tolist() == NAMES


@pytest.mark.parametrize("kind", ["parquet", "csv", "feather"])
def test_shards_of_arrays_take_their_ids_from_a_table(kind: str, tmp_path: Path) -> None:
    from pyarrow import csv, feather

    folder = tmp_path / "shards"
    folder.mkdir()
    for number in range(12):
        part = slice(number * 30 // 12, (number + 1) * 30 // 12)
        np.save(folder / f"part-{number}.npy", ROWS[part])
    ids = tmp_path / f"ids.{kind}"
    table = pa.table({"title": NAMES[::-1], "id": NAMES})
    write = {"parquet": pq.write_table, "csv": csv.write_csv, "feather": feather.write_feather}
    write[kind](table, ids)
    opened = open_vectors(folder, ids=str(ids))
    np.testing.assert_array_equal(opened.rows(0, 30), ROWS)
    assert opened.ids is not None and opened.ids.tolist() == NAMES
    write[kind](table.rename_columns(["title", "text"]), ids)
    with pytest.raises(InputError, match=r"which column holds the ids; columns: title, text"):
        open_vectors(folder, ids=str(ids))


def test_binary_files_that_are_cut_or_of_another_kind_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    _binary(path, rows=20)
    with pytest.raises(InputError, match=r"announces 30 words of 4 numbers, and ends in word 21"):
        open_vectors(path)
    path.write_bytes(ROWS.tobytes())
    with pytest.raises(InputError, match=r"nothing tells what numbers.*numpy\.save"):
        open_vectors(path)


def test_an_array_that_numpy_cut_short_is_refused(tmp_path: Path) -> None:
    _lines(tmp_path / "a.csv", ["id,embedding", 'a,"[0.1 0.2 ... 0.9]"'])
    with pytest.raises(InputError, match="not a list of numbers"):
        open_vectors(tmp_path / "a.csv")


def test_columns_that_are_called_by_whole_numbers_are_names(tmp_path: Path) -> None:
    _lines(tmp_path / "a.csv", ["0,1,2", "0.5,1.5,2.5", "3.5,4.5,5.5"])
    assert open_vectors(tmp_path / "a.csv").n == 2
