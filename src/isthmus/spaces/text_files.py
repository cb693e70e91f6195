"""Text files as any system and tool writes them: UTF-8 or UTF-16, with a mark or none, packed."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from isthmus.errors import InputError, missing_extra
from isthmus.inputs import open_input

__all__ = ["COMPRESSIONS", "open_text", "suffix_of", "text_of_file", "unpacked"]


def _through_arrow(kind: str, raw: Any, mode: str) -> io.BufferedReader:
    """Unpacked by Arrow, which has what Python's own library lacks."""
    try:
        import pyarrow as pa
    except ImportError as error:
        raise missing_extra("pyarrow", "parquet", f"unpacking {kind}") from error

    def opened() -> Any:
        return pa.CompressedInputStream(raw, kind)

    return io.BufferedReader(_Unpacked(opened, raw))


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


COMPRESSIONS: dict[str, Callable[..., Any]] = {
    ".gz": gzip.open,
    ".gzip": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zst": partial(_through_arrow, "zstd"),
    ".zstd": partial(_through_arrow, "zstd"),
    ".lz4": partial(_through_arrow, "lz4"),
}
"""What text files are read through, by the last part of their name."""


def suffix_of(path: Path) -> str:
    """The suffix that says what a file holds, in lower case: ``.csv`` of ``Q.CSV.gz``.

    Example:
        >>> suffix_of(Path("Q.CSV.gz"))
        '.csv'
    """
    suffix = path.suffix.lower()
    return path.with_suffix("").suffix.lower() if suffix in COMPRESSIONS else suffix


@contextmanager
def open_text(path: Path, *, newline: str | None = None) -> Generator[TextIO]:
    """A text file; ``newline`` as `open` takes it.

    Raises:
        Exception: whatever opening, unpacking or decoding raises.
    """
    with path.open("rb") as raw, _decoded(raw, path, newline) as file:
        yield file


@contextmanager
def unpacked(path: Path) -> Generator[BinaryIO]:
    """The bytes of a file, behind what it is packed with.

    Raises:
        Exception: whatever opening or unpacking raises.
    """
    unpack = COMPRESSIONS.get(path.suffix.lower())
    with path.open("rb") as raw:
        if unpack is None:
            yield raw
        else:
            with unpack(raw, "rb") as content:
                yield content


@contextmanager
def text_of_file(path: Path, *, newline: str | None = None) -> Generator[TextIO]:
    """A text file, for a block that reads it; whatever is wrong with the file is one error.

    Raises:
        InputError: naming the file, where it is missing, no file, not text, or packed and damaged.
    """
    try:
        with open_input(path) as raw, _decoded(raw, path, newline) as file:
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


def _decoded(raw: BinaryIO, path: Path, newline: str | None) -> TextIO:
    """The text in an open file, whose first bytes say how it is written."""
    unpack = COMPRESSIONS.get(path.suffix.lower())
    content = raw if unpack is None else unpack(raw, "rb")
    mark = content.read(2)
    content.seek(0)
    encoding = "utf-16" if mark in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    return io.TextIOWrapper(content, encoding=encoding, newline=newline)
