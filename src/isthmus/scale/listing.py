"""From what a user names to the parts that it is made of, by headers and footers alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from isthmus.errors import InputError, missing_extra
from isthmus.scale.engine import Engine
from isthmus.scale.parts import (
    PartedVectors,
    ReadablePart,
    is_remote,
    local_copy,
    opened,
    remote_files,
    state_of,
)
from isthmus.spaces.formats.arrow import ReadColumns
from isthmus.spaces.formats.arrow_streams import ipc_stream, parquet_stream
from isthmus.spaces.formats.contents import Wanted, reading
from isthmus.spaces.formats.finding import format_of, is_listed, vector_files
from isthmus.spaces.formats.table import FORMATS
from isthmus.spaces.readers import open_vectors, split_key
from isthmus.stores import is_store_url, open_store

__all__ = ["list_side"]

_PART_BYTES = 64 << 20
_KEY_RANGE = 50_000  # rows of a store in one part


@dataclass(frozen=True)
class _Look:
    """Reads the header of a file: the side as if it were alone; None of a table without rows."""

    key: str | None
    ids: str | bool | None

    def __call__(self, place: str) -> PartedVectors | None:
        state = state_of(place)
        if Path(place).suffix.lower() in (".parquet", ".pq"):
            return _parquet(place, state, self._wanted)
        ids: Any = self.ids
        with local_copy(place) as path:
            if path.suffix.lower() in (".arrow", ".feather") and _is_empty(path):
                return None
            vectors = open_vectors(path, ids=ids, key=self.key)
        step = max(1, _PART_BYTES // (4 * vectors.dim))
        # only an array can be reached into
        step = step if path.suffix.lower() == ".npy" else vectors.n
        parts = [
            ReadablePart(place, first, min(step, vectors.n - first), state)
            for first in range(0, vectors.n, step)
        ]
        return PartedVectors(
            place,
            self.key,
            ids if isinstance(ids, str) else None,
            vectors.ids is not None,
            vectors.dim,
            vectors.stored_dtype,
            tuple(parts),
            vectors.overlooked,
        )

    @property
    def _wanted(self) -> Wanted:
        column = self.ids if isinstance(self.ids, str) else None
        return Wanted(self.key, column, self.ids is None)


def list_side(
    source: object, ids: str | bool | None, engine: Engine, *, name: str = "vectors"
) -> PartedVectors:
    """The parts of one side, in the order of its rows; the headers are read by the engine.

    Args:
        source: a file, folder or pattern, a URL of such, each with ``:column`` where the vectors
            have a name; or the URL of a store.
        ids: the column of ids; False for none; None for the one that is called so.
        engine: reads the headers.
        name: what messages call the side.

    Raises:
        InputError: if there is nothing, or the files are of different kinds, columns or widths.
    """
    if not isinstance(source, str | Path):
        raise InputError(
            f"the {name} is an array, and an engine reads files",
            where=name,
            mend="Write it to files, or leave the engine out",
        )
    text = str(source)
    if isinstance(ids, str) and Path(ids).suffix.lower() in (".npy", ".txt"):
        raise InputError(
            "a file of ids beside many files is not read by parts",
            where=ids,
            mend="Put the ids into a column of each file, or leave the engine out",
        )
    if is_store_url(text):
        return _store(text)
    places, key = _files(text)
    found: dict[int, PartedVectors | None] = dict(engine.each(places, _Look(key, ids)))
    # many engines write a table without rows for each of their tasks that had nothing to write
    sides = [side for i in range(len(places)) if (side := found[i]) is not None]
    if not sides:
        raise InputError("there are no rows", where=text)
    first = sides[0]
    for side in sides[1:]:
        if side.dim != first.dim:
            raise InputError(
                f"the vectors have {side.dim} numbers, those of {first.name} have {first.dim}",
                where=side.name,
                mend="Give a folder for each width, or encode the file again",
            )
        if side.stored_dtype != first.stored_dtype:
            raise InputError(
                f"the vectors are {side.stored_dtype}, those of {first.name} {first.stored_dtype}",
                where=side.name,
            )
        if side.has_ids != first.has_ids:
            raise InputError(
                f"{first.name} has {'' if first.has_ids else 'no '}ids, and this file "
                f"{'none' if first.has_ids else 'has'}",
                where=side.name,
                mend="Give all files ids, or decline them with ids=False (--ids none)",
            )
    parts = tuple(part for side in sides for part in side.parts)
    return replace(first, name=text, parts=parts)


def _files(source: str) -> tuple[list[str], str | None]:
    """The files of a side, and the column that is named behind them."""
    if not is_remote(source):
        path, key = split_key(source, None)
        return [str(file) for file in vector_files(path)], key
    head, _, tail = source.rpartition(":")
    url, key = (head, tail) if tail and "/" not in tail else (source, None)
    known = {suffix for f in FORMATS for suffix in f.suffixes}
    places = [p for p in remote_files(url) if Path(p).suffix.lower() in known and is_listed(p)]
    if not places:
        raise InputError("no Parquet, Arrow or other file of vectors is found", where=url)
    kinds = {Path(place).suffix.lower() for place in places}
    if len(kinds) > 1:
        raise InputError(f"there are files of several kinds: {', '.join(sorted(kinds))}", where=url)
    return places, key


def _is_empty(path: Path) -> bool:
    with reading(path, "Arrow"), ipc_stream(path) as stream:
        return not any(len(batch) for batch in stream.read(stream.schema.names))


def _parquet(place: str, state: str, wanted: Wanted) -> PartedVectors | None:
    try:
        import pyarrow  # noqa: F401  # pyright: ignore[reportUnusedImport]
        import pyarrow.parquet as pq
    except ImportError as error:
        raise missing_extra("pyarrow", "parquet", "reading Parquet files") from error
    if not is_remote(place):
        format_of(Path(place))  # refuses what is no Parquet file
    with reading(place, "Parquet"), opened(place) as file:
        with pq.ParquetFile(file) as footer:
            sizes = [footer.metadata.row_group(i).num_rows for i in range(footer.num_row_groups)]
        if not sum(sizes):
            return None
        filled = next(i for i, n in enumerate(sizes) if n)
        with parquet_stream(file, [filled], batch=1) as stream:
            columns = ReadColumns.of(stream, wanted, place)
            dim, stored = columns.form(stream, place)
    parts: list[ReadablePart] = []
    first, groups, rows = 0, list[int](), 0
    for number, size in enumerate(sizes):
        if rows and (rows + size) * dim * 4 > _PART_BYTES:
            parts.append(ReadablePart(place, first, rows, state, tuple(groups)))
            first, groups, rows = first + rows, [], 0
        groups.append(number)
        rows += size
    parts.append(ReadablePart(place, first, rows, state, tuple(groups)))
    return PartedVectors(
        place,
        wanted.key or columns.key if len(columns.vectors) == 1 else wanted.key,
        columns.ids,
        columns.ids is not None,
        dim,
        stored,
        tuple(parts),
        columns.overlooked,
    )


def _store(url: str) -> PartedVectors:
    """The key ranges of a store; only ids are read."""
    store = open_store(url)
    try:
        found = store.describe()
        column = found.column(store.column)
        parts: list[ReadablePart] = []
        after: str | None = None
        first = 0
        for batch in store.scan(batch=_KEY_RANGE):
            if len(batch):
                last = str(batch.ids[-1])
                parts.append(ReadablePart(url, first, len(batch), "", None, after, last))
            first, after = first + len(batch), batch.cursor
        if not parts:
            raise InputError("the collection is empty", where=found.where)
    finally:
        store.close()
    return PartedVectors(url, column.name, None, True, column.dim, "float32", tuple(parts))
