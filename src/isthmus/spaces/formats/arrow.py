"""Vectors from Parquet, Arrow and CSV files: record batches, streamed once into a scratch file."""

from __future__ import annotations

import re
import uuid
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError, missing_extra
from isthmus.json_text import read_json
from isthmus.spaces.formats.contents import (
    VECTOR_NAMES,
    Contents,
    IdFile,
    RowFile,
    Wanted,
    id_name,
    reading,
)
from isthmus.spaces.formats.parquet_file import open_parquet_file
from isthmus.spaces.ids import normalise_ids

__all__ = [
    "Columns",
    "Stream",
    "ids_of",
    "ipc_stream",
    "need_arrow",
    "open_ipc",
    "open_parquet",
    "open_streams",
    "parquet_stream",
]

_BATCH = 8192  # rows decoded at once
_NUMBERED = re.compile(r"(.*?)(\d+)")


class Stream(NamedTuple):
    """A file as record batches."""

    schema: Any
    read: Callable[[list[str]], Iterable[Any]]
    """Batches with at least the named columns."""
    rows: int | None
    written: Callable[[str], Stream] | None = None
    """The same file with a column as the text that stands in it, where its types are guessed."""


@dataclass(frozen=True)
class Columns:
    """Which columns of a file hold what."""

    vectors: tuple[str, ...]
    """One column of lists, or a column for each dimension."""
    key: str
    """What the vectors are called."""
    ids: str | None
    overlooked: str | None
    """A column that looks like ids, and is not used as such."""

    @classmethod
    def of(cls, stream: Stream, wanted: Wanted, where: Path | str) -> Columns:
        """The columns that are meant.

        Raises:
            InputError: where that is not clear.
        """
        vectors = _vector_columns(stream, wanted.key, where)
        key = vectors[0] if len(vectors) == 1 else _prefix(vectors)
        others = [name for name in stream.schema.names if name not in vectors]
        ids, overlooked = id_name(others, wanted, key)
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
        for column in needed:
            if column.partition(".")[0] not in names and column not in names:
                raise InputError(
                    f"there is no column '{column}'; columns: {', '.join(names)}", where=str(where)
                )
        for whole in stream.read(needed):
            for start in range(0, len(whole), _BATCH):
                batch = whole.slice(start, _BATCH)
                rows = ids = None
                if vectors:
                    rows = _matrix(batch, self.vectors, f"{where}:{self.key}", first)
                if self.ids is not None:
                    ids = ids_of(_column(batch, self.ids), f"{where}:{self.ids}", first)
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


@contextmanager
def parquet_stream(
    file: Path | Any, groups: Sequence[int] | None = None, *, batch: int = _BATCH
) -> Generator[Stream]:
    """A Parquet file, or some of its row groups; ``file`` may be open."""
    with open_parquet_file(file, groups) as opened:
        yield Stream(
            opened.schema_arrow,
            lambda columns: opened.iter_batches(batch, row_groups=groups, columns=columns),  # pyright: ignore[reportUnknownLambdaType]
            opened.metadata.num_rows,
        )


@contextmanager
def ipc_stream(path: Path) -> Generator[Stream]:
    """An Arrow file or stream."""
    import pyarrow as pa

    with path.open("rb") as head:
        if head.read(4) == b"FEA1":
            # Feather 1, which R wrote for years, has no batches
            import pyarrow.feather as feather

            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                table: Any = feather.read_table(str(path))  # pyright: ignore[reportUnknownMemberType]
            yield Stream(
                table.schema,
                lambda columns: _validated(table.to_batches(_BATCH), columns),  # pyright: ignore[reportUnknownLambdaType]
                table.num_rows,
            )
            return
    # read through the file: a map of one that is truncated meanwhile kills the process
    with pa.OSFile(str(path)) as file:
        try:
            reader = pa.ipc.open_file(file)
        except pa.ArrowInvalid:
            file.seek(0)
            reader = pa.ipc.open_stream(file)
        if hasattr(reader, "get_batch"):
            numbers = range(reader.num_record_batches)
            yield Stream(
                reader.schema,
                lambda columns: _validated((reader.get_batch(i) for i in numbers), columns),  # pyright: ignore[reportUnknownLambdaType]
                None,
            )
        else:
            yield Stream(
                reader.schema,
                lambda columns: _validated(reader, columns),  # pyright: ignore[reportUnknownLambdaType]
                None,
            )


