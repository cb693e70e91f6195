"""A place in a log knows what stood before it, at no more cost for a long log than for a short."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.monitor.position import Position

BLOCK = 1 << 16
WHOLE = 64 * BLOCK
"""A log of which every byte counts."""


def content(size: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(size)


def behind(read: bytes, parts: int = 1) -> Position:
    place = Position(7)
    for cut in np.array_split(np.frombuffer(read, np.uint8), parts):
        place.add(cut.tobytes())
    return place


def reader(file: bytes, asked: list[int] | None = None):
    def read(start: int, stop: int) -> bytes:
        if asked is not None:
            asked.append(stop - start)
        return file[start:stop]

    return read


SIZES = [1, 100, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5, WHOLE, WHOLE + BLOCK, 3 * WHOLE + 77]


@pytest.mark.parametrize("size", SIZES)
def test_a_place_does_not_depend_on_how_it_was_reached(size: int) -> None:
    file = content(size + 150_000)
    once = behind(file)
    for parts in (2, 7):
        assert behind(file, parts).same_as(once)
    later = Position.of_text(str(behind(file[:size], 3)))
    assert (later.count, later.size, later.file) == (3, size, 7)
    assert later.stands_in(reader(file))
    for cut in np.array_split(np.frombuffer(file[size:], np.uint8), 4):
        later.add(cut.tobytes())
    assert later.same_as(once) and later.count == 7
    assert str(later).split()[1:] == str(once).split()[1:]


@pytest.mark.parametrize("size", SIZES)
def test_another_file_is_told_from_the_one_that_was_read(size: int) -> None:
    file = content(size)
    known = str(behind(file, 5))
    assert not Position.of_text(known).stands_in(reader(content(size + 9, seed=1)))
    assert not Position.of_text(known).stands_in(reader(file[:-1]))
    assert not Position.of_text(known).stands_in(reader(b""))
    changed = [0, size - 1] + ([size // 2, size // 3] if size <= WHOLE else [])
    for at in changed:
        other = bytearray(file)
        other[at] ^= 1
        assert not Position.of_text(known).stands_in(reader(bytes(other))), at
        assert not behind(bytes(other)).same_as(behind(file))


def test_of_a_long_log_little_is_read_again_and_kept() -> None:
    file = content(10 * WHOLE)
    known, asked = str(behind(file, 100)), list[int]()
    assert Position.of_text(known).stands_in(reader(file, asked))
    assert sum(asked) <= WHOLE + BLOCK and len(asked) >= 33
    assert len(known) < 2500


@pytest.mark.parametrize(
    "text", ["", "x", "-1", "1 2 3", "9" * 30, f"1 2 0 4 {'0' * 32}", f"1 2 1 4 {'0' * 32} 00"]
)
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="no place in a log"):
        Position.of_text(text)


def test_a_forged_place_is_one_of_another_log() -> None:
    forged = f"5 {10**17} {10**17} 0 {'0' * 32} {'0' * 64}"
    assert not Position.of_text(forged).stands_in(reader(b"abc"))
    known = str(behind(b"abc"))
    assert str(Position.of_text(known)) == known
