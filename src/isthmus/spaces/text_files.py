"""Text files as any system and tool writes them: UTF-8 or UTF-16, with a mark or none, packed."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from isthmus.errors import InputError, missing_extra
from isthmus.inputs import open_input

__all__ = [
    "COMPRESSIONS",
    "is_packed",
    "lines_of",
    "open_text",
    "separator_of",
    "suffix_of",
    "text_of_file",
    "unpacked",
    "unpacker_of",
]

_LONGEST_LINE = 1 << 26
"""Characters: more of them are no text of an item."""


def _through_arrow(kind: str, raw: Any, mode: str) -> io.BufferedReader:
    """Unpacked by Arrow, which has what Python's own library lacks."""
    try:
        import pyarrow as pa
    except ImportError as error:
        raise missing_extra("pyarrow", "parquet", f"unpacking {kind}") from error

    def opened() -> Any:
        return pa.CompressedInputStream(_Lent(raw), kind)

    return io.BufferedReader(_Unpacked(opened, raw))


class _Lent(io.RawIOBase):
    """A file for a library that closes what it was given, when it is done."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        return self._raw.readinto(buffer)


class _Unpacked(io.RawIOBase):
    """A packed stream that can be begun again."""

    def __init__(self, opened: Callable[[], Any], raw: Any) -> None:
        self._opened, self._raw = opened, raw
        self._stream = opened()
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        found = self._stream.read(len(buffer))
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        if (offset, whence) == (0, 1):
            return self._at
        if (offset, whence) != (0, 0):
            raise io.UnsupportedOperation("a packed stream is read from its begin on")
        self._raw.seek(0)
        self._stream, self._at = self._opened(), 0
        return 0


COMPRESSIONS = (".gz", ".gzip", ".bz2", ".xz", ".zst", ".zstd", ".lz4")
"""How the names of text files end that may be packed."""
_MARKS: tuple[tuple[re.Pattern[bytes], Callable[..., Any]], ...] = (
    (re.compile(rb"\x1f\x8b"), gzip.open),
    (re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"), bz2.open),
    (re.compile(rb"\xfd7zXZ\x00"), lzma.open),
    (re.compile(rb"\x28\xb5\x2f\xfd"), partial(_through_arrow, "zstd")),
    (re.compile(rb"\x04\x22\x4d\x18"), partial(_through_arrow, "lz4")),
)
"""How packed files begin, whatever they are called: browsers unpack what they load, and keep the
name."""


def suffix_of(path: Path) -> str:
    """The suffix that says what a file holds, in lower case: ``.csv`` of ``Q.CSV.gz``.

    Example:
        >>> suffix_of(Path("Q.CSV.gz"))
        '.csv'
    """
    suffix = path.suffix.lower()
    return path.with_suffix("").suffix.lower() if suffix in COMPRESSIONS else suffix


def separator_of(line: str) -> str:
    """What parts the columns of a table, by its first line: the commonest mark, or a comma.

    Example:
        >>> separator_of("id;text"), separator_of("text")
        (';', ',')
    """
    return max(",;\t", key=lambda mark: (line.count(mark), mark == ","))


@contextmanager
def open_text(path: Path, *, newline: str | None = None) -> Generator[TextIO]:
    """A text file; ``newline`` as `open` takes it.

    Raises:
        Exception: whatever opening, unpacking or decoding raises.
    """
    with path.open("rb") as raw, _decoded(raw, newline) as file:
        yield file


@contextmanager
def unpacked(path: Path) -> Generator[BinaryIO]:
    """The bytes of a file, behind what it is packed with.

    Raises:
        Exception: whatever opening or unpacking raises.
    """
    with path.open("rb") as raw:
        unpack = unpacker_of(raw)
        if unpack is None:
            yield raw
        else:
            with unpack(raw, "rb") as content:
                yield content


def is_packed(path: Path) -> bool:
    """Whether a file begins as one of the packers' does."""
    with path.open("rb") as raw:
        return unpacker_of(raw) is not None


def unpacker_of(raw: BinaryIO) -> Callable[..., Any] | None:
    """What reads the content of an open file that is packed, called with it and "rb"; else None."""
    begins = raw.read(16)
    raw.seek(0)
    return next((unpack for mark, unpack in _MARKS if mark.match(begins)), None)


@contextmanager
def text_of_file(path: Path, *, newline: str | None = None) -> Generator[TextIO]:
    """A text file, for a block that reads it; whatever is wrong with the file is one error.

    Raises:
        InputError: naming the file, where it is missing, no file, not text, or packed and damaged.
    """
    try:
        with open_input(path) as raw, _decoded(raw, newline) as file:
            yield file
    except FileNotFoundError as error:
        raise InputError("there is no such file", where=str(path)) from error
    except UnicodeError as error:
        raise InputError("the file is not UTF-8 text", where=str(path)) from error
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise InputError(
            f"the file cannot be read ({str(error)[:200]})",
            where=str(path),
            mend="Copy or write it again",
        ) from error


def lines_of(file: TextIO, path: Path) -> Iterator[str]:
    """The lines of an open text, none of which is held before it is known to end.

    Raises:
        InputError: naming a line that is longer than any text of an item.
    """
    for number in count(1):
        line = file.readline(_LONGEST_LINE)
        if len(line) >= _LONGEST_LINE:
            raise InputError(
                f"the line has more than {_LONGEST_LINE:,} characters",
                where=f"{path}, line {number}",
            )
        if not line:
            return
        yield line


def _decoded(raw: BinaryIO, newline: str | None) -> TextIO:
    """The text in an open file, whose first bytes say how it is written."""
    unpack = unpacker_of(raw)
    content = raw if unpack is None else unpack(raw, "rb")
    mark = content.read(2)
    content.seek(0)
    encoding = "utf-16" if mark in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    return io.TextIOWrapper(content, encoding=encoding, newline=newline)