def _validated(batches: Iterable[Any], columns: Sequence[str]) -> Iterator[Any]:
    """Batches whose offsets lie inside their buffers: pyarrow itself trusts a file with them."""
    outer = list(dict.fromkeys(name.partition(".")[0] for name in columns))
    for batch in batches:
        names = [name for name in (*columns, *outer) if name in batch.schema.names]
        whole = batch.select(list(dict.fromkeys(names)))
        whole.validate(full=True)
        yield whole


def need_arrow(kind: str) -> None:
    """Say which package is needed for files of this kind.

    Raises:
        MissingExtraError: without pyarrow.
    """
    try:
        import pyarrow  # pyright: ignore[reportUnusedImport]  # noqa: F401
    except ImportError as error:
        raise missing_extra("pyarrow", "parquet", f"reading {kind} files") from error


def open_streams(
    files: Sequence[Path], wanted: Wanted, opened: Callable[[Path], Any], kind: str
) -> Contents:
    """The vectors of files that ``opened`` gives as streams of record batches.

    Raises:
        InputError: as `open_parquet`.
        MissingExtraError: without pyarrow.
    """
    need_arrow(kind)
    import pyarrow

    starts: list[tuple[str, int]] = []
    with ExitStack() as stack:
        rows = RowFile(stack)
        ids: IdFile | None = None
        columns: Columns | None = None
        for path in files:
            with reading(path, kind), opened(path) as stream:
                if columns is None:
                    columns = Columns.of(stream, wanted, path)
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
        # what it keeps of its own for the next file would lie idle through the work
        pyarrow.default_memory_pool().release_unused()
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


def _vector_columns(stream: Stream, key: str | None, path: Path | str) -> list[str]:
    """One column of lists, or the columns of one dimension each, in their order."""
    import pyarrow as pa

    fields = {field.name: field.type for field in stream.schema}
    if key is not None:
        numbered = _dimensions(fields, pa, prefix=key)
        return numbered if key not in fields and len(numbered) > 1 else [key]
    lists = [name for name, kind in fields.items() if _is_list(kind, pa)]
    # beside vectors stand the whole numbers of tokens, and texts
    broken = [name for name in lists if _is_broken(fields[name], pa)]
    named = [name for name in VECTOR_NAMES if name in lists]
    for candidates in (lists, broken, named):
        if len(candidates) == 1:
            return candidates
    if not lists:
        text = [name for name in VECTOR_NAMES if name in fields and _is_string(fields[name], pa)]
        if len(text) == 1:
            return text
        numbered = _dimensions(fields, pa)
        if len(numbered) > 1:
            return numbered
    held = [name for name in VECTOR_NAMES if name in fields and _is_bytes(fields[name], pa)]
    raise InputError(
        f"the column '{held[0]}' holds bytes, which do not say what numbers they are"
        if held and not lists
        else f"it is not clear which column holds the vectors; columns: {', '.join(fields)}",
        where=str(path),
        mend="Store a list of floats, such as numpy.frombuffer(value, 'float32') of each"
        if held and not lists
        else f"Name it: '{path}:COLUMN'",
    )


def _dimensions(fields: dict[str, Any], pa: Any, prefix: str | None = None) -> list[str]:
    """Columns of numbers that are called alike but for a count from 0 or 1, if all others are not.

    Only one such family can be meant; of two none is taken.
    """
    families: dict[str, dict[int, str]] = {}
    for name, kind in fields.items():
        match = _NUMBERED.fullmatch(name)
        if match and (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
            families.setdefault(match[1], {})[int(match[2])] = name
    found = [
        [family[i] for i in sorted(family)]
        for name, family in families.items()
        if (prefix is None or name == prefix)
        and sorted(family) in (list(range(len(family))), list(range(1, len(family) + 1)))
    ]
    wide = [columns for columns in found if len(columns) > 1]
    return wide[0] if len(wide) == 1 else []


def _prefix(columns: Sequence[str]) -> str:
    match = _NUMBERED.fullmatch(columns[0])
    return (match[1] if match else "") or f"{columns[0]}..{columns[-1]}"


def _is_list(kind: Any, pa: Any) -> bool:
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    views = [getattr(pa.types, f"is_{name}_view", None) for name in ("list", "large_list")]
    return bool(
        pa.types.is_fixed_size_list(kind)
        or pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or any(view is not None and view(kind) for view in views)
    )


def _is_broken(kind: Any, pa: Any) -> bool:
    """Whether a list is one of broken numbers, or of lists of them."""
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    inner = kind.value_type
    return bool(pa.types.is_floating(inner) or (_is_list(inner, pa) and _is_broken(inner, pa)))


def _is_bytes(kind: Any, pa: Any) -> bool:
    views = getattr(pa.types, "is_binary_view", None)
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
        or (views is not None and views(kind))
    )


