"""A table read in pages of bounded size, and how its rows are named in filters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from isthmus.errors import StoreError
from isthmus.stores.faults import asking
from isthmus.stores.protocol import BATCH

__all__ = ["cursor_of", "literal", "of_size", "pages_of", "quoted", "whole"]

_PAGE_BYTES = 4 << 20  # of a scan
_GROWS = 8  # times: rows of one page say little about the next


def whole(column: Any) -> Any:
    """A chunked column as one array; a copy only if there are several chunks."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def of_size(reader: Any, size: int, where: str) -> Iterator[Any]:
    """Tables of exactly ``size`` rows, the last one smaller, from batches of any size."""
    import pyarrow as pa

    waiting: list[Any] = []
    rows = 0
    batches = iter(reader)
    while True:
        with asking(where):
            batch = next(batches, None)
        if batch is None:
            break
        waiting.append(batch)
        rows += len(batch)
        while rows >= size:
            table = pa.Table.from_batches(waiting)
            yield table.slice(0, size)
            waiting, rows = table.slice(size).to_batches(), rows - size
    if rows:
        yield pa.Table.from_batches(waiting)


def pages_of(
    table: Any,
    names: list[str],
    done: int,
    left: int,
    numbers: int = 0,
    page_bytes: int = _PAGE_BYTES,
) -> Iterator[Any]:
    """``left`` rows behind the first ``done``, a bounded number of bytes at a time.

    One reader over a whole table reads ahead of a slow consumer without bound, and every page is
    held several times over while it is decoded.  How many rows are a page is reckoned from the
    ``numbers`` of the vectors of a row, and from what the last page took.
    """
    page = max(1, min(BATCH, page_bytes // max(1, 4 * numbers)))
    while left > 0:
        some, took = min(left, page), 0
        found = table.search().select(names).offset(done).limit(some).to_batches(page)
        for part in found:
            took += part.nbytes
            yield part
        done, left = done + some, left - some
        page = max(1, min(_GROWS * page, page_bytes * some // max(1, took)))


def cursor_of(after: str, where: str) -> tuple[int, int]:
    """The version and the rows behind a cursor of a scan.

    Raises:
        StoreError: for a text that is none.
    """
    version, _, done = after.partition(":")
    if not (version.isdigit() and done.isdigit()):
        raise StoreError(f"'{after}' is no cursor of a scan of LanceDB", where=where)
    return int(version), int(done)


def quoted(name: str) -> str:
    """A column in a filter."""
    return "`" + name.replace("`", "``") + "`"


def literal(value: int | str) -> str:
    """A value in a filter."""
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"
