"""How far a log was read, and what tells that log from another one under its name.

Logs are rotated: under a name that was watched stands another file, which may be shorter, longer
or of the same length, and whose lines nobody has seen.  A position therefore holds digests of what
was read.  All of a log of up to 4 MB counts, and of a longer one 32 to 64 blocks that are spread
over it evenly, beside its last 64 kB: a look costs no more where gigabytes were read before.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

from isthmus.errors import InputError

__all__ = ["Position"]

_BLOCK = 1 << 16
_MOST_BLOCKS = 64
_DIGEST = 16
_DIGITS = r"(\d{1,18})"
_TEXT = re.compile(
    rf"{_DIGITS} {_DIGITS} {_DIGITS} {_DIGITS} ([0-9a-f]{{32}})(?: ((?:[0-9a-f]{{32}})*))?"
)


class Position:
    """A place behind some lines of a log, or rows of a file, that knows what stood before it.

    Attributes:
        count: lines or rows before it.
        size: their bytes; None where only their number is known, as older states tell it.
        file: the number that the file system gives the file; None where it has none.

    Example:
        >>> from isthmus.monitor.position import Position
        >>> read = Position()
        >>> read.add(b'{"hit": 1}\\n')
        >>> read.count, read.size
        (1, 11)
        >>> again = Position.of_text(str(read))
        >>> again.stands_in(lambda start, stop: b'{"hit": 1}\\n{"hit": 0}\\n'[start:stop])
        True
        >>> again.stands_in(lambda start, stop: b'{"hit": 0}\\n{"hit": 0}\\n'[start:stop])
        False
    """

    def __init__(self, file: int | None = None) -> None:
        self.count = 0
        self.size: int | None = 0
        self.file = file
        self._stride = 1
        self._blocks: list[str] = []
        self._before, self._open = b"", bytearray()
        self._end = _digest(b"")

    def add(self, content: bytes, count: int = 1) -> None:
        """Go on behind the next lines or rows."""
        assert self.size is not None, "what was read before is known"
        self.count += count
        self.size += len(content)
        self._open += content
        border = self.size - self.size % _BLOCK
        at = border - (len(self._open) - self.size % _BLOCK)
        start = 0
        while at < border:
            block = bytes(self._open[start : start + _BLOCK])
            if at // _BLOCK % self._stride == 0:
                self._blocks.append(_digest(block))
            if len(self._blocks) > _MOST_BLOCKS:
                self._stride, self._blocks = 2 * self._stride, self._blocks[::2]
            self._before, at, start = block, at + _BLOCK, start + _BLOCK
        del self._open[:start]

    def stands_in(self, read: Callable[[int, int], bytes]) -> bool:
        """Whether a file begins with what stands before this place; one can then `add` to it.

        Args:
            read: the bytes of the file from one offset to another, fewer where it ends before.
        """
        assert self.size is not None, "what was read before is known"
        for number, digest in enumerate(self._blocks):
            start = number * self._stride * _BLOCK
            if start >= self.size or _digest(read(start, start + _BLOCK)) != digest:
                return False
        end = read(max(0, self.size - _BLOCK), self.size)
        if len(end) != min(self.size, _BLOCK) or _digest(end) != self._end:
            return False
        inside = len(end) - self.size % _BLOCK
        self._before, self._open = end[:inside], bytearray(end[inside:])
        return True

    def same_as(self, other: Position) -> bool:
        """Whether the same content stands before both."""
        return self._content() == other._content()

    def __str__(self) -> str:
        """Text from which `of_text` goes on."""
        if self.size is None:
            return str(self.count)
        size, stride, end, blocks = self._content()
        return f"{self.count} {size} {stride} {self.file or 0} {end} {blocks}".rstrip()

    def _content(self) -> tuple[int | None, int, str, str]:
        if self._before or self._open:
            self._end = _digest((self._before + bytes(self._open))[-_BLOCK:])
        return self.size, self._stride, self._end, "".join(self._blocks)

    @classmethod
    def of_text(cls, text: str) -> Position:
        """What ``str`` gave; a bare number is one of lines or rows of which nothing is known.

        Raises:
            InputError: for anything else.
        """
        found = cls()
        if re.fullmatch(_DIGITS, text):
            found.count, found.size = int(text), None
            return found
        told = _TEXT.fullmatch(text)
        if told is None or int(told[3]) < 1:
            raise InputError("this is no place in a log", where=f"cursor {text[:40]!r}")
        found.count, found.size, found._stride = int(told[1]), int(told[2]), int(told[3])
        found.file, found._end = int(told[4]) or None, told[5]
        found._blocks = re.findall("." * (2 * _DIGEST), told[6] or "")
        return found


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=_DIGEST).hexdigest()
