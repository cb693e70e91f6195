"""Scratch arrays: writable, outside the process's own memory, without a name."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from isthmus.errors import OutputError
from isthmus.files import atomic_file
from isthmus.spaces.scratch import (
    ScratchFolder,
    blocks,
    map_file,
    scratch_array,
    scratch_file,
    scratch_folder,
)


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


_HOLD = """
import sys
from pathlib import Path
from isthmus.spaces.scratch import ScratchFolder
folder = ScratchFolder(Path(sys.argv[1]))
(folder.path / "data").write_bytes(bytes(1000))
print(folder.path, flush=True)
sys.stdin.read()
"""


def test_folders_of_the_dead_are_removed_and_those_of_the_living_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    foreign = [tmp_path / "isthmus-scratch-notes", tmp_path / "other"]
    for folder in foreign:
        folder.mkdir()
    holders = [
        subprocess.Popen(
            [sys.executable, "-c", _HOLD, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    places = [Path(str(holder.stdout and holder.stdout.readline().strip())) for holder in holders]
    dead, living = holders
    os.kill(dead.pid, signal.SIGKILL)
    dead.communicate()
    assert all((place / "data").exists() for place in places)
    with scratch_folder() as mine:
        assert mine.parent.stat().st_mode & 0o777 == 0o700
        assert sorted(tmp_path.iterdir()) == sorted([*foreign, places[1].parent, mine.parent])
    assert (places[1] / "data").exists()
    living.communicate()
    ScratchFolder().close()
    assert sorted(tmp_path.iterdir()) == sorted(foreign)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_folder_goes_whatever_happens_in_its_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(error), scratch_folder() as folder:
        with atomic_file(folder / "data") as file:
            file.touch()
        raise error
    assert list(tmp_path.iterdir()) == []
