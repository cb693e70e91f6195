"""A folder with an index of its own is read by it: what lies beside is old, or is no rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.spaces.readers import open_vectors

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

ROWS = np.random.default_rng(4).standard_normal((30, 4)).astype(np.float32)


def _part(path: Path, rows: np.ndarray) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"x": pa.array(rows.tolist(), pa.list_(pa.float32()))}), path)
    return path.name


def _commit(folder: Path, version: int, *actions: dict[str, Any]) -> None:
    log = folder / "_delta_log"
    log.mkdir(exist_ok=True)
    text = "\n".join(map(json.dumps, actions))
    (log / f"{version:020d}.json").write_text(text)


def test_a_delta_table_is_its_latest_version(tmp_path: Path) -> None:
    old = _part(tmp_path / "part-0.parquet", ROWS[:20])
    _commit(tmp_path, 0, {"metaData": {"configuration": {}}}, {"add": {"path": old}})
    assert open_vectors(tmp_path).n == 20
    new = _part(tmp_path / "g=a b" / "part-1.parquet", ROWS[5:])
    _commit(
        tmp_path, 1, {"remove": {"path": old}}, {"add": {"path": f"g%3Da%20b/{new}"}}, {"txn": {}}
    )
    np.testing.assert_array_equal(open_vectors(tmp_path).rows(0, 25), ROWS[5:])


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ({"add": {"path": "p.parquet", "deletionVector": {"x": 1}}}, "single rows were deleted"),
        ({"metaData": {"configuration": {"delta.columnMapping.mode": "name"}}}, "other names"),
        ({"add": {"path": "../p.parquet"}}, "files elsewhere"),
        ({"add": {"path": "gone.parquet"}}, "'gone.parquet' of its index is missing"),
        ({"add": 3}, "not a readable Delta log"),
        (None, "kept in a checkpoint.*DeltaTable"),
    ],
)
def test_delta_tables_that_files_alone_do_not_tell_are_refused(
    tmp_path: Path, action: dict[str, Any] | None, message: str
) -> None:
    path = _part(tmp_path / "p.parquet", ROWS)
    _commit(tmp_path, 0 if action else 7, {"add": {"path": path}})
    if action:
        _commit(tmp_path, 1, action)
    with pytest.raises(InputError, match=message):
        open_vectors(tmp_path)


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        ("metadata/v1.metadata.json", "Iceberg.*to_arrow"),
        (".hoodie/hoodie.properties", "Hudi"),
        ("_versions/1.manifest", "lancedb://"),
    ],
)
def test_tables_of_other_kinds_name_the_way_on(tmp_path: Path, mark: str, message: str) -> None:
    _part(tmp_path / "data" / "0.parquet", ROWS)
    for name in (mark, "data/0.lance"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputError, match=message):
        open_vectors(tmp_path)


def test_what_describes_a_data_set_and_empty_parts_are_no_rows(tmp_path: Path) -> None:
    _part(tmp_path / "hub" / "data" / "train-0.parquet", ROWS)
    (tmp_path / "hub" / "dataset_infos.json").write_text('{"default": {"features": {}}}')
    assert open_vectors(tmp_path / "hub").n == 30
    (tmp_path / "hub" / "more.json").write_text(json.dumps([{"embedding": [0.5, 1.5]}] * 2))
    with pytest.raises(InputError, match="several kinds"):
        open_vectors(tmp_path / "hub")
    parts = tmp_path / "parts"
    parts.mkdir()
    (parts / "part-0.jsonl").write_text(json.dumps({"id": 1, "embedding": [0.5, 1.5]}))
    (parts / "part-1.jsonl").write_text("")
    assert open_vectors(parts).n == 1
    (parts / "part-0.jsonl").write_text("")
    with pytest.raises(InputError, match="the file is empty"):
        open_vectors(parts)


def _hugging_face(folder: Path, rows: np.ndarray) -> None:
    folder.mkdir(parents=True)
    table = pa.table({"x": pa.array(rows.tolist(), pa.list_(pa.float32()))})
    for name in ("data-00000-of-00001.arrow", "cache-9f5db413ebe17abf.arrow"):
        with pa.ipc.new_stream(folder / name, table.schema) as writer:
            writer.write_table(table)
    index = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}
    (folder / "state.json").write_text(json.dumps(index))
    (folder / "dataset_info.json").write_text("{}")


def test_a_saved_dataset_is_read_by_its_own_index(tmp_path: Path) -> None:
    _hugging_face(tmp_path / "d" / "train", ROWS)
    assert open_vectors(tmp_path / "d" / "train").n == 30
    (tmp_path / "d" / "dataset_dict.json").write_text('{"splits": ["train"]}')
    assert open_vectors(tmp_path / "d").n == 30
    (tmp_path / "d" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    with pytest.raises(InputError, match="several splits: train, test.*Name one"):
        open_vectors(tmp_path / "d")
    state = tmp_path / "d" / "train" / "state.json"
    state.write_text(json.dumps({"_data_files": [{"filename": "../../gone.arrow"}]}))
    with pytest.raises(InputError, match=r"'gone\.arrow' of its index is missing"):
        open_vectors(tmp_path / "d" / "train")
    state.write_text('{"_data_files": 3}')
    with pytest.raises(InputError, match="not a readable Hugging Face index"):
        open_vectors(tmp_path / "d" / "train")
