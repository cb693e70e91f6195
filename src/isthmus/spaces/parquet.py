"""Vectors from Parquet and Arrow files: streamed once into a scratch file of plain rows."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError, missing_extra
from isthmus.progress import Progress, silent
from isthmus.spaces.scratch import map_file, scratch_file

__all__ = ["SUFFIXES", "Table", "read_tables"]

SUFFIXES = (".parquet", ".pq", ".arrow", ".feather", ".ipc")

_NAMES = ("vectors", "embeddings", "vector", "embedding")
_ID_NAMES = ("id", "ids")
_BATCH = 8192  # rows decoded at once


@dataclass(frozen=True)
class Table:
    """What `read_tables` found.

    ``vectors (n, d)`` and ``ids (n,)`` are mapped scratch files; ``files`` names every file with
    the number of its first row.
    """

    vectors: NDArray[Any]
    ids: NDArray[Any] | None
    key: str
    files: tuple[tuple[str, int], ...]


def read_tables(
    paths: Sequence[Path],
    key: str | None,
    *,
    id_column: str | None = None,
    find_ids: bool = True,
    progress: Progress = silent,
) -> Table:
    """Stream the vectors, and the ids if there are any, of ``paths`` in the given order.

    Args:
        paths: Parquet or Arrow IPC files with the same columns.
        key: the column of vectors, a list or fixed-size list of floats; by default the only one.
        id_column: the column of ids.
        find_ids: whether to look for a column ``id`` or ``ids`` if none is named.
        progress: told the rows read.

    Raises:
        InputError: for a missing column, a null, a ragged list or a wrong type, naming the file
            and the first such row.
        MissingExtraError: without pyarrow.
    """
    try:
        import pyarrow as pa
    except ImportError as error:
        raise missing_extra("pyarrow", "parquet", "reading Parquet and Arrow files") from error
    with _opened(paths[0]) as (schema, _, _):
        key = key or _vector_column(schema, pa, paths[0])
        if id_column is None and find_ids:
            id_column = next((n for n in _ID_NAMES if n in schema.names and n != key), None)
    files: list[tuple[str, int]] = []
    with ExitStack() as stack:
        rows = _Rows(stack.enter_context(scratch_file()))
        ids = None if id_column is None else _IdColumn(stack)
        total = _total(paths)
        for path in paths:
            files.append((str(path), rows.n))
            for batch, first in _batches(path, [key] if id_column is None else [key, id_column]):
                rows.add(batch.column(0), pa, f"{path}:{key}", first)
                if ids is not None:
                    ids.add(batch.column(1), pa, f"{path}:{id_column}", first)
                progress("reading vectors", rows.n, total)
        return Table(rows.map(paths[0]), ids.map() if ids else None, key, tuple(files))


def _vector_column(schema: Any, pa: Any, path: Path) -> str:
    lists = [field.name for field in schema if _is_list(field.type, pa)]
    named = [name for name in _NAMES if name in lists]
    for candidates in (lists, named):
        if len(candidates) == 1:
            return candidates[0]
    raise InputError(
        f"it is not clear which column holds the vectors; columns: {', '.join(schema.names)}",
        where=str(path),
        mend=f"Name it: '{path}:COLUMN'",
    )


def _is_list(kind: Any, pa: Any) -> bool:
    return bool(
        pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)
    )


class _Rows:
    """Vectors appended to a file, all of one width and dtype."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.n = 0
        self.dim: int | None = None
        self.dtype: np.dtype[Any] | None = None

    def add(self, column: Any, pa: Any, where: str, first: int) -> None:
        """Append ``column``, whose first row is row ``first`` of its file."""
        kind = column.type
        if not _is_list(kind, pa):
            raise InputError(
                f"the column has type {kind}, expected lists of floats",
                where=where,
            )
        if not pa.types.is_floating(kind.value_type):
            raise InputError(
                f"the column has type {kind}, expected lists of floats",
                where=where,
                mend="Integer codes must be multiplied by their scale first",
            )
        if not len(column):
            return
        dtype = np.dtype(kind.value_type.to_pandas_dtype())
        if self.dtype not in (None, dtype):
            raise InputError(f"the vectors are {dtype}, those before {self.dtype}", where=where)
        self.dtype = dtype
        if column.null_count:
            raise _at("the vector is null", where, first + _first(column.is_null()))
        lengths = _lengths(column, pa)
        if self.dim is None:
            self.dim = int(lengths[0])
        if (lengths != self.dim).any():
            row = int(np.argmax(lengths != self.dim))
            raise _at(
                f"the vector has {lengths[row]} numbers, those before have {self.dim}",
                where,
                first + row,
            )
        values = column.flatten()
        if values.null_count:
            row = _first(values.is_null()) // self.dim
            raise _at("the vector holds a null", where, first + row)
        self.file.write(np.ascontiguousarray(values.to_numpy()).data)
        self.n += len(column)

    def map(self, path: Path) -> NDArray[Any]:
        if self.dtype is None or self.dim is None:
            raise InputError("there are no rows", where=str(path))
        return map_file(self.file, self.dtype, (self.n, self.dim))


