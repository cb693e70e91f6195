"""Rows of a file are those of the array, and a file that changes is an error, never a signal."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus import Pairs
from isthmus.errors import InputError
from isthmus.spaces import file_rows
from isthmus.spaces.file_rows import FileRows
from isthmus.spaces.formats.numpy_files import read_npy
from isthmus.spaces.readers import open_vectors

X = np.random.default_rng(0).standard_normal((5000, 6)).astype(np.float32)


def _save(path: Path, array: np.ndarray) -> FileRows:
    np.save(path, array)
    return read_npy(path).open()


@pytest.mark.parametrize("order", ["C", "F"])
@given(data=st.data())
def test_rows_are_those_of_the_array(
    tmp_path_factory: pytest.TempPathFactory, order: Any, data: st.DataObject
) -> None:
    n, d = data.draw(st.integers(1, 300)), data.draw(st.integers(1, 5))
    array = np.asarray(X[:n, :d], order=order)
    rows = _save(tmp_path_factory.mktemp("r") / "x.npy", array)
    assert (rows.shape, rows.dtype, len(rows)) == (array.shape, array.dtype, n)
    start = data.draw(st.integers(0, n))
    stop = data.draw(st.integers(start, n))
    np.testing.assert_array_equal(rows[start:stop], array[start:stop])
    np.testing.assert_array_equal(rows[start:stop, ...], array[start:stop])
    indices = np.array(data.draw(st.lists(st.integers(0, n - 1), max_size=40)), np.int64)
    np.testing.assert_array_equal(rows.take(indices), array[indices])
    np.testing.assert_array_equal(rows.held(), array)


@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_far_apart_and_in_many_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: Any
) -> None:
    monkeypatch.setattr(file_rows, "_BLOCK", 1000)
    rows = _save(tmp_path / "x.npy", np.asarray(X, order=order))
    for indices in (np.arange(0, 5000, 700), np.arange(4999, -1, -3), np.arange(5000) % 97):
        np.testing.assert_array_equal(rows.take(indices), X[indices])
    np.testing.assert_array_equal(rows.held(), X)


def test_other_shapes_and_dtypes(tmp_path: Path) -> None:
    for array in (np.float64(3), np.arange(4), np.array(["a", "bcd"]), np.zeros((0, 3)), X > 0):
        np.testing.assert_array_equal(_save(tmp_path / "x.npy", np.asarray(array)).held(), array)


def test_nothing_is_mapped_and_descriptors_are_given_back(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    rows = _save(tmp_path / "x.npy", X)
    assert "x.npy" not in Path("/proc/self/maps").read_text()
    assert len(os.listdir("/proc/self/fd")) == before + 1  # noqa: PTH208
    del rows
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def _rewritten(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)


CHANGES: dict[str, Callable[[Path], Any]] = {
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "emptied": lambda path: os.truncate(path, 0),
    "grown": lambda path: os.truncate(path, path.stat().st_size + 1),
    "written over": lambda path: path.write_bytes(path.read_bytes()),
    "replaced": _rewritten,
    "removed": lambda path: path.unlink(),
}


@pytest.mark.parametrize("how", CHANGES)
@pytest.mark.parametrize("kind", ["npy", "npz", "safetensors"])
def test_a_file_that_changes_is_an_error_that_names_it(tmp_path: Path, kind: str, how: str) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / f"x.{kind}"
    if kind == "npy":
        np.save(path, X)
    elif kind == "npz":
        np.savez(path, x=X)
    else:
        save_file({"x": X}, path)
    os.utime(path, (0, 0))
    vectors = open_vectors(path)
    np.testing.assert_array_equal(vectors.rows(0, 10), X[:10])
    CHANGES[how](path)
    for read in (
        lambda: vectors.rows(0, 10),
        lambda: vectors.rows(4000, 5000),
        lambda: vectors.take(np.array([3, 4000])),
        lambda: vectors.take(np.arange(3000)),
    ):
        with pytest.raises(InputError, match=rf"x\.{kind}: the file was (changed|removed) while"):
            read()


PROGRAM = """
import os, sys, numpy as np
from isthmus.spaces.pairs import Pairs
pairs = Pairs(sys.argv[1], sys.argv[2])
for number, batch in enumerate(pairs.batches(500)):
    if number == 2:
        os.truncate(sys.argv[1], 1000)
"""


def test_a_truncated_file_kills_no_process(tmp_path: Path) -> None:
    for name in "ab":
        np.save(tmp_path / f"{name}.npy", X)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "a.npy"), str(tmp_path / "b.npy")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1  # Python's own, for an exception: no signal
    assert "a.npy: the file was changed while it was read" in done.stderr


@pytest.mark.parametrize("more", [b"\0", b"x" * 100])
def test_trailing_bytes_are_refused(tmp_path: Path, more: bytes) -> None:
    from safetensors.numpy import save_file

    np.save(tmp_path / "x.npy", X)
    save_file({"x": X}, tmp_path / "x.safetensors")
    for name in ("x.npy", "x.safetensors"):
        with (tmp_path / name).open("ab") as file:
            file.write(more)
        with pytest.raises(InputError, match=rf"{name}: (the file holds|not a readable)"):
            open_vectors(tmp_path / name)
    buffer = io.BytesIO()
    np.save(buffer, X)
    import zipfile

    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", buffer.getvalue() + more)
    with pytest.raises(InputError, match=r"x\.npz:x: the file holds"):
        open_vectors(tmp_path / "x.npz")


@pytest.mark.parametrize("what", ["pipe", "device", "folder"])
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors", ".ids.npy", ".ids.txt"])
def test_what_is_no_file_is_no_input(tmp_path: Path, suffix: str, what: str) -> None:
    """A pipe is not waited for, and a device not read to its end."""
    path = tmp_path / f"x{suffix}"
    if what == "pipe":
        os.mkfifo(path)
    elif what == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    ids = {}
    if ".ids" in suffix:
        np.save(tmp_path / "v.npy", X)
        ids = {"ids": path}
    with pytest.raises(InputError, match=f"there is a {what} here|no .* file of vectors is found"):
        open_vectors(tmp_path / "v.npy" if ids else path, **ids)


def test_pairs_read_a_side_that_is_written_anew_as_an_error(tmp_path: Path) -> None:
    for name in "ab":
        np.save(tmp_path / f"{name}.npy", X)
    pairs = Pairs(tmp_path / "a.npy", tmp_path / "b.npy")
    _rewritten(tmp_path / "b.npy")
    with pytest.raises(InputError, match=r"b\.npy: the file was changed while it was read"):
        pairs.head(3)
