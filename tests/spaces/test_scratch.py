"""Scratch arrays: writable, outside the process's own memory, without a name."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest

from isthmus.errors import OutputError
from isthmus.spaces.scratch import blocks, map_file, scratch_array, scratch_file


def test_blocks_cover_every_row_once() -> None:
    for n in (0, 1, 7, 8, 9):
        rows = [row for part in blocks(n, 4) for row in range(part.start, part.stop)]
        assert rows == list(range(n))


def test_a_big_array_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    big = scratch_array(4 << 20, np.int64)
    big[:] = np.arange(len(big))
    big.sort()
    assert big[-1] == len(big) - 1
    assert isinstance(big.base, np.memmap)
    assert not list(tmp_path.iterdir())


def test_a_map_outlives_its_file() -> None:
    with scratch_file() as file:
        file.write(np.arange(6, dtype=np.float32).tobytes())
        mapped = map_file(file, np.float32, (3, 2))
    assert mapped.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert not mapped.flags.writeable


def test_a_folder_that_cannot_be_written_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    with pytest.raises(OutputError, match="TMPDIR"):
        scratch_array(4 << 20, np.int64)
