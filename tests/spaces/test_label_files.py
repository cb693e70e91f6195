"""Labels of rows as people keep them."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.spaces.label_files import read_labels
from isthmus.spaces.texts import NamedRows

ROWS = NamedRows("old.npy", 3, ["b", "caf\u00e9", "a"])


@pytest.mark.parametrize("end", ["", "\n"])
def test_labels_are_lines(tmp_path: Path, end: str) -> None:
    lines = ["cat", "a dog", "", "form\x0cfeed", "line\u2028separator", "ü"]
    (tmp_path / "labels.txt").write_text("\n".join(lines) + end, encoding="utf-8")
    assert read_labels(tmp_path / "labels.txt").tolist() == lines


@pytest.mark.parametrize("labels", [np.arange(5), np.array(["a", "bcd"]), np.array([True, False])])
def test_labels_in_numpys_format(tmp_path: Path, labels: np.ndarray) -> None:
    np.save(tmp_path / "labels.npy", labels)
    np.testing.assert_array_equal(read_labels(tmp_path / "labels.npy"), labels)


def test_damaged_labels(tmp_path: Path) -> None:
    file = tmp_path / "labels.npy"
    np.save(file, np.arange(1000))
    whole = file.read_bytes()
    huge = whole.replace(b"(1000,)", b"(10**9,)".replace(b"10**9", b"9" * 12)[:20])
    for content, message in (
        (b"", "not a readable .npy file"),
        (whole[:20], "not a readable .npy file"),
        (whole[:-1], "truncated"),
        (huge, "truncated|not a readable"),
        (pickle.dumps([1, 2]), "pickled"),
        (b"PK\x03\x04rest of an archive", "not a readable .npy file"),
    ):
        file.write_bytes(content)
        with pytest.raises(InputError, match=rf"labels\.npy.*({message})"):
            read_labels(file)
    np.save(file, np.array(["a", 1], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="pickled"):
        read_labels(file)


def test_missing_files_are_named(tmp_path: Path) -> None:
    for name in ("none.txt", "none.npy", "none.csv", "none.jsonl", "none.parquet"):
        with pytest.raises(InputError, match=rf"{name}: .*(no such file|does not exist)"):
            read_labels(tmp_path / name, ROWS)


def _save(path: Path, columns: dict[str, list[str | None]]) -> Path:
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if path.suffix == ".parquet":
        pa = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pa.table(columns), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        mark = "\t" if path.suffix == ".tsv" else ","
        lines = [mark.join(columns), *(mark.join(map(str, row.values())) for row in rows)]
        path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".parquet"])
def test_a_table_labels_rows_by_their_ids(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    labels = {"text": [*"pqrs"], "Label": [*"xyzw"], "doc_id": ["a", "b", "cafe\u0301", "of none"]}
    assert read_labels(_save(path, labels), ROWS).tolist() == ["y", "z", "x"]
    del labels["text"]
    assert read_labels(_save(path, {"what": labels.pop("Label"), **labels}), ROWS).tolist() == [
        *("y", "z", "x")
    ]
    with pytest.raises(InputError, match="this table has ids"):
        read_labels(path)
    other = NamedRows("old.npy", 3, None)
    with pytest.raises(InputError, match="3 of the 3 rows of old.npy have no label.*'0'.*'a'"):
        read_labels(path, other)


@pytest.mark.parametrize("suffix", [".csv", ".json", ".parquet"])
def test_a_table_without_ids_labels_row_by_row(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    labels = {"text": [*"pqr"], "label": [*"xyz"]}
    for rows in (ROWS, None):
        assert read_labels(_save(path, labels), rows).tolist() == ["x", "y", "z"]
    with pytest.raises(InputError, match="not clear which column holds labels; columns: a, b"):
        read_labels(_save(path, {"a": ["x"], "b": ["y"]}), ROWS)


def test_one_object_may_hold_all_labels(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"a": 3, "b": 5, "caf\u00e9": 4}))
    assert read_labels(path, ROWS).tolist() == [5, 4, 3]


def test_numbers_stay_numbers_and_nothing_is_no_label(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"label": 3}, {"label": 5}]')
    assert read_labels(path).tolist() == [3, 5]
    path.write_text('[{"label": 3}, {"label": null}]')
    with pytest.raises(InputError, match="a.json, line 1: the label is missing"):
        read_labels(path)
    path.write_text('[{"id": "a", "label": 3}, {"label": 4}]')
    with pytest.raises(InputError, match="some labels have an id and some have none"):
        read_labels(path, ROWS)
    path.write_text('[{"id": "a", "label": 3}, {"id": "b", "label": 4}, {"id": "a", "label": 5}]')
    with pytest.raises(InputError, match="the id 'a' has two labels, 3 and 5"):
        read_labels(path, ROWS)