class _IdColumn:
    """Ids appended to files: integers as they are, strings as UTF-8 text and their lengths."""

    def __init__(self, stack: ExitStack) -> None:
        self.file = stack.enter_context(scratch_file())
        self.stack = stack
        self.n = 0
        self.width = 0
        self.strings: bool | None = None

    def add(self, column: Any, pa: Any, where: str, first: int) -> None:
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if column.null_count:
            raise _at("the id is null", where, first + _first(column.is_null()))
        strings = _is_string(column.type, pa)
        if not strings and not pa.types.is_integer(column.type):
            raise InputError(
                f"the ids have type {column.type}, expected integers or strings", where=where
            )
        if self.strings not in (None, strings):
            raise InputError("the ids are integers in one file, strings in another", where=where)
        self.strings = strings
        if strings:
            # each line is a block of ids as narrow as it can be, so that memory stays bounded
            texts = np.array(column.to_pylist(), dtype=np.str_)
            np.save(self.file, texts)
            self.width = max(self.width, texts.dtype.itemsize // 4)
        else:
            wide = column.cast(pa.int64()).to_numpy(zero_copy_only=False)
            self.file.write(np.ascontiguousarray(wide).data)
        self.n += len(column)

    def map(self) -> NDArray[Any]:
        if not self.strings:
            return map_file(self.file, np.int64, (self.n,))
        wide = self.stack.enter_context(scratch_file())
        self.file.seek(0)
        done = 0
        while done < self.n:
            texts = np.load(self.file, allow_pickle=False)
            wide.write(texts.astype(f"U{self.width}").tobytes())
            done += len(texts)
        return map_file(wide, f"U{self.width}", (self.n,))


def _is_string(kind: Any, pa: Any) -> bool:
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _lengths(column: Any, pa: Any) -> NDArray[np.int64]:
    if pa.types.is_fixed_size_list(column.type):
        return np.full(len(column), column.type.list_size)
    return np.asarray(column.value_lengths().to_numpy(zero_copy_only=False), np.int64)


def _first(mask: Any) -> int:
    return int(np.argmax(mask.to_numpy(zero_copy_only=False)))


def _at(what: str, where: str, row: int) -> InputError:
    return InputError(what, where=f"{where}, row {row}", mend="Drop the row, or encode it again")


@contextmanager
def _opened(path: Path) -> Generator[tuple[Any, Any, int | None]]:
    """The schema of a file, a reader of its batches of chosen columns, and its number of rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if path.suffix in (".parquet", ".pq"):
            # buffered: whole column chunks of a large row group would not fit in memory
            with pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as file:
                yield (
                    file.schema_arrow,
                    lambda columns: file.iter_batches(_BATCH, columns=columns),  # pyright: ignore[reportUnknownLambdaType]
                    file.metadata.num_rows,
                )
        else:
            with pa.memory_map(str(path)) as mapped:
                reader = _ipc_reader(mapped, pa)
                yield reader.schema, lambda columns: _selected(reader, columns), None  # pyright: ignore[reportUnknownLambdaType]
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"not a readable {path.suffix} file ({error})", where=str(path)) from error


def _ipc_reader(mapped: Any, pa: Any) -> Any:
    try:
        return pa.ipc.open_file(mapped)
    except pa.ArrowInvalid:
        mapped.seek(0)
        return pa.ipc.open_stream(mapped)


def _selected(reader: Any, columns: list[str]) -> Iterator[Any]:
    if hasattr(reader, "get_batch"):
        batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
    else:
        batches = iter(reader)
    for batch in batches:
        yield from (
            batch.select(columns).slice(start, _BATCH) for start in range(0, len(batch), _BATCH)
        )


def _total(paths: Sequence[Path]) -> int | None:
    total = 0
    for path in paths:
        with _opened(path) as (_, _, rows):
            if rows is None:
                return None
            total += rows
    return total


def _batches(path: Path, columns: list[str]) -> Iterator[tuple[Any, int]]:
    """Record batches of ``columns``, in that order, with the number of their first row."""
    with _opened(path) as (schema, read, _):
        for column in columns:
            if column not in schema.names:
                raise InputError(
                    f"there is no column '{column}'; columns: {', '.join(schema.names)}",
                    where=str(path),
                )
        first = 0
        for batch in read(columns):
            yield batch.select(columns), first
            first += len(batch)
