"""Columns of Arrow tables as numpy arrays and back, with items that have no vector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.stores.checks import text_ids
from isthmus.stores.protocol import Ids, Key

__all__ = [
    "ids_of_arrow",
    "is_text",
    "key_of_arrow",
    "other_vectors",
    "scalars_of_ids",
    "vector_columns",
    "vectors_of_arrow",
    "vectors_to_arrow",
]


def key_of_arrow(kind: Any) -> Key | None:
    """The kind of ids that a column of this Arrow type holds; None if it can hold none."""
    import pyarrow.types as types

    if types.is_integer(kind):
        return "int"
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return "str"
    return None


def is_text(kind: Any) -> bool:
    """Whether a column of this Arrow type holds strings, each kept once (a dictionary) or not."""
    import pyarrow.types as types

    return key_of_arrow(kind.value_type if types.is_dictionary(kind) else kind) == "str"


def ids_of_arrow(column: Any, key: Key, where: str) -> Ids:
    """Ids ``(n,)`` of an Arrow column.

    Raises:
        InputError: for an id that is null, or as `text_ids`.
    """
    if column.null_count:
        raise InputError("an id is null", where=where, mend="Give every item an id")
    if key == "int":
        found = column.to_numpy(zero_copy_only=False)
        if len(found) and found.max() > np.iinfo(np.int64).max:
            raise InputError(
                f"the id {found.max()} is more than an integer of 64 bits with a sign holds",
                where=where,
                mend="Keep such ids as strings",
            )
        return np.asarray(found, dtype=np.int64)
    return text_ids(column.to_pylist(), where)


def scalars_of_ids(ids: Ids) -> list[int] | list[str]:
    """Ids as Python values, which every client takes."""
    return ids.tolist()


def vector_columns(schema: Any) -> dict[str, tuple[int, str]]:
    """The columns of an Arrow schema that hold vectors, with width and numpy dtype."""
    import pyarrow.types as types

    return {
        field.name: (field.type.list_size, np.dtype(field.type.value_type.to_pandas_dtype()).name)
        for field in schema
        if types.is_fixed_size_list(field.type) and types.is_floating(field.type.value_type)
    }


def other_vectors(schema: Any) -> list[str]:
    """What the columns of an Arrow schema are that hold vectors in a way that is not read here."""
    import pyarrow.types as types

    kinds = [(field.name, field.type) for field in schema]
    return [
        f"'{name}' is of type {kind}"
        for name, kind in kinds
        if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
        if not types.is_string(kind.value_type) and not types.is_large_string(kind.value_type)
    ]


def vectors_of_arrow(column: Any, dim: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Vectors ``(n, dim)`` float32 of a fixed-size list array, NaN where it is null; and where not.

    Nothing is copied if it is float32 and without nulls.
    """
    n = len(column)
    values = column.flatten()  # of the lists that are not null
    flat = np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float32).reshape(-1, dim)
    if not column.null_count:
        return flat, np.ones(n, dtype=np.bool_)
    present = np.asarray(column.is_valid().to_numpy(zero_copy_only=False), dtype=np.bool_)
    vectors = np.full((n, dim), np.nan, dtype=np.float32)
    vectors[present] = flat
    return vectors, present


def vectors_to_arrow(
    rows: NDArray[np.float32], kind: Any, present: Sequence[bool] | NDArray[np.bool_] | None = None
) -> Any:
    """A fixed-size list array of the Arrow type ``kind``; null where ``present`` is false."""
    import pyarrow as pa

    flat = np.ascontiguousarray(rows, dtype=kind.value_type.to_pandas_dtype()).reshape(-1)
    mask = None if present is None else pa.array(~np.asarray(present, dtype=np.bool_))
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), type=kind, mask=mask)