def _is_string(kind: Any, pa: Any) -> bool:
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


# ---- columns to arrays -------------------------------------------------------------------------


def _column(batch: Any, name: str) -> Any:
    """A column of a batch, or a field ``a.b`` of a struct, without its extension type."""
    import pyarrow as pa

    if name in batch.schema.names:
        column = batch.column(batch.schema.get_field_index(name))
    else:
        outer, *inner = name.split(".")
        column = batch.column(batch.schema.get_field_index(outer))
        for part in inner:
            column = column.field(part)
    return column.storage if isinstance(column.type, pa.BaseExtensionType) else column


def _matrix(batch: Any, columns: Sequence[str], where: str, first: int) -> NDArray[Any]:
    if len(columns) == 1:
        return _rows(_column(batch, columns[0]), where, first)
    found: list[NDArray[Any]] = []
    for name in columns:
        column = _column(batch, name)
        if column.null_count:
            raise _at(f"the column '{name}' holds a null", where, first + _first(column.is_null()))
        found.append(column.to_numpy(zero_copy_only=False))
    kinds = {part.dtype for part in found}
    integers = all(kind.kind in "iu" for kind in kinds)
    codes = integers and kinds <= {np.dtype(np.int8), np.dtype(np.uint8)} and len(kinds) == 1
    return np.column_stack(found if codes else [np.asarray(p, np.float64) for p in found])


