"""Indexes of LanceDB on vectors: read with their options, and built with them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any, cast

from isthmus.stores.protocol import Column, Index
from isthmus.stores.refusals import cannot

__all__ = ["build_index", "index_of"]

_IMPOSSIBLE = re.compile(r"(?i)invalid input|not enough rows|divisible")
"""What LanceDB says of a width, or a number of rows, that an index does not take."""
_LEAST_ROWS = 256
"""Rows of an index that quantises by products: as many as its codes of 8 bits."""


def index_of(table: Any, column: str) -> Index | None:
    """The index on a column, with the options that LanceDB tells.

    It tells neither the number of partitions nor that of training rounds: those are chosen by the
    number of rows, for a second index as they were for the first.
    """
    for found in table.list_indices():
        if found.columns == [column]:
            return Index(found.index_type, _told(getattr(found, "index_details", None) or {}))
    return None


def _told(details: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    graph = cast("Mapping[str, Any]", details.get("hnsw") or {})
    codes = cast("Mapping[str, Any]", details.get("compression") or {})
    options = {
        "m": graph.get("max_connections"),
        "ef_construction": graph.get("construction_ef"),
        "num_sub_vectors": codes.get("num_sub_vectors"),
        "num_bits": codes.get("num_bits"),
    }
    return tuple((name, str(value)) for name, value in options.items() if value is not None)


def build_index(table: Any, column: Column, index: Index, where: str) -> None:
    """Build ``index`` on ``column``; options that its kind does not take are left out.

    Raises:
        UnsupportedError: for fewer rows than it takes.
    """
    from lancedb import index as kinds

    kind = getattr(kinds, index.kind, None)
    if kind is None:
        raise cannot(f"this version of LanceDB builds no index of the kind {index.kind}", where)
    rows = table.count_rows()
    if index.kind.endswith("Pq") and rows < _LEAST_ROWS:
        raise cannot(
            f"an index {index.kind} takes {_LEAST_ROWS} rows at least, the table has {rows:,}",
            where,
            "Search it without an index until it has them",
        )
    taken = inspect.signature(kind).parameters
    options = {name: int(value) for name, value in index.options if name in taken}
    if column.dim % options.get("num_sub_vectors", 1):
        # every part has the same width; LanceDB chooses another number
        del options["num_sub_vectors"]
    try:
        table.create_index(column.name, config=kind(distance_type=column.metric, **options))
    except Exception as error:
        if not _IMPOSSIBLE.search(str(error)):
            raise
        told = str(error).splitlines()[0]
        raise cannot(f"LanceDB builds no index {index} here ({told})", where) from None
