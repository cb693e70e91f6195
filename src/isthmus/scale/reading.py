"""The rows of a part, read where the work is done: block by block, and checked."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.scale.parts import (
    PartedVectors,
    ReadablePart,
    Slice,
    check_unchanged,
    is_remote,
    local_copy,
    opened,
)
from isthmus.spaces.formats.arrow import ReadColumns
from isthmus.spaces.formats.arrow_streams import ipc_stream, parquet_stream
from isthmus.spaces.formats.contents import Wanted, reading
from isthmus.spaces.ids import composed_ids, written_ids
from isthmus.spaces.metric import Metric
from isthmus.spaces.readers import Vectors, open_vectors
from isthmus.spaces.row_checks import check_vectors
from isthmus.stores import ScanBatch, is_store_url, open_store

__all__ = ["IdsAndRows", "ids_of", "rebatched", "rows_of"]

_ROWS = 8192

IdsAndRows = tuple[NDArray[Any] | None, NDArray[Any]]
"""Ids ``(m,)``, where rows have some, and rows ``(m, d)``."""


def rows_of(
    side: PartedVectors,
    slices: Sequence[Slice],
    metric: Metric | None,
    *,
    with_ids: bool = True,
    check: bool = True,
    as_written: bool = False,
    size: int = _ROWS,
) -> Iterator[IdsAndRows]:
    """The rows of some slices, in blocks of about ``size``; checked unless somebody else will.

    Ids are as they are compared, or ``as_written``.

    Raises:
        InputError: for a row that cannot be used, naming the file and the row, and for a part
            that changed since it was listed.
    """
    for piece in slices:
        check_unchanged(piece.part)
        done = -piece.skip
        for ids, raw in _blocks(side, piece.part, with_ids=with_ids, size=size):
            start, stop = max(0, -done), min(len(raw), piece.rows - done)
            if start < stop:
                first = piece.part.first + piece.skip + done + start
                rows = _widened(raw[start:stop], piece.part.place)
                if check:
                    check_vectors(
                        rows, dim=side.dim, metric=metric, where=piece.part.place, first_row=first
                    )
                names = None if ids is None else ids[start:stop]
                if names is not None and not as_written:
                    names = composed_ids(names)
                yield names, rows
            done += len(raw)
            if done >= piece.rows:
                break  # what follows belongs to another slice
        if done < piece.rows:
            raise InputError(
                f"the part has {done + piece.skip:,} rows, {piece.rows + piece.skip:,} were listed",
                where=str(piece.part),
                mend="Run the command again once nobody writes to it",
            )
        check_unchanged(piece.part)


def ids_of(side: PartedVectors, part: ReadablePart) -> Iterator[NDArray[Any]]:
    """The ids of a part alone, in blocks."""
    check_unchanged(part)
    if part.groups is not None and side.id_column is not None:
        columns = ReadColumns((), "", side.id_column, None)
        with _stream(part) as stream, reading(part.place, "Parquet"):
            for _, ids in columns.blocks(stream, part.place, vectors=False, first=part.first):
                assert ids is not None
                yield composed_ids(written_ids(ids, f"ids of {part.place}"))
        return
    if is_store_url(part.place):
        yield from (composed_ids(ids) for ids, _ in _scanned(part, None))
        return
    for ids, _ in _blocks(side, part, with_ids=True):
        assert ids is not None
        yield composed_ids(ids)


@contextmanager
def _stream(part: ReadablePart, size: int = _ROWS) -> Generator[Any]:
    with (
        reading(part.place, "Parquet"),
        opened(part.place) as file,
        parquet_stream(file, part.groups, batch=size) as stream,
    ):
        yield stream


def _blocks(
    side: PartedVectors, part: ReadablePart, *, with_ids: bool, size: int = _ROWS
) -> Iterator[IdsAndRows]:
    """The rows of a part as they are stored, from the first of it on."""
    with_ids = with_ids and side.has_ids
    column = side.id_column if with_ids else None
    wanted = Wanted(side.key, column, find_ids=with_ids and column is None)
    if is_store_url(part.place):
        yield from _of_store(side, part)
    elif part.groups is not None:
        with _stream(part, size) as stream:
            columns = ReadColumns.of(stream, wanted, part.place)
            yield from _named(columns.blocks(stream, part.place, first=part.first), part)
    elif not is_remote(part.place) and Path(part.place).suffix.lower() in (".arrow", ".feather"):
        with reading(part.place, "Arrow"), ipc_stream(Path(part.place)) as stream:
            columns = ReadColumns.of(stream, wanted, part.place)
            yield from _named(columns.blocks(stream, part.place), part)
    else:
        yield from _of_array(side, part, with_ids=with_ids)


def _named(
    blocks: Iterator[tuple[NDArray[Any] | None, NDArray[Any] | None]], part: ReadablePart
) -> Iterator[IdsAndRows]:
    for rows, ids in blocks:
        assert rows is not None
        yield None if ids is None else written_ids(ids, f"ids of {part.place}"), rows


def _of_array(side: PartedVectors, part: ReadablePart, *, with_ids: bool) -> Iterator[IdsAndRows]:
    ids: Any = side.id_column if with_ids else False
    with local_copy(part.place) as path:
        vectors = open_vectors(path, ids=ids, key=side.key)
        for start in range(part.first, part.end, _ROWS):
            stop = min(start + _ROWS, part.end, vectors.n)
            if start < stop:
                written = vectors.written_ids
                names = None if written is None else written[start:stop]
                yield names, vectors.rows(start, stop)


def _of_store(side: PartedVectors, part: ReadablePart) -> Iterator[IdsAndRows]:
    for ids, batch in _scanned(part, side.key):
        take = len(ids)
        assert batch.vectors is not None
        assert batch.present is not None
        if not batch.present[:take].all():
            missing = ids[int(np.argmin(batch.present[:take]))]
            raise InputError(f"the item {missing} has no vector", where=part.place)
        yield ids, batch.vectors[:take]


def _scanned(part: ReadablePart, column: str | None) -> Iterator[tuple[NDArray[Any], ScanBatch]]:
    """The batches of a key range, each with the ids of its rows that lie in the range."""
    store = open_store(part.place)
    left = part.rows
    try:
        for batch in store.scan(column=column, after=part.after, batch=_ROWS):
            take = min(left, len(batch))
            left -= take
            if not left and str(batch.ids[take - 1]) != part.last:
                break
            yield written_ids(batch.ids[:take], part.place), batch
            if not left:
                return
        raise InputError(
            "the store has changed since it was listed",
            where=str(part),
            mend="Run the command again once nobody writes to it",
        )
    finally:
        store.close()


def _widened(raw: NDArray[Any], where: str) -> NDArray[Any]:
    """Rows as float32 or float64."""
    return Vectors(raw, name=where).rows(0, len(raw))


def rebatched(blocks: Iterator[IdsAndRows], size: int) -> Iterator[IdsAndRows]:
    """The same rows in blocks of exactly ``size`` but for the last."""
    held: list[IdsAndRows] = []
    count = 0
    for block in blocks:
        if not held and len(block[1]) == size:
            yield block
            continue
        held.append(block)
        count += len(block[1])
        while count >= size:
            ids, rows = _joined(held)
            yield (None if ids is None else ids[:size]), rows[:size]
            count -= size
            # nothing is left of most: what comes next would be copied behind it
            held = [(None if ids is None else ids[size:], rows[size:])] if count else []
    if count:
        yield _joined(held)


def _joined(held: Sequence[IdsAndRows]) -> IdsAndRows:
    if len(held) == 1:
        return held[0]
    ids = [names for names, _ in held if names is not None]
    return np.concatenate(ids) if ids else None, np.concatenate([rows for _, rows in held])
