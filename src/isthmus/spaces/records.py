"""Rows of named values: objects of JSON, tables of text, and files of columns."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, TextIO, cast

from isthmus.errors import InputError
from isthmus.spaces.formats.arrow_streams import (
    Stream,
    ipc_stream,
    need_arrow,
    orc_stream,
    parquet_stream,
)
from isthmus.spaces.formats.contents import reading
from isthmus.spaces.json_values import json_values
from isthmus.spaces.text_files import lines_of, separator_of, suffix_of, text_of_file

__all__ = ["COLUMNS", "RECORDS", "Meanings", "read_records"]

_JSON = (".jsonl", ".ndjson", ".json")
_HEAD = 4096
COLUMNS = {
    **dict.fromkeys((".parquet", ".pq"), parquet_stream),
    **dict.fromkeys((".arrow", ".arrows", ".feather", ".ipc"), ipc_stream),
    ".orc": orc_stream,
}
"""What reads a file of columns, by its suffix."""
RECORDS = (*_JSON, ".csv", ".tsv", *COLUMNS)
"""Suffixes of the files that records are read from; those of text may be packed."""

Meanings = Callable[[Sequence[str], str], Mapping[str, str]]
"""Says for each meaning the column that has it, given the names of columns and their place."""

_Record = tuple[str, dict[str, Any]]


def read_records(
    path: Path, meanings: Meanings, like: str, *, value: str = "text", alone: bool = False
) -> Iterator[_Record]:
    """Each row's place and its values by meaning, as they are read.

    Args:
        path: objects of JSON on lines, in one list, or in one object by their names, which may hold
            plain values as well; a table of text under a line of column names; or a Parquet, Arrow
            or ORC file.
        meanings: which columns are read, and what for.
        like: an object of JSON as it should be, for messages.
        value: the meaning of a plain value; that of what it is called by is ``name``.
        alone: a text of JSON may stand without a name.

    Raises:
        InputError: naming the file and the line or row.
        MissingExtraError: for a file of columns, without pyarrow.
    """
    suffix = suffix_of(path)
    if suffix in COLUMNS:
        need_arrow(suffix)
        with reading(path, "table"), COLUMNS[suffix](path) as stream:
            yield from _columns(path, stream, meanings)
        return
    with text_of_file(path, newline="") as file:
        if suffix in _JSON:
            yield from _objects(path, file, meanings, like, value, alone)
        else:
            yield from _table(path, file, meanings)


def _columns(path: Path, stream: Stream, meanings: Meanings) -> Iterator[_Record]:
    held = meanings(stream.schema.names, str(path))
    row = 0
    for batch in stream.read(list(dict.fromkeys(held.values()))):
        values = [batch.column(column).to_pylist() for column in held.values()]
        for cells in zip(*values, strict=True):
            yield f"{path}, row {row}", dict(zip(held, cells, strict=True))
            row += 1


def _objects(
    path: Path, file: TextIO, meanings: Meanings, like: str, value: str, alone: bool
) -> Iterator[_Record]:
    whole = suffix_of(path) == ".json" and _begins_with_object(path)
    names: tuple[str, ...] | None = None
    held: Mapping[str, str] = {}
    for found, where in json_values(file, path):
        if alone and isinstance(found, str):
            yield where, {value: found}
            continue
        if not isinstance(found, dict):
            raise InputError("expected an object", where=where, mend=f"Write {like}")
        record = cast(dict[str, Any], found)
        if whole and all(isinstance(v, str | int | float) for v in record.values()):
            try:
                meanings(list(record), where)
            except InputError:  # names with their values, and no row
                yield from ((where, {"name": n, value: v}) for n, v in record.items())
                continue
        rows: Iterable[dict[str, Any]] = (record,)
        if whole and all(isinstance(v, dict) for v in record.values()):
            rows = ({"id": n} | v for n, v in record.items())
        for row in rows:
            if (found_names := tuple(row)) != names:
                names, held = found_names, meanings(found_names, where)
            yield where, {meaning: row[column] for meaning, column in held.items()}


def _begins_with_object(path: Path) -> bool:
    with text_of_file(path) as file:
        return file.read(_HEAD).lstrip().startswith("{")


def _table(path: Path, file: TextIO, meanings: Meanings) -> Iterator[_Record]:
    lines = lines_of(file, path)
    head: list[str] = []
    for line in lines:
        head.append(line)
        if line.strip():
            break
    first = head[-1] if head else ""
    parted = "\t" if suffix_of(path) == ".tsv" else separator_of(first)
    reader = csv.reader(chain(head, lines), delimiter=parted, strict=True)
    names: list[str] = []
    held: Mapping[str, str] = {}
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise InputError(
                f"this is no line of a table ({error})",
                where=f"{path}, line {reader.line_num}",
                mend="Write it as .jsonl" if "limit" in str(error) else None,
            ) from error
        where = f"{path}, line {reader.line_num}"
        if row is None:
            if not names:
                meanings([], str(path))
            return
        if not any(cell.strip() for cell in row):
            continue
        if not names:
            names, held = row, meanings(row, where)
            continue
        if len(row) != len(names):
            raise InputError(
                f"there are {len(row)} values for {len(names)} columns",
                where=where,
                mend="Put a text that holds the separator between double quotes",
            )
        cells = dict(zip(names, row, strict=True))
        yield where, {meaning: cells[column] for meaning, column in held.items()}
