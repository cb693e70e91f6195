"""Writers: what is written is read back, whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.errors import InputError, OutputError
from isthmus.spaces.readers import open_vectors
from isthmus.spaces.writers import open_writer

ROWS = np.random.default_rng(3).standard_normal((100, 5)).astype(np.float32)
NUMBERS = np.arange(100, dtype=np.int32) * 2
WORDS = np.array([f"item é {i}" for i in range(100)])
SUFFIXES = [".npy", ".safetensors", ".parquet"]


def _write(path: Path, ids: Any = None, *, step: int = 30, **options: Any) -> None:
    with open_writer(path, 5, **options) as writer:
        for start in range(0, 100, step):
            part = slice(start, start + step)
            writer.write(ROWS[part], None if ids is None else ids[part])
        assert writer.rows == 100


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("ids", [None, NUMBERS, WORDS], ids=["none", "integers", "strings"])
@pytest.mark.parametrize("n", [None, 100])
def test_what_is_written_is_read_back(tmp_path: Path, suffix: str, ids: Any, n: Any) -> None:
    path = tmp_path / f"out{suffix}"
    if suffix == ".safetensors" and ids is WORDS:
        with pytest.raises(InputError, match="holds no text"):
            _write(path, ids, n=n)
        assert not list(tmp_path.iterdir())
        return
    _write(path, ids, n=n)
    vectors = open_vectors(path)
    np.testing.assert_array_equal(vectors.rows(0, 100), ROWS)
    if ids is None:
        assert vectors.ids is None
    else:
        np.testing.assert_array_equal(vectors.ids, ids)
    assert not [file for file in tmp_path.iterdir() if "partial" in file.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_bytes_do_not_depend_on_the_blocks(tmp_path: Path, suffix: str) -> None:
    _write(tmp_path / f"a{suffix}", NUMBERS, step=100)
    _write(tmp_path / f"b{suffix}", NUMBERS, step=7, n=100)
    a, b = (tmp_path / f"a{suffix}").read_bytes(), (tmp_path / f"b{suffix}").read_bytes()
    assert suffix == ".parquet" or a == b


def test_other_readers_agree(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    _write(tmp_path / "a.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), ROWS)
    _write(tmp_path / "a.safetensors", NUMBERS, key="embedding")
    found = load_file(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(found["embedding"], ROWS)
    np.testing.assert_array_equal(found["ids"], NUMBERS)
    pq = pytest.importorskip("pyarrow.parquet")
    _write(tmp_path / "a.parquet", WORDS, key="embedding")
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.column_names == ["id", "embedding"]
    assert table["id"].to_pylist() == WORDS.tolist()
    np.testing.assert_array_equal(np.array(table["embedding"].to_pylist(), np.float32), ROWS)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_rows_are_a_file_of_no_rows(tmp_path: Path, suffix: str) -> None:
    with open_writer(tmp_path / f"a{suffix}", 5):
        pass
    with pytest.raises(InputError, match=r"empty|no rows"):
        open_vectors(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_error_leaves_nothing(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(RuntimeError), open_writer(tmp_path / f"a{suffix}", 5) as writer:
        writer.write(ROWS, NUMBERS)
        raise RuntimeError
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_killed_process_leaves_no_output(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    program = (
        "import os, signal, sys, numpy as np\n"
        "from isthmus.spaces.writers import open_writer\n"
        "with open_writer(sys.argv[1], 5) as writer:\n"
        "    writer.write(np.ones((1000, 5), np.float32), np.arange(1000))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], env=os.environ, check=False)
    assert done.returncode == -signal.SIGKILL
    assert all(".partial-" in file.name for file in tmp_path.iterdir())
    _write(path, NUMBERS)
    assert open_vectors(path).n == 100


def test_existing_outputs_are_kept_unless_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    _write(path, WORDS)
    with pytest.raises(OutputError, match=r"a\.npy: the output exists"):
        _write(path)
    path.unlink()
    with pytest.raises(OutputError, match=r"a\.ids\.txt: the output exists"):
        _write(path)
    _write(path, NUMBERS, overwrite=True)
    np.testing.assert_array_equal(open_vectors(path).ids, NUMBERS)
    _write(path, overwrite=True)
    assert open_vectors(path).ids is None  # ids of the former file do not name the new rows


def test_float64_is_stored_as_float32(tmp_path: Path) -> None:
    with open_writer(tmp_path / "a.npy", 5) as writer:
        writer.write(np.asfortranarray(ROWS.astype(np.float64)))
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), ROWS)


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([(ROWS[:, :4], None)], r"shape \(100, 4\), expected \(m, 5\)"),
        ([(ROWS[0], None)], r"shape \(5,\), expected \(m, 5\)"),
        ([(ROWS, None), (ROWS, None)], "200 rows were written, 100 announced"),
        ([(ROWS[:99], None)], "99 rows were written, 100 announced"),
        ([(ROWS, NUMBERS[:9])], "9 ids for 100 rows"),
        ([(ROWS[:50], None), (ROWS[50:], NUMBERS[50:])], "row 50: .* integers, those before none"),
        ([(ROWS[:50], WORDS[:50]), (ROWS[50:], NUMBERS[50:])], "integers, those before strings"),
        ([(ROWS, ["a\nb", *WORDS[1:]])], "line break"),
        ([(ROWS, [None, *WORDS[1:]])], "the id is missing"),
    ],
)
def test_blocks_that_do_not_fit_are_refused(tmp_path: Path, blocks: Any, message: str) -> None:
    with (
        pytest.raises(InputError, match=message),
        open_writer(tmp_path / "a.npy", 5, n=100) as writer,
    ):
        for block, ids in blocks:
            writer.write(block, ids)
    assert not list(tmp_path.iterdir())


def test_an_unknown_format_or_too_small_a_disk_is_refused_at_once(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match=r"not written as '\.csv'. Use \.npy, \.safetensors"),
        open_writer(tmp_path / "a.csv", 5),
    ):
        pass
    with (
        pytest.raises(OutputError, match="more than the disk has free"),
        open_writer(tmp_path / "a.npy", 1000, n=10**13),
    ):
        pass
