"""Parquet files opened so that a page takes no more memory than its column says it holds.

pyarrow takes memory for a page as large as the page's own header says, up to 2 GB, before it looks
whether the file holds as much.  Headers of pages are structs of Thrift's compact protocol.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from isthmus.errors import InputError

__all__ = ["Chunk", "column_chunks", "open_parquet_file", "page_header", "pages_of"]

_BUFFER_BYTES = 1 << 20
_HEADER_BYTES, _LONGEST_HEADER = 1 << 10, 1 << 24
_SLACK = 100  # of writers that left the header of a dictionary out of the size of their column
_SMALL = 1 << 24  # a page up to here is no danger, whatever the footer says of its column
_MOST_FOOTER = 1 << 26
"""A hundred bytes and more for each column of each row group, and tenfold once it is read."""
_DEEPEST = 16
_UNCOMPRESSED, _COMPRESSED = 2, 3  # fields of a page's header
_ROW_GROUPS, _COLUMNS, _META_DATA = 4, 1, 3  # of the footer, a row group and a column chunk
_WHOLE, _LIST, _STRUCT = (4, 5, 6), 9, 12
_Reader = Callable[[int], int]
"""Reads what begins at a place, and says where it ends."""


def open_parquet_file(file: Path | Any, groups: Sequence[int] | None = None) -> Any:
    """A `pyarrow.parquet.ParquetFile`, to be closed by the caller.

    Args:
        file: a path, or an open file: its pages are not looked at, since each would be a request
            where the file is far away.
        groups: the row groups that will be read; all if None.

    Raises:
        InputError: for a page that claims more bytes than its column has, naming both; for a footer
            of so many columns and row groups that it alone would fill the memory.
    """
    import pyarrow.parquet as pq

    if isinstance(file, Path):
        _check_footer(file)
    # buffered: whole column chunks of a large row group would not fit in memory
    opened = pq.ParquetFile(file, buffer_size=_BUFFER_BYTES, pre_buffer=False)
    if isinstance(file, Path):
        try:
            with file.open("rb", buffering=0) as raw:
                _check_pages(raw, opened.schema, groups, str(file))
        except BaseException:
            opened.close()
            raise
    return opened


def _check_footer(file: Path) -> None:
    with file.open("rb", buffering=0) as raw:
        end = raw.seek(0, os.SEEK_END)
        raw.seek(max(end - 8, 0))
        length = int.from_bytes(raw.read(4), "little")
    if _MOST_FOOTER < length <= end:
        raise InputError(
            f"its footer takes {length:,} bytes, and {_MOST_FOOTER:,} at the most",
            where=str(file),
            mend="Write it with larger row groups, or without the columns that nobody reads",
        )


def _check_pages(raw: BinaryIO, schema: Any, groups: Sequence[int] | None, where: str) -> None:
    place = "the footer"
    try:
        of_groups = column_chunks(raw)
        for group in range(len(of_groups)) if groups is None else groups:
            for column, chunk in enumerate(of_groups[group]):
                place = f"column '{schema.column(column).path}', row group {group}"
                most = max(chunk.total_uncompressed_size, _SMALL)
                for _, uncompressed in pages_of(raw, chunk):
                    if not 0 <= uncompressed <= most:
                        raise IndexError(f"a page says that it holds {uncompressed:,} bytes")
    except (IndexError, KeyError, RecursionError) as error:
        told = error if isinstance(error, IndexError) else "it cannot be read"
        raise InputError(
            f"not a readable Parquet file ({place}: {told})",
            where=where,
            mend="Copy or write it again",
        ) from None


class Chunk(NamedTuple):
    """A column of a row group, by what the footer says of it."""

    total_uncompressed_size: int
    total_compressed_size: int
    data_page_offset: int
    dictionary_page_offset: int | None


def column_chunks(raw: BinaryIO) -> list[list[Chunk]]:
    """The columns of every row group.

    The same numbers are had of pyarrow, which ends the process where a column's other numbers do
    not fit together.

    Raises:
        IndexError, KeyError, RecursionError: for a footer that is none.
    """
    raw.seek(-8, os.SEEK_END)
    length = int.from_bytes(raw.read(4), "little")
    raw.seek(-8 - length, os.SEEK_END)
    data = raw.read(length)
    groups: list[list[Chunk]] = []

    def meta_data(at: int) -> int:
        told, at = _struct(data, at, 2)
        groups[-1].append(Chunk(told[6], told[7], told[9], told.get(11)))
        return at

    def group(at: int) -> int:
        groups.append([])
        return _struct(data, at, 1, {_COLUMNS: _structs(data, column)})[1]

    def column(at: int) -> int:
        return _struct(data, at, 2, {_META_DATA: meta_data})[1]

    _struct(data, 0, 0, {_ROW_GROUPS: _structs(data, group)})
    return groups


def _structs(data: bytes, inner: _Reader) -> _Reader:
    """Reads a list of structs, each by ``inner``."""

    def read(at: int) -> int:
        head = data[at]
        if head & 15 != _STRUCT:
            raise IndexError("it holds no structs")
        count, at = (head >> 4, at + 1) if head >> 4 < 15 else _varint(data, at + 1)
        for _ in range(count):
            at = inner(at)
        return at

    return read


def pages_of(raw: BinaryIO, chunk: Chunk) -> Iterator[tuple[int, int]]:
    """The sizes of each page of a column chunk, compressed and not.

    Raises:
        IndexError: for a page that cannot be, saying why.
    """
    at = chunk.data_page_offset
    if at <= 0:
        return  # of a column without rows there is none
    dictionary = chunk.dictionary_page_offset
    if dictionary is not None and 0 < dictionary < at:
        at = dictionary
    end = at + chunk.total_compressed_size
    while at < end:
        length, sizes = page_header(raw, at)
        at += length + sizes[0]
        if sizes[0] < 0 or at > end + _SLACK:
            raise IndexError(f"a page says that it takes {sizes[0]:,} bytes")
        yield sizes


def page_header(raw: BinaryIO, at: int) -> tuple[int, tuple[int, int]]:
    """How long the header of the page there is, and the sizes that it tells.

    Raises:
        IndexError: where there is no header.
    """
    size = _HEADER_BYTES
    while True:
        raw.seek(at)
        data = raw.read(size)
        try:
            fields, length = _struct(data, 0, 0)
            return length, (fields[_COMPRESSED], fields[_UNCOMPRESSED])
        except (KeyError, RecursionError):
            raise IndexError("the header of a page cannot be read") from None
        except IndexError:
            # a header holds the least and the largest value, which may be long texts
            if len(data) < size or size >= _LONGEST_HEADER:
                raise IndexError("the header of a page cannot be read") from None
            size *= 16


def _struct(
    data: bytes, at: int, depth: int, inner: Mapping[int, _Reader] | None = None
) -> tuple[dict[int, int], int]:
    """The whole numbers of a struct by the number of their field, and where it ends.

    Fields that are structs or lists are read by what ``inner`` has for their number, which says
    where they end; all others are passed over.
    """
    if depth > _DEEPEST:
        raise RecursionError
    numbers: dict[int, int] = {}
    field = 0
    while True:
        head = data[at]
        at += 1
        if head == 0:
            return numbers, at
        kind = head & 15
        if head >> 4:
            field += head >> 4
        else:
            coded, at = _varint(data, at)
            field = _signed(coded)
        if kind in _WHOLE:
            coded, at = _varint(data, at)
            numbers[field] = _signed(coded)
        elif inner and field in inner and kind in (_LIST, _STRUCT):
            at = inner[field](at)
        else:
            at = _behind(data, at, kind, depth)


def _behind(data: bytes, at: int, kind: int, depth: int, *, inside: bool = False) -> int:
    """Where a value of this kind ends; a truth value takes a byte only ``inside`` a list."""
    if kind in (1, 2):
        return at + inside
    if kind in (3, 7, 13):
        return at + {3: 1, 7: 8, 13: 16}[kind]
    if kind in (4, 5, 6):
        return _varint(data, at)[1]
    if kind == 8:
        length, at = _varint(data, at)
        return at + length
    if kind in (9, 10):
        head = data[at]
        count, at = (head >> 4, at + 1) if head >> 4 < 15 else _varint(data, at + 1)
        return _behind_all(data, at, count, (head & 15,), depth)
    if kind == 11:
        count, at = _varint(data, at)
        kinds = (data[at] >> 4, data[at] & 15) if count else ()
        return _behind_all(data, at + bool(count), count, kinds, depth)
    if kind == 12:
        return _struct(data, at, depth + 1)[1]
    raise IndexError(f"no kind {kind}")


def _behind_all(data: bytes, at: int, count: int, kinds: tuple[int, ...], depth: int) -> int:
    if depth > _DEEPEST:
        raise RecursionError
    for _ in range(count):
        data[at]  # an empty value a million times is no list
        for kind in kinds:
            at = _behind(data, at, kind, depth + 1, inside=True)
    return at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    byte = data[at]
    if byte < 128:
        return byte, at + 1
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise IndexError("a number of more than 64 bits")


def _signed(coded: int) -> int:
    """A whole number from its zigzag code."""
    return coded >> 1 ^ -(coded & 1)
