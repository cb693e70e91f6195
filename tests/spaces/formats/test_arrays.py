"""Array files: read as numpy and safetensors read them; damaged ones refused before allocation."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from isthmus.errors import InputError
from isthmus.spaces.file_rows import FileRows
from isthmus.spaces.formats.numpy_files import read_npy, read_npz
from isthmus.spaces.formats.safetensors_file import read_safetensors
from isthmus.spaces.formats.stored_array import choose


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8", "<i1", "<U3", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_agrees_with_numpy(tmp_path: Path, dtype: str, order: Any) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.arange(12).reshape(4, 3).astype(dtype, order=order))
    stored = read_npy(path)
    np.testing.assert_array_equal(stored.load(), np.load(path))
    assert stored.shape == (4, 3)
    assert stored.dtype == np.load(path).dtype.name


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_agrees_with_numpy(tmp_path: Path, save: Any) -> None:
    path = tmp_path / "a.npz"
    arrays = {"x": np.arange(12.0).reshape(4, 3), "ids": np.array(["a", "b"]), "n": np.int64(3)}
    save(path, **arrays)
    found = read_npz(path)
    assert set(found) == set(arrays)
    for name, value in arrays.items():
        np.testing.assert_array_equal(found[name].load(), value)
    assert isinstance(found["x"].open(), FileRows)


def test_safetensors_agree(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    tensors = {
        "x": np.arange(12, dtype=np.float16).reshape(4, 3),
        "y": np.arange(8.0).reshape(4, 2),
        "ids": np.arange(4),
    }
    save_file(tensors, path, metadata={"a": "b"})
    found = read_safetensors(path)
    assert list(found) == ["ids", "x", "y"]
    for name, value in tensors.items():
        np.testing.assert_array_equal(found[name].load(), value)
        assert found[name].dtype == value.dtype.name


def _truncated_npy(path: Path) -> None:
    np.save(path, np.zeros((100, 8), np.float32))
    path.write_bytes(path.read_bytes()[:-1])


def _huge_npy(path: Path) -> None:
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (10**15, 1000)}
        np.lib.format.write_array_header_1_0(file, header)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (_truncated_npy, r"truncated: its header announces shape \(100, 8\)"),
        (_huge_npy, "truncated: its header announces"),
        (lambda p: np.save(p, np.array([{}, []], dtype=object)), "pickled Python objects"),
        (lambda p: p.write_bytes(pickle.dumps([1.0])), "pickled Python objects"),
        (lambda p: p.write_bytes(b""), "not a readable .npy file"),
        (lambda p: p.write_bytes(b"PK\x03\x04 something else"), "not a readable .npy file"),
        (lambda p: p.write_bytes(b"\x93NUMPY\x01\x00v\x00{'descr'"), "not a readable .npy file"),
        (
            lambda p: p.write_bytes(b"\x93NUMPY\x02\x00\xff\xff\xff\xff{"),
            "header claims 4,294,",
        ),
        (lambda p: p.write_bytes(b"\x93NUMPY\x04\x00v\x00{'descr'"), "any version of the format"),
    ],
)
def test_a_damaged_npy_is_refused(tmp_path: Path, write: Any, message: str) -> None:
    path = tmp_path / "bad.npy"
    write(path)
    with pytest.raises(InputError, match=message) as error:
        read_npy(path)
    assert str(path) in str(error.value)


def test_a_damaged_npz_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"
    path.write_bytes(b"not a zip file")
    with pytest.raises(InputError, match=r"not a readable \.npz"):
        read_npz(path)
    np.savez_compressed(path, x=np.random.default_rng(0).random((400, 3)))
    content = bytearray(path.read_bytes())
    content[2000:2010] = bytes(10)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"damaged"):
        read_npz(path)["x"].load()
    np.savez(path, x=np.array([{}], dtype=object))
    with pytest.raises(InputError, match=r"bad\.npz:x: the file holds pickled"):
        read_npz(path)["x"].load()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"hello")
    with pytest.raises(InputError, match=r"bad\.npz:x: not a readable \.npy"):
        read_npz(path)


def _header(path: Path, header: Any, data: bytes = b"", length: int | None = None) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda p: p.write_bytes(b"123"), "the file has 3"),
        (lambda p: _header(p, {}, length=2**62), "header claims 4,611,686"),
        (lambda p: _header(p, b"{" + b" " * 20), "not a readable .safetensors"),
        (
            lambda p: _header(
                p, {"x": {"dtype": "F32", "shape": [10**12, 8], "data_offsets": [0, 32 * 10**12]}}
            ),
            "not a readable .safetensors",
        ),
        (
            lambda p: _header(
                p, {"x": {"dtype": "F32", "shape": [9, 1], "data_offsets": [0, 4]}}, b"1234"
            ),
            "not a readable .safetensors",
        ),
        (
            lambda p: _header(
                p, {"x": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}, b"1234"
            ),
            "not a readable .safetensors",
        ),
    ],
)
def test_a_damaged_safetensors_header_is_refused(tmp_path: Path, write: Any, message: str) -> None:
    path = tmp_path / "bad.safetensors"
    write(path)
    with pytest.raises(InputError, match=message) as error:
        read_safetensors(path)
    assert str(path) in str(error.value)


def test_a_truncated_safetensors_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.safetensors"
    save_file({"x": np.zeros((10, 4), np.float32)}, path)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(InputError, match="not a readable"):
        read_safetensors(path)


def test_the_array_of_vectors_is_chosen(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    matrix, line = np.zeros((2, 3)), np.zeros(2)

    def chosen(key: str | None = None, **arrays: np.ndarray) -> str:
        np.savez(path, **arrays)
        return choose(read_npz(path), key, "a.npz")[0]

    assert chosen(x=matrix, weights=line) == "x"
    assert chosen(x=matrix, vectors=matrix) == "vectors"
    assert chosen(x=matrix, embeddings=matrix) == "embeddings"
    assert chosen("x", x=matrix, vectors=matrix) == "x"
    with pytest.raises(InputError, match=r"not clear.*a \(2, 3\), b \(2, 3\).*'a.npz:KEY'"):
        chosen(a=matrix, b=matrix)
    with pytest.raises(InputError, match=r"no array 'c'; the file holds a \(2, 3\)"):
        chosen("c", a=matrix)
