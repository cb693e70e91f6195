"""Text files as any system and tool writes them: UTF-8 or UTF-16, with a mark or none, packed."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from isthmus.errors import InputError
from isthmus.inputs import open_input

__all__ = ["COMPRESSIONS", "open_text", "suffix_of", "text_of_file"]

COMPRESSIONS: dict[str, Callable[..., Any]] = {
    ".gz": gzip.open,
    ".gzip": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
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