def _rows(column: Any, where: str, first: int) -> NDArray[Any]:
    import pyarrow as pa

    if _is_string(column.type, pa):
        return _parsed(column, where, first)
    if not _is_list(column.type, pa):
        mend = "Name the column of vectors after the path, as in 'file.parquet:embedding'"
        if _is_bytes(column.type, pa):
            mend = "Bytes do not say their number type: store a list of floats"
        elif pa.types.is_struct(column.type):
            mend = "Store its fields as a list of floats, or as columns of their own"
        raise InputError(
            f"the column has type {column.type}, expected lists of floats", where=where, mend=mend
        )
    if column.null_count:
        raise _at("the vector is null", where, first + _first(column.is_null()))
    if not len(column):
        return np.empty((0, 0), np.float32)
    kind = column.type.value_type
    if _is_list(kind, pa):
        column, kind = _inner(column, where, first), column.type.value_type.value_type
    codes = kind in (pa.int8(), pa.uint8())
    if pa.types.is_decimal(kind):
        column, kind = column.cast(pa.list_(pa.float64())), pa.float64()
    if not pa.types.is_floating(kind) and not codes:
        raise InputError(
            f"the column has type {column.type}, expected lists of floats",
            where=where,
            mend="Integer codes must be multiplied by their scale first",
        )
    lengths = _lengths(column, pa)
    if (lengths != lengths[0]).any():
        row = int(np.argmax(lengths != lengths[0]))
        raise _at(
            f"the vector has {lengths[row]} numbers, those before have {lengths[0]}",
            where,
            first + row,
        )
    values = _flat(column, pa)
    dim = int(lengths[0])
    if not dim:
        raise _at("the vector has no numbers", where, first)
    if values.null_count:
        raise _at("the vector holds a null", where, first + _first(values.is_null()) // dim)
    return _numpy(values).reshape(len(column), dim)


def _inner(column: Any, where: str, first: int) -> Any:
    """The only list inside each list; several are the tokens of an item, not its vector."""
    import pyarrow as pa

    lengths = _lengths(column, pa)
    if (lengths != 1).any():
        row = int(np.argmax(lengths != 1))
        raise InputError(
            f"the row holds {lengths[row]} vectors, expected one",
            where=f"{where}, row {first + row}",
            mend="Pool the vectors of an item into one, such as by their mean",
        )
    return column.flatten()


def _numbers(text: str) -> list[float]:
    """``[0.1, 0.2]``, ``{0.1,0.2}``, or ``[0.1 0.2]`` as numpy prints it."""
    if "," in text:
        # PostgreSQL writes its arrays in braces
        braced = text.startswith("{") and text.endswith("}")
        return [float(v) for v in read_json(f"[{text[1:-1]}]" if braced else text)]
    bare = text.strip()
    if not (bare.startswith("[") and bare.endswith("]")):
        raise ValueError
    # a long array that numpy cut short holds three points, which are no number
    return [float(v) for v in bare[1:-1].split()]


def _parsed(column: Any, where: str, first: int) -> NDArray[Any]:
    """Lists written as text, ``[0.1, 0.2]``: what pandas and spreadsheets make of them."""
    found: list[list[float]] = []
    for row, text in enumerate(column.to_pylist()):
        try:
            found.append(_numbers(text))
        except (TypeError, ValueError, OverflowError) as error:
            raise _at("the vector is not a list of numbers", where, first + row) from error
        if len(found[row]) != len(found[0]):
            raise _at(
                f"the vector has {len(found[row])} numbers, those before have {len(found[0])}",
                where,
                first + row,
            )
    return np.array(found, dtype=np.float64)


def ids_of(column: Any, where: str, first: int) -> NDArray[Any]:
    """A column of ids, as numpy holds them; null ones are refused by their row."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    elif hasattr(pa.types, "is_run_end_encoded") and pa.types.is_run_end_encoded(column.type):
        import pyarrow.compute as pc

        decode: Any = pc.run_end_decode  # pyright: ignore[reportAttributeAccessIssue]
        column = decode(column)
    if column.null_count:
        raise _at("the id is null", where, first + _first(column.is_null()))
    kind = column.type
    if pa.types.is_fixed_size_binary(kind) and kind.byte_width == 16:
        texts = [str(uuid.UUID(bytes=value)) for value in column.to_pylist()]
        return normalise_ids(texts, where)
    if pa.types.is_integer(kind):
        return normalise_ids(_numpy(column), where)
    if pa.types.is_decimal(kind) and kind.scale == 0:
        return normalise_ids([str(value) for value in column.to_pylist()], where)
    if _is_string(kind, pa) or _is_bytes(kind, pa):
        values = column.to_pylist()
        texts = [v.decode("utf-8") if isinstance(v, bytes) else v for v in values]
        return normalise_ids(texts, where)
    raise InputError(
        f"the ids have type {kind}, expected integers or strings",
        where=where,
        mend="Convert them, name another column with ids= (--ids), or decline them",
    )


def _lengths(column: Any, pa: Any) -> NDArray[np.int64]:
    if pa.types.is_fixed_size_list(column.type):
        return np.full(len(column), column.type.list_size)
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        return np.diff(_numpy(column.offsets)).astype(np.int64, copy=False)
    return np.asarray(column.value_lengths().to_numpy(zero_copy_only=False), np.int64)


def _flat(column: Any, pa: Any) -> Any:
    """The numbers of lists, none of which is null, one after the other."""
    if pa.types.is_fixed_size_list(column.type):
        dim: int = column.type.list_size
        return column.values.slice(column.offset * dim, len(column) * dim)
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        offsets = _numpy(column.offsets)
        return column.values.slice(int(offsets[0]), int(offsets[-1] - offsets[0]))
    return column.flatten()


def _numpy(values: Any) -> NDArray[Any]:
    """Numbers without a null, where they lie.

    Arrow's own ``to_numpy`` imports pandas, where there is one: half a second of every process.
    """
    _, held = values.buffers()
    kind = np.dtype(values.type.to_pandas_dtype())
    if not len(values):
        return np.empty(0, kind)
    return np.frombuffer(held, kind, len(values), values.offset * kind.itemsize)


def _first(mask: Any) -> int:
    return int(np.argmax(mask.to_numpy(zero_copy_only=False)))


def _at(what: str, where: str, row: int) -> InputError:
    return InputError(what, where=f"{where}, row {row}", mend="Drop the row, or encode it again")
