"""The raw files of neighbour benchmarks are the rows that were written, or are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.spaces.readers import open_vectors

ROWS = np.random.default_rng(4).standard_normal((30, 4)).astype(np.float32)
CODES = np.random.default_rng(5).integers(0, 256, (30, 4)).astype(np.uint8)


def _vecs(path: Path, rows: np.ndarray) -> Path:
    width = np.int32(rows.shape[1]).tobytes()
    path.write_bytes(b"".join(width + row.tobytes() for row in rows))
    return path


def _bins(path: Path, rows: np.ndarray) -> Path:
    path.write_bytes(np.array(rows.shape, np.uint32).tobytes() + rows.tobytes())
    return path


@pytest.mark.parametrize(("name", "write"), [("a.fvecs", _vecs), ("a.fbin", _bins)])
def test_rows_of_floats(tmp_path: Path, name: str, write: object) -> None:
    path = write(tmp_path / name, ROWS)  # type: ignore[operator]
    found = open_vectors(path)
    np.testing.assert_array_equal(found.rows(0, 30), ROWS)
    assert found.ids is None and found.stored_dtype == "float32"
    np.testing.assert_array_equal(found.take(np.array([7, 3])), ROWS[[7, 3]])
    # two shards, with ids beside
    for part in (1, 2):
        write(tmp_path / f"s{part}{path.suffix}", ROWS[15 * (part - 1) : 15 * part])  # type: ignore[operator]
    (tmp_path / "ids.txt").write_text("\n".join(f"n{i}" for i in range(30)))
    both = open_vectors(f"{tmp_path}/s*{path.suffix}", ids=str(tmp_path / "ids.txt"))
    np.testing.assert_array_equal(both.rows(0, 30), ROWS)
    assert both.ids is not None and both.ids.tolist()[-1] == "n29"
    with pytest.raises(InputError, match="has no column 'x'"):
        open_vectors(f"{path}:x")


@pytest.mark.parametrize(("name", "write"), [("a.bvecs", _vecs), ("a.u8bin", _bins)])
def test_bytes_are_codes_unless_their_ranges_are_given(
    tmp_path: Path, name: str, write: object
) -> None:
    path = write(tmp_path / name, CODES)  # type: ignore[operator]
    with pytest.raises(InputError, match="dtype uint8, which looks like quantised codes"):
        open_vectors(path)
    ranges = np.array([[0.0] * 4, [255.0] * 4], np.float32)
    found = open_vectors(path, codes=ranges).rows(0, 30)
    np.testing.assert_allclose(found, CODES.astype(np.float32), rtol=1e-6)


@pytest.mark.parametrize("name", ["a.fvecs", "a.fbin"])
@pytest.mark.parametrize("damage", ["cut", "longer", "no row", "negative", "another width"])
def test_damaged_files_are_refused(tmp_path: Path, name: str, damage: str) -> None:
    write = _vecs if name == "a.fvecs" else _bins
    path = write(tmp_path / name, ROWS)
    whole = path.read_bytes()
    if damage == "another width":
        path = _vecs(tmp_path / "a.fvecs", ROWS)
        held = bytearray(path.read_bytes())
        held[20 * 11] = 3
        path.write_bytes(held)
        with pytest.raises(
            InputError, match=r"fvecs, row 11: the row announces 3 numbers, those b"
        ):
            open_vectors(path)
        return
    path.write_bytes(
        {
            "cut": whole[:-3],
            "longer": whole + b"\0\0\0",
            "no row": whole[:2],
            "negative": b"\xff" * 8 + whole[8:],
        }[damage]
    )
    with pytest.raises(InputError, match="announces .*Copy it again: it is cut off, or of another"):
        open_vectors(path)
