"""Vectors from Parquet, Arrow and CSV files: record batches, streamed once into a scratch file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.freed_memory import return_freed_memory
from isthmus.spaces.formats.arrow_streams import (
    BATCH,
    Stream,
    ipc_stream,
    need_arrow,
    orc_stream,
    parquet_stream,
)
from isthmus.spaces.formats.arrow_values import (
    column_of,
    ids_of,
    is_broken,
    is_bytes,
    is_list,
    is_number,
    is_string,
    matrix_of,
)
from isthmus.spaces.formats.contents import (
    VECTOR_NAMES,
    Contents,
    IdFile,
    RowFile,
    Wanted,
    id_name,
    reading,
)
from isthmus.spaces.formats.number_text import is_vector_text

__all__ = ["ReadColumns", "open_ipc", "open_orc", "open_parquet", "open_streams"]

_MOST_COLUMNS = 1 << 17  # what is wider is no row of a model
_NUMBERED = re.compile(r"(.*?)(\d+)")


@dataclass(frozen=True)
class ReadColumns:
    """Which columns of a file hold what."""

    vectors: tuple[str, ...]
    """One column of lists, or a column for each dimension."""
    key: str
    """What the vectors are called."""
    ids: str | None
    overlooked: str | None
    """A column that looks like ids, and is not used as such."""

    @classmethod
    def of(cls, stream: Stream, wanted: Wanted, where: Path | str) -> ReadColumns:
        """The columns that are meant.

        Raises:
            InputError: where that is not clear.
        """
        width = len(stream.schema.names)
        if width > _MOST_COLUMNS:
            raise InputError(
                f"it has {width:,} columns, and {_MOST_COLUMNS:,} at the most", where=str(where)
            )
        vectors = _vector_columns(stream, wanted, where)
        key = vectors[0] if len(vectors) == 1 else _prefix(vectors)
        used = set(vectors)
        others = [name for name in stream.schema.names if name not in used]
        ids, overlooked = id_name(others, wanted, key)
        if ids is None and wanted.find_ids and (index := _index(stream)) in others:
            ids, overlooked = index, None
        return cls(tuple(vectors), key, ids, overlooked)

    def form(self, stream: Stream, where: Path | str) -> tuple[int, str]:
        """Width and dtype of the rows: by the schema where it says so, else by the first of them.

        Raises:
            InputError: as `blocks`, of the first row.
        """
        import pyarrow as pa

        if self.vectors == (self.key,) and self.key in stream.schema.names:
            kind = stream.schema.field(self.key).type
            if pa.types.is_fixed_size_list(kind) and pa.types.is_floating(kind.value_type):
                return kind.list_size, np.dtype(kind.value_type.to_pandas_dtype()).name
        rows, _ = next(iter(self.blocks(stream, where)))
        assert rows is not None
        return rows.shape[1], rows.dtype.name

    def blocks(
        self, stream: Stream, where: Path | str, *, vectors: bool = True, first: int = 0
    ) -> Iterator[tuple[NDArray[Any] | None, NDArray[Any] | None]]:
        """Rows ``(m, d)`` and ids ``(m,)``, block by block, from row ``first`` of the file on.

        Raises:
            InputError: for a missing column, a null, a ragged list or a wrong type.
        """
        needed = [*(self.vectors if vectors else ()), *([] if self.ids is None else [self.ids])]
        names: list[str] = stream.schema.names
        known = Counter(names)
        for column in needed:
            if column.partition(".")[0] not in known and column not in known:
                raise InputError(
                    f"there is no column '{column}'; columns: {', '.join(names)}", where=str(where)
                )
            if known[column] > 1:
                raise InputError(
                    f"{known[column]} columns are called '{column}'",
                    where=str(where),
                    mend="Give each a name of its own",
                )
        for whole in stream.read([*needed, *_places(stream, needed)]):
            for start in range(0, len(whole), BATCH):
                batch = whole.slice(start, BATCH)
                rows = ids = None
                if vectors:
                    rows = matrix_of(batch, self.vectors, f"{where}:{self.key}", first)
                if self.ids is not None:
                    ids = ids_of(column_of(batch, self.ids), f"{where}:{self.ids}", first)
                first += len(batch)
                yield rows, ids


def open_parquet(files: Sequence[Path], wanted: Wanted) -> Contents:
    """The vectors of a column of Parquet files, or of one column per dimension.

    Raises:
        InputError: for a missing column, a null, a ragged list or a wrong type, naming the file
            and the first such row.
        MissingExtraError: without pyarrow.
    """
    return open_streams(files, wanted, parquet_stream, "Parquet")


def open_ipc(files: Sequence[Path], wanted: Wanted) -> Contents:
    """As `open_parquet`, of Arrow files, streams and Feather files."""
    return open_streams(files, wanted, ipc_stream, "Arrow")


def open_orc(files: Sequence[Path], wanted: Wanted) -> Contents:
    """As `open_parquet`, of ORC files, as Hive and Spark write them."""
    return open_streams(files, wanted, orc_stream, "ORC")


def open_streams(
    files: Sequence[Path], wanted: Wanted, opened: Callable[[Path], Any], kind: str
) -> Contents:
    """The vectors of files that ``opened`` gives as streams of record batches.

    Raises:
        InputError: as `open_parquet`.
        MissingExtraError: without pyarrow.
    """
    need_arrow(kind)
    starts: list[tuple[str, int]] = []
    with ExitStack() as stack:
        rows = RowFile(stack, files)
        ids: IdFile | None = None
        columns: ReadColumns | None = None
        for path in files:
            with reading(path, kind), opened(path) as stream:
                if columns is None:
                    columns = ReadColumns.of(stream, wanted, path)
                    ids = None if columns.ids is None else IdFile(stack)
                if columns.ids is not None and stream.written is not None and ids is not None:
                    stream, ids.numbers_as_text = stream.written(columns.ids), True
                starts.append((str(path), rows.n))
                first = 0
                for block, names in columns.blocks(stream, path):
                    assert block is not None
                    rows.add(block, f"{path}:{columns.key}", first)
                    if ids is not None and names is not None:
                        ids.add(names, f"{path}:{columns.ids}")
                    first += len(block)
                    wanted.progress("reading vectors", rows.n, stream.rows)
        assert columns is not None
        # what was kept for the next file would lie idle through the work
        return_freed_memory()
        vectors = rows.map(str(files[0]))
        path = files[0] if len(files) == 1 else files[0].parent
        return Contents(
            vectors,
            f"{path}:{columns.key}",
            vectors.dtype.name,
            None if ids is None else ids.map(),
            tuple(starts),
            overlooked=columns.overlooked,
        )


# ---- which columns hold the vectors ------------------------------------------------------------


def _vector_columns(stream: Stream, wanted: Wanted, path: Path | str) -> list[str]:
    """One column of lists, or the columns of one dimension each, in their order."""
    import pyarrow as pa

    key = wanted.key
    fields = {field.name: field.type for field in stream.schema}
    dimensions = {name: kind for name, kind in fields.items() if name != wanted.id_column}
    if key is not None:
        numbered = _dimensions(dimensions, pa, prefix=key)
        return numbered if key not in fields and len(numbered) > 1 else [key]
    lists = [name for name, kind in fields.items() if is_list(kind, pa)]
    if not lists:
        lists = [
            f"{name}.{inner.name}"
            for name, kind in fields.items()
            if pa.types.is_struct(kind)
            for inner in kind
            if is_list(inner.type, pa) and is_broken(inner.type, pa)
        ]
    # beside vectors stand the whole numbers of tokens, and texts
    broken = [name for name in lists if name not in fields or is_broken(fields[name], pa)]
    named = [name for name in VECTOR_NAMES if name in lists]
    for candidates in (lists, broken, named):
        if len(candidates) == 1:
            return candidates
    if not lists:
        text = [name for name in VECTOR_NAMES if name in fields and is_string(fields[name], pa)]
        if len(text) == 1:
            return text
        numbered = _dimensions(dimensions, pa)
        # numbers beside a list, of a file whose columns have no names, are no dimensions
        looked = [name for name in numbered or fields if is_string(fields[name], pa)]
        text = _texts_of_vectors(stream, looked)
        if len(text) == 1:
            return text
        if numbered:
            return numbered
    held = [name for name in VECTOR_NAMES if name in fields and is_bytes(fields[name], pa)]
    raise InputError(
        f"the column '{held[0]}' holds bytes, which do not say what numbers they are"
        if held and not lists
        else f"it is not clear which column holds the vectors; columns: {', '.join(fields)}",
        where=str(path),
        mend="Store a list of floats, such as numpy.frombuffer(value, 'float32') of each"
        if held and not lists
        else f"Name it: '{path}:COLUMN'",
    )


def _index(stream: Stream) -> str | None:
    """The column that pandas wrote as the index of a frame, where it wrote one."""
    told: Any = stream.schema.pandas_metadata
    columns = told.get("index_columns") if isinstance(told, dict) else None
    one = columns[0] if isinstance(columns, list) and len(columns) == 1 else None
    return one if isinstance(one, str) else None


def _texts_of_vectors(stream: Stream, columns: Sequence[str]) -> list[str]:
    """Columns of text whose first value is a list of numbers in brackets."""
    batch = stream.first() if columns else None
    if batch is None or not len(batch):
        return []
    batch.validate(full=True)
    values = {name: column_of(batch, name)[0].as_py() for name in columns}
    return [name for name, value in values.items() if value and is_vector_text(value)]


def _dimensions(fields: dict[str, Any], pa: Any, prefix: str | None = None) -> list[str]:
    """Columns that are called alike but for a count from 0 or 1, all of which should hold numbers.

    Only one such family can be meant; of two none is taken.  A column without numbers among those
    of numbers is one of them, for the reader of its values to refuse: left out, the vectors would
    be narrower than they are.
    """
    families: dict[str, dict[int, str]] = {}
    for name in fields:
        if match := _NUMBERED.fullmatch(name):
            families.setdefault(match[1], {})[int(match[2])] = name
    whole: list[list[str]] = []
    torn: list[list[str]] = []
    for name, family in families.items():
        order = sorted(family)
        if (prefix is None or name == prefix) and order in (
            list(range(len(order))),
            list(range(1, len(order) + 1)),
        ):
            columns = [family[i] for i in order]
            numbers = sum(is_number(fields[column], pa) for column in columns)
            if 1 < numbers == len(columns):
                whole.append(columns)
            elif numbers > 1 or prefix is not None:
                torn.append(columns)
    widest = max(map(len, whole), default=0)
    meant = whole + [columns for columns in torn if len(columns) >= widest]
    return meant[0] if len(meant) == 1 else []


def _prefix(columns: Sequence[str]) -> str:
    match = _NUMBERED.fullmatch(columns[0])
    return (match[1] if match else "") or f"{columns[0]}..{columns[-1]}"


def _places(stream: Stream, columns: Sequence[str]) -> list[str]:
    """The fields ``indices`` of structs in which columns lie."""
    import pyarrow as pa

    known = set(stream.schema.names)
    outer = {name.partition(".")[0] for name in columns if name not in known}
    return [
        f"{field.name}.indices"
        for field in stream.schema
        if field.name in outer
        and pa.types.is_struct(field.type)
        and field.type.get_field_index("indices") >= 0
    ]
