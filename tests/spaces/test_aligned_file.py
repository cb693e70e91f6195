"""A file in aligned pieces holds exactly what was appended, whatever the sizes and the system."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.spaces import aligned_file
from isthmus.spaces.aligned_file import HEAD, AlignedFile

HEADER = bytes(range(256)) * (HEAD // 256)


def _written(path: Path, pieces: list[np.ndarray], *, in_place: bool) -> bytes:
    file = AlignedFile(path)
    for piece in pieces:
        here = file.space(len(piece)) if in_place else None
        if here is None:
            file.write(piece)
        else:
            here[:] = piece
            file.advance(len(piece))
    file.finish(HEADER)
    file.close()
    return path.read_bytes()


@pytest.mark.parametrize("in_place", [True, False])
@given(sizes=st.lists(st.integers(0, 3 * HEAD), max_size=6), seed=st.integers(0, 100))
def test_content_is_what_was_appended(
    tmp_path_factory: pytest.TempPathFactory, in_place: bool, sizes: list[int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    pieces = [rng.integers(0, 256, size, dtype=np.uint8) for size in sizes]
    path = tmp_path_factory.mktemp("aligned") / "file"
    assert _written(path, pieces, in_place=in_place) == HEADER + b"".join(
        piece.tobytes() for piece in pieces
    )


@pytest.mark.parametrize("in_place", [True, False])
def test_more_than_the_memory_holds(tmp_path: Path, in_place: bool) -> None:
    rng = np.random.default_rng(0)
    sizes = (5_000_001, 6_000_003, 1, 9_000_000, 17)
    pieces = [rng.integers(0, 256, size, dtype=np.uint8) for size in sizes]
    content = _written(tmp_path / "file", pieces, in_place=in_place)
    assert content == HEADER + b"".join(piece.tobytes() for piece in pieces)


def test_a_system_without_direct_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "O_DIRECT", raising=False)
    piece = np.arange(100_000, dtype=np.uint8)
    assert _written(tmp_path / "file", [piece], in_place=True) == HEADER + piece.tobytes()


@pytest.mark.parametrize("fault", ["open", "write"])
def test_a_file_system_that_refuses_direct_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """As some network and older memory file systems do, when opening or only when writing."""
    direct = getattr(os, "O_DIRECT", 0)
    if not direct:
        pytest.skip("this system has no direct writes")
    real_open, real_write = os.open, os.write
    refused = []

    def opened(path: Any, flags: int, *more: Any) -> int:
        if fault == "open" and flags & direct:
            refused.append(path)
            raise OSError(errno.EINVAL, "Invalid argument")
        return real_open(path, flags, *more)

    def write(descriptor: int, data: Any) -> int:
        import fcntl

        if fault == "write" and fcntl.fcntl(descriptor, fcntl.F_GETFL) & direct:
            refused.append(descriptor)
            raise OSError(errno.EINVAL, "Invalid argument")
        return real_write(descriptor, data)

    monkeypatch.setattr(aligned_file.os, "open", opened)
    monkeypatch.setattr(aligned_file.os, "write", write)
    piece = np.arange(100_000, dtype=np.uint8)
    assert _written(tmp_path / "file", [piece], in_place=True) == HEADER + piece.tobytes()
    assert refused


def test_a_partial_write_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_write = os.write
    monkeypatch.setattr(aligned_file.os, "write", lambda fd, data: real_write(fd, data[:5000]))
    piece = np.random.default_rng(0).integers(0, 256, 50_001, dtype=np.uint8)
    assert _written(tmp_path / "file", [piece], in_place=False) == HEADER + piece.tobytes()


def test_more_space_than_there_is_memory_for_is_not_given(tmp_path: Path) -> None:
    file = AlignedFile(tmp_path / "file")
    assert file.space(64 << 20) is None
    file.close()
