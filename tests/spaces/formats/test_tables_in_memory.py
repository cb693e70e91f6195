"""Tables in memory that hold ids beside vectors are read as their Parquet file is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import isthmus
from isthmus.errors import InputError, WrongTypeError
from isthmus.numeric import as_array
from isthmus.spaces.readers import open_vectors

pa = pytest.importorskip("pyarrow")
pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")

ROWS = np.random.default_rng(6).standard_normal((30, 4)).astype(np.float32)
NAMES = [f"item {i}" for i in range(30)]
WIDE = {f"d{i}": ROWS[:, i] for i in range(4)}


def _table(columns: dict[str, Any]) -> Any:
    fixed = {n: v.tolist() if isinstance(v, np.ndarray) else v for n, v in columns.items()}
    lists = {n: pa.array(v, pa.list_(pa.float32())) for n, v in fixed.items() if n == "embedding"}
    return pa.table({**fixed, **lists})


def _polars(columns: dict[str, Any], kind: Any) -> Any:
    lists = {n: pl.Series(n, v, dtype=kind) for n, v in columns.items() if n == "embedding"}
    return pl.DataFrame({**columns, **lists})


@pytest.mark.parametrize(
    "columns",
    [
        {"id": NAMES, "embedding": list(ROWS)},
        {"text": ["x"] * 30, "embedding": list(ROWS), "id": list(range(100, 130))},
        {"id": NAMES, **WIDE},
        {"id": list(range(100, 130)), **WIDE},
    ],
    ids=["vectors", "vectors and texts", "wide", "wide with whole numbers"],
)
@pytest.mark.parametrize("kind", ["pandas", "polars", "polars arrays", "arrow", "batch"])
def test_a_table_is_read_as_its_file(tmp_path: Path, columns: dict[str, Any], kind: str) -> None:
    frame = pd.DataFrame(columns)
    frame.to_parquet(tmp_path / "a.parquet")
    given = {
        "pandas": lambda: frame,
        "polars": lambda: _polars(columns, pl.List(pl.Float32)),
        "polars arrays": lambda: _polars(columns, pl.Array(pl.Float32, 4)),
        "arrow": lambda: _table(columns),
        "batch": lambda: _table(columns).to_batches()[0],
    }[kind]()
    expected, found = open_vectors(tmp_path / "a.parquet"), open_vectors(given)
    np.testing.assert_array_equal(found.rows(0, 30), expected.rows(0, 30))
    np.testing.assert_allclose(found.rows(0, 30), ROWS, rtol=1e-6)
    assert found.ids is not None and expected.ids is not None
    assert found.ids.tolist() == expected.ids[:].tolist() == list(columns["id"])
    assert open_vectors(given, ids=False).ids is None
    assert open_vectors(given, ids="id").ids is not None
    other = open_vectors(given, ids=[f"o{i}" for i in range(30)]).ids
    assert other is not None and other[3] == "o3"


def test_a_table_that_is_not_in_memory_says_how_to_read_it() -> None:
    frame = pl.DataFrame({"id": NAMES, **WIDE})
    for lazy in (frame.lazy(), frame.select("d0", "d1").lazy()):
        with pytest.raises(WrongTypeError, match=r"new: nothing of the table .*Give table.collect"):
            open_vectors(lazy, name="new")
    dask = pytest.importorskip("dask.dataframe")
    parts = dask.from_pandas(pd.DataFrame({"id": NAMES, "embedding": list(ROWS)}), npartitions=2)
    with pytest.raises(WrongTypeError, match=r"nothing of the table .*Give table.compute\(\)"):
        open_vectors(parts)
    numbers = dask.from_pandas(pd.DataFrame(ROWS), npartitions=2)
    np.testing.assert_array_equal(open_vectors(numbers).rows(0, 30), ROWS)


def test_frames_pair_by_their_ids() -> None:
    order = np.random.default_rng(0).permutation(30)
    one = pd.DataFrame({"id": NAMES, "embedding": list(ROWS)})
    other = one.iloc[order].reset_index(drop=True)
    pairs = isthmus.Pairs(one, other)
    batch = pairs.head(30)
    np.testing.assert_array_equal(batch.x, batch.y)
    assert batch.ids.tolist() == NAMES


def test_tables_of_numbers_are_arrays_as_before() -> None:
    rows = open_vectors(pd.DataFrame(ROWS, columns=list("abcd")))
    np.testing.assert_array_equal(rows.rows(0, 30), ROWS)
    assert open_vectors(pd.DataFrame(ROWS, columns=list("abcd"), dtype=object)).dim == 4
    assert open_vectors(pd.DataFrame({"embedding": list(ROWS)})).dim == 4


def test_what_cannot_be_read_is_one_sentence() -> None:
    frame = pd.DataFrame({"id": ["a", "b"], "embedding": [[1.0, 2.0], [3.0]]})
    with pytest.raises(InputError, match="row 1: the vector has 1 numbers"):
        open_vectors(frame)
    with pytest.raises(InputError, match="not clear which column"):
        open_vectors(pd.DataFrame({"name": ["a", "b"], "p": [1.0, 2.0], "q": [1.0, 2.0]}))
    with pytest.raises(InputError, match=r"none of Arrow's.*table\['embedding'\]"):
        open_vectors(pd.DataFrame({"id": ["a", 1], "embedding": [[1.0], [2.0]]}))
    with pytest.raises(InputError, match="'name' is not a file of ids"):
        open_vectors(ROWS, ids="name")


@pytest.mark.parametrize("kind", ["pandas", "arrow"])
def test_an_array_is_not_made_of_vectors_beside_ids(kind: str) -> None:
    columns = {"id": NAMES, "embedding": list(ROWS)}
    table = pd.DataFrame(columns) if kind == "pandas" else _table(columns)
    with pytest.raises(WrongTypeError, match=r"cells hold vectors.*table\['embedding'\]"):
        as_array(table, "x")
