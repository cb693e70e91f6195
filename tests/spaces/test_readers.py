"""Opening one side: every source gives the same rows, and every bad one a clear message."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import array_api_strict
import numpy as np
import pytest
from safetensors.numpy import save_file

from isthmus.errors import InputError
from isthmus.spaces.readers import Vectors, open_vectors

ROWS = np.random.default_rng(1).standard_normal((50, 6)).astype(np.float32)


def _npy(folder: Path) -> Any:
    np.save(folder / "a.npy", ROWS)
    return folder / "a.npy"


def _npy_fortran(folder: Path) -> Any:
    np.save(folder / "a.npy", np.asfortranarray(ROWS))
    return str(folder / "a.npy")


def _npy_big_endian(folder: Path) -> Any:
    np.save(folder / "a.npy", ROWS.astype(">f4"))
    return folder / "a.npy"


def _npz(folder: Path) -> Any:
    np.savez(folder / "a.npz", vectors=ROWS, other=np.zeros((2, 2)))
    return folder / "a.npz"


def _npz_compressed(folder: Path) -> Any:
    np.savez_compressed(folder / "a.npz", x=ROWS, y=np.zeros((2, 2)))
    return f"{folder / 'a.npz'}:x"


def _safetensors(folder: Path) -> Any:
    save_file({"x": ROWS, "y": ROWS + 1}, folder / "a.safetensors")
    return f"{folder / 'a.safetensors'}:x"


def _parquet(folder: Path) -> Any:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    column = pa.FixedSizeListArray.from_arrays(pa.array(ROWS.reshape(-1)), 6)
    pq.write_table(pa.table({"x": column}), folder / "a.parquet")
    return folder / "a.parquet"


def _torch(folder: Path) -> Any:
    return pytest.importorskip("torch").tensor(ROWS, requires_grad=True)


SOURCES = [
    lambda folder: ROWS,
    lambda folder: ROWS[:, ::-1][:, ::-1],
    lambda folder: array_api_strict.asarray(ROWS),
    _torch,
    _npy,
    _npy_fortran,
    _npy_big_endian,
    _npz,
    _npz_compressed,
    _safetensors,
    _parquet,
]


@pytest.mark.parametrize("make", SOURCES)
def test_every_source_gives_the_same_rows(make: Any, tmp_path: Path) -> None:
    vectors = open_vectors(make(tmp_path))
    assert (vectors.n, vectors.dim, len(vectors)) == (50, 6, 50)
    assert (vectors.dtype, vectors.stored_dtype, vectors.ids) == (np.float32, "float32", None)
    order = np.array([7, 3, 3, 49])
    for found, expected in (
        (vectors.rows(0, 50), ROWS),
        (vectors.rows(10, 13), ROWS[10:13]),
        (vectors.take(order), ROWS[order]),
        (vectors.take(np.arange(4, 9)), ROWS[4:9]),
        (vectors.take(order[:0]), ROWS[:0]),
    ):
        assert type(found) is np.ndarray
        assert found.dtype == np.float32 and found.dtype.isnative and found.flags.c_contiguous
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("stored", "handed"), [("f2", "f4"), ("f4", "f4"), ("f8", "f8")])
def test_half_precision_is_widened_by_the_block(tmp_path: Path, stored: str, handed: str) -> None:
    np.save(tmp_path / "a.npy", ROWS.astype(stored))
    vectors = open_vectors(tmp_path / "a.npy")
    assert vectors.dtype == vectors.rows(0, 3).dtype == np.dtype(handed)
    assert vectors.stored_dtype == np.dtype(stored).name
    np.testing.assert_array_equal(vectors.rows(2, 9), ROWS.astype(stored)[2:9].astype(handed))


def test_bfloat16_is_what_torch_says(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file as save_torch

    half = torch.tensor(ROWS).to(torch.bfloat16)
    save_torch({"x": half}, tmp_path / "a.safetensors")
    for source in (half, tmp_path / "a.safetensors"):
        vectors = open_vectors(source)
        assert (vectors.dtype, vectors.stored_dtype) == (np.float32, "bfloat16")
        np.testing.assert_array_equal(vectors.rows(0, 50), half.float().numpy())
        np.testing.assert_array_equal(vectors.take(np.array([5, 2])), half.float().numpy()[[5, 2]])


def test_rows_are_views_that_cannot_be_written() -> None:
    mine = ROWS.copy()
    rows = open_vectors(mine).rows(3, 7)
    assert np.shares_memory(rows, mine)
    with pytest.raises(ValueError, match="read-only"):
        rows[0, 0] = 1
    mine[0, 0] = 1  # the caller's own array stays writable


@pytest.mark.parametrize("ids", [np.arange(50) * 3, np.array([f"item-{i}" for i in range(50)])])
def test_ids_are_found_wherever_they_are(tmp_path: Path, ids: np.ndarray) -> None:
    found: list[Vectors] = [
        open_vectors(ROWS, ids=ids),
        open_vectors(ROWS, ids=ids.tolist()),
        open_vectors(open_vectors(ROWS), ids=ids),
    ]
    np.savez(tmp_path / "b.npz", x=ROWS, ids=ids)
    found.append(open_vectors(tmp_path / "b.npz"))
    np.save(tmp_path / "elsewhere.npy", ids)
    np.save(tmp_path / "a.npy", ROWS)
    found.append(open_vectors(tmp_path / "a.npy", ids=tmp_path / "elsewhere.npy"))
    np.save(tmp_path / "a.ids.npy", ids)
    found.append(open_vectors(tmp_path / "a.npy"))
    if ids.dtype.kind == "i":
        save_file({"x": ROWS, "ids": ids}, tmp_path / "c.safetensors")
        found.append(open_vectors(tmp_path / "c.safetensors"))
    else:
        np.save(tmp_path / "d.npy", ROWS)
        (tmp_path / "d.ids.txt").write_text("\n".join(ids) + "\n")
        found.append(open_vectors(tmp_path / "d.npy"))
    for vectors in found:
        np.testing.assert_array_equal(vectors.ids, ids)
    assert found[0].without_ids().ids is None


def _save(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(7, np.float32), r"shape \(7,\), expected \(n, d\)"),
        (np.zeros((2, 3, 4), np.float32), r"shape \(2, 3, 4\), expected \(n, d\)"),
        (np.zeros((0, 4), np.float32), r"empty, of shape \(0, 4\)"),
        (np.zeros((4, 0), np.float32), r"empty, of shape \(4, 0\)"),
        (np.zeros((4, 2), np.int8), "dtype int8, which looks like quantised codes.*scale"),
        (np.zeros((4, 2), np.uint8), "quantised codes"),
        (np.zeros((4, 2), np.complex64), "dtype complex64, expected float16, float32 or float64"),
        (np.zeros((4, 2), bool), "dtype bool, expected"),
        (np.array([["a"]]), "dtype str32, expected"),
        (np.zeros((4, 2), np.longdouble), "dtype float128, expected|dtype longdouble"),
    ],
)
def test_bad_arrays_are_refused_in_memory_and_on_disk(
    tmp_path: Path, array: np.ndarray, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        open_vectors(array)
    path = _save(tmp_path / "bad.npy", array)
    with pytest.raises(InputError, match=message) as error:
        open_vectors(path)
    assert str(path) in str(error.value)


def test_integers_of_another_library_are_refused() -> None:
    with pytest.raises(InputError, match=r"mine: the vectors have dtype int8.*quantised"):
        open_vectors(array_api_strict.zeros((2, 2), dtype=array_api_strict.int8), name="mine")
    with pytest.raises(InputError, match="dtype object"):
        open_vectors(np.array([[None]]))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"a": 1.0}, r"expected an array of shape \(n, d\), got dict"),
        ("absent.npy", "absent.npy: the file does not exist"),
        ("absent.parquet:x", "absent.parquet: the file does not exist"),
        ("absent*.parquet", "no Parquet, Arrow or other file"),
        ("s3://bucket/a.npy", "URLs are read by an engine only"),
    ],
)
def test_bad_sources_are_refused(source: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_vectors(source)


def test_bad_files_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ROWS)
    with pytest.raises(InputError, match=r"a \.npy file has no key 'x'"):
        open_vectors(f"{tmp_path / 'a.npy'}:x")
    np.savez(tmp_path / "a.npz", a=ROWS, b=ROWS)
    with pytest.raises(InputError, match="two keys are named, 'a' and 'b'"):
        open_vectors(f"{tmp_path / 'a.npz'}:a", key="b")
    with pytest.raises(InputError, match="not clear which array"):
        open_vectors(tmp_path / "a.npz")
    for suffix, message in (
        (".xyz", r"kind '\.xyz' are not read.*Use \.npy, .*\.parquet, .*\.faiss"),
        (".pkl", "pickled objects run code"),
        (".h5", r"HDF5 is not read. Run: python -c .*h5py"),
        (".txt", "Name word vectors .vec"),
    ):
        (tmp_path / f"a{suffix}").write_text("1,2")
        with pytest.raises(InputError, match=message):
            open_vectors(tmp_path / f"a{suffix}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no Parquet, Arrow or other file"):
        open_vectors(tmp_path / "empty")


def test_a_colon_in_a_file_name_is_no_key(tmp_path: Path) -> None:
    path = _save(tmp_path / "a:b.npy", ROWS)
    assert open_vectors(str(path)).name == str(path)


def test_bad_ids_are_refused(tmp_path: Path) -> None:
    path = _save(tmp_path / "a.npy", ROWS)
    doubled = np.arange(50)
    doubled[[20, 30]] = 4
    with pytest.raises(InputError, match=r"a\.npy, row 20: the id 4 occurs twice, first in row 4"):
        open_vectors(path, ids=doubled)
    with pytest.raises(InputError, match=r"a\.npy: there are 49 ids for 50 rows"):
        open_vectors(path, ids=np.arange(49))
    with pytest.raises(InputError, match=r"row 2: the id is missing"):
        open_vectors(path, ids=["a", "b", None, *map(str, range(47))])
    with pytest.raises(InputError, match=r"'item_id' is not a \.npy or \.txt file"):
        open_vectors(path, ids="item_id")
    with pytest.raises(InputError, match="the file of ids does not exist"):
        open_vectors(path, ids=tmp_path / "absent.npy")
    with pytest.raises(InputError, match="pickled"):
        open_vectors(path, ids=_save(tmp_path / "ids.npy", np.array(["a", None])))
    np.save(tmp_path / "a.ids.npy", np.arange(50))
    (tmp_path / "a.ids.txt").write_text("a\n")
    with pytest.raises(InputError, match=r"two files of ids, a\.ids\.npy and a\.ids\.txt"):
        open_vectors(path)


def test_parquet_without_pyarrow_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return honest(name, *rest)

    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install 'isthmus\[parquet\]'"):
        open_vectors(tmp_path / "a.parquet")


def test_it_says_what_it_is(tmp_path: Path) -> None:
    path = _save(tmp_path / "a.npy", ROWS)
    assert repr(open_vectors(path)) == f"Vectors('{path}', 50 x 6 float32, no ids)"
