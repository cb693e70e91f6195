"""Ids out of a table of their own: what lies beside vectors that are kept as bare arrays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.spaces.formats.arrow_streams import ipc_stream, need_arrow, orc_stream, parquet_stream
from isthmus.spaces.formats.arrow_values import ids_of
from isthmus.spaces.formats.contents import ID_NAMES, reading, whole_numbers
from isthmus.spaces.formats.csv_file import csv_stream
from isthmus.spaces.formats.finding import format_of
from isthmus.spaces.formats.table import FORMATS

__all__ = ["TABLES", "read_id_table"]

_STREAMS: dict[str, Callable[[Path], Any]] = {
    "Parquet": parquet_stream,
    "Arrow": ipc_stream,
    "ORC": orc_stream,
    "CSV": csv_stream,
}
TABLES = tuple(s for f in FORMATS if f.name in _STREAMS for s in f.suffixes)
"""Suffixes of the tables that ids are read from."""


def read_id_table(path: Path) -> NDArray[Any]:
    """The column of ids of a Parquet, Arrow or CSV file, in the order of its rows.

    Raises:
        InputError: for a table of several columns none of which is called ``id``, or ids that are
            null.
        MissingExtraError: without pyarrow.
    """
    kind = format_of(path).name
    need_arrow(kind)
    found: list[NDArray[Any]] = []
    with reading(path, kind), _STREAMS[kind](path) as stream:
        names = list(stream.schema.names)
        column = names[0] if len(names) == 1 else next((n for n in ID_NAMES if n in names), None)
        if column is None:
            raise InputError(
                f"it is not clear which column holds the ids; columns: {', '.join(names)}",
                where=str(path),
                mend="Name it id",
            )
        written = stream.written is not None
        if stream.written is not None:
            stream = stream.written(column)
        first = 0
        for batch in stream.read([column]):
            ids = ids_of(batch.column(column), f"{path}:{column}", first)
            found.append(ids)
            first += len(ids)
    if not found:
        raise InputError("the table holds no ids", where=str(path))
    ids = np.concatenate(found)
    return ids.astype(np.int64) if written and whole_numbers(ids) else ids
