"""One version of a table, read from its beginning or from behind a cursor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from isthmus.stores.arrow import vectors_of_arrow
from isthmus.stores.faults import asking
from isthmus.stores.lancedb.pages import of_size, pages_of, whole
from isthmus.stores.lancedb.rows import IdColumn
from isthmus.stores.protocol import ScanBatch

__all__ = ["batches_of"]


def batches_of(
    table: Any,
    ids: IdColumn,
    after: tuple[int, int],
    vectors: tuple[str, int] | None,
    fields: Sequence[str],
    batch: int,
) -> Iterator[ScanBatch]:
    """The items behind a cursor, ``batch`` at a time.

    Args:
        table: in the version that is read.
        ids: its column of ids.
        after: the version and the rows that the cursor names.
        vectors: the column to read, and its width.
        fields: of the payload.
        batch: most rows of one batch.
    """
    version, done = after
    column, dim = vectors or (None, 0)
    names = [ids.name, *([] if column is None else [column]), *fields]
    with asking(ids.where):
        left = table.count_rows() - done
    if left <= 0:
        return
    for part in of_size(pages_of(table, names, done, left, dim), batch, ids.where):
        done += len(part)
        rows = present = None
        if column is not None:
            rows, present = vectors_of_arrow(whole(part[column]), dim)
        yield ScanBatch(
            ids.read(part),
            rows,
            present,
            {name: part[name].to_pylist() for name in fields},
            f"{version}:{done}",
        )
