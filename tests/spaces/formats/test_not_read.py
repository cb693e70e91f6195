"""What is not read is told by its content before its name; the line that is printed works."""

from __future__ import annotations

import re
import shlex
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.spaces.formats.not_read import NOT_READ
from isthmus.spaces.formats.table import FORMATS
from isthmus.spaces.readers import open_vectors

ROWS = np.random.default_rng(4).standard_normal((30, 4)).astype(np.float32)


def _sqlite(path: Path) -> None:
    with sqlite3.connect(path) as base:
        base.execute("create table items (id integer primary key, vector blob)")
        base.executemany("insert into items values (?, ?)", enumerate(map(bytes, ROWS)))
    base.close()


def _matlab(path: Path) -> None:
    from scipy.io import savemat

    savemat(path, {"rows": ROWS})


def _torch(path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save(torch.from_numpy(ROWS), path)


@pytest.mark.parametrize(
    ("name", "write", "names"),
    [
        ("a.sqlite3", _sqlite, {"COLUMN": "vector", "TABLE": "items"}),
        ("it's.db", _sqlite, {"COLUMN": "vector", "TABLE": "items"}),
        ("a.mat", _matlab, {"NAME": "rows"}),
        ("a b.pt", _torch, {}),
        ("a.f32", lambda path: ROWS.tofile(path), {"WIDTH": "4"}),
    ],
)
def test_the_line_that_is_printed_saves_the_rows(
    name: str, write: object, names: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / name
    write(path)  # type: ignore[operator]
    with pytest.raises(InputError) as refused:
        open_vectors(path)
    line = str(refused.value).rpartition("un: ")[2]
    for placeholder, value in names.items():
        line = line.replace(placeholder, value)
    program, flag, code = shlex.split(line)
    assert (program, flag) == ("python", "-c")
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    np.testing.assert_array_equal(open_vectors(path.with_suffix(".npy")).rows(0, 30), ROWS)


@pytest.mark.parametrize(
    ("begin", "named"),
    [
        (b"SQLite format 3\0", "SQLite"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"\0" * 8 + b"DUCK", "DuckDB"),
        (b"Obj\x01avro.schema", "read_avro"),
        (b"\xba\x16\x4f\x2f", "fastText"),
        (b"MATLAB 7.3 MAT-file", r"\[:\]\.T"),
        (b"\x80\x04\x95", "pickled"),
        (b"usearch", "usearch"),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".db", ".bin", ".data"])
def test_content_tells_more_than_a_name(
    begin: bytes, named: str, suffix: str, tmp_path: Path
) -> None:
    (tmp_path / f"a{suffix}").write_bytes(begin + b"\1" * 100)
    with pytest.raises(InputError, match=named):
        open_vectors(tmp_path / f"a{suffix}")


def test_every_kind_has_a_name_of_its_own_and_a_way_on() -> None:
    suffixes = [s for kind in (*NOT_READ, *FORMATS) for s in kind.suffixes]
    assert len(suffixes) == len(set(suffixes))
    for kind in NOT_READ:
        told = kind.way_on(Path("dir/a file.x"))
        assert "{" not in told and told
        if found := re.fullmatch(r"Run: (python -c .*)", told):
            compile(shlex.split(found[1])[2], kind.why, "exec")
