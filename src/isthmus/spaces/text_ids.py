"""Ids that are text, kept as their bytes in scratch files: blocks of them are read as asked for.

An array of text gives every id the room of the longest, in four bytes a letter; a file of a million
UUIDs would take 144 MB of memory a side, and one id of 20,000 letters among them 80 GB.
"""

from __future__ import annotations

import os
import unicodedata
import weakref
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.spaces.scratch import scratch_file

__all__ = [
    "LONGEST",
    "TextIdWriter",
    "TextIds",
    "check_lengths",
    "composed_text",
    "composed_texts",
    "id_blocks",
]

LONGEST = 1000
"""Letters of an id: more of them are a text, not the name of one."""
_BLOCK_BYTES = 16 << 20
_BLOCK_ROWS = 1 << 18
_GATHERED = 1 << 15  # rows that are picked at once
_SPARSE = 64  # where one row in so many is wanted, all between are read
_FIRST_COMBINING = 0x300
"""Letters below it are in the normal form C, whatever they are written beside."""
_COMBINING_BYTE = 0xCC
"""No letter below that one has such a byte or a greater one in UTF-8."""
_WIDEST = 3
"""Letters that the normal form C makes of one at the most (Unicode Standard Annex 15)."""

TextLetters = Literal["plain", "any", "composed"]
"""All below `_FIRST_COMBINING`; as they are; or brought to the normal form C when they are read."""


