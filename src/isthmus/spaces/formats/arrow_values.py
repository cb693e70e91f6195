"""Columns of Arrow as arrays: rows of vectors, and ids, of every type that tools store them in."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.spaces.formats.number_text import NO_NUMBERS, numbers_of
from isthmus.spaces.ids import written_ids

__all__ = [
    "column_of",
    "ids_of",
    "is_broken",
    "is_bytes",
    "is_list",
    "is_number",
    "is_string",
    "matrix_of",
]


def column_of(batch: Any, name: str) -> Any:
    """A column of a batch, or a field ``a.b`` of a struct, without its extension type."""
    import pyarrow as pa

    index = batch.schema.get_field_index(name)
    if index >= 0:
        column = batch.column(index)
    else:
        outer, *inner = name.split(".")
        column = batch.column(batch.schema.get_field_index(outer))
        for part in inner:
            _check_dense(column, outer)
            column = column.field(part)
    return column.storage if isinstance(column.type, pa.BaseExtensionType) else column


def _check_dense(column: Any, name: str) -> None:
    """Refuse vectors of Spark of which only some numbers are kept, under their places."""
    if "indices" in {field.name for field in column.type}:
        places = column.field("indices")
        if places.null_count < len(places):
            raise InputError(
                "the column holds sparse vectors",
                where=name,
                mend="Write them as arrays of floats, such as by vector_to_array of pyspark.ml",
            )


def matrix_of(batch: Any, columns: Sequence[str], where: str, first: int) -> NDArray[Any]:
    """The rows ``(m, d)`` of a column of lists, or of one column for each dimension.

    Raises:
        InputError: for a null, a ragged list or a wrong type, naming the first such row.
    """
    if len(columns) == 1:
        return _rows(column_of(batch, columns[0]), where, first)
    found: list[NDArray[Any]] = []
    for name in columns:
        found.append(_dimension(column_of(batch, name), name, where, first))
    kinds = {part.dtype for part in found}
    integers = all(kind.kind in "iu" for kind in kinds)
    codes = integers and kinds <= {np.dtype(np.int8), np.dtype(np.uint8)} and len(kinds) == 1
    return np.column_stack(found if codes else [np.asarray(p, np.float64) for p in found])


def _dimension(column: Any, name: str, where: str, first: int) -> NDArray[Any]:
    """The numbers of a column that is one dimension; what is none is refused by its row."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if column.null_count:
        raise _at(f"the column '{name}' holds a null", where, first + _first(column.is_null()))
    if is_number(column.type, pa):
        decimal = pa.types.is_decimal(column.type)
        return (column.cast(pa.float64()) if decimal else column).to_numpy(zero_copy_only=False)
    if not is_string(column.type, pa):
        raise InputError(
            f"the column '{name}' has type {column.type}, expected numbers",
            where=f"{where}, row {first}",
            mend=_NO_DIMENSION,
        )
    # one cell that is no number makes text of all the column where types are guessed
    trim: Any = pc.utf8_trim_whitespace  # pyright: ignore[reportAttributeAccessIssue]
    texts = trim(column.cast(pa.string()))
    try:
        return texts.cast(pa.float64()).to_numpy()
    except pa.ArrowInvalid as error:
        cells: list[str] = texts.to_pylist()
        # in a table of 1,5 such a cell is not the bad one, if there is another
        bad = (
            row
            for form in (_NUMBER, _POINTED)
            for row, cell in enumerate(cells)
            if not form.fullmatch(cell)
        )
        row = next(bad, 0)
        raise InputError(
            f"the column '{name}' holds '{cells[row][:40]}', which is no number",
            where=f"{where}, row {first + row}",
            mend=_NO_DIMENSION,
        ) from error


_NUMBER = re.compile(r"(?ai)[+-]?(\d+([.,]\d*)?|[.,]\d+)(e[+-]?\d+)?|[+-]?(nan|inf|infinity)")
_POINTED = re.compile(r"[^,]*")
_NO_DIMENSION = (
    "Write a number there, or drop the row; a column that is no dimension needs a name that is "
    "not numbered like theirs, and one of ids to be named with ids= (--ids)"
)


def _rows(column: Any, where: str, first: int) -> NDArray[Any]:
    import pyarrow as pa

    if is_string(column.type, pa):
        return _parsed(column, where, first)
    if not is_list(column.type, pa):
        mend = "Name the column of vectors after the path, as in 'file.parquet:embedding'"
        if is_bytes(column.type, pa):
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
    if is_list(kind, pa):
        column, kind = _inner(column, where, first), column.type.value_type.value_type
    codes = kind in (pa.int8(), pa.uint8())
    if is_string(kind, pa):
        column, kind = _numbered(column, where, first), pa.float64()
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


def _numbered(column: Any, where: str, first: int) -> Any:
    """Lists of numbers, each of which is a text."""
    import pyarrow as pa

    try:
        return column.cast(pa.list_(pa.float64()))
    except pa.ArrowInvalid:
        for row in range(len(column)):
            try:
                column.slice(row, 1).flatten().cast(pa.float64())
            except pa.ArrowInvalid as error:
                what = "the vector holds a text that is no number"
                raise _at(what, where, first + row) from error
        raise


def _parsed(column: Any, where: str, first: int) -> NDArray[Any]:
    """Lists written as text, ``[0.1, 0.2]``: what pandas and spreadsheets make of them."""
    found: list[Sequence[float]] = []
    for row, text in enumerate(column.to_pylist()):
        try:
            found.append(numbers_of(text))
        except (TypeError, ValueError, OverflowError) as error:
            raise _at(NO_NUMBERS, where, first + row) from error
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
        return written_ids(texts, where)
    if pa.types.is_integer(kind):
        return written_ids(_numpy(column), where)
    if pa.types.is_decimal(kind) and kind.scale == 0:
        return written_ids([str(value) for value in column.to_pylist()], where)
    if is_string(kind, pa) or is_bytes(kind, pa):
        values = column.to_pylist()
        texts = [v.decode("utf-8") if isinstance(v, bytes) else v for v in values]
        return written_ids(texts, where)
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


def is_list(kind: Any, pa: Any) -> bool:
    """Whether the values are lists, of any layout that Arrow has for them."""
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    views = [getattr(pa.types, f"is_{name}_view", None) for name in ("list", "large_list")]
    return bool(
        pa.types.is_fixed_size_list(kind)
        or pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or any(view is not None and view(kind) for view in views)
    )


def is_broken(kind: Any, pa: Any) -> bool:
    """Whether a list is one of broken numbers, or of lists of them."""
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    inner = kind.value_type
    return bool(pa.types.is_floating(inner) or (is_list(inner, pa) and is_broken(inner, pa)))


def is_bytes(kind: Any, pa: Any) -> bool:
    """Whether the values are bytes."""
    kind = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    views = getattr(pa.types, "is_binary_view", None)
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
        or (views is not None and views(kind))
    )


def is_number(kind: Any, pa: Any) -> bool:
    """Whether the values are numbers, whole or broken."""
    return bool(
        pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind)
    )


def is_string(kind: Any, pa: Any) -> bool:
    """Whether the values are text."""
    kind = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )
