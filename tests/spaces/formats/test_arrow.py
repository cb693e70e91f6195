"""Parquet and Arrow: many files as one side, and the file and row of whatever is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.spaces.formats import arrow
from isthmus.spaces.readers import open_vectors

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

ROWS = np.random.default_rng(2).standard_normal((90, 4)).astype(np.float32)


def _column(rows: np.ndarray, kind: str = "fixed") -> Any:
    flat = pa.array(np.ascontiguousarray(rows).reshape(-1))
    if kind == "fixed":
        return pa.FixedSizeListArray.from_arrays(flat, rows.shape[1])
    offsets = np.arange(len(rows) + 1) * rows.shape[1]
    if kind == "large":
        return pa.LargeListArray.from_arrays(pa.array(offsets), flat)
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), flat)


def _write(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    table = pa.table(columns)
    if path.suffix == ".arrow":
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=options.get("row_group_size"))
    elif path.suffix == ".ipc":
        with pa.ipc.new_stream(path, table.schema) as writer:
            writer.write_table(table)
    else:
        pq.write_table(table, path, **options)
    return path


@pytest.mark.parametrize("kind", ["fixed", "list", "large"])
@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".ipc"])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_every_layout_gives_the_same_rows(
    tmp_path: Path, kind: str, suffix: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrow, "BATCH", 7)
    rows = ROWS.astype(dtype)
    path = _write(tmp_path / f"a{suffix}", {"v": _column(rows, kind)}, row_group_size=20)
    vectors = open_vectors(path)
    assert vectors.stored_dtype == rows.dtype.name
    np.testing.assert_array_equal(vectors.rows(0, 90), rows)
    assert vectors.name == f"{path}:v"


@pytest.mark.parametrize(
    "ids",
    [
        pa.array(range(90)),
        pa.array(range(90), pa.uint16()),
        pa.array([f"{i}é" for i in range(90)]),
        pa.array([f"{i}é" for i in range(90)], pa.large_string()),
        pa.array([f"{i}é" for i in range(90)]).dictionary_encode(),
    ],
)
def test_many_files_are_one_side(tmp_path: Path, ids: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrow, "BATCH", 11)
    for k, (start, stop) in enumerate(((0, 40), (40, 41), (41, 90))):
        columns = {"other": pa.array([0] * (stop - start)), "id": ids[start:stop]}
        folder = tmp_path / f"part={k}"
        folder.mkdir()
        _write(folder / "x.parquet", {**columns, "v": _column(ROWS[start:stop])})
    (tmp_path / "_metadata.parquet").write_text("not data")
    expected = ids.dictionary_decode() if pa.types.is_dictionary(ids.type) else ids
    for source in (tmp_path, f"{tmp_path}:v", f"{tmp_path}/part=*/*.parquet"):
        vectors = open_vectors(source)
        np.testing.assert_array_equal(vectors.rows(0, 90), ROWS)
        assert vectors.ids is not None
        assert vectors.ids.tolist() == expected.to_pylist()
        assert vectors.locate(40) == (str(tmp_path / "part=1" / "x.parquet"), 0)
        assert vectors.locate(89) == (str(tmp_path / "part=2" / "x.parquet"), 48)


def test_columns_are_found_or_named(tmp_path: Path) -> None:
    numbers, words = pa.array(range(90)), pa.array([str(i) for i in range(90)])
    columns = {"id": numbers, "word": words, "a": _column(ROWS), "embedding": _column(ROWS + 1)}
    path = _write(tmp_path / "a.parquet", columns)
    np.testing.assert_array_equal(open_vectors(path).rows(0, 1), ROWS[:1] + 1)
    named = open_vectors(path, key="a", ids="word")
    np.testing.assert_array_equal(named.rows(0, 90), ROWS)
    assert named.ids is not None and named.ids.tolist() == words.to_pylist()
    own = open_vectors(path, ids=np.arange(90) + 5)
    assert own.ids is not None and own.ids[0] == 5
    path = _write(tmp_path / "b.parquet", {"a": _column(ROWS), "b": _column(ROWS)})
    with pytest.raises(InputError, match=r"not clear which column.*columns: a, b.*b\.parquet:COL"):
        open_vectors(path)
    with pytest.raises(InputError, match="there is no column 'c'; columns: a, b"):
        open_vectors(f"{path}:c")
    with pytest.raises(InputError, match="there is no column 'c'; columns: a, b"):
        open_vectors(f"{path}:a", ids="c")


def _lists(values: list[Any], kind: Any = None) -> Any:
    return pa.array(values, kind or pa.list_(pa.float32()))


GOOD = [[1.0, 2.0]] * 10


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (_lists([*GOOD, None]), r"2\.parquet:v, row 10: the vector is null"),
        (_lists([*GOOD, None], pa.list_(pa.float32(), 2)), r"row 10: the vector is null"),
        (_lists([*GOOD, [1.0, None]]), r"2\.parquet:v, row 10: the vector holds a null"),
        (_lists([*GOOD, [1.0]]), r"row 10: the vector has 1 numbers, those before have 2"),
        (_lists([*GOOD, []]), r"row 10: the vector has 0 numbers"),
        (_lists([[1.0, 2.0, 3.0]] * 3), r"row 0: the vector has 3 numbers, those before have 2"),
        (_lists(GOOD, pa.list_(pa.float64())), "the vectors are float64, those before float32"),
        (_lists([[1, 2]], pa.list_(pa.int16())), "lists of floats.*multiplied by their scale"),
        (_lists([[1, 2]], pa.list_(pa.int8())), "the vectors are int8, those before float32"),
        (pa.array([1.0, 2.0]), "type double, expected lists of floats"),
    ],
)
def test_the_file_and_row_of_a_bad_vector_are_named(
    tmp_path: Path, column: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrow, "BATCH", 4)
    _write(tmp_path / "1.parquet", {"v": _lists(GOOD)})
    _write(tmp_path / "2.parquet", {"v": column})
    with pytest.raises(InputError, match=message):
        open_vectors(f"{tmp_path}:v")


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (pa.array([7, None, 8]), r"2\.parquet:id, row 1: the id is null"),
        (pa.array([7, 5, 1]), r"2\.parquet, row 2: the id 1 occurs twice, first in row 1"),
        (pa.array(["a", "b", "c"]), "integers in one file, strings in another"),
        (pa.array([7.0, 8.0, 9.0]), "the ids have type double, expected integers or strings"),
    ],
)
def test_the_file_and_row_of_a_bad_id_are_named(tmp_path: Path, ids: Any, message: str) -> None:
    _write(tmp_path / "1.parquet", {"id": pa.array([0, 1, 2]), "v": _lists(GOOD[:3])})
    _write(tmp_path / "2.parquet", {"id": ids, "v": _lists(GOOD[:3])})
    with pytest.raises(InputError, match=message):
        open_vectors(tmp_path)


def test_damaged_or_empty_files_are_refused(tmp_path: Path) -> None:
    for name in ("a.parquet", "a.arrow"):
        (tmp_path / name).write_bytes(b"not such a file")
        with pytest.raises(InputError, match=f"{name}: not a readable"):
            open_vectors(tmp_path / name)
    path = _write(tmp_path / "b.parquet", {"v": _column(ROWS)})
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"b\.parquet: not a readable Parquet file"):
        open_vectors(path)
    path = _write(tmp_path / "c.parquet", {"v": _lists([])})
    with pytest.raises(InputError, match="there are no rows"):
        open_vectors(path)


def test_an_empty_file_among_others_is_nothing_special(tmp_path: Path) -> None:
    for k, rows in enumerate(([], GOOD, [], GOOD)):
        _write(tmp_path / f"{k}.parquet", {"v": _lists(rows)})
    vectors = open_vectors(tmp_path)
    assert vectors.n == 20
    assert vectors.locate(10) == (str(tmp_path / "3.parquet"), 0)


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    path = _write(tmp_path / "a.parquet", {"v": _column(ROWS)})
    open_vectors(path, progress=lambda task, done, total: told.append((task, done, total)))
    assert told[-1] == ("reading vectors", 90, 90)