def id_blocks(ids: NDArray[Any] | TextIds, total: int | None = None) -> Iterator[slice]:
    """The places of ids, cut into slices that are bounded in rows and in bytes.

    Args:
        ids: which are as wide as their dtype says.
        total: places, where they are not those of ``ids``.
    """
    size = max(1, min(_BLOCK_ROWS, _BLOCK_BYTES // max(ids.dtype.itemsize, 1)))
    n = len(ids) if total is None else total
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


class TextIds:
    """``(n,)`` ids; a slice, an array of places or a mask gives an array of them.

    It stands where an array of text stands that is looked at in blocks.  Made by `TextIdWriter`.
    """

    ndim = 1

    def __init__(self, text: int, ends: int, n: int, width: int, letters: TextLetters) -> None:
        self._text, self._ends = os.dup(text), os.dup(ends)
        for descriptor in (self._text, self._ends):
            weakref.finalize(self, os.close, descriptor)
        self._n, self._width, self._letters = n, max(width, 1), letters
        wide = _WIDEST if letters == "composed" else 1
        self.dtype: np.dtype[Any] = np.dtype(f"U{wide * self._width}")

    @property
    def composed(self) -> TextIds:
        """The same in the normal form C."""
        if self._letters != "any":
            return self
        return TextIds(self._text, self._ends, self._n, self._width, "composed")

    def __len__(self) -> int:
        return self._n

    @property
    def shape(self) -> tuple[int]:
        """``(n,)``"""
        return (self._n,)

    def __getitem__(self, which: Any) -> Any:
        if isinstance(which, slice):
            start, stop, step = which.indices(self._n)
            if step == 1:
                return self._run(start, max(start, stop))
            which = np.arange(start, stop, step)
        if isinstance(which, int | np.integer):
            place = range(self._n)[int(which)]
            return self._run(place, place + 1)[0]
        places = np.asarray(which)
        if places.dtype == np.bool_:
            return self._picked(np.flatnonzero(places))
        return self._picked(places.ravel()).reshape(places.shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        whole = self._run(0, self._n)
        return whole if dtype is None else whole.astype(dtype)

    def tolist(self) -> list[str]:
        """All ids as a list."""
        return [name for part in id_blocks(self) for name in self[part].tolist()]

    def _run(self, start: int, stop: int) -> NDArray[np.str_]:
        ends = self._ends_of(start, stop)
        text = _read(self._text, int(ends[0]), int(ends[-1]))
        return self._spelled(_array(text, ends[:-1] - ends[0], np.diff(ends)))

    def _spelled(self, ids: NDArray[np.str_]) -> NDArray[np.str_]:
        return composed_texts(ids) if self._letters == "composed" else ids

    def _ends_of(self, start: int, stop: int) -> NDArray[np.int64]:
        """Where the id before ``start`` ends, and each of those up to ``stop``."""
        return _read(self._ends, 8 * start, 8 * (stop + 1)).view(np.int64)

    def _picked(self, places: NDArray[Any]) -> NDArray[np.str_]:
        order = np.argsort(places, kind="stable")
        wanted = np.asarray(places, dtype=np.int64)[order]
        if len(wanted) and not -self._n <= wanted[0] <= wanted[-1] < self._n:
            raise IndexError(f"places {wanted[0]} to {wanted[-1]} of {self._n} ids")
        if len(wanted) and wanted[0] < 0:
            return self._picked(np.asarray(places) % self._n)
        parts: list[NDArray[np.str_]] = []
        done = 0
        while done < len(wanted):
            first = int(wanted[done])
            end = int(np.searchsorted(wanted[: done + _GATHERED], first + _SPARSE * _GATHERED))
            last = int(wanted[end - 1])
            if last - first > _SPARSE * (end - done):
                end = done + 1
                last = first
            ends = self._ends_of(first, last + 1)
            text = _read(self._text, int(ends[0]), int(ends[-1]))
            here = wanted[done:end] - first
            found = _array(text, ends[here] - ends[0], ends[here + 1] - ends[here])
            parts.append(self._spelled(found))
            done = end
        out = np.empty(len(wanted), np.result_type("U1", *(part.dtype for part in parts)))
        done = 0
        for part in parts:
            out[order[done : done + len(part)]] = part
            done += len(part)
        return out


class TextIdWriter:
    """Takes ids block by block, and makes `TextIds` of them."""

    def __init__(self, stack: ExitStack) -> None:
        self._text, self._ends = (stack.enter_context(scratch_file()) for _ in range(2))
        self._ends.write(np.zeros(1, np.int64).tobytes())
        self._end = self._width = self.n = 0
        self._letters: TextLetters = "plain"

    def add(self, ids: NDArray[np.str_] | Sequence[str], where: str) -> None:
        """Append ids.

        Raises:
            InputError: for one of more than `LONGEST` letters.
        """
        names = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
        if not names:
            return
        lengths = np.fromiter(map(len, names), np.int64, len(names))
        check_lengths(lengths, where, self.n)
        encoded = [name.encode("utf-8", "surrogatepass") for name in names]
        joined = b"".join(encoded)
        if joined and int(np.frombuffer(joined, np.uint8).max()) >= _COMBINING_BYTE:
            self._letters = "any"
        self._text.write(joined)
        ends = self._end + np.cumsum(np.fromiter(map(len, encoded), np.int64, len(names)))
        self._ends.write(ends.tobytes())
        self._end, self._width = int(ends[-1]), max(self._width, int(lengths.max()))
        self.n += len(names)

    def ids(self) -> TextIds:
        """The ids that were added, in that order."""
        for file in (self._text, self._ends):
            file.flush()
        return TextIds(self._text.fileno(), self._ends.fileno(), self.n, self._width, self._letters)


def composed_text(text: str) -> str:
    """One text in the normal form C."""
    return unicodedata.normalize("NFC", text)


def composed_texts(ids: NDArray[np.str_]) -> NDArray[np.str_]:
    """Texts ``(m,)`` in the normal form C; the very array where they are."""
    letters = np.ascontiguousarray(ids).view(np.uint32)
    if not letters.size or int(letters.max()) < _FIRST_COMBINING:
        return ids
    listed = ids.tolist()
    composed = list(map(composed_text, listed))
    return ids if composed == listed else np.array(composed, dtype=np.str_)


def check_lengths(lengths: NDArray[Any], where: str, first: int = 0) -> None:
    """Refuse ids of more than `LONGEST` letters.

    Raises:
        InputError: naming the row, counted from ``first``.
    """
    if len(lengths) and int(lengths.max()) > LONGEST:
        row = int(np.argmax(lengths > LONGEST))
        raise InputError(
            f"the id has {int(lengths[row]):,} characters, and {LONGEST:,} at the most",
            where=f"{where}, row {first + row}",
            mend="Name the item by a number or a digest",
        )


def _array(
    text: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64]
) -> NDArray[np.str_]:
    """The pieces of UTF-8 ``text`` as an array as wide as the longest."""
    n = len(starts)
    width = max(int(lengths.max(initial=0)), 1)
    if text.size and int(text.max()) >= 128:
        raw = text.tobytes()
        names = [
            raw[a : a + b].decode("utf-8", "surrogatepass")
            for a, b in zip(starts.tolist(), lengths.tolist(), strict=True)
        ]
        return np.array(names, dtype=np.str_) if n else np.empty(0, "U1")
    # UUIDs and the like, which are all of one length
    alike = bool((lengths == width).all())
    if alike and text.size == n * width:
        letters = text.reshape(n, width).astype(np.uint32)
        return letters.view(f"U{width}").reshape(n)
    letters = np.zeros((n, width), np.uint32)
    columns = np.arange(width)
    step = max(1, (_BLOCK_BYTES // 16) // width)
    for start in range(0, n, step):
        part = slice(start, start + step)
        places = starts[part, None] + columns
        if alike:
            letters[part] = text[places]
        else:
            used = columns < lengths[part, None]
            letters[part][used] = text[places[used]]
    return letters.view(f"U{width}").reshape(n)


def _read(descriptor: int, start: int, stop: int) -> NDArray[np.uint8]:
    out = np.empty(stop - start, np.uint8)
    content, done = memoryview(out), 0  # pyright: ignore[reportArgumentType]
    while done < len(content):
        got = os.preadv(descriptor, [content[done:]], start + done)
        if not got:
            raise InputError("a scratch file of ids ends early")
        done += got
    return out
