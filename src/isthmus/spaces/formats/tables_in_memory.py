"""Tables of pandas, polars and Arrow that hold vectors in a column, read as their files are."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError, WrongTypeError
from isthmus.spaces.formats.contents import ID_NAMES, Wanted

__all__ = ["is_named_table", "rows_of_table"]


def is_named_table(source: Any, where: str) -> bool:
    """Whether this is a table that holds more than numbers, or ids beside them.

    One of numbers alone is an array by itself, and so is a single column of vectors.

    Raises:
        WrongTypeError: for a table that is not in memory, such as a LazyFrame of polars.
    """
    if _read_by(source) is not None and not hasattr(source, "__array__"):
        raise _not_in_memory(source, where)
    if hasattr(source, "column_names") and hasattr(source, "schema"):
        names, kinds = source.column_names, source.schema.types
    elif hasattr(source, "columns") and hasattr(source, "dtypes"):
        names, kinds = list(source.columns), list(source.dtypes)
    else:
        return False
    if len(names) < 2:
        return False
    lazy = _read_by(source) is not None
    found = any(str(name).lower() in ID_NAMES for name in names) or any(
        (lazy or _is_named(source.iloc[:, at]))
        if str(kind) == "object"
        else _WORDS.search(str(kind))
        for at, kind in enumerate(kinds)
    )
    if found and lazy:
        raise _not_in_memory(source, where)
    return found


def _read_by(source: Any) -> str | None:
    """The method that reads a table which is not in memory: of Spark, dask or polars."""
    kind: Any = type(source)  # asking the table itself for its columns may read some of it
    if not hasattr(kind, "columns"):
        return None
    return next((name for name in _READ_BY if hasattr(kind, name)), None)


def _not_in_memory(source: Any, where: str) -> WrongTypeError:
    kind, read = type(source).__name__, _read_by(source)
    return WrongTypeError(
        f"nothing of the table ({kind}) is in memory yet",
        where=where,
        mend=f"Give table.{read}()",
    )


_READ_BY = ("toPandas", "compute", "collect")
_WORDS = re.compile("str|list|array|extension|categor", re.IGNORECASE)


def _is_named(cells: Any) -> bool:
    """Whether a column of objects begins with a text or a vector."""
    first = next((cell for cell in cells if cell is not None), None)
    return hasattr(first, "__len__")


def rows_of_table(
    table: Any, wanted: Wanted, where: str
) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """The vectors ``(n, d)`` of a table for which `is_named_table` is true, and their ids.

    Raises:
        InputError: as for its file: where it is not clear which column holds the vectors, for a
            null, a ragged list or a wrong type.
        MissingExtraError: without pyarrow.
    """
    from isthmus.spaces.formats.arrow_streams import BATCH, Peeked, Stream, need_arrow

    need_arrow("tables with ids and vectors as")
    import pyarrow as pa

    from isthmus.spaces.formats.arrow import ReadColumns

    arrow: Any = table
    if hasattr(table, "to_arrow"):
        arrow = table.to_arrow()
    elif not hasattr(table, "schema"):
        try:
            arrow = pa.Table.from_pandas(table)
        except (ValueError, TypeError, NotImplementedError) as error:
            raise InputError(
                f"the table is none of Arrow's ({str(error).splitlines()[0][:200]})",
                where=where,
                mend="Give the vectors alone, such as table['embedding']",
            ) from error
    elif hasattr(table, "slice") and not hasattr(table, "to_batches"):
        arrow = pa.Table.from_batches([table])
    batches = Peeked(arrow.to_batches(BATCH))
    stream = Stream(arrow.schema, batches.of, arrow.num_rows, batches.first)
    columns = ReadColumns.of(stream, wanted, where)
    read = list(columns.blocks(stream, where))
    rows = [block for block, _ in read if block is not None and len(block)]
    ids = [block for _, block in read if block is not None and len(block)]
    if not rows:
        return np.empty((0, 0), np.float32), None
    return np.concatenate(rows), np.concatenate(ids) if ids else None
